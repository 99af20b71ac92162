//! `ductile check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::error::CliError;
use super::output;
use crate::active::{self, LoadedActive};
use crate::config::{self, Variables};

#[derive(Debug, clap::Args)]
#[command(after_help = "Prints every problem with its file, line and column. \
Exit codes: 0 all is well, 1 a plugin cannot be loaded, 78 the configuration is wrong.")]
pub(super) struct Args {
    /// Take variables from this file, in the format of systemd's EnvironmentFile=, instead of the environment
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

pub(super) fn check(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let variables = match &args.env_file {
        Some(path) => Variables::from_env_file(path)?,
        None => Variables::process(),
    };
    let LoadedActive { active, warnings, failures } = active::load(&config::find(config)?, &variables)?;
    for warning in &warnings {
        output::message(format_args!("warning: {warning}"));
    }
    for failure in &failures {
        output::message(format_args!("error: plugin `{}` is not loaded: {}", failure.plugin, failure.reason));
    }
    if !failures.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let config = active.registry.config();
    let (plugins, routes) = (active.enabled().len(), config.routes.len());
    output::line(&format!("{} is valid; plugins enabled: {plugins}, routes: {routes}", config.path.display()))?;
    Ok(ExitCode::SUCCESS)
}
