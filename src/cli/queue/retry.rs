//! `ductile queue retry`.

use std::path::Path;
use std::process::ExitCode;

use rusqlite::Connection;

use super::find::{self, Prefix, describe};
use crate::cli::change::change;
use crate::cli::error::CliError;
use crate::cli::pause::paused;
use crate::cli::run::runnable;
use crate::cli::{open_reader, output};
use crate::clock::Clock;
use crate::queue::{self, Enqueued, Job, Limits, Status};
use crate::state::{Tx, publish};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The new job has the plugin, command, payload and dedupe key of the dead one, and the attempts that
the plugin's settings give it now. The dead one stays, as its parent. The new id is printed.

Examples:
  ductile queue retry 0199f3c2 --dry-run
  ductile queue retry 0199f3c2")]
pub(super) struct Args {
    /// The id of a dead job, or the beginning of it
    #[arg(value_name = "JOB")]
    job: Prefix,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn retry(args: &Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    if args.dry_run {
        let (_, reader) = open_reader(config)?;
        let Retry { job, max_attempts, .. } = retryable(&reader, &args.job)?;
        output::line(&format!("would be retried, with up to {max_attempts} attempts: {}", describe(&job)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let prefix = args.job.clone();
    let changed = change(config, move |tx: &Tx<'_>| {
        let Retry { job, max_attempts, limits } = match retryable(tx, &prefix) {
            Ok(retry) => retry,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (id, enqueued) = queue::retry(tx, &job, max_attempts, limits, Clock::System.now())?;
        let paused = paused(tx, &job.plugin)?;
        Ok(Ok((job, id, enqueued, limits, paused)))
    })?;
    let (job, id, enqueued, limits, paused) = changed.outcome?;
    match enqueued {
        Enqueued::Inserted => output::line(&id.to_string())?,
        Enqueued::Duplicate(existing) => {
            output::message("nothing to do: another job with this dedupe key has succeeded meanwhile");
            output::line(&existing.to_string())?;
            return Ok(ExitCode::SUCCESS);
        }
        Enqueued::QueueFull => return Err(CliError::queue_full(limits)),
    }
    output::message(format_args!(
        "job {} stays dead; the new one does the same: {} {}",
        job.id, job.plugin, job.command
    ));
    if let Some(paused) = paused {
        output::message(format_args!("it waits: {paused}"));
    }
    if changed.daemon.is_none() {
        output::message("no daemon is running: the job waits on the queue until `ductile start`");
    }
    Ok(ExitCode::SUCCESS)
}

/// A dead job whose plugin would take it again.
struct Retry {
    job: Job,
    max_attempts: u32,
    limits: Limits,
}

fn retryable(connection: &Connection, prefix: &Prefix) -> Result<Retry, CliError> {
    let job = find::job(connection, prefix)?;
    let refuse = |why: &str| Err(CliError::Failed(format!("job {} {why}", job.id)));
    match job.status {
        Status::Dead => {}
        Status::Queued => return refuse("is queued already; only a dead job can be retried"),
        Status::Running => return refuse("is running; only a dead job can be retried"),
        Status::Succeeded => {
            return refuse("has succeeded; only a dead job can be retried, `ductile run` makes a new one");
        }
    }
    let max_attempts = runnable(&job.plugin, job.command, &publish::all_plugins(connection)?)?;
    let Some((dedupe_ttl, max_queue_depth)) = publish::service(connection)?.limits else {
        return Err(CliError::Failed("`ductile start` has not run yet with this database".to_owned()));
    };
    Ok(Retry { job, max_attempts, limits: Limits { dedupe_ttl, max_queue_depth } })
}
