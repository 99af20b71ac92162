//! `ductile reset`.

use std::path::Path;
use std::process::ExitCode;

use super::change::{Changed, Said, change};
use super::error::CliError;
use super::output;
use super::plugins::configured;
use crate::scheduler::{self, BreakerState};
use crate::state::{Tx, publish};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Closes the circuit breaker: the plugin is polled again when its schedule says so. What has failed \
before, or is on the queue by now, does not count again."
)]
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
        Ok((known, before.and_then(scheduler::worst).map(|(_, breaker)| breaker).unwrap_or_default()))
    })?;
    configured(&known, &plugin)?;
    let was = match (before.state(), before.opened_at) {
        (BreakerState::Closed, _) | (_, None) => format!("was closed already, after {} failures", before.failures),
        (_, Some(since)) => format!("was open since {}", output::local(since)),
    };
    Ok(told.said(format!("the circuit breaker of plugin `{plugin}` is closed; it {was}")))
}
