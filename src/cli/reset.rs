//! `ductile reset`.

use std::path::Path;
use std::process::ExitCode;

use super::change::change;
use super::error::CliError;
use super::output;
use super::pause::{not_configured, unknown_plugin};
use crate::scheduler::{self, BreakerState};
use crate::state::Tx;

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
    let before = change(config, move |tx: &Tx<'_>| {
        Ok(match unknown_plugin(tx, Some(&name))? {
            Some(names) => Err(names),
            None => Ok(scheduler::reset_breaker(tx, &name)?),
        })
    })?;
    let plugin = format!("plugin `{}`", args.plugin);
    let before = before.outcome.map_err(|names| not_configured(&plugin, &names))?;
    let was = match (before.state(), before.opened_at) {
        (BreakerState::Closed, _) | (_, None) => format!("was closed already, after {} failures", before.failures),
        (_, Some(since)) => format!("was open since {}", output::local(since)),
    };
    output::line(&format!("the circuit breaker of {plugin} is closed; it {was}"))?;
    Ok(ExitCode::SUCCESS)
}
