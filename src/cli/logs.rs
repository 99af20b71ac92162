//! `ductile logs`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;

use super::error::CliError;
use super::{open_reader, output};
use crate::queue::JobLogStatus;
use crate::queue::list::{self, Attempt};
use crate::state::{Reader, publish};

#[derive(Debug, clap::Args)]
#[command(after_help = "One line for each ended attempt, the newest last; below it what the plugin logged, \
and for a failure the error and what the plugin wrote to stderr.")]
pub(super) struct Args {
    /// Attempts of this plugin
    plugin: Option<String>,
    /// Only attempts that did not succeed
    #[arg(long)]
    failed: bool,
    /// The most attempts
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn logs(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (_, reader) = open_reader(config)?;
    let attempts = list::log(&reader, args.plugin.as_deref(), args.failed, args.limit)?;
    if args.json {
        output::json(&attempts)?;
    } else if attempts.is_empty() {
        output::message(format_args!("no attempts{}", of_plugin(&reader, args.plugin.as_deref())?));
    } else {
        let mut out = io::stdout().lock();
        for attempt in &attempts {
            write_attempt(&mut out, attempt)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What to say behind "no jobs" or "no attempts" when a plugin was asked for: perhaps there is no such plugin.
pub(super) fn of_plugin(reader: &Reader, plugin: Option<&str>) -> Result<String, CliError> {
    let Some(name) = plugin else { return Ok(String::new()) };
    Ok(match publish::plugin(reader, name)? {
        Some(_) => format!(" of plugin `{name}`"),
        None => format!(" of `{name}`; there is no plugin of that name"),
    })
}

#[derive(Deserialize)]
struct LogLine {
    level: String,
    message: String,
}

/// One attempt for people: a line, and below it what there is to know.
pub(super) fn write_attempt(out: &mut impl Write, attempt: &Attempt) -> io::Result<()> {
    let Attempt { plugin, command, job_id, status, .. } = attempt;
    let (ended, took) = (output::local(attempt.completed_at), output::duration(attempt.duration_ms));
    writeln!(out, "{ended}  {plugin} {command}  {status}  attempt {}  {took}  job {job_id}", attempt.attempt)?;
    if let Some(error) = &attempt.error {
        write_indented(out, "error", error)?;
    }
    let lines: Vec<LogLine> = match &attempt.logs {
        Some(logs) => serde_json::from_str(logs.get()).unwrap_or_default(),
        None => Vec::new(),
    };
    for line in lines {
        write_indented(out, &line.level, &line.message)?;
    }
    if let Some(stderr) = &attempt.stderr {
        write_indented(out, "stderr", stderr)?;
    }
    if let Some(result) = attempt.result.as_ref().filter(|_| tells_more(attempt)) {
        write_indented(out, "stdout", result)?;
    }
    Ok(())
}

/// Whether what the plugin printed is news: otherwise error and logs were read from it.
fn tells_more(attempt: &Attempt) -> bool {
    let no_response = attempt.error.as_ref().is_some_and(|error| error.contains("protocol error"));
    attempt.status == JobLogStatus::TimedOut || no_response
}

/// As much of one text as is shown; `--json` has all of it.
const MOST_LINES: usize = 20;
const MOST_COLUMNS: usize = 500;

fn write_indented(out: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    let text = output::printable(text.trim_end());
    for (number, line) in text.lines().enumerate().take(MOST_LINES) {
        let label = if number == 0 { label } else { "" };
        let shown: String = line.chars().take(MOST_COLUMNS).collect();
        let cut = if shown.len() < line.len() { " ..." } else { "" };
        writeln!(out, "    {label:6}  {shown}{cut}")?;
    }
    match text.lines().count().saturating_sub(MOST_LINES) {
        0 => Ok(()),
        more => writeln!(out, "            ({more} more lines, see --json)"),
    }
}
