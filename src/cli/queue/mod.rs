//! `ductile queue`: the jobs as a list, and what can be done with one of them.

pub(super) mod cancel;
pub(super) mod find;
mod purge;
pub(super) mod retry;
pub(super) mod show;
pub(super) mod trace;

use std::path::Path;
use std::process::ExitCode;

use super::error::CliError;
use super::logs::of_plugin;
use super::output::Paint;
use super::pause::tell_of;
use super::{no_daemon, open_reader, output};
use crate::queue::list::{self, Filter};
use crate::queue::{Job, Status, pauses};

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Jobs are shown in the order of the queue, which is the order in which they were submitted. JOB is
an id, or the beginning of one that no other job shares.

Examples:
  ductile queue                          what waits and what runs
  ductile queue --status dead            what has failed for good, and why
  ductile queue show 0199f3c2            all there is to know of one job
  ductile queue trace 0199f3c2           what one event has caused, from any job of it
  ductile queue retry 0199f3c2           again, as a new job, what is dead
  ductile queue purge --dead --older-than 30d --dry-run"
)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Option<Act>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Show one job: its fields, its attempts with all that they said, its payload
    Show(show::Args),
    /// Show the tree of jobs that one event has caused, from any job in it
    Trace(trace::Args),
    /// Put a job like a dead one on the queue
    Retry(retry::Args),
    /// End a queued job as dead, before it runs
    Cancel(cancel::Args),
    /// Delete dead jobs
    Purge(purge::Args),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Jobs in every state, not only those that are queued or running
    #[arg(long, conflicts_with = "status")]
    all: bool,
    /// Jobs in this state: queued, running, succeeded or dead
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,
    /// Jobs of this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// The most jobs of each state
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn queue(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    match args.act {
        None => list(args.list, config),
        Some(Act::Show(args)) => show::show(&args, config),
        Some(Act::Trace(args)) => trace::trace(&args, config),
        Some(Act::Retry(args)) => retry::retry(&args, config),
        Some(Act::Cancel(args)) => cancel::cancel(&args, config),
        Some(Act::Purge(args)) => purge::purge(&args, config),
    }
}

fn list(args: ListArgs, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (minimal, reader) = open_reader(config)?;
    let statuses = match (args.all, args.status) {
        (true, _) => vec![Status::Queued, Status::Running, Status::Succeeded, Status::Dead],
        (false, Some(status)) => vec![status],
        (false, None) => vec![Status::Queued, Status::Running],
    };
    let filter = Filter { statuses, plugin: args.plugin, limit: args.limit };
    let jobs = list::jobs(&reader, &filter)?;
    tell_of(&pauses(&reader)?);
    if args.json {
        output::json(&jobs)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (current, waits) = (!args.all && args.status.is_none(), jobs.iter().any(|job| job.completed_at.is_none()));
    if jobs.is_empty() {
        let of_plugin = of_plugin(&reader, filter.plugin.as_deref())?;
        if current {
            output::message(format_args!("no queued or running jobs{of_plugin}; `--all` shows those that are over"));
        } else {
            output::message(format_args!("no such jobs{of_plugin}"));
        }
    } else {
        let head = ["ID", "PLUGIN", "COMMAND", "STATUS", "ATTEMPT", "BY", "CREATED", "RETRY AT", "LAST ERROR"];
        output::painted_table(head, jobs.into_iter().map(row))?;
    }
    if (current || waits) && no_daemon(&minimal) {
        output::message("no daemon is running: nothing is run until `ductile start`");
    }
    Ok(ExitCode::SUCCESS)
}

fn row(job: Job) -> (Paint, [String; 9]) {
    let cells = [
        job.id.to_string(),
        job.plugin,
        job.command.to_string(),
        job.status.to_string(),
        format!("{}/{}", job.attempt, job.max_attempts),
        job.submitted_by.to_string(),
        output::local(job.created_at),
        output::local_or_dash(job.next_retry_at),
        job.last_error.as_deref().map_or_else(|| "-".to_owned(), output::first_line),
    ];
    (paint(job.status), cells)
}

pub(super) fn paint(status: Status) -> Paint {
    match status {
        Status::Queued => Paint::Plain,
        Status::Running => Paint::Busy,
        Status::Succeeded => Paint::Dim,
        Status::Dead => Paint::Bad,
    }
}
