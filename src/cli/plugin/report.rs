//! What `plugin test` prints: for people the checks and the answer of each command, for programs all of it as JSON.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;

use super::check::{Check, Level, Run};
use crate::cli::output::{self, Paint};
use crate::plugin::{Event, Outcome, Plugin};

/// The longest payload or state that is shown whole, in bytes.
const SHOWN: usize = 400;

pub(super) struct Report<'a> {
    dir: &'a Path,
    plugin: Option<&'a Plugin>,
    checks: Vec<Check>,
    runs: Vec<Run>,
    /// Whether no check has failed.
    pub(super) passed: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    passed: bool,
    folder: String,
    /// `null` when it does not load.
    plugin: Option<&'a str>,
    protocol: Option<u8>,
    checks: &'a [Check],
    runs: Vec<JsonRun<'a>>,
}

#[derive(Serialize)]
struct JsonRun<'a> {
    command: &'a str,
    /// `succeeded`, `failed`, `timed_out` or `interrupted`.
    outcome: &'static str,
    error: Option<&'a str>,
    /// Whether a gateway would try again.
    retry: bool,
    result: Option<&'a str>,
    events: Vec<JsonEvent<'a>>,
    /// Afterwards.
    state: &'a RawValue,
    logs: Option<Box<RawValue>>,
    stdout: &'a str,
    stderr: &'a str,
    exit_code: Option<i32>,
    signal: Option<i32>,
    duration_ms: u64,
    checks: &'a [Check],
}

#[derive(Serialize)]
struct JsonEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    payload: &'a RawValue,
    dedupe_key: Option<&'a str>,
}

impl<'a> Report<'a> {
    pub(super) fn new(dir: &'a Path, plugin: Option<&'a Plugin>, checks: Vec<Check>, runs: Vec<Run>) -> Self {
        let mut report = Self { dir, plugin, checks, runs, passed: false };
        report.passed = report.count(Level::Failed) == 0;
        report
    }

    fn count(&self, level: Level) -> usize {
        let all = self.checks.iter().chain(self.runs.iter().flat_map(|run| &run.checks));
        all.filter(|check| check.level == level).count()
    }

    pub(super) fn print_json(&self) -> io::Result<()> {
        let states = self.runs.iter().map(|run| RawValue::from_string(run.state.clone()));
        let states = states.collect::<Result<Vec<_>, _>>()?;
        let runs = self.runs.iter().zip(&states).map(|(run, state)| json(run, state)).collect();
        output::json(&Json {
            passed: self.passed,
            folder: self.dir.display().to_string(),
            plugin: self.plugin.map(Plugin::name),
            protocol: self.plugin.map(|plugin| plugin.manifest.protocol.number()),
            checks: &self.checks,
            runs,
        })
    }

    pub(super) fn print(&self) -> io::Result<()> {
        let (mut out, colours) = (io::stdout().lock(), output::colours());
        match self.plugin {
            Some(plugin) => {
                let protocol = plugin.manifest.protocol;
                writeln!(out, "{}, protocol {protocol}, in {}", plugin.name(), self.dir.display())?;
            }
            None => writeln!(out, "{}", self.dir.display())?,
        }
        write_checks(&mut out, &self.checks, colours)?;
        for run in &self.runs {
            writeln!(out, "\n{}", Paint::Head.on(run.command.as_str(), colours))?;
            write_checks(&mut out, &run.checks, colours)?;
            write_answer(&mut out, run)?;
        }
        let (failed, warnings) = (self.count(Level::Failed), self.count(Level::Warning));
        let checks = failed + warnings + self.count(Level::Ok);
        let verdict = match failed {
            0 => format!("passed: {checks} checks"),
            _ => format!("failed: {failed} of {checks} checks"),
        };
        let verdict = match warnings {
            0 => verdict,
            1 => format!("{verdict}, 1 warning"),
            _ => format!("{verdict}, {warnings} warnings"),
        };
        let paint = if self.passed { Paint::Plain } else { Paint::Bad };
        writeln!(out, "\n{}", paint.on(&verdict, colours))
    }
}

