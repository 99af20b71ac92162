//! `ductile queue retry`.

use std::path::Path;
use std::process::ExitCode;

use rusqlite::Connection;

use super::find::{self, Prefix, describe};
use crate::cli::change::{Changed, NO_DAEMON, Said, change};
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
    Ok(retry_now(args.job.clone(), config)?.print()?)
}

/// Puts a job like a dead one on the queue.
pub(in crate::cli) fn retry_now(job: Prefix, config: Option<&Path>) -> Result<Said, CliError> {
    let Changed { outcome, told } = change(config, move |tx: &Tx<'_>| {
        let Retry { job, max_attempts, limits } = match retryable(tx, &job) {
            Ok(retry) => retry,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (id, enqueued) = queue::retry(tx, &job, max_attempts, limits, Clock::System.now())?;
        let paused = paused(tx, &job.plugin)?;
        Ok(Ok((job, id, enqueued, limits, paused)))
    })?;
    let (job, id, enqueued, limits, paused) = outcome?;
    let no_daemon = told.daemon.is_none();
    match enqueued {
        Enqueued::Inserted => {}
        Enqueued::Duplicate(existing) => {
            let note = "nothing to do: another job with this dedupe key has succeeded meanwhile";
            return Ok(told.said(existing.to_string()).note(note));
        }
        Enqueued::QueueFull => return Err(CliError::queue_full(limits)),
    }
    let same = format!("job {} stays dead; the new one does the same: {} {}", job.id, job.plugin, job.command);
    let waits = paused.map(|paused| format!("it waits: {paused}"));
    let unseen = no_daemon.then(|| NO_DAEMON.to_owned());
    Ok(waits.into_iter().chain(unseen).fold(told.said(id.to_string()).note(same), Said::note))
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
    let max_attempts = runnable(&job.plugin, &job.command, &publish::all_plugins(connection)?)?.max_attempts;
    let Some((dedupe_ttl, max_queue_depth)) = publish::service(connection)?.limits else {
        return Err(CliError::Failed("`ductile start` has not run yet with this database".to_owned()));
    };
    Ok(Retry { job, max_attempts, limits: Limits { dedupe_ttl, max_queue_depth } })
}
