//! The three pipes of a child: what goes in, and as much of what comes out as may be kept.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

/// The first buffer for a stream; most answers fit.
const FIRST_BYTES: usize = 8 << 10;

/// What is kept of a stream that printed more than it may.
const HEAD_BYTES: usize = 64 << 10;

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
    stdout: Capture<ChildStdout>,
    stderr: Capture<ChildStderr>,
}

impl Pipes {
    /// Takes the pipes from the child; the limits are in bytes.
    pub(super) fn new(child: &mut Child, input: Vec<u8>, stdout_limit: usize, stderr_limit: usize) -> Self {
        Self {
            stdin: Feed { pipe: child.stdin.take(), input, written: 0 },
            stdout: Capture::new(child.stdout.take(), stdout_limit),
            stderr: Capture::new(child.stderr.take(), stderr_limit),
        }
    }

    /// Moves some bytes. Cancelling it loses none. Some pipe must be open.
    ///
    /// The choice among pipes that are ready is random: a flood on one does not starve the others.
    pub(super) async fn step(&mut self) {
        tokio::select! {
            () = self.stdin.step(), if self.stdin.pipe.is_some() => {}
            () = self.stdout.step(), if self.stdout.pipe.is_some() => {}
            () = self.stderr.step(), if self.stderr.pipe.is_some() => {}
            else => {}
        }
    }

    /// Reads to the end of both streams.
    pub(super) async fn drain(&mut self) {
        while !self.is_drained() {
            self.step().await;
        }
    }

    /// Whether everything was read.
    fn is_drained(&self) -> bool {
        self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }

    /// Whether nothing can move any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_drained() && self.stdin.pipe.is_none()
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdin.close();
    }

    /// What was read of stdout and stderr.
    pub(super) fn into_captured(self) -> (Captured, Captured) {
        (self.stdout.captured, self.stderr.captured)
    }
}

struct Feed {
    pipe: Option<ChildStdin>,
    input: Vec<u8>,
    written: usize,
}

impl Feed {
    async fn step(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.write(&self.input[self.written..]).await {
            Ok(count) if count > 0 => self.written += count,
            // A child need not read its input: EPIPE is no failure.
            _ => self.close(),
        }
        if self.written == self.input.len() {
            self.close();
        }
    }

    fn close(&mut self) {
        *self = Self { pipe: None, input: Vec::new(), written: 0 };
    }
}

struct Capture<R> {
    pipe: Option<R>,
    captured: Captured,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Capture<R> {
    fn new(pipe: Option<R>, limit: usize) -> Self {
        Self { pipe, captured: Captured::default(), limit }
    }

    async fn step(&mut self) {
        match self.read().await {
            Ok(count) if count > 0 => {}
            _ => self.pipe = None,
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else { return Ok(0) };
        let Captured { bytes, total, exceeded } = &mut self.captured;
        if bytes.len() == bytes.capacity() {
            // Doubling, but to no more than the limit and the one byte that shows it exceeded.
            let room = (self.limit + 1).saturating_sub(bytes.len());
            bytes.reserve_exact(bytes.len().max(FIRST_BYTES).min(room).max(1));
        }
        let count = pipe.read_buf(bytes).await?;
        *total += count as u64;
        *exceeded |= bytes.len() > self.limit;
        if *exceeded {
            // The buffer's rest serves to drain what is not kept.
            bytes.truncate(HEAD_BYTES);
        }
        Ok(count)
    }
}
