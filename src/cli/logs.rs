//! `ductile logs`.

mod follow;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

use super::error::CliError;
use super::output::Paint;
use super::{duration, open_reader, output};
use crate::clock::Clock;
use crate::queue::JobLogStatus;
use crate::queue::list::{self, Attempt, LogFilter};
use crate::state::{Reader, publish};
use follow::follow;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
One line for each ended attempt, the newest last; below it what the plugin says of it and what it
logged, and for a failure the error and what the plugin wrote to stderr.

Examples:
  ductile logs feed --limit 5            the last attempts of a plugin
  ductile logs --failed --since 1d       what went wrong since yesterday
  ductile logs --follow                  the last ones, and each new one as it ends
  ductile logs --follow --limit 0 --json | jq .error

With --follow, --json prints each attempt as one line.")]
pub(super) struct Args {
    /// Attempts of this plugin
    plugin: Option<String>,
    /// Only attempts that did not succeed
    #[arg(long)]
    failed: bool,
    /// Only attempts that ended within this time, such as 30m, 2h or 1d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Go on with each new attempt as it ends, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// The most attempts, the newest [default: 20, with --since 1000]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn logs(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (minimal, reader) = open_reader(config)?;
    let since = args.since.map(|since| Clock::System.now().before(since));
    let filter = LogFilter { plugin: args.plugin, failed: args.failed, since, after: 0 };
    let limit = args.limit.unwrap_or(if since.is_some() { 1_000 } else { 20 });
    // Before the first look, so that what ends meanwhile is not missed.
    let end = list::log_end(&reader)?;
    // One more shows whether there are more.
    let mut attempts = list::log_newest(&reader, &filter, limit.saturating_add(1))?;
    let cut = attempts.len() > limit as usize;
    attempts.drain(..usize::from(cut));
    if args.follow {
        attempts.retain(|attempt| attempt.id <= end);
        return follow(&minimal, &reader, filter, &attempts, end, args.json);
    }
    if args.json {
        output::json(&attempts)?;
    } else if attempts.is_empty() && !cut {
        let within = args.since.map(|since| format!(" within {}", output::duration(since.as_millis() as u64)));
        let of_plugin = of_plugin(&reader, filter.plugin.as_deref())?;
        output::message(format_args!("no attempts{}{of_plugin}", within.unwrap_or_default()));
    } else {
        write_attempts(&attempts)?;
    }
    if cut && since.is_some() {
        output::message(format_args!("there were more; `--limit` shows more than the newest {limit}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn write_attempts(attempts: &[Attempt]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for attempt in attempts {
        write_attempt(&mut out, attempt, Detail::Short, output::colours())?;
    }
    out.flush()
}

/// What to say behind "no jobs" or "no attempts" when a plugin was asked for: perhaps there is no such plugin.
pub(super) fn of_plugin(reader: &Reader, plugin: Option<&str>) -> Result<String, CliError> {
    let Some(name) = plugin else { return Ok(String::new()) };
    Ok(match publish::plugin(reader, name)? {
        Some(_) => format!(" of plugin `{name}`"),
        // No daemon has said which there are.
        None if publish::all_plugins(reader)?.is_empty() => format!(" of plugin `{name}`"),
        None => format!(" of `{name}`; there is no plugin of that name"),
    })
}

#[derive(Deserialize)]
struct LogLine {
    level: String,
    message: String,
}

/// How much of an attempt is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What somebody who looks over many of them wants to know.
    Short,
    /// All that is stored.
    All,
}

/// One attempt for people: a line, and below it what there is to know.
pub(super) fn write_attempt(out: &mut impl Write, attempt: &Attempt, detail: Detail, colours: bool) -> io::Result<()> {
    let Attempt { plugin, command, job_id, status, .. } = attempt;
    let (ended, took) = (output::local(attempt.completed_at), output::duration(attempt.duration_ms));
    let paint = if *status == JobLogStatus::Succeeded { Paint::Plain } else { Paint::Bad };
    let line = format!("{ended}  {plugin} {command}  {status}  attempt {}  {took}  job {job_id}", attempt.attempt);
    writeln!(out, "{}", paint.on(&line, colours))?;
    if let Some(error) = &attempt.error {
        write_indented(out, "error", error, detail)?;
    }
    if let Some(result) = attempt.result.as_ref().filter(|_| attempt.response.is_some()) {
        write_indented(out, "result", result, detail)?;
    }
    let lines: Vec<LogLine> = match &attempt.logs {
        Some(logs) => serde_json::from_str(logs.get()).unwrap_or_default(),
        None => Vec::new(),
    };
    for line in lines {
        write_indented(out, &line.level, &line.message, detail)?;
    }
    if let Some(stderr) = &attempt.stderr {
        write_indented(out, "stderr", stderr, detail)?;
    }
    let printed = attempt.response.as_ref().or(attempt.result.as_ref());
    if let Some(printed) = printed.filter(|_| detail == Detail::All || tells_more(attempt)) {
        write_indented(out, "stdout", printed, detail)?;
    }
    Ok(())
}

/// Whether what the plugin printed is news: otherwise error, result and logs were read from it.
fn tells_more(attempt: &Attempt) -> bool {
    if attempt.response.is_some() {
        return false;
    }
    let no_response = attempt.error.as_ref().is_some_and(|error| error.contains("protocol error"));
    attempt.status == JobLogStatus::TimedOut || no_response
}

/// As much of one text as is shown in short; `queue show` has all of it.
const MOST_LINES: usize = 20;
const MOST_COLUMNS: usize = 500;

fn write_indented(out: &mut impl Write, label: &str, text: &str, detail: Detail) -> io::Result<()> {
    let (most_lines, most_columns) = match detail {
        Detail::Short => (MOST_LINES, MOST_COLUMNS),
        Detail::All => (usize::MAX, usize::MAX),
    };
    let text = output::printable(text.trim_end());
    for (number, line) in text.lines().enumerate().take(most_lines) {
        let label = if number == 0 { label } else { "" };
        let shown: String = line.chars().take(most_columns).collect();
        let cut = if shown.len() < line.len() { " ..." } else { "" };
        writeln!(out, "    {label:6}  {shown}{cut}")?;
    }
    match text.lines().count().saturating_sub(most_lines) {
        0 => Ok(()),
        more => writeln!(out, "            ({more} more lines, see `ductile queue show`)"),
    }
}
