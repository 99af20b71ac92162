//! One child from its start to its reaping: feeding it, reading from it, ending it. What it says is not read here.
//!
//! The child leads a process group. Whatever happens, the group is killed in the end and the leader reaped;
//! also when the future is dropped.

use std::io;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::spawn::Started;
use crate::fault::crash_point;

mod pipes;
#[cfg(test)]
mod tests;

pub(crate) use pipes::Captured;
use pipes::Pipes;

/// How much a child may print, and how long it may take to end.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How much of stdout is captured, in bytes; one byte more and only its beginning is.
    pub(crate) stdout: usize,
    /// The same for stderr.
    pub(crate) stderr: usize,
    /// From SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
    /// How long to read on after the leader's exit, while others hold the pipes open.
    pub(crate) drain: Duration,
}

impl Limits {
    /// The default of `stdout`.
    pub(crate) const STDOUT: usize = 10 << 20;
    /// The default of `stderr`.
    pub(crate) const STDERR: usize = 1 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        let (stdout, stderr) = (Self::STDOUT, Self::STDERR);
        Self { stdout, stderr, grace: Duration::from_secs(5), drain: Duration::from_millis(500) }
    }
}

/// Ends an attempt from outside.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    /// SIGTERM to the process group, SIGKILL five seconds later.
    pub terminate: CancellationToken,
    /// SIGKILL to the process group at once.
    pub kill: CancellationToken,
}

/// What is known of a child that was reaped.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) cause: Cause,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
}

/// Looks at what is there once the leader of this group is reaped, before the rest of the group is killed.
pub(crate) type AtExit<'a> = &'a (dyn Fn(Pid) + Send + Sync);

/// Why a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// By itself.
    Own,
    Deadline,
    Cancelled,
}

/// How far the end of the child has come.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Running,
    /// SIGTERM was sent.
    Terminating,
    /// SIGKILL was sent.
    Killed,
}

/// What ends a wait, other than the child.
enum Wake {
    Kill,
    Terminate,
    Timer,
}

/// Runs the child to its end.
///
/// # Errors
///
/// When the child's exit status cannot be had.
pub(crate) async fn supervise(
    started: Started,
    input: Vec<u8>,
    deadline: Instant,
    cancel: &Cancel,
    limits: &Limits,
    at_exit: AtExit<'_>,
) -> io::Result<Ended> {
    let Started { mut child, streams } = started;
    // Declared after the child, so dropped before it: the leader must not be reaped before its group is killed.
    let mut group = Group::led_by(&child);
    let mut pipes = Pipes::new(streams, input, limits.stdout, limits.stderr);
    let mut timer = pin!(sleep_until(deadline));
    let mut terminate = pin!(cancel.terminate.cancelled());
    let mut kill = pin!(cancel.kill.cancelled());
    let mut phase = Phase::Running;
    let mut cause = Cause::Own;

    let status = loop {
        let wake = tokio::select! {
            biased;
            exited = child.wait() => break exited?,
            () = &mut kill, if phase != Phase::Killed => Wake::Kill,
            () = &mut terminate, if phase == Phase::Running => Wake::Terminate,
            () = &mut timer, if phase != Phase::Killed => Wake::Timer,
            () = pipes.step(), if !pipes.is_closed() => continue,
        };
        // An exit that is there already comes first, even if the news of it is still on the way.
        if let Some(exited) = child.try_wait()? {
            break exited;
        }
        if phase == Phase::Running {
            cause = if matches!(wake, Wake::Timer) { Cause::Deadline } else { Cause::Cancelled };
        }
        if matches!(wake, Wake::Kill) || phase == Phase::Terminating {
            group.signal(Signal::SIGKILL);
            phase = Phase::Killed;
        } else {
            group.signal(Signal::SIGTERM);
            phase = Phase::Terminating;
            timer.as_mut().reset(Instant::now() + limits.grace);
        }
    };
    crash_point!("group.before_kill");
    if let Some(leader) = group.0 {
        at_exit(leader);
    }
    group.end();
    crash_point!("group.killed");
    pipes.close_stdin();
    // With the group gone the pipes end at once, unless somebody left the group and holds them open.
    let _ = timeout(limits.drain, pipes.drain()).await;
    let (stdout, stderr) = pipes.into_captured();
    Ok(Ended { cause, status, stdout, stderr })
}

/// A process group, killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn led_by(child: &Child) -> Self {
        Self(child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw))
    }

    /// To the group, and to its leader by itself, which may have moved to another group. Only before it is reaped.
    /// That they are gone is no error here.
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            let _ = killpg(leader, signal);
            let _ = kill(leader, signal);
        }
    }

    /// Kills what is left of the group. Once the leader is reaped, its number may come to belong to others: this is
    /// the last signal.
    fn end(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}
