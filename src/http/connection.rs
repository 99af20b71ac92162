//! Connections: how long each may take, and how many there may be.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// Without a request.
const IDLE: Duration = Duration::from_secs(5);
/// From a request's first byte to the last of its headers.
const HEAD: Duration = Duration::from_secs(10);
/// From a request's first byte to its last, and to its answer.
const REQUEST: Duration = Duration::from_secs(30);

/// So much of what was answered before it was read is read and dropped: a sender that is cut off while it writes never
/// sees the answer.
const MOST_DROPPED: usize = 32 << 20;

/// The most connections at once, if the limit of open files allows.
const MOST: u64 = 1024;

/// With half of the process's limit of open files: the rest is for plugins' pipes and the database.
pub fn most_connections() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(MOST, |(soft, _)| soft);
    (files / 2).clamp(1, MOST) as usize
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    number: u64,
    pub peer: IpAddr,
    phase: Mutex<Phase>,
    /// Cancelled when it has to give way.
    given_up: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle {
        since: Instant,
    },
    Head {
        since: Instant,
    },
    Body {
        since: Instant,
    },
    /// The whole request is here.
    Complete {
        since: Instant,
    },
    /// It was answered before its body was.
    Unread {
        since: Instant,
    },
}

impl Connection {
    /// Bytes have come.
    fn received(&self) {
        let mut phase = self.phase();
        if let Phase::Idle { .. } = *phase {
            *phase = Phase::Head { since: Instant::now() };
        }
    }

    /// The headers of a request are complete.
    pub(super) fn head_received(&self) {
        let mut phase = self.phase();
        *phase = match *phase {
            // It was in the same packet as the one before.
            Phase::Idle { .. } | Phase::Unread { .. } => Phase::Body { since: Instant::now() },
            Phase::Head { since } | Phase::Body { since } | Phase::Complete { since } => Phase::Body { since },
        };
    }

    /// The body is complete as well: from here on the connection does not give way.
    pub fn request_received(&self) {
        let mut phase = self.phase();
        if let Phase::Body { since } = *phase {
            *phase = Phase::Complete { since };
        }
    }

    /// The answer is on its way.
    pub(super) fn answered(&self) {
        let mut phase = self.phase();
        *phase = match *phase {
            Phase::Body { since } => Phase::Unread { since },
            _ => Phase::Idle { since: Instant::now() },
        };
    }

    /// Whether the sender may still be writing a body that nobody wants.
    fn is_unread(&self) -> bool {
        matches!(*self.phase(), Phase::Unread { .. })
    }

    fn deadline(&self) -> Instant {
        match *self.phase() {
            Phase::Idle { since } => since + IDLE,
            Phase::Head { since } => since + HEAD,
            Phase::Body { since } | Phase::Complete { since } | Phase::Unread { since } => since + REQUEST,
        }
    }

    fn gives_way(&self) -> bool {
        !matches!(*self.phase(), Phase::Complete { .. })
    }

    /// Ends when the connection has taken too long, or has to give way. Its deadline moves while it is served: this
    /// looks at it whenever it is polled, so poll it after whatever serves it.
    pub(super) async fn over(&self, timer: &mut Pin<Box<Sleep>>) {
        let expired = std::future::poll_fn(|cx| {
            let deadline = self.deadline();
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(cx)
        });
        tokio::select! {
            () = expired => {}
            () = self.given_up.cancelled() => {}
        }
    }

    /// A timer for [`Connection::over`].
    pub(super) fn timer(&self) -> Pin<Box<Sleep>> {
        Box::pin(tokio::time::sleep_until(self.deadline()))
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All open connections, the oldest first.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<Open>,
    /// Told when one has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    by_number: BTreeMap<u64, Arc<Connection>>,
}

impl Connections {
    pub(super) fn at_most(most: usize) -> Self {
        Self { most, open: Mutex::default(), ended: Notify::new() }
    }

    /// Takes a connection in. At the cap, the oldest one without a complete request gives way; when there is none, this
    /// waits for one to end.
    pub(super) async fn admit(self: &Arc<Self>, peer: IpAddr) -> Admitted {
        loop {
            if let Some(connection) = self.try_admit(peer) {
                return Admitted { connection, connections: Arc::clone(self) };
            }
            self.ended.notified().await;
        }
    }

    fn try_admit(&self, peer: IpAddr) -> Option<Arc<Connection>> {
        let mut open = self.open();
        if open.by_number.len() >= self.most {
            let oldest = open.by_number.values().find(|connection| connection.gives_way()).map(Arc::clone)?;
            open.by_number.remove(&oldest.number);
            oldest.given_up.cancel();
        }
        open.last += 1;
        let connection = Arc::new(Connection {
            number: open.last,
            peer,
            phase: Mutex::new(Phase::Idle { since: Instant::now() }),
            given_up: CancellationToken::new(),
        });
        open.by_number.insert(connection.number, Arc::clone(&connection));
        Some(connection)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.open().by_number.remove(&self.connection.number);
        self.connections.ended.notify_one();
    }
}

/// A stream that tells its connection when bytes come.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Bytes of an unread body.
    dropped: usize,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, dropped: 0 }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.connection.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        while self.connection.is_unread() && self.dropped < MOST_DROPPED {
            let mut space = [0; 16 << 10];
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                more => self.dropped += more,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn the_oldest_without_a_complete_request_gives_way() {
        let connections = Arc::new(Connections::at_most(2));
        let first = connections.admit(PEER).await;
        let second = connections.admit(PEER).await;
        first.connection.received();
        first.connection.head_received();
        first.connection.request_received();
        let third = connections.admit(PEER).await;
        assert!(second.connection.given_up.is_cancelled());
        assert!(!first.connection.given_up.is_cancelled() && !third.connection.given_up.is_cancelled());

        third.connection.head_received();
        third.connection.request_received();
        drop(second);
        let waiting = tokio::time::timeout(Duration::from_secs(1), connections.admit(PEER));
        assert!(waiting.await.is_err(), "both are at work");
        first.connection.answered();
        let fourth = connections.admit(PEER).await;
        assert!(first.connection.given_up.is_cancelled(), "it is idle");
        drop(third);
        connections.admit(PEER).await;
        assert!(!fourth.connection.given_up.is_cancelled(), "there was room");
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_time_from_the_first_byte() {
        let connections = Arc::new(Connections::at_most(1));
        let admitted = connections.admit(PEER).await;
        let connection = &admitted.connection;
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(connection.deadline(), after(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        connection.received();
        assert_eq!(connection.deadline(), after(14));
        tokio::time::advance(Duration::from_secs(9)).await;
        connection.received();
        assert_eq!(connection.deadline(), after(14), "more of the same headers");
        connection.head_received();
        assert_eq!(connection.deadline(), after(34));
        connection.request_received();
        assert_eq!(connection.deadline(), after(34));
        connection.answered();
        assert_eq!(connection.deadline(), after(18));
        assert!(!connection.is_unread());
        let mut timer = connection.timer();
        connection.over(&mut timer).await;
        assert_eq!(Instant::now(), after(18));
    }
}
