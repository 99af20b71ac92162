//! The three pipes of a child: what goes in, and as much of what comes out as may be kept.
//!
//! A pipe costs the runtime a registration and a wake-up for whatever moves. A child that is soon done needs neither: its
//! request fits into the pipe at once, and its answer waits there for its end. So the runtime learns of a pipe only when
//! nothing can move and the child has not been quick.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::{Instant, sleep_until};

use crate::plugin::spawn::Streams;

/// The first buffer for a stream; most answers fit.
const FIRST_BYTES: usize = 8 << 10;

/// What is kept of a stream that printed more than it may.
const HEAD_BYTES: usize = 64 << 10;

/// A child that ends within this time is read after its end.
const QUICK: Duration = Duration::from_millis(1);

/// What a stream printed.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// All of it, or its beginning if [`Captured::exceeded`].
    pub(crate) bytes: Vec<u8>,
    /// How much was printed in all, as far as it was read.
    pub(crate) total: u64,
    pub(crate) exceeded: bool,
}

pub(super) struct Pipes {
    stdin: Feed,
    stdout: Capture,
    stderr: Capture,
    /// Nothing is moved before. `None` once it has passed.
    quick_until: Option<Instant>,
}

impl Pipes {
    /// Writes as much of the input as can be written at once. The limits are in bytes.
    pub(super) fn new(streams: Streams, input: Vec<u8>, stdout_limit: usize, stderr_limit: usize) -> Self {
        let Streams { stdin, stdout, stderr } = streams;
        let mut stdin = Feed::new(stdin, input);
        stdin.start();
        let quick_until = (!stdin.end.is_open()).then(|| Instant::now() + QUICK);
        Self {
            stdin,
            stdout: Capture::new(stdout, stdout_limit),
            stderr: Capture::new(stderr, stderr_limit),
            quick_until,
        }
    }

    /// Moves some bytes. Cancelling it loses none. Some pipe must be open.
    ///
    /// The choice among pipes that are ready is random: a flood on one does not starve the others.
    pub(super) async fn step(&mut self) {
        if let Some(until) = self.quick_until {
            sleep_until(until).await;
            self.quick_until = None;
        }
        tokio::select! {
            () = self.stdin.step(), if self.stdin.end.is_open() => {}
            () = self.stdout.step(), if self.stdout.end.is_open() => {}
            () = self.stderr.step(), if self.stderr.end.is_open() => {}
            else => {}
        }
    }

    /// Reads to the end of both streams, of which the child writes no more.
    pub(super) async fn drain(&mut self) {
        self.quick_until = None;
        while !self.is_drained() {
            self.step().await;
        }
    }

    /// Whether everything was read.
    fn is_drained(&self) -> bool {
        !self.stdout.end.is_open() && !self.stderr.end.is_open()
    }

    /// Whether nothing can move any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_drained() && !self.stdin.end.is_open()
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdin.close();
    }

    /// What was read of stdout and stderr.
    pub(super) fn into_captured(self) -> (Captured, Captured) {
        (self.stdout.captured, self.stderr.captured)
    }
}

/// Our end of a pipe, which never blocks: as it was made, or registered with the runtime.
enum End<Plain, Watched> {
    Plain(Plain),
    Watched(Watched),
    Closed,
}

impl<Plain: AsFd, Watched> End<Plain, Watched> {
    /// Closed if it cannot be kept from blocking.
    fn of(pipe: Plain) -> Self {
        // A pipe that was just made has no other flags.
        match fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)) {
            Ok(_) => Self::Plain(pipe),
            Err(_) => Self::Closed,
        }
    }

    fn is_open(&self) -> bool {
        !matches!(self, Self::Closed)
    }
}

struct Feed {
    end: End<PipeWriter, Sender>,
    input: Vec<u8>,
    written: usize,
}

impl Feed {
    fn new(pipe: PipeWriter, input: Vec<u8>) -> Self {
        Self { end: End::of(pipe), input, written: 0 }
    }

    /// Writes what can be written without waiting.
    fn start(&mut self) {
        if let End::Plain(pipe) = &mut self.end {
            let written = pipe.write(&self.input);
            self.advance(written);
        }
    }

    async fn step(&mut self) {
        if let End::Watched(pipe) = &mut self.end {
            let written = pipe.write(&self.input[self.written..]).await;
            self.advance(written);
        } else if let End::Plain(pipe) = std::mem::replace(&mut self.end, End::Closed) {
            self.end = Sender::from_owned_fd_unchecked(pipe.into()).map_or(End::Closed, End::Watched);
        }
    }

    fn advance(&mut self, written: io::Result<usize>) {
        match written {
            Ok(count) if count > 0 => self.written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // A child need not read its input: EPIPE is no failure.
            _ => self.close(),
        }
        if self.written == self.input.len() {
            self.close();
        }
    }

    fn close(&mut self) {
        *self = Self { end: End::Closed, input: Vec::new(), written: 0 };
    }
}

struct Capture {
    end: End<PipeReader, Receiver>,
    captured: Captured,
    limit: usize,
}

impl Capture {
    fn new(pipe: PipeReader, limit: usize) -> Self {
        Self { end: End::of(pipe), captured: Captured::default(), limit }
    }

    async fn step(&mut self) {
        let Captured { bytes, total, exceeded } = &mut self.captured;
        if bytes.len() == bytes.capacity() {
            // Doubling, but to no more than the limit and the one byte that shows it exceeded.
            let room = (self.limit + 1).saturating_sub(bytes.len());
            bytes.reserve_exact(bytes.len().max(FIRST_BYTES).min(room).max(1));
        }
        let before = bytes.len();
        let ended = match &mut self.end {
            End::Plain(pipe) => {
                let room = bytes.capacity() - before;
                pipe.take(room as u64).read_to_end(bytes).is_ok_and(|count| count < room)
            }
            End::Watched(pipe) => !pipe.read_buf(bytes).await.is_ok_and(|count| count > 0),
            End::Closed => true,
        };
        *total += (bytes.len() - before) as u64;
        *exceeded |= bytes.len() > self.limit;
        if *exceeded {
            // The buffer's rest serves to drain what is not kept.
            bytes.truncate(HEAD_BYTES);
        }
        // One look without the runtime, which has others to serve while a child prints without end.
        self.end = match std::mem::replace(&mut self.end, End::Closed) {
            _ if ended => End::Closed,
            End::Plain(pipe) => Receiver::from_owned_fd_unchecked(pipe.into()).map_or(End::Closed, End::Watched),
            end => end,
        };
    }
}
