//! `ductile queue cancel`.

use std::path::Path;
use std::process::ExitCode;

use nix::unistd::{Uid, User};
use rusqlite::Connection;

use super::find::{self, Prefix, describe};
use crate::cli::change::{Changed, Said, change};
use crate::cli::error::CliError;
use crate::cli::{open_reader, output};
use crate::clock::Clock;
use crate::queue::{self, Job, Status};
use crate::state::Tx;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Only a queued job can be cancelled, also one that waits for its retry. One that runs is left alone:
it ends by itself, at its plugin's timeout at the latest. `ductile queue retry` takes it back.

Examples:
  ductile queue cancel 0199f3c2 --dry-run
  ductile queue cancel 0199f3c2")]
pub(super) struct Args {
    /// The id of a queued job, or the beginning of it
    #[arg(value_name = "JOB")]
    job: Prefix,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn cancel(args: &Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    if args.dry_run {
        let (_, reader) = open_reader(config)?;
        let job = cancellable(&reader, &args.job)?;
        output::line(&format!("would be cancelled: {}", describe(&job)))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(cancel_now(args.job.clone(), "ductile queue cancel", config)?.print()?)
}

/// Ends a queued job as dead; `with` is the command that its reason names.
pub(in crate::cli) fn cancel_now(job: Prefix, with: &str, config: Option<&Path>) -> Result<Said, CliError> {
    let reason = format!("cancelled by {} with `{with}`", user());
    let Changed { outcome, told } = change(config, move |tx: &Tx<'_>| {
        let job = match cancellable(tx, &job) {
            Ok(job) => job,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Looked at and changed in one transaction, so it cannot have been claimed in between.
        let cancelled = queue::cancel(tx, job.id, &reason, Clock::System.now())?;
        Ok(if cancelled { Ok(job) } else { Err(CliError::Failed(format!("job {} is not queued any more", job.id))) })
    })?;
    let job = outcome?;
    Ok(told.said(format!("cancelled: {}", describe_dead(job))))
}

fn describe_dead(mut job: Job) -> String {
    job.status = Status::Dead;
    describe(&job)
}

fn cancellable(connection: &Connection, prefix: &Prefix) -> Result<Job, CliError> {
    let job = find::job(connection, prefix)?;
    let why = match job.status {
        Status::Queued => return Ok(job),
        Status::Running => {
            "is running, and only a queued job can be cancelled; it ends by itself, at its plugin's timeout at the latest"
        }
        Status::Succeeded => "has succeeded; there is nothing to cancel",
        Status::Dead => "is dead already; there is nothing to cancel",
    };
    Err(CliError::Failed(format!("job {} {why}", job.id)))
}

/// Whoever is at the terminal, behind `sudo` too.
fn user() -> String {
    let user = Uid::current();
    let name = User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name);
    match std::env::var("SUDO_USER").ok().filter(|by| *by != name && !by.is_empty()) {
        Some(by) => format!("{} as {name}", output::first_line(&by)),
        None => name,
    }
}
