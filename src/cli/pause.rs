//! `ductile pause` and `ductile resume`.

use std::path::Path;
use std::process::ExitCode;

use rusqlite::Connection;

use super::change::change;
use super::error::CliError;
use super::output;
use super::plugins::configured;
use crate::clock::Clock;
use crate::queue::{self, Pauses};
use crate::state::{Error, Tx, publish};

#[derive(Debug, clap::Args)]
#[command(after_help = "What is paused goes on to be enqueued: webhooks are accepted, and polls wait, as many as \
may be outstanding. A job that runs goes on to its end. The pause outlives restarts.

Examples:
  ductile pause backup     no job of this plugin is started
  ductile pause            no job at all is started
  ductile resume           goes on, but for plugins that are paused by themselves")]
pub(super) struct Args {
    /// The plugin; the whole queue without one
    plugin: Option<String>,
}

pub(super) fn pause(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let plugin = args.plugin.clone();
    let changed = change(config, move |tx: &Tx<'_>| {
        let known = publish::all_plugins(tx)?;
        let unknown = plugin.as_ref().is_some_and(|name| configured(&known, name).is_err());
        let paused = !unknown && queue::pause(tx, plugin.as_deref(), Clock::System.now())?;
        Ok((known, paused))
    })?;
    let (known, paused) = changed.outcome;
    if let Some(name) = &args.plugin {
        configured(&known, name)?;
    }
    let what = subject(args.plugin.as_deref());
    output::line(&if paused { format!("{what} is paused") } else { format!("{what} was paused already") })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let plugin = args.plugin.clone();
    let changed = change(config, move |tx: &Tx<'_>| {
        let resumed = queue::resume(tx, plugin.as_deref())?;
        Ok((publish::all_plugins(tx)?, resumed, queue::pauses(tx)?))
    })?;
    let (known, resumed, pauses) = changed.outcome;
    let what = subject(args.plugin.as_deref());
    if resumed {
        // Also one that is not configured any more.
        output::line(&format!("{what} goes on"))?;
    } else {
        if let Some(name) = &args.plugin {
            configured(&known, name)?;
        }
        output::line(&format!("{what} was not paused"))?;
    }
    tell_of(&pauses);
    Ok(ExitCode::SUCCESS)
}

/// Says on stderr what is paused, if anything is.
pub(super) fn tell_of(pauses: &Pauses) {
    if pauses.queue.is_some() {
        output::message("the queue is paused: `ductile resume` goes on");
    }
    if !pauses.plugins.is_empty() {
        let names: Vec<_> = pauses.plugins.keys().map(String::as_str).collect();
        output::message(format_args!("paused: {}; `ductile resume PLUGIN` goes on", names.join(", ")));
    }
}

fn subject(plugin: Option<&str>) -> String {
    plugin.map_or_else(|| "the queue".to_owned(), |name| format!("plugin `{name}`"))
}

/// What keeps the jobs of a plugin waiting, for a person; `None` when nothing is paused.
pub(super) fn paused(connection: &Connection, plugin: &str) -> Result<Option<String>, Error> {
    let pauses = queue::pauses(connection)?;
    let paused = |what: &str, since, resume: &str| {
        format!("{what} is paused since {}; to go on: `{resume}`", output::local(since))
    };
    Ok(match (pauses.queue, pauses.plugins.get(plugin)) {
        (Some(since), _) => Some(paused("the queue", since, "ductile resume")),
        (None, Some(since)) => Some(paused(&format!("plugin `{plugin}`"), *since, &format!("ductile resume {plugin}"))),
        (None, None) => None,
    })
}
