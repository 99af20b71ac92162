//! `ductile plugin test`: one process for each command, as the daemon would run it, and what is to be said about it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::check::{self, Check, Level, Run};
use super::input::{self, Asked};
use super::report;
use crate::cli::error::CliError;
use crate::cli::{duration, runtime};
use crate::clock::Clock;
use crate::command::Command;
use crate::config::wrong_plugin_name;
use crate::daemon::{DaemonError, Signals};
use crate::plugin::{self, Call, Cancel, Outcome, Plugin};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs what the folder's manifest declares of init, health, poll and handle, or the one command that
is named: with the checks, the environment, the deadline and the limits of a daemon, but without a
daemon, a configuration and a database. Events go nowhere. What a command has the plugin remember,
the next one is given.

Examples:
  ductile plugin test plugins/feed
  ductile plugin test plugins/feed --command poll --plugin-config '{\"url\": \"https://example.org\"}'
  ductile plugin test . --command handle --event-type github.push --payload @push.json
  ductile plugin test . --command poll --state '{\"cursor\": 7}' --json

Exit codes: 0 every check passed, also with warnings; 1 one failed; 2 usage.")]
pub(super) struct Args {
    /// The plugin's folder
    dir: PathBuf,
    /// Only this command, which may be any that the manifest declares
    #[arg(long, value_name = "NAME")]
    pub(super) command: Option<Command>,
    /// The event's payload for `handle`, or what a plugin of protocol 2 is given with `--command`: JSON, @FILE, or - for
    /// standard input [default: {}]
    #[arg(long, value_name = "JSON")]
    pub(super) payload: Option<String>,
    /// The event's type for `handle` [default: cli]
    #[arg(long, value_name = "TYPE")]
    pub(super) event_type: Option<String>,
    /// What the plugin remembers: a JSON object, or @FILE [default: {}]
    #[arg(long, value_name = "JSON")]
    pub(super) state: Option<String>,
    /// What would stand under `config` in the plugin's settings: a JSON object, or @FILE [default: {}]
    #[arg(long, value_name = "JSON")]
    pub(super) plugin_config: Option<String>,
    /// A variable for the plugin, as under `env` in its settings; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    /// How long a command may take [default: as without `timeouts`: poll 60s, handle 120s, health 10s, init 30s]
    #[arg(long, value_name = "D", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
    /// The status that passes
    #[arg(long, value_enum, value_name = "STATUS", default_value_t = Expected::Ok)]
    expect: Expected,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// The status that a response is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Expected {
    Ok,
    Error,
}

pub(super) fn test(args: &Args) -> Result<ExitCode, CliError> {
    let standard_input = [&args.payload, &args.state, &args.plugin_config];
    if standard_input.iter().filter(|text| text.as_deref() == Some("-")).count() > 1 {
        return Err(CliError::Usage("only one option can read standard input".to_owned()));
    }
    if args.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(CliError::Usage("--timeout must be more than nothing".to_owned()));
    }
    let settings = input::settings(args)?;
    let (state, payload) = (input::state(args)?, input::payload(args)?);
    let mut warnings = Vec::new();
    let loaded = plugin::load_folder(&args.dir, settings, &mut warnings);
    let mut checks: Vec<_> = warnings.into_iter().map(|text| Check::new("manifest", Level::Warning, text)).collect();
    let runs = match &loaded {
        Ok(plugin) => {
            if let Some(wrong) = wrong_plugin_name(plugin.name()) {
                checks.push(Check::new("manifest", Level::Failed, format!("`{}` {wrong}", plugin.name())));
            }
            let calls = input::calls(args, plugin, payload.as_deref())?;
            if checks.is_empty() {
                checks.push(Check::new("manifest", Level::Ok, "the plugin loads".to_owned()));
            }
            runtime()?.block_on(run_all(plugin, calls, state, args.expect))?
        }
        Err(error) => {
            checks.push(Check::new("manifest", Level::Failed, error.to_string()));
            Vec::new()
        }
    };
    let report = report::Report::new(&args.dir, loaded.as_ref().ok(), checks, runs);
    if args.json {
        report.print_json()?
    } else {
        report.print()?
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One after the other; the first one that is interrupted is the last.
async fn run_all(
    plugin: &Plugin,
    calls: Vec<Asked>,
    mut state: String,
    expected: Expected,
) -> Result<Vec<Run>, CliError> {
    let mut signals = Signals::install().map_err(DaemonError::Signals)?;
    let mut runs = Vec::new();
    for (command, payload) in calls {
        let run = run(plugin, command, payload, state, expected, &mut signals).await;
        state = run.state.clone();
        let interrupted = matches!(run.trial.attempt.outcome, Outcome::Interrupted);
        runs.push(run);
        if interrupted {
            break;
        }
    }
    Ok(runs)
}

async fn run(
    plugin: &Plugin,
    command: Command,
    payload: Option<Box<RawValue>>,
    state: String,
    expected: Expected,
    signals: &mut Signals,
) -> Run {
    let call = Call {
        job_id: Uuid::now_v7(),
        instance: Uuid::new_v4(),
        command: command.clone(),
        state: RawValue::from_string(state.clone()).expect("a state is JSON, checked when it was given or made"),
        payload,
        now: Clock::System.now(),
    };
    let cancel = Cancel::default();
    let interrupt = async {
        signals.stop_requested().await;
        cancel.terminate.cancel();
        signals.stop_requested().await;
        cancel.kill.cancel();
        std::future::pending::<std::convert::Infallible>().await
    };
    let trial = tokio::select! {
        trial = plugin::try_out(plugin, call, &cancel) => trial,
        never = interrupt => match never {},
    };
    check::look(plugin, command, state, trial, expected)
}
