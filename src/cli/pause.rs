//! `ductile pause` and `ductile resume`.

use std::path::Path;
use std::process::ExitCode;

use rusqlite::Connection;

use super::change::change;
use super::error::CliError;
use super::output;
use crate::clock::Clock;
use crate::queue;
use crate::state::{Error, Tx, publish};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is paused goes on to be enqueued: webhooks are accepted, and of each schedule one poll waits. \
A job that runs goes on to its end. The pause outlives restarts.

Examples:
  ductile pause backup     no job of this plugin is started
  ductile pause            no job at all is started
  ductile resume           goes on, but for plugins that are paused by themselves"
)]
pub(super) struct Args {
    /// The plugin; the whole queue without one
    plugin: Option<String>,
}

pub(super) fn pause(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let what = subject(args.plugin.as_deref());
    let paused = change(config, move |tx: &Tx<'_>| {
        Ok(match unknown_plugin(tx, args.plugin.as_deref())? {
            Some(names) => Err(names),
            None => Ok(queue::pause(tx, args.plugin.as_deref(), Clock::System.now())?),
        })
    })?;
    output::line(&match paused.outcome {
        Err(names) => return Err(not_configured(&what, &names)),
        Ok(true) => format!("{what} is paused"),
        Ok(false) => format!("{what} was paused already"),
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let what = subject(args.plugin.as_deref());
    // Also one that is not configured any more.
    let resumed = change(config, move |tx: &Tx<'_>| {
        let resumed = queue::resume(tx, args.plugin.as_deref())?;
        Ok((resumed, queue::pauses(tx)?, unknown_plugin(tx, args.plugin.as_deref())?))
    })?;
    let (resumed, pauses, unknown) = resumed.outcome;
    match (resumed, unknown) {
        (true, _) => output::line(&format!("{what} goes on"))?,
        (false, Some(names)) => return Err(not_configured(&what, &names)),
        (false, None) => output::line(&format!("{what} was not paused"))?,
    }
    if pauses.queue.is_some() {
        output::message("the whole queue is paused: `ductile resume`");
    } else if !pauses.plugins.is_empty() {
        let names: Vec<_> = pauses.plugins.keys().map(String::as_str).collect();
        output::message(format_args!("still paused: {}", names.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
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

/// The names of the configured plugins, if `plugin` is none of them.
pub(super) fn unknown_plugin(tx: &Tx<'_>, plugin: Option<&str>) -> Result<Option<Vec<String>>, Error> {
    let Some(name) = plugin else { return Ok(None) };
    let names: Vec<_> = publish::all_plugins(tx)?.into_iter().map(|plugin| plugin.name).collect();
    Ok((!names.iter().any(|known| known == name)).then_some(names))
}

pub(super) fn not_configured(what: &str, names: &[String]) -> CliError {
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    CliError::Usage(format!("{what} is not configured; configured are: {names}"))
}
