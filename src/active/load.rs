//! From a configuration file to what may be used, or to everything that is wrong with it.

use std::path::Path;

use super::Active;
use crate::config::{self, ConfigError, ConfigPath, Loaded, Variables};
use crate::plugin::{PathPart, Registry};
use crate::router;
use std::sync::Arc;

/// A configuration that may be used, with what its owner should know.
#[derive(Debug)]
pub struct LoadedActive {
    pub active: Arc<Active>,
    pub warnings: Vec<String>,
    pub failures: Vec<Failure>,
}

/// A configured and enabled plugin that is not loaded.
#[derive(Debug)]
pub struct Failure {
    pub plugin: String,
    pub reason: String,
}

/// Reads the configuration, finds the plugins, and checks the one against the other.
///
/// # Errors
/// All problems of the configuration at once. That a plugin cannot be loaded is none: it is in `failures`.
pub fn load(path: &Path, variables: &Variables) -> Result<LoadedActive, ConfigError> {
    let Loaded { config, source } = config::load(path, variables)?;
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
        return Err(ConfigError::invalid(problems));
    }
    warnings.extend(registry.warnings().iter().cloned());
    let mut failures = Vec::new();
    for entry in registry.entries().filter(|entry| entry.enabled) {
        warnings.extend(entry.warnings.iter().map(|warning| format!("plugin `{}`: {warning}", entry.name)));
        if let Err(error) = &entry.loaded {
            failures.push(Failure { plugin: entry.name.clone(), reason: crate::log::chain(error) });
        }
    }
    Ok(LoadedActive { active: Arc::new(Active::new(registry)), warnings, failures })
}

impl LoadedActive {
    /// Logs what its owner should know.
    pub fn log(&self) {
        for warning in &self.warnings {
            tracing::warn!(warning, "the configuration has something odd");
        }
        for failure in &self.failures {
            tracing::error!(plugin = failure.plugin, reason = failure.reason, "plugin is not loaded");
        }
    }
}

fn config_path(parts: Vec<PathPart>) -> ConfigPath {
    parts.into_iter().fold(ConfigPath::root(), |path, part| match part {
        PathPart::Key(key) => path.key(key),
        PathPart::Index(index) => path.index(index),
    })
}