fn write_checks(out: &mut impl Write, checks: &[Check], colours: bool) -> io::Result<()> {
    for Check { check, level, text } in checks {
        let (word, paint) = match level {
            Level::Ok => ("ok", Paint::Plain),
            Level::Warning => ("warning", Paint::Busy),
            Level::Failed => ("FAILED", Paint::Bad),
        };
        let line = format!("  {word:7}  {check:9}  {}", output::first_line(text));
        writeln!(out, "{}", paint.on(&line, colours))?;
    }
    Ok(())
}

fn write_answer(out: &mut impl Write, run: &Run) -> io::Result<()> {
    let attempt = &run.trial.attempt;
    let mut line = |label: &str, text: &str| writeln!(out, "  {label:7}  {text}");
    if let Some(result) = &attempt.result {
        line("result", &output::first_line(result))?;
    }
    if let Some(response) = &run.response {
        for Event { kind, payload, dedupe_key } in &response.effects.events {
            let key = dedupe_key.as_ref().map(|key| format!(", dedupe_key {}", output::first_line(key)));
            let text = format!("{} {}{}", output::first_line(kind), short(payload.get()), key.unwrap_or_default());
            line("event", &text)?;
        }
        if run.checks.iter().any(|check| check.check == "state" && check.text != "not changed") {
            line("state", &short(&run.state))?;
        }
    }
    for entry in entries(attempt.logs.as_deref()) {
        line("log", &entry)?;
    }
    // What is no response is shown as it is.
    let stdout = if run.response.is_some() { "" } else { &attempt.stdout };
    for (label, text) in [("stdout", stdout), ("stderr", &attempt.stderr)] {
        for text in text.lines() {
            line(label, &output::printable(text))?;
        }
    }
    Ok(())
}

/// Level and message of each log entry.
fn entries(logs: Option<&str>) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Entry {
        level: String,
        message: String,
    }

    let entries: Vec<Entry> = logs.and_then(|logs| serde_json::from_str(logs).ok()).unwrap_or_default();
    entries.iter().map(|entry| format!("{}: {}", entry.level, output::first_line(&entry.message))).collect()
}

/// JSON on one line, cut when it is long.
fn short(json: &str) -> String {
    let line: String = json.split(['\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}... ({} bytes)", output::printable(&line[..end]), json.len()),
        None => output::printable(&line).into_owned(),
    }
}

fn json<'a>(run: &'a Run, state: &'a RawValue) -> JsonRun<'a> {
    let attempt = &run.trial.attempt;
    let (outcome, error, retry) = match &attempt.outcome {
        Outcome::Succeeded(_) => ("succeeded", None, false),
        Outcome::Failed { error, retryable } => ("failed", Some(error.as_str()), *retryable),
        Outcome::TimedOut { error } => ("timed_out", Some(error.as_str()), true),
        Outcome::Interrupted => ("interrupted", None, true),
    };
    let events = run.response.iter().flat_map(|response| &response.effects.events);
    JsonRun {
        command: run.command.as_str(),
        outcome,
        error,
        retry,
        result: attempt.result.as_deref(),
        events: events
            .map(|event| JsonEvent {
                kind: &event.kind,
                payload: &event.payload,
                dedupe_key: event.dedupe_key.as_deref(),
            })
            .collect(),
        state,
        logs: attempt.logs.clone().and_then(|logs| RawValue::from_string(logs).ok()),
        stdout: &attempt.stdout,
        stderr: &attempt.stderr,
        exit_code: attempt.exit_code,
        signal: attempt.signal,
        duration_ms: u64::try_from(run.trial.duration.as_millis()).unwrap_or(u64::MAX),
        checks: &run.checks,
    }
}
