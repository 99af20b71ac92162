//! `ductile reset`.

use std::path::Path;
use std::process::ExitCode;

use super::change::change;
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
    let name = args.plugin.clone();
    let changed = change(config, move |tx: &Tx<'_>| {
        let known = publish::all_plugins(tx)?;
        let before = configured(&known, &name).ok().map(|_| scheduler::reset_breaker(tx, &name)).transpose()?;
        Ok((known, before.unwrap_or_default()))
    })?;
    let (known, before) = changed.outcome;
    configured(&known, &args.plugin)?;
    let plugin = format!("plugin `{}`", args.plugin);
    let was = match (before.state(), before.opened_at) {
        (BreakerState::Closed, _) | (_, None) => format!("was closed already, after {} failures", before.failures),
        (_, Some(since)) => format!("was open since {}", output::local(since)),
    };
    output::line(&format!("the circuit breaker of {plugin} is closed; it {was}"))?;
    Ok(ExitCode::SUCCESS)
}
