//! One attempt of one job: request in, process run, outcome out. It joins the other parts and decides nothing itself.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{Instrument, trace_span};
use uuid::Uuid;

use super::loaded::Plugin;
use super::outcome::{Ending, Outcome};
use super::process::{self, Cancel, Captured, Cause, Ended, Limits};
use super::protocol::{ProtocolError, Request, Response};
use super::spawn::spawn;
use super::text;
use crate::clock::Timestamp;
use crate::command::Command;
use crate::fault::crash_point;

#[cfg(test)]
mod tests;

/// What a plugin is asked for.
#[derive(Debug)]
pub struct Call {
    pub job_id: Uuid,
    /// Marks the processes of one database.
    pub instance: Uuid,
    pub command: Command,
    /// The plugin's state, a JSON object.
    pub state: Box<RawValue>,
    /// The event to handle; no other command gets one.
    pub event: Option<Box<RawValue>>,
    /// The time of day, from which the plugin is told its deadline.
    pub now: Timestamp,
}

/// How an attempt ended, and what there is to be seen of it.
#[derive(Debug)]
pub struct Attempt {
    pub outcome: Outcome,
    /// What it printed, at most 64 KB and a note; the same for `stderr`.
    pub stdout: String,
    /// The JSON array of a valid response's log entries, at most 64 KB and a note.
    pub logs: Option<String>,
    pub stderr: String,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
}

/// Runs one attempt to its end. Dropping the future kills the process and its group.
pub async fn run(plugin: Arc<Plugin>, call: Call, cancel: Cancel) -> Attempt {
    run_within(plugin, call, cancel, &Limits::default()).await
}

async fn run_within(plugin: Arc<Plugin>, call: Call, cancel: Cancel, limits: &Limits) -> Attempt {
    let timeout = plugin.settings.timeouts.of(call.command);
    let deadline = deadline(timeout);
    if cancel.terminate.is_cancelled() || cancel.kill.is_cancelled() {
        return Attempt::without_process(Ending::Interrupted);
    }
    let preparing = trace_span!("prepare").entered();
    let command = match plugin.command(call.job_id, call.instance) {
        Ok(command) => command,
        Err(error) => return Attempt::without_process(Ending::NotTrusted(error)),
    };
    let input = request(&plugin, call, timeout);
    drop(preparing);
    crash_point!("spawn.before");
    let child = match spawn(command).instrument(trace_span!("spawn")).await {
        Ok(child) => child,
        Err(error) => return Attempt::without_process(Ending::NotStarted(error)),
    };
    crash_point!("spawn.after");
    let supervised = process::supervise(child, input, deadline, &cancel, limits);
    let ended = supervised.instrument(trace_span!("pipes")).await;
    crash_point!("response.before_read");
    let attempt = match ended {
        Ok(ended) => trace_span!("parse").in_scope(|| Attempt::of(ended, timeout, limits.stdout)),
        Err(error) => Attempt::without_process(Ending::Lost(error)),
    };
    crash_point!("response.read");
    attempt
}

/// Consumes the call: an event may be large, and the request holds all of it.
fn request(plugin: &Plugin, call: Call, timeout: Duration) -> Vec<u8> {
    let deadline_at = call.now.after(timeout);
    Request::new(call.job_id, call.command, plugin.config(), &call.state, call.event.as_deref(), deadline_at).to_bytes()
}

/// Now and `timeout`; a timeout beyond what the machine can count is as good as a year.
fn deadline(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + YEAR)
}

impl Attempt {
    fn without_process(ending: Ending) -> Self {
        Self {
            outcome: ending.outcome(),
            stdout: String::new(),
            logs: None,
            stderr: String::new(),
            exit_code: None,
            signal: None,
        }
    }

    fn of(ended: Ended, timeout: Duration, stdout_limit: usize) -> Self {
        let Ended { cause, status, stdout, stderr } = ended;
        let stderr = text::stored_lossy(&stderr.bytes, stderr.total);
        let (ending, logs, stdout) = match cause {
            Cause::Own => read(status, stdout, stdout_limit),
            Cause::Deadline => (Ending::TimedOut { after: timeout }, None, unread(&stdout)),
            Cause::Cancelled => (Ending::Interrupted, None, unread(&stdout)),
        };
        Self { outcome: ending.outcome(), stdout, logs, stderr, exit_code: status.code(), signal: status.signal() }
    }
}

/// Reads the response of a process that ended by itself; returns its logs and the text to store beside it.
fn read(status: ExitStatus, stdout: Captured, limit: usize) -> (Ending, Option<String>, String) {
    if stdout.exceeded {
        let response = Err(ProtocolError::TooLarge { limit });
        return (Ending::Exited { status, response }, None, unread(&stdout));
    }
    let total = stdout.total;
    match String::from_utf8(stdout.bytes) {
        Ok(printed) => {
            let mut response = Response::parse(&printed);
            let logs = response.as_mut().ok().and_then(|response| response.logs.take());
            (Ending::Exited { status, response }, logs, text::stored(printed, total))
        }
        Err(error) => {
            let response = Err(ProtocolError::NotUtf8(error.utf8_error()));
            (Ending::Exited { status, response }, None, text::stored_lossy(error.as_bytes(), total))
        }
    }
}

fn unread(stdout: &Captured) -> String {
    text::stored_lossy(&stdout.bytes, stdout.total)
}
