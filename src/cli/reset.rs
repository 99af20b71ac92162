//! `ductile reset`.

use std::path::Path;
use std::process::ExitCode;

use super::change::{Changed, Said, change};
use super::error::CliError;
use super::output;
use super::plugins::configured;
use crate::scheduler;
use crate::state::{Tx, publish};

#[derive(Debug, clap::Args)]
#[command(after_help = "Closes the circuit breaker: the plugin's jobs are scheduled again. What has failed \
before, or is on the queue by now, does not count again.")]
pub(super) struct Args {
    /// The plugin
    plugin: String,
}

pub(super) fn reset(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    Ok(reset_now(args.plugin, config)?.print()?)
}

/// Closes the circuit breaker of a plugin.
pub(super) fn reset_now(plugin: String, config: Option<&Path>) -> Result<Said, CliError> {
    let name = plugin.clone();
    let Changed { outcome: (known, before), told } = change(config, move |tx: &Tx<'_>| {
        let known = publish::all_plugins(tx)?;
        let before = configured(&known, &name).ok().map(|_| scheduler::reset_breakers(tx, &name)).transpose()?;
        Ok((known, before.unwrap_or_default()))
    })?;
    configured(&known, &plugin)?;
    let open = before.iter().filter_map(|(command, breaker)| Some((command, breaker.opened_at?)));
    let open: Vec<_> = open.map(|(command, since)| format!("for `{command}` since {}", output::local(since))).collect();
    let was = if open.is_empty() {
        let failures = before.iter().map(|(_, breaker)| breaker.failures).max().unwrap_or_default();
        format!("was closed already, after {failures} failures")
    } else {
        format!("was open {}", open.join(", "))
    };
    Ok(told.said(format!("the circuit breaker of plugin `{plugin}` is closed; it {was}")))
}
