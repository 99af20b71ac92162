//! `ductile queue show`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::find::{self, Found, Prefix};
use crate::cli::error::CliError;
use crate::cli::logs::{Detail, write_attempt};
use crate::cli::{open_reader, output};
use crate::queue::list::{self, Attempt};
use crate::queue::{Job, Status};
use crate::state::Reader;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is cut but what was cut when it was stored; `--json` has the payload byte for byte.

Examples:
  ductile queue show 0199f3c2
  ductile queue show 0199f3c2 --json | jq .payload")]
pub(super) struct Args {
    /// The job's id, or the beginning of it
    #[arg(value_name = "JOB")]
    job: Prefix,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// All that is known of one job.
pub(in crate::cli) struct Known {
    /// `None` when it was deleted and has left attempts in the log.
    pub(in crate::cli) job: Option<Job>,
    id: Uuid,
    payload: Option<String>,
    attempts: Vec<Attempt>,
    children: u64,
}

#[derive(Serialize)]
struct Shown<'a> {
    /// `null` for a job that was deleted and has left attempts in the log.
    job: Option<&'a Job>,
    payload: Option<&'a RawValue>,
    attempts: &'a [Attempt],
    /// How many jobs it has caused.
    children: u64,
}

pub(super) fn show(args: &Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (_, reader) = open_reader(config)?;
    let known = read(&reader, &args.job)?;
    if !args.json {
        write(&mut io::stdout().lock(), &known, output::colours())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Known { job, payload, attempts, children, .. } = &known;
    // Text that is no JSON was written by hand; it is shown as a string.
    let raw = payload
        .as_ref()
        .map(|text| RawValue::from_string(text.clone()).or_else(|_| serde_json::value::to_raw_value(text)));
    let raw = raw.transpose().map_err(io::Error::from)?;
    output::json(&Shown { job: job.as_ref(), payload: raw.as_deref(), attempts, children: *children })?;
    Ok(ExitCode::SUCCESS)
}

/// Everything of the one job that is meant, of the same moment.
pub(in crate::cli) fn read(reader: &Reader, job: &Prefix) -> Result<Known, CliError> {
    let snapshot = reader.unchecked_transaction().map_err(crate::state::Error::from)?;
    let (job, id) = match find::job_or_attempts(&snapshot, job)? {
        Found::Job(job) => (Some(*job), None),
        Found::Attempts(id) => (None, Some(id)),
    };
    let id = job.as_ref().map_or_else(|| id.expect("one of both was found"), |job| job.id);
    let payload = job.as_ref().map(|job| list::payload(&snapshot, job)).transpose()?.flatten();
    let (attempts, children) = (list::attempts(&snapshot, id)?, list::children(&snapshot, id)?);
    Ok(Known { job, id, payload, attempts, children })
}

/// All of it for people.
pub(in crate::cli) fn write(out: &mut impl Write, known: &Known, colours: bool) -> io::Result<()> {
    match &known.job {
        Some(job) => write_job(out, job, known.children, colours)?,
        None => writeln!(out, "job         {}, which was deleted; this is what the log still knows", known.id)?,
    }
    for attempt in &known.attempts {
        writeln!(out)?;
        write_attempt(out, attempt, Detail::All, colours)?;
    }
    if let Some(payload) = &known.payload {
        writeln!(out, "\npayload")?;
        for line in output::printable(&output::indented_json(payload)).lines() {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

fn write_job(out: &mut impl Write, job: &Job, children: u64, colours: bool) -> io::Result<()> {
    let status = job.status.to_string();
    let mut line = |label: &str, value: &str| writeln!(out, "{label:10}  {value}");
    line("job", &job.id.to_string())?;
    line("does", &format!("{} {}", job.plugin, job.command))?;
    line("status", &super::paint(job.status).on(&status, colours))?;
    line("attempt", &format!("{} of {}", job.attempt, job.max_attempts))?;
    let by = job.submitted_by;
    line("by", &job.schedule.as_ref().map_or_else(|| by.to_string(), |id| format!("{by}, schedule {id}")))?;
    let ids = [("parent", job.parent_job_id), ("event", job.source_event_id)];
    for (label, id) in ids.into_iter().filter_map(|(label, id)| Some((label, id?))) {
        line(label, &id.to_string())?;
    }
    if let Some(key) = &job.dedupe_key {
        line("dedupe key", &output::first_line(key))?;
    }
    if job.hops > 0 {
        line("hops", &job.hops.to_string())?;
    }
    let times = [
        ("created", Some(job.created_at)),
        ("started", job.started_at),
        ("retry at", job.next_retry_at),
        ("ended", job.completed_at),
    ];
    for (label, time) in times.into_iter().filter_map(|(label, time)| Some((label, time?))) {
        line(label, &output::local(time))?;
    }
    if let Some(error) = &job.last_error {
        let label = if job.status == Status::Dead { "reason" } else { "last error" };
        for (number, text) in output::printable(error.trim_end()).lines().enumerate() {
            line(if number == 0 { label } else { "" }, text)?;
        }
    }
    match children {
        0 => Ok(()),
        1 => line("caused", "1 job, see `ductile queue trace`"),
        _ => line("caused", &format!("{children} jobs, see `ductile queue trace`")),
    }
}
