//! One attempt of one job: request in, process run, outcome out. It joins the other parts and decides nothing itself.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{Instrument, trace_span};
use uuid::Uuid;

use super::loaded::Plugin;
use super::outcome::{Ending, Outcome};
use super::process::{self, AtExit, Cancel, Captured, Cause, Ended, Limits};
use super::protocol::{Protocol, ProtocolError, Question, Request, Response};
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
    /// The job's: for `handle` the event. In protocol 1 no other command gets one.
    pub payload: Option<Box<RawValue>>,
    /// The time of day, from which the plugin is told its deadline.
    pub now: Timestamp,
}

/// How an attempt ended, and what there is to be seen of it.
#[derive(Debug)]
pub struct Attempt {
    pub outcome: Outcome,
    /// What it printed, at most 64 KB and a note; the same for `stderr`.
    pub stdout: String,
    /// What a valid response says in words, at most 64 KB and a note.
    pub result: Option<String>,
    /// The JSON array of a valid response's log entries, at most 64 KB and a note.
    pub logs: Option<String>,
    pub stderr: String,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
}

/// Runs one attempt to its end. Dropping the future kills the process and its group.
pub async fn run(plugin: &Plugin, call: Call, cancel: &Cancel) -> Attempt {
    run_within(plugin, call, cancel, &Limits::default()).await
}

async fn run_within(plugin: &Plugin, call: Call, cancel: &Cancel, limits: &Limits) -> Attempt {
    let (protocol, timeout) = (plugin.manifest.protocol, plugin.settings.timeouts.of(&call.command));
    match run_process(plugin, call, cancel, limits, &|_| {}).await {
        Ok(ended) => {
            let attempt = trace_span!("parse").in_scope(|| Attempt::of(ended, protocol, timeout, limits.stdout));
            crash_point!("response.read");
            attempt
        }
        Err(ending) => Attempt::without_process(ending.outcome()),
    }
}

/// The process of one attempt, from its start to its end; how the attempt has ended when there was none.
pub(super) async fn run_process(
    plugin: &Plugin,
    call: Call,
    cancel: &Cancel,
    limits: &Limits,
    at_exit: AtExit<'_>,
) -> Result<Ended, Ending> {
    let timeout = plugin.settings.timeouts.of(&call.command);
    let deadline = deadline(timeout);
    if cancel.terminate.is_cancelled() || cancel.kill.is_cancelled() {
        return Err(Ending::Interrupted);
    }
    let command = trace_span!("prepare").in_scope(|| plugin.command(call.job_id, call.instance));
    let command = command.map_err(Ending::NotTrusted)?;
    crash_point!("spawn.before");
    let started = spawn(command).instrument(trace_span!("spawn")).await.map_err(Ending::NotStarted)?;
    crash_point!("spawn.after");
    // While it starts, it cannot read.
    let input = request(plugin, call, timeout);
    let supervised = process::supervise(started, input, deadline, cancel, limits, at_exit);
    let ended = supervised.instrument(trace_span!("pipes")).await;
    crash_point!("response.before_read");
    ended.map_err(Ending::Lost)
}

/// Consumes the call: a payload may be large, and the request holds all of it.
fn request(plugin: &Plugin, call: Call, timeout: Duration) -> Vec<u8> {
    let question = Question {
        job_id: call.job_id,
        command: &call.command,
        config: plugin.config(),
        state: &call.state,
        payload: call.payload.as_deref(),
        deadline_at: call.now.after(timeout),
    };
    Request::new(plugin.manifest.protocol, question).to_bytes()
}

/// Now and `timeout`; a timeout beyond what the machine can count is as good as a year.
fn deadline(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + YEAR)
}

impl Attempt {
    /// One of which there is nothing to be seen.
    pub(crate) fn without_process(outcome: Outcome) -> Self {
        Self {
            outcome,
            stdout: String::new(),
            result: None,
            logs: None,
            stderr: String::new(),
            exit_code: None,
            signal: None,
        }
    }

    pub(super) fn of(ended: Ended, protocol: Protocol, timeout: Duration, stdout_limit: usize) -> Self {
        let Ended { cause, status, stdout, stderr } = ended;
        let said = match cause {
            Cause::Own => read(status, protocol, stdout, stdout_limit),
            Cause::Deadline => Said::unread(Ending::TimedOut { after: timeout }, &stdout),
            Cause::Cancelled => Said::unread(Ending::Interrupted, &stdout),
        };
        Self {
            outcome: said.ending.outcome(),
            stdout: said.stdout,
            result: said.result,
            logs: said.logs,
            stderr: text::stored_lossy(&stderr.bytes, stderr.total),
            exit_code: status.code(),
            signal: status.signal(),
        }
    }
}

/// How it ended, what a valid response says of it, and the text to store of stdout.
struct Said {
    ending: Ending,
    result: Option<String>,
    logs: Option<String>,
    stdout: String,
}

impl Said {
    fn unread(ending: Ending, stdout: &Captured) -> Self {
        Self { ending, result: None, logs: None, stdout: text::stored_lossy(&stdout.bytes, stdout.total) }
    }
}

/// Reads the response of a process that ended by itself.
fn read(status: ExitStatus, protocol: Protocol, stdout: Captured, limit: usize) -> Said {
    if stdout.exceeded {
        let response = Err(ProtocolError::TooLarge { limit });
        return Said::unread(Ending::Exited { status, response }, &stdout);
    }
    let total = stdout.total;
    match String::from_utf8(stdout.bytes) {
        Ok(printed) => {
            let mut response = Response::parse(protocol, &printed);
            let (result, logs) = match &mut response {
                Ok(response) => (response.result.take(), response.logs.take()),
                Err(_) => (None, None),
            };
            Said { ending: Ending::Exited { status, response }, result, logs, stdout: text::stored(printed, total) }
        }
        Err(error) => {
            let response = Err(ProtocolError::NotUtf8(error.utf8_error()));
            let stdout = text::stored_lossy(error.as_bytes(), total);
            Said { ending: Ending::Exited { status, response }, result: None, logs: None, stdout }
        }
    }
}
