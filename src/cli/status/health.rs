//! Asking plugins how they are: their `health` command, outside of the queue, without any effect.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::active::{self, Active};
use crate::cli::error::CliError;
use crate::cli::{output, runtime};
use crate::clock::Clock;
use crate::command::Command;
use crate::config::{self, Variables};
use crate::daemon::{DaemonError, Signals};
use crate::plugin::{self, Attempt, Call, Cancel, Outcome};
use crate::state::{Error, Reader, StateDir, plugin_state, publish};

/// What a plugin's `health` has said.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct Health {
    pub(super) ok: bool,
    pub(super) error: Option<String>,
    /// In its own words.
    pub(super) result: Option<String>,
    pub(super) duration_ms: u64,
}

/// Asks every loaded plugin that declares `health`, or just `only`, all at once.
pub(super) fn ask(
    config: Option<&Path>,
    reader: &Reader,
    only: Option<&str>,
) -> Result<BTreeMap<String, Health>, CliError> {
    let loaded = active::load(&config::find(config)?, &Variables::process())?;
    for warning in &loaded.warnings {
        output::message(format_args!("warning: {warning}"));
    }
    let active = loaded.active;
    // Plugins are run by the owner of the state dir, as everywhere.
    StateDir::find(&active.registry.config().state_path)?;
    let calls = calls(&active, reader, only)?;
    runtime()?.block_on(async {
        let mut signals = Signals::install().map_err(DaemonError::Signals)?;
        let cancel = Cancel::default();
        let mut asked = JoinSet::new();
        for (plugin, call) in calls {
            let cancel = cancel.clone();
            asked.spawn(async move {
                let started = Instant::now();
                let attempt = plugin::run(&plugin, call, &cancel).await;
                (plugin.name().to_owned(), health(attempt, started))
            });
        }
        let mut answers = BTreeMap::new();
        while !asked.is_empty() {
            tokio::select! {
                Some(answer) = asked.join_next() => {
                    let (plugin, health) = answer.map_err(|panic| Error::Panicked(panic.to_string()))?;
                    answers.insert(plugin, health);
                }
                () = signals.stop_requested() => cancel.terminate.cancel(),
            }
        }
        Ok(answers)
    })
}

fn calls(active: &Active, reader: &Reader, only: Option<&str>) -> Result<Vec<(Arc<plugin::Plugin>, Call)>, CliError> {
    let instance = publish::service(reader)?.instance;
    let mut calls = Vec::new();
    for entry in active.registry.entries().filter(|entry| only.is_none_or(|only| only == entry.name)) {
        let Some(plugin) = active.registry.runnable(&entry.name) else { continue };
        if !plugin.manifest.declares(&Command::Health) {
            continue;
        }
        let state = plugin_state::read(reader, &entry.name)?;
        let state = serde_json::from_str(&state).map_err(|error| {
            CliError::Failed(format!("the stored state of plugin `{}` is not JSON: {error}", entry.name))
        })?;
        let (job_id, now) = (Uuid::now_v7(), Clock::System.now());
        calls
            .push((Arc::clone(plugin), Call { job_id, instance, command: Command::Health, state, payload: None, now }));
    }
    Ok(calls)
}

fn health(attempt: Attempt, started: Instant) -> Health {
    let error = match attempt.outcome {
        Outcome::Succeeded(_) => None,
        Outcome::Failed { error, .. } | Outcome::TimedOut { error } => Some(error),
        Outcome::Interrupted => Some("interrupted".to_owned()),
    };
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Health { ok: error.is_none(), error, result: attempt.result, duration_ms }
}
