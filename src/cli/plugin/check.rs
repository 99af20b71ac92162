//! What there is to say about one run: whether it keeps the contract, and what came of it. Runs nothing itself.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::test::Expected;
use crate::cli::output;
use crate::command::Command;
use crate::plugin::{
    Effects, Event, Leftover, MAX_EVENTS, Outcome, Plugin, ProtocolError, Response, STDERR_LIMIT, STDOUT_LIMIT, Status,
    Trial, unknown_fields,
};
use crate::state::plugin_state::{self, STATE_LIMIT};

/// How much of the result, the logs and stderr of an attempt a gateway keeps, in bytes.
const KEPT: u64 = 64 << 10;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// It works, and is probably not meant.
    Warning,
    Failed,
}

impl Check {
    pub(super) fn new(check: &'static str, level: Level, text: String) -> Self {
        Self { check, level, text }
    }
}

/// One command that was run.
pub(super) struct Run {
    pub(super) command: Command,
    pub(super) trial: Trial,
    /// What it printed, if that is a response.
    pub(super) response: Option<Response>,
    /// What the plugin remembers afterwards.
    pub(super) state: String,
    pub(super) checks: Vec<Check>,
}

/// Checks a run that began with this state.
pub(super) fn look(plugin: &Plugin, command: Command, state: String, trial: Trial, expected: Expected) -> Run {
    let timeout = plugin.settings.timeouts.of(&command);
    let response = response(plugin, &trial);
    let mut notes = Notes(Vec::new());
    process(&mut notes, &trial, expected);
    if trial.attempt.exit_code.is_some() || trial.attempt.signal.is_some() {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let text = format!("{} of {}", output::duration(ms(trial.duration)), output::duration(ms(timeout)));
        notes.limited("time", trial.duration > timeout / 2, text);
        answer(&mut notes, &trial, &response, expected);
        outputs(&mut notes, &trial);
        leftovers(&mut notes, &trial.leftovers);
    }
    let response = response.ok();
    let mut next = state.clone();
    if let Some(response) = &response {
        status(&mut notes, &trial, response, expected);
        let dropped = match (&response.status, &command) {
            (Status::Error(_), _) => Some("ignored, as the status is `error`"),
            (Status::Ok, Command::Health) => Some("dropped: `health` changes nothing"),
            (Status::Ok, _) => None,
        };
        events(&mut notes, &response.effects.events, dropped);
        if let Some(merged) = updates(&mut notes, plugin, &command, &state, &response.effects, dropped) {
            next = merged;
        }
    }
    Run { command, trial, response, state: next, checks: notes.0 }
}

struct Notes(Vec<Check>);

impl Notes {
    fn note(&mut self, check: &'static str, level: Level, text: impl Into<String>) {
        self.0.push(Check::new(check, level, text.into()));
    }

    /// What is fine, unless more than half of what is allowed is used up.
    fn limited(&mut self, check: &'static str, over_half: bool, text: String) {
        match over_half {
            true => self.note(check, Level::Warning, format!("{text}: more than half")),
            false => self.note(check, Level::Ok, text),
        }
    }
}

/// As the attempt was read, but whole.
fn response(plugin: &Plugin, trial: &Trial) -> Result<Response, ProtocolError> {
    if trial.stdout_bytes > STDOUT_LIMIT as u64 {
        return Err(ProtocolError::TooLarge { limit: STDOUT_LIMIT });
    }
    let text = std::str::from_utf8(&trial.stdout).map_err(ProtocolError::NotUtf8)?;
    Response::parse(plugin.manifest.protocol, text)
}

fn process(notes: &mut Notes, trial: &Trial, expected: Expected) {
    let attempt = &trial.attempt;
    match (&attempt.outcome, attempt.exit_code) {
        (Outcome::Interrupted, _) => notes.note("process", Level::Failed, "interrupted"),
        (Outcome::TimedOut { error }, _) => notes.note("process", Level::Failed, error),
        (_, Some(0)) => notes.note("process", Level::Ok, "exit code 0"),
        (Outcome::Failed { error, .. }, Some(_)) if expected == Expected::Error => {
            notes.note("process", Level::Ok, error);
        }
        (Outcome::Failed { error, .. }, _) => notes.note("process", Level::Failed, error),
        // Only an exit with 0 succeeds.
        (Outcome::Succeeded(_), _) => {}
    }
}

fn answer(notes: &mut Notes, trial: &Trial, response: &Result<Response, ProtocolError>, expected: Expected) {
    match response {
        Ok(_) => {
            notes.note("answer", Level::Ok, format!("one JSON object, {}", output::size(trial.stdout_bytes)));
            let unknown = std::str::from_utf8(&trial.stdout).map(unknown_fields).unwrap_or_default();
            for text in unknown {
                notes.note("fields", Level::Warning, format!("ignored: {text}"));
            }
        }
        // An exit code other than 0 says all that must be said.
        Err(ProtocolError::Empty) if expected == Expected::Error && trial.attempt.exit_code != Some(0) => {
            notes.note("answer", Level::Ok, "none");
        }
        Err(error) => notes.note("answer", Level::Failed, error.to_string()),
    }
}

