//! What the service manager is told: the messages of sd_notify(3). Without `NOTIFY_SOCKET` nothing is.
//!
//! A message is dropped when the manager does not take it: a service manager that hangs must not stop the daemon.
//! `sd_notify::notify` would wait for it, on the one thread of everything else.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as BlockingDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::UnixDatagram;

use crate::log;

/// For as long a message may wait until there is room for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager that started us, or nobody.
#[derive(Debug)]
pub(super) struct Manager {
    address: Option<SocketAddr>,
    /// The last message was not taken; only the first of such is logged.
    deaf: AtomicBool,
}

impl Manager {
    /// The one whose socket `NOTIFY_SOCKET` names.
    pub(super) fn from_environment() -> Self {
        let address = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            address(&name)
                .inspect_err(|error| {
                    tracing::warn!(
                        error = log::chain(error),
                        "the service manager's address, NOTIFY_SOCKET, is of a kind that is not known"
                    );
                })
                .ok()
        });
        Self::new(address)
    }

    fn new(address: Option<SocketAddr>) -> Self {
        Self { address, deaf: AtomicBool::new(false) }
    }

    /// Whether there is one.
    pub(super) fn listens(&self) -> bool {
        self.address.is_some()
    }

    /// The start, or a reload, is over: everything serves.
    pub(super) async fn ready(&self) {
        self.tell(&[NotifyState::Ready]).await;
    }

    /// A reload begins; [`Manager::ready`] has to follow. The time tells the manager that this answers its own signal
    /// and not an earlier one.
    pub(super) async fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]).await,
            Err(error) => tracing::warn!(error = log::chain(&error), "no monotonic clock: the reload is not announced"),
        }
    }

    /// The end has begun and may take as long as this, whatever `TimeoutStopSec=` says.
    pub(super) async fn stopping(&self, at_most: Duration) {
        let at_most = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(at_most)]).await;
    }

    /// One line for whoever asks `systemctl status`.
    pub(super) async fn status(&self, text: &str) {
        // A second line would be a message of its own.
        self.tell(&[NotifyState::Status(&text.replace(char::is_control, " "))]).await;
    }

    /// A sign of life.
    pub(super) async fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]).await;
    }

    async fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(address) = &self.address else { return };
        let mut message = String::new();
        for state in states {
            writeln!(message, "{state}").expect("a String takes everything");
        }
        let sent = tokio::time::timeout(PATIENCE, send(address, message.as_bytes())).await;
        match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => self.deaf.store(false, Ordering::Relaxed),
            Err(error) if !self.deaf.swap(true, Ordering::Relaxed) => {
                tracing::warn!(error = log::chain(&error), "the service manager does not take messages");
            }
            Err(_) => {}
        }
    }
}

/// A path, or after an `@` a name in the abstract namespace: sd_notify(3), "Environment Variables".
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{}`", name.display()))),
    }
}

/// By a socket made anew, as the manager may have been exchanged since.
async fn send(address: &SocketAddr, message: &[u8]) -> io::Result<()> {
    let socket = BlockingDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(address)?;
    UnixDatagram::from_std(socket)?.send(message).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager, and the socket at which it listens.
    fn manager() -> (Manager, BlockingDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = BlockingDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (Manager::new(Some(address(path.as_os_str()).unwrap())), socket, dir)
    }

    fn received(socket: &BlockingDatagram) -> String {
        let mut buffer = [0; 1_000];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_message_is_as_the_manual_says() {
        let (manager, socket, _dir) = manager();
        manager.ready().await;
        assert_eq!(received(&socket), "READY=1\n");
        manager.alive().await;
        assert_eq!(received(&socket), "WATCHDOG=1\n");
        manager.status("two\nlines").await;
        assert_eq!(received(&socket), "STATUS=two lines\n");
        manager.stopping(Duration::from_secs(90)).await;
        assert_eq!(received(&socket), "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000\n");
        manager.stopping(Duration::MAX).await;
        assert_eq!(received(&socket), "STOPPING=1\nEXTEND_TIMEOUT_USEC=4294967295\n");
        manager.reloading().await;
        let message = received(&socket);
        let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("{message}");
        assert!(time.trim_end().parse::<u64>().unwrap() > 0);
    }

    #[tokio::test]
    async fn an_abstract_socket_is_known() {
        let name = format!("@ductile-{}", uuid::Uuid::new_v4());
        let address = address(OsStr::new(&name)).unwrap();
        let socket = BlockingDatagram::bind_addr(&address).unwrap();
        Manager::new(Some(address)).ready().await;
        assert_eq!(received(&socket), "READY=1\n");
    }

    #[test]
    fn other_sockets_are_not() {
        for name in ["vsock:2:1234", "relative", ""] {
            assert!(address(OsStr::new(name)).is_err(), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_does_not_listen_keeps_nobody_waiting() {
        let (manager, socket, dir) = manager();
        let before = tokio::time::Instant::now();
        while !manager.deaf.load(Ordering::Relaxed) {
            manager.alive().await;
        }
        assert_eq!(before.elapsed().as_secs(), PATIENCE.as_secs(), "the first that finds no room waits a little");
        while socket.recv(&mut [0; 100]).is_ok() {}
        manager.alive().await;
        assert!(!manager.deaf.load(Ordering::Relaxed));
        drop((socket, dir));
        manager.alive().await;
        assert!(manager.deaf.load(Ordering::Relaxed), "gone");
    }
}
