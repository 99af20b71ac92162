//! `ductile check`, and the loading that `start` and `run` share with it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::error::CliError;
use super::output;
use crate::active::Active;
use crate::config::{self, ConfigError, ConfigPath, Loaded, Variables};
use crate::plugin::{PathPart, Registry};
use crate::router;

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
    let LoadedActive { active, warnings, failures } = load_active(config, &variables)?;
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

/// A configuration that may be used, with what its owner should know.
pub(super) struct LoadedActive {
    pub(super) active: Arc<Active>,
    pub(super) warnings: Vec<String>,
    pub(super) failures: Vec<Failure>,
}

/// A configured and enabled plugin that is not loaded.
pub(super) struct Failure {
    pub(super) plugin: String,
    pub(super) reason: String,
}

/// Reads the configuration, finds the plugins, and checks the one against the other.
pub(super) fn load_active(config: Option<&Path>, variables: &Variables) -> Result<LoadedActive, CliError> {
    let Loaded { config, source } = config::load(&config::find(config)?, variables)?;
    let cycle = |cycle: Vec<&str>| {
        let steps = cycle.join("` -> `");
        format!("`routes`: `{steps}` is a cycle; it ends after {} hops if its plugins do not end it", router::MAX_HOPS)
    };
    let mut warnings: Vec<String> = router::cycles(&config.routes).into_iter().map(cycle).collect();
    let registry = Registry::discover(Arc::new(config));
    let conflicts = registry.conflicts().into_iter();
    let problems: Vec<_> = conflicts
        .map(|conflict| source.problem(&config_path(conflict.path), config::At::Value, conflict.message))
        .collect();
    if !problems.is_empty() {
        return Err(ConfigError::invalid(problems).into());
    }
    let mut failures = Vec::new();
    for entry in registry.entries().filter(|entry| entry.enabled) {
        warnings.extend(entry.warnings.iter().map(|warning| format!("plugin `{}`: {warning}", entry.name)));
        if let Err(error) = &entry.loaded {
            failures.push(Failure { plugin: entry.name.clone(), reason: crate::log::chain(error) });
        }
    }
    Ok(LoadedActive { active: Arc::new(Active::new(registry)), warnings, failures })
}

fn config_path(parts: Vec<PathPart>) -> ConfigPath {
    parts.into_iter().fold(ConfigPath::root(), |path, part| match part {
        PathPart::Key(key) => path.key(key),
        PathPart::Index(index) => path.index(index),
    })
}