fn status(notes: &mut Notes, trial: &Trial, response: &Response, expected: Expected) {
    let ends_well = trial.attempt.exit_code == Some(0);
    match (&response.status, expected) {
        (Status::Ok, Expected::Ok) => notes.note("status", Level::Ok, "ok"),
        (Status::Ok, Expected::Error) if ends_well => {
            notes.note("status", Level::Failed, "ok, and `error` was expected");
        }
        (Status::Ok, Expected::Error) => notes.note("status", Level::Ok, "ok, which the exit code overrules"),
        (Status::Error(error), expected) => {
            let retried = match trial.attempt.outcome {
                Outcome::Failed { retryable: false, .. } => "never tried again",
                _ => "tried again",
            };
            let level = if expected == Expected::Error { Level::Ok } else { Level::Failed };
            notes.note("status", level, format!("error, {retried}: {}", output::first_line(error)));
        }
    }
}

fn events(notes: &mut Notes, events: &[Event], dropped: Option<&str>) {
    let mut keys: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        let Some(key) = &event.dedupe_key else { continue };
        if let Some(first) = keys.insert((&event.kind, key), index) {
            let key = output::first_line(key);
            let text = format!(
                "events[{first}] and events[{index}] have the type and `dedupe_key` `{key}` in common; both become jobs, \
                 as the first has not succeeded yet"
            );
            notes.note("events", Level::Warning, text);
        }
    }
    match (events.len(), dropped) {
        (0, _) => notes.note("events", Level::Ok, "none"),
        (count, Some(why)) => notes.note("events", Level::Warning, format!("{count}, {why}")),
        (count, None) => notes.limited("events", count > MAX_EVENTS / 2, format!("{count} of at most {MAX_EVENTS}")),
    }
}

/// What the plugin remembers then, if that changes.
fn updates(
    notes: &mut Notes,
    plugin: &Plugin,
    command: &Command,
    before: &str,
    effects: &Effects,
    dropped: Option<&str>,
) -> Option<String> {
    let Some(updates) = &effects.state_updates else {
        notes.note("state", Level::Ok, "not changed");
        return None;
    };
    if let Some(why) = dropped {
        notes.note("state", Level::Warning, format!("`state_updates` are {why}"));
        return None;
    }
    let facts: Vec<_> = plugin.manifest.fact_types(command).map(|fact| format!("`{fact}`")).collect();
    let merged = next(plugin, before, updates, !facts.is_empty());
    let Some(merged) = merged else {
        notes.note("state", Level::Failed, format!("it would be larger than {STATE_LIMIT} bytes"));
        return None;
    };
    let mut text = format!("{} of {STATE_LIMIT} bytes", merged.len());
    if !facts.is_empty() {
        text += &format!(", stated as {}", facts.join(", "));
    }
    notes.limited("state", merged.len() > STATE_LIMIT / 2, text);
    Some(merged)
}

fn next(plugin: &Plugin, before: &str, updates: &RawValue, replaces: bool) -> Option<String> {
    let merged = match replaces {
        true => plugin_state::replace(plugin.name(), updates),
        false => plugin_state::merge_into(before, plugin.name(), updates),
    };
    merged.map(|merged| merged.json().to_owned())
}

fn outputs(notes: &mut Notes, trial: &Trial) {
    let (stdout, stderr) = (trial.stdout_bytes, trial.stderr_bytes);
    let [most, most_of_stderr] = [STDOUT_LIMIT, STDERR_LIMIT].map(|limit| limit as u64);
    let sizes = format!(
        "stdout {} of {}, stderr {} of {}",
        output::size(stdout),
        output::size(most),
        output::size(stderr),
        output::size(most_of_stderr)
    );
    notes.limited("output", stdout > most / 2 || stderr > most_of_stderr / 2, sizes);
    let attempt = &trial.attempt;
    let cut = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() as u64 > KEPT);
    for (what, is_cut) in [("result", cut(&attempt.result)), ("logs", cut(&attempt.logs)), ("stderr", stderr > KEPT)] {
        if is_cut {
            notes.note("output", Level::Warning, format!("of `{what}` only {} are kept", output::size(KEPT)));
        }
    }
}

fn leftovers(notes: &mut Notes, leftovers: &[Leftover]) {
    let names = |in_group: bool| {
        let mut names: Vec<_> = leftovers
            .iter()
            .filter(|leftover| leftover.in_group == in_group)
            .map(|leftover| format!("`{}`", output::first_line(&leftover.name)))
            .collect();
        names.sort();
        names.join(", ")
    };
    let (grouped, escaped) = (names(true), names(false));
    if !grouped.is_empty() {
        let text =
            format!("still running when it had ended, and killed, as everything in its process group is: {grouped}");
        notes.note("processes", Level::Failed, text);
    }
    if !escaped.is_empty() {
        let text = format!(
            "still running outside of its process group, where a daemon lets them be until it starts anew: {escaped}"
        );
        notes.note("processes", Level::Warning, text);
    }
    if leftovers.is_empty() {
        notes.note("processes", Level::Ok, "none left");
    }
}
