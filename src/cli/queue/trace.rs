//! `ductile queue trace`.

use std::borrow::Cow;
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::find::{self, Prefix};
use super::paint;
use crate::cli::error::CliError;
use crate::cli::output::Paint;
use crate::cli::{open_reader, output};
use crate::clock::{Clock, Timestamp};
use crate::queue::list;
use crate::queue::tree::{self, Node};
use crate::queue::{Job, Status, SubmittedBy};
use crate::state::Reader;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each job is below the one that caused it; a job of `queue retry` is below the dead one. TOOK is the
time of the last attempt, AFTER how long after the first job was enqueued it was over; the job that
was asked for has a *. A first job that was deleted when its time was over is named.

Examples:
  ductile queue trace 0199f3c2
  ductile queue trace 0199f3c2 --json | jq '.jobs[] | select(.status == \"dead\")'")]
pub(super) struct Args {
    /// The id of any job in the tree, or the beginning of it
    #[arg(value_name = "JOB")]
    job: Prefix,
    /// The most jobs
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Traced {
    /// The job above the first one, when it has been deleted.
    pruned_root: Option<Uuid>,
    /// Whether there are more jobs than `--limit`.
    cut: bool,
    jobs: Vec<TracedJob>,
}

#[derive(Serialize)]
struct TracedJob {
    depth: u32,
    /// The type of the event that it handles.
    event_type: Option<String>,
    /// Of the last attempt, also of one that still runs.
    took_ms: Option<u64>,
    #[serde(flatten)]
    job: Job,
}

pub(super) fn trace(args: &Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (_, reader) = open_reader(config)?;
    let asked = find::job(&reader, &args.job)?;
    let (id, now) = (asked.id, Clock::System.now());
    let traced = read(&reader, asked, args.limit, now)?;
    if args.json {
        output::json(&traced)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(root) = traced.pruned_root {
        output::message(format_args!("job {root}, which caused these, was deleted when its time was over"));
    }
    let began = traced.jobs.iter().map(|traced| traced.job.created_at).min().unwrap_or(now);
    let head = ["  JOB", "STATUS", "ATTEMPT", "BY", "CREATED", "TOOK", "AFTER", "EVENT", "ID", "LAST ERROR"];
    output::painted_table(head, traced.jobs.iter().map(|traced| row(traced, began, id)))?;
    if traced.cut {
        output::message(format_args!("there are more than {} jobs; `--limit` shows more of them", args.limit));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(reader: &Reader, asked: Job, limit: u32, now: Timestamp) -> Result<Traced, CliError> {
    let tree = tree::tree(reader, asked, limit as usize)?;
    let jobs = tree.nodes.into_iter().map(|node| traced(reader, node, now)).collect::<Result<Vec<_>, _>>()?;
    Ok(Traced { pruned_root: tree.pruned_root, cut: tree.cut, jobs })
}

/// The tree that a job is in, a line for each job, with the columns that fit a small screen.
#[cfg(feature = "monitor")]
pub(in crate::cli) fn lines(reader: &Reader, asked: Job, limit: u32) -> Result<Vec<String>, CliError> {
    let (id, now) = (asked.id, Clock::System.now());
    let traced = read(reader, asked, limit, now)?;
    let rows = traced.jobs.iter().map(|traced| {
        let [job, status, _, _, _, took, _, event, id, _] = row(traced, now, id).1;
        // To the millisecond of its making.
        (Paint::Plain, [job, status, took, event, id.chars().take(13).collect()])
    });
    let table = output::table_lines(["  JOB", "STATUS", "TOOK", "EVENT", "ID"], rows);
    let pruned = traced.pruned_root.map(|root| format!("  job {root}, which caused these, was deleted"));
    let cut = traced.cut.then(|| format!("  there are more than {limit} jobs: `ductile queue trace {id}`"));
    Ok(pruned.into_iter().chain(table.into_iter().map(|(_, line)| line)).chain(cut).collect())
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

fn traced(reader: &Reader, node: Node, now: Timestamp) -> Result<TracedJob, CliError> {
    let Node { depth, job } = node;
    let payload = list::payload(reader, &job)?;
    let event_type =
        payload.and_then(|payload| Some(serde_json::from_str::<Typed<'_>>(&payload).ok()?.kind.into_owned()));
    let took = match job.started_at {
        Some(started) if job.status == Status::Running => Some(now.since(started).as_millis() as u64),
        _ => list::last_duration(reader, job.id)?,
    };
    Ok(TracedJob { depth, event_type, took_ms: took, job })
}

fn row(traced: &TracedJob, began: Timestamp, asked: Uuid) -> (Paint, [String; 10]) {
    let TracedJob { depth, event_type, took_ms, job } = traced;
    let dash = || "-".to_owned();
    let mark = if job.id == asked { "* " } else { "  " };
    let retried = job.submitted_by == SubmittedBy::Cli && job.parent_job_id.is_some();
    let after = job.completed_at.map(|end| output::duration(end.since(began).as_millis() as u64));
    let cells = [
        format!("{mark}{}{} {}", "  ".repeat(*depth as usize), job.plugin, job.command),
        job.status.to_string(),
        format!("{}/{}", job.attempt, job.max_attempts),
        if retried { "cli (retry)".to_owned() } else { job.submitted_by.to_string() },
        output::local(job.created_at),
        took_ms.map_or_else(dash, output::duration),
        after.unwrap_or_else(dash),
        event_type.as_deref().map_or_else(dash, output::first_line),
        job.id.to_string(),
        job.last_error.as_deref().map_or_else(dash, output::first_line),
    ];
    (paint(job.status), cells)
}
