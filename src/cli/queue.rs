//! `ductile queue`.

use std::path::Path;
use std::process::ExitCode;

use super::error::CliError;
use super::logs::of_plugin;
use super::{open_reader, output};
use crate::queue::list::{self, Filter};
use crate::queue::{Job, Status, pauses};

#[derive(Debug, clap::Args)]
#[command(after_help = "Jobs are shown in the order of the queue, which is the order in which they were submitted.")]
pub(super) struct Args {
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
    let (_, reader) = open_reader(config)?;
    let statuses = match (args.all, args.status) {
        (true, _) => vec![Status::Queued, Status::Running, Status::Succeeded, Status::Dead],
        (false, Some(status)) => vec![status],
        (false, None) => vec![Status::Queued, Status::Running],
    };
    let filter = Filter { statuses, plugin: args.plugin, limit: args.limit };
    let jobs = list::jobs(&reader, &filter)?;
    let pauses = pauses(&reader)?;
    if pauses.queue.is_some() {
        output::message("the queue is paused: `ductile resume` goes on");
    } else if !pauses.plugins.is_empty() {
        let names: Vec<_> = pauses.plugins.keys().map(String::as_str).collect();
        output::message(format_args!("paused plugins: {}", names.join(", ")));
    }
    if args.json {
        output::json(&jobs)?;
    } else if jobs.is_empty() {
        let of_plugin = of_plugin(&reader, filter.plugin.as_deref())?;
        if filter.statuses.contains(&Status::Succeeded) || args.status.is_some() {
            output::message(format_args!("no such jobs{of_plugin}"));
        } else {
            output::message(format_args!("no queued or running jobs{of_plugin}; `--all` shows those that are over"));
        }
    } else {
        let head = ["ID", "PLUGIN", "COMMAND", "STATUS", "ATTEMPT", "BY", "CREATED", "RETRY AT", "LAST ERROR"];
        output::table(head, jobs.into_iter().map(row))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(job: Job) -> [String; 9] {
    [
        job.id.to_string(),
        job.plugin,
        job.command.to_string(),
        job.status.to_string(),
        format!("{}/{}", job.attempt, job.max_attempts),
        job.submitted_by.to_string(),
        output::local(job.created_at),
        output::local_or_dash(job.next_retry_at),
        job.last_error.as_deref().map_or_else(|| "-".to_owned(), output::first_line),
    ]
}
