//! `ductile start`.

use std::path::Path;
use std::process::ExitCode;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::check::load_active;
use super::error::CliError;
use super::runtime;
use crate::clock::Clock;
use crate::config::Variables;
use crate::daemon::{Daemon, DaemonError, Signals};
use crate::log;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn start(_: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    runtime()?.block_on(async {
        let signals = Signals::install().map_err(DaemonError::Signals)?;
        let loaded = load_active(config, &Variables::process())?;
        let service = &loaded.active.registry.config().service;
        let _flushed_at_the_end = log::start(service.log_level, service.log_format);
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        for failure in &loaded.failures {
            tracing::error!(plugin = failure.plugin, reason = failure.reason, "plugin is not loaded");
        }
        let daemon =
            Daemon { active: loaded.active, clock: Clock::System, rng: StdRng::from_rng(&mut rand::rng()), signals };
        daemon.run().await?;
        Ok(ExitCode::SUCCESS)
    })
}
