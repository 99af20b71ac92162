//! `ductile start`.

use std::path::Path;
use std::process::ExitCode;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::error::CliError;
use super::runtime;
use crate::active;
use crate::clock::Clock;
use crate::config::{self, Variables};
use crate::daemon::{Daemon, DaemonError, Signals};
use crate::log;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn start(_: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    runtime()?.block_on(async {
        let signals = Signals::install().map_err(DaemonError::Signals)?;
        let loaded = active::load(&config::find(config)?, &Variables::process())?;
        let service = &loaded.active.registry.config().service;
        let _flushed_at_the_end = log::start(service.log_level, service.log_format);
        loaded.log();
        let daemon =
            Daemon { active: loaded.active, clock: Clock::System, rng: StdRng::from_rng(&mut rand::rng()), signals };
        daemon.run().await?;
        Ok(ExitCode::SUCCESS)
    })
}
