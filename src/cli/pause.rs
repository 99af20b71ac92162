//! `ductile pause` and `ductile resume`.

use std::path::Path;
use std::process::ExitCode;

use rusqlite::Connection;

use super::change::{Changed, Said, change};
use super::error::CliError;
use super::output;
use super::plugins::configured;
use crate::clock::Clock;
use crate::queue::{self, Pauses};
use crate::state::{Error, Tx, publish};

#[derive(Debug, clap::Args)]
#[command(after_help = "What is paused goes on to be enqueued: webhooks are accepted, and scheduled jobs \
wait, as many as may be outstanding. A job that runs goes on to its end. The pause outlives restarts.

Examples:
  ductile pause backup     no job of this plugin is started
  ductile pause            no job at all is started
  ductile resume           goes on, but for plugins that are paused by themselves")]
pub(super) struct Args {
    /// The plugin; the whole queue without one
    plugin: Option<String>,
}

pub(super) fn pause(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    Ok(pause_now(args.plugin, config)?.print()?)
}

pub(super) fn resume(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    Ok(resume_now(args.plugin, config)?.print()?)
}

/// Starts no more jobs of a plugin, or none at all.
pub(super) fn pause_now(plugin: Option<String>, config: Option<&Path>) -> Result<Said, CliError> {
    let name = plugin.clone();
    let Changed { outcome: (known, paused), told } = change(config, move |tx: &Tx<'_>| {
        let known = publish::all_plugins(tx)?;
        let unknown = name.as_ref().is_some_and(|name| configured(&known, name).is_err());
        let paused = !unknown && queue::pause(tx, name.as_deref(), Clock::System.now())?;
        Ok((known, paused))
    })?;
    if let Some(name) = &plugin {
        configured(&known, name)?;
    }
    let what = subject(plugin.as_deref());
    Ok(told.said(if paused { format!("{what} is paused") } else { format!("{what} was paused already") }))
}

/// Goes on with what was paused.
pub(super) fn resume_now(plugin: Option<String>, config: Option<&Path>) -> Result<Said, CliError> {
    let name = plugin.clone();
    let Changed { outcome: (known, resumed, pauses), told } = change(config, move |tx: &Tx<'_>| {
        let resumed = queue::resume(tx, name.as_deref())?;
        Ok((publish::all_plugins(tx)?, resumed, queue::pauses(tx)?))
    })?;
    let what = subject(plugin.as_deref());
    let result = if resumed {
        // Also one that is not configured any more.
        format!("{what} goes on")
    } else {
        if let Some(name) = &plugin {
            configured(&known, name)?;
        }
        format!("{what} was not paused")
    };
    Ok(still(&pauses).into_iter().fold(told.said(result), Said::note))
}

/// Says on stderr what is paused, if anything is.
pub(super) fn tell_of(pauses: &Pauses) {
    still(pauses).iter().for_each(output::message);
}

/// What is paused, a line each.
fn still(pauses: &Pauses) -> Vec<String> {
    let queue = pauses.queue.map(|_| "the queue is paused: `ductile resume` goes on".to_owned());
    let names: Vec<_> = pauses.plugins.keys().map(String::as_str).collect();
    let plugins = (!names.is_empty()).then(|| format!("paused: {}; `ductile resume PLUGIN` goes on", names.join(", ")));
    queue.into_iter().chain(plugins).collect()
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
