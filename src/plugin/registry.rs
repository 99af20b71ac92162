//! Every plugin of one configuration: what was found, what may run, and why not.
//!
//! A registry never changes; a reload builds another one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;

use super::conflict::{self, Conflict};
use super::environment::{self, Environment};
use super::loaded::{LoadError, Plugin};
use super::protocol::Protocol;
use super::root::Roots;
use crate::command::Command;
use crate::config::{Config, NamedSchedule, PluginConfig};

#[cfg(test)]
mod tests;

/// What one configuration makes of its plugin roots.
#[derive(Debug)]
pub struct Registry {
    config: Arc<Config>,
    entries: BTreeMap<String, Entry>,
    warnings: Vec<String>,
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
        let roots = Roots::read(&config.plugin_roots);
        let names: BTreeSet<&String> = config.plugins.keys().chain(roots.names()).collect();
        let entries = names.into_iter().map(|name| (name.clone(), entry(&config, name, &inherited, &roots))).collect();
        Self { entries, warnings: roots.warnings(), config }
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// All of them, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// What is odd about the roots themselves.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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

fn entry(config: &Config, name: &str, inherited: &Environment, roots: &Roots) -> Entry {
    let settings = config.plugins.get(name);
    let mut warnings = Vec::new();
    Entry {
        name: name.to_owned(),
        configured: settings.is_some(),
        enabled: settings.is_some_and(|settings| settings.enabled),
        loaded: load(name, settings, inherited, roots, &mut warnings).map(Arc::new),
        warnings,
    }
}

fn load(
    name: &str,
    settings: Option<&PluginConfig>,
    inherited: &Environment,
    roots: &Roots,
    warnings: &mut Vec<String>,
) -> Result<Plugin, LoadError> {
    let settings = settings.cloned().unwrap_or_else(|| PluginConfig { enabled: false, ..PluginConfig::default() });
    let folder = settings.uses.as_deref().unwrap_or(name);
    let found = roots.find(folder)?;
    let root = found.root;
    for shadowed in found.shadowed {
        let (used, unused) = (root.join(folder), shadowed.join(folder));
        warnings.push(format!("`{}` is not used: `{}` comes first", unused.display(), used.display()));
    }
    if folder != name && roots.names().any(|on_disk| on_disk == name) {
        warnings.push(format!("it is `{folder}`, as `uses` says, and not the plugin in the folder `{name}`"));
    }
    let environment = environment::of_plugin(inherited, &settings.env);
    let plugin = Plugin::load(root, name, settings, environment, warnings)?;
    if plugin.manifest.protocol == Protocol::One {
        warnings.extend(unseen_payloads(&plugin.settings));
    }
    Ok(plugin)
}

/// Of schedules whose payload a plugin of protocol 1 does not get: it has a place for events only.
fn unseen_payloads(settings: &PluginConfig) -> impl Iterator<Item = String> {
    let unseen = |schedule: &&NamedSchedule| schedule.command != Command::Handle && !schedule.payload.is_empty();
    settings.schedules.iter().filter(unseen).map(|NamedSchedule { id, command, .. }| {
        format!("it does not see the `payload` of its schedule `{id}`: in protocol 1 only `handle` gets one, not `{command}`")
    })
}
