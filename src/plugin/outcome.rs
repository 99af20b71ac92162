//! The outcome table: what an attempt's end means. First match wins, in the order of SPEC.md.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::protocol::{Effects, ProtocolError, Response, Status};
use super::spawn::SpawnError;
use super::text;
use super::trust::TrustError;

#[cfg(test)]
mod tests;

/// The exit code that says the configuration is at fault: trying again would not help.
const EX_CONFIG: i32 = 78;

/// How an attempt ended. Errors are at most 4 KB.
#[derive(Debug)]
pub enum Outcome {
    Succeeded(Effects),
    Failed {
        error: String,
        /// Whether another attempt may be made, were it for the plugin.
        retryable: bool,
    },
    TimedOut {
        error: String,
    },
    /// It was cancelled; that says nothing about the plugin.
    Interrupted,
}

/// How an attempt ended, before anybody asks what it means.
#[derive(Debug)]
pub(crate) enum Ending {
    Interrupted,
    TimedOut { after: Duration },
    NotTrusted(TrustError),
    NotStarted(SpawnError),
    Lost(io::Error),
    Exited { status: ExitStatus, response: Result<Response, ProtocolError> },
}

impl Ending {
    /// What it means.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Interrupted => Outcome::Interrupted,
            Self::TimedOut { after } => {
                Outcome::TimedOut { error: format!("timed out after {}", humantime::format_duration(after)) }
            }
            Self::NotTrusted(error) => failed(error.to_string(), true),
            Self::NotStarted(error) => failed(error.to_string(), true),
            Self::Lost(error) => failed(format!("lost track of the process: {error}"), true),
            Self::Exited { status, response } => exited(status, response),
        }
    }
}

fn exited(status: ExitStatus, response: Result<Response, ProtocolError>) -> Outcome {
    match (status.code(), response) {
        (Some(EX_CONFIG), response) => failed(describe(status, response.ok()), false),
        (Some(0), Err(error)) => failed(error.to_string(), true),
        (Some(0), Ok(Response { status: Status::Error(error), retry, .. })) => failed(error, retry),
        (Some(0), Ok(Response { status: Status::Ok, effects, .. })) => Outcome::Succeeded(effects),
        (_, response) => {
            let retryable = response.as_ref().map_or(true, |response| response.retry);
            failed(describe(status, response.ok()), retryable)
        }
    }
}

fn failed(error: String, retryable: bool) -> Outcome {
    Outcome::Failed { error: text::error(error), retryable }
}

/// The exit in words, and what the plugin had to say about it.
fn describe(status: ExitStatus, response: Option<Response>) -> String {
    let exit = match (status.code(), status.signal()) {
        (Some(EX_CONFIG), _) => "exit code 78 (EX_CONFIG)".to_owned(),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {number}"),
        },
        (None, None) => "neither exit code nor signal".to_owned(),
    };
    match response.map(|response| response.status) {
        Some(Status::Error(error)) => format!("{exit}: {error}"),
        _ => exit,
    }
}
