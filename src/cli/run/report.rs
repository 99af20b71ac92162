//! What there is to say of a job that was run.

use std::io;
use std::process::ExitCode;

use serde::Serialize;
use uuid::Uuid;

use super::Args;
use crate::cli::error::CliError;
use crate::cli::logs::{self, Detail};
use crate::cli::output;
use crate::queue::list::{self, Attempt};
use crate::queue::{Job, Status};
use crate::state::Reader;

/// Who runs what is still to be run.
#[derive(Clone, Copy)]
pub(super) enum Next {
    /// The daemon, when it is due.
    Daemon,
    /// Nobody, until a daemon is started.
    Start,
}

#[derive(Serialize)]
struct Report<'a> {
    /// Whether the job is an older one, in whose favour nothing was done.
    duplicate: bool,
    job: &'a Job,
    attempts: &'a [Attempt],
}

pub(super) fn report_duplicate(args: &Args, reader: &Reader, existing: Uuid) -> Result<ExitCode, CliError> {
    output::message("nothing to do: a job with this dedupe key has already succeeded");
    match list::job(reader, existing)?.filter(|_| args.json) {
        Some(job) => {
            let attempts = list::attempts(reader, existing)?;
            output::json(&Report { duplicate: true, job: &job, attempts: &attempts })?;
        }
        None => output::line(&existing.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows how the job has gone so far; success if it has succeeded.
pub(super) fn report(args: &Args, job: &Job, attempts: &[Attempt], next: Next) -> Result<ExitCode, CliError> {
    if args.json {
        output::json(&Report { duplicate: false, job, attempts })?;
    } else {
        let mut out = io::stdout().lock();
        for attempt in attempts {
            logs::write_attempt(&mut out, attempt, Detail::Short, output::colours())?;
        }
    }
    match job.status {
        Status::Succeeded => return Ok(ExitCode::SUCCESS),
        Status::Dead => {
            let reason = output::first_line(job.last_error.as_deref().unwrap_or("no reason given"));
            output::message(format_args!(
                "job {} is dead after attempt {} of {}: {reason}",
                job.id, job.attempt, job.max_attempts
            ));
        }
        Status::Queued | Status::Running => {
            let when = match (next, job.next_retry_at) {
                (Next::Start, _) => "once `ductile start` runs".to_owned(),
                (Next::Daemon, Some(at)) => format!("at {}", output::local(at)),
                (Next::Daemon, None) => "when its turn comes".to_owned(),
            };
            output::message(format_args!(
                "job {} is tried again {when}, attempt {} of {}",
                job.id, job.attempt, job.max_attempts
            ));
        }
    }
    Ok(ExitCode::FAILURE)
}
