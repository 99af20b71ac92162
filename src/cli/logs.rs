//! `ductile logs`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;

use super::error::CliError;
use super::{open_reader, output};
use crate::queue::JobLogStatus;
use crate::queue::list::{self, Attempt};

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
        output::message("no such attempts");
    } else {
        let mut out = io::stdout().lock();
        for attempt in &attempts {
            write_attempt(&mut out, attempt)?;
        }
    }
    Ok(ExitCode::SUCCESS)
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
    if let Some(result) = attempt.result.as_ref().filter(|_| attempt.status == JobLogStatus::Failed) {
        write_indented(out, "stdout", result)?;
    }
    Ok(())
}

fn write_indented(out: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    for (number, line) in text.trim_end().lines().enumerate() {
        let label = if number == 0 { label } else { "" };
        writeln!(out, "    {label:6}  {line}")?;
    }
    Ok(())
}
