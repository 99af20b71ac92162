//! Every plugin of one configuration: what was found, what may run, and why not.
//!
//! A registry never changes; a reload builds another one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::conflict::{self, Conflict};
use super::environment::{self, Environment};
use super::loaded::{LoadError, Plugin};
use super::trust::MANIFEST;
use crate::config::{Config, PluginConfig};

#[cfg(test)]
mod tests;

/// What one configuration makes of `plugins_dir`.
#[derive(Debug)]
pub struct Registry {
    config: Arc<Config>,
    entries: BTreeMap<String, Entry>,
}

/// A plugin that is in the configuration, on disk, or both.
#[derive(Debug)]
pub struct Entry {
    pub name: String,
    /// Whether the configuration has `plugins.<name>`.
    pub configured: bool,
    /// Never true when not configured.
    pub enabled: bool,
    pub loaded: Result<Arc<Plugin>, LoadError>,
    /// What is odd about its manifest or settings and does not keep it from running.
    pub warnings: Vec<String>,
}

impl Registry {
    /// Looks at the file system, and at the environment that plugins may inherit. What fails, fails per entry.
    pub fn discover(config: Arc<Config>) -> Self {
        Self::discover_in(config, std::env::vars_os())
    }

    /// [`Registry::discover`] with the daemon's environment given.
    pub(crate) fn discover_in(config: Arc<Config>, process: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let inherited = environment::allowed(process);
        let found = names_on_disk(&config.plugins_dir);
        let names: BTreeSet<&String> = config.plugins.keys().chain(found.iter().flatten()).collect();
        let unreadable = found.as_ref().err();
        let entries =
            names.into_iter().map(|name| (name.clone(), entry(&config, name, &inherited, unreadable))).collect();
        Self { entries, config }
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// All of them, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The plugin, if it is configured, enabled and loaded.
    pub fn runnable(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.get(name).filter(|entry| entry.enabled)?.loaded.as_ref().ok()
    }

    /// What the configuration asks of plugins that their manifests do not offer.
    pub fn conflicts(&self) -> Vec<Conflict> {
        conflict::find(self)
    }
}

fn entry(config: &Config, name: &str, inherited: &Environment, unreadable: Option<&io::Error>) -> Entry {
    let settings = config.plugins.get(name);
    let mut warnings = Vec::new();
    let loaded = match unreadable {
        Some(error) => Err(LoadError::PluginsDir { path: config.plugins_dir.clone(), reason: error.to_string() }),
        None => {
            let settings =
                settings.cloned().unwrap_or_else(|| PluginConfig { enabled: false, ..PluginConfig::default() });
            let environment = environment::of_plugin(inherited, &settings.env);
            Plugin::load(&config.plugins_dir, name, settings, environment, &mut warnings).map(Arc::new)
        }
    };
    Entry {
        name: name.to_owned(),
        configured: settings.is_some(),
        enabled: settings.is_some_and(|settings| settings.enabled),
        loaded,
        warnings,
    }
}

/// The sub-folders with a manifest. A name that is not UTF-8 is shown as well as can be: no manifest can match it.
fn names_on_disk(plugins_dir: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(plugins_dir)? {
        let entry = entry?;
        if entry.path().join(MANIFEST).symlink_metadata().is_ok() {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}
