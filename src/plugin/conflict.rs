//! Where a configuration and its plugins' manifests contradict each other. Reading either is not its business.

use super::loaded::Plugin;
use super::registry::Registry;
use crate::command::Command;
use crate::config::{NamedSchedule, hint};

/// An error in the configuration that only the manifests bring to light.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where in `config.yaml`, from the top.
    pub path: Vec<PathPart>,
    pub message: String,
}

/// One step into a YAML tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    Key(String),
    /// From zero.
    Index(usize),
}

/// Schedules need their command; routes and webhooks need `handle`; a timeout is for one of the four or a declared command.
/// A plugin that is not loaded contradicts nothing.
pub(crate) fn find(registry: &Registry) -> Vec<Conflict> {
    let config = registry.config();
    let polled = config.plugins.iter().filter(|(_, settings)| settings.schedule.is_some()).filter_map(|(name, _)| {
        let message = format!("plugin `{name}` has a schedule, but its manifest does not declare `poll`");
        lacks(registry, name, &Command::Poll).then(|| Conflict { path: path(["plugins", name, "schedule"]), message })
    });
    let schedules = config.plugins.iter().flat_map(|(name, settings)| {
        settings.schedules.iter().enumerate().map(move |(index, schedule)| (name, index, schedule))
    });
    let scheduled = schedules.filter_map(|(name, index, NamedSchedule { id, command, .. })| {
        let message =
            format!("schedule `{id}` asks plugin `{name}` for `{command}`, which its manifest does not declare");
        let path = || [path(["plugins", name, "schedules"]), vec![PathPart::Index(index)]].concat();
        lacks(registry, name, command).then(|| Conflict { path: path(), message })
    });
    let routed = config.routes.iter().enumerate().filter_map(|(index, route)| {
        let message = format!("a route leads to plugin `{}`, but its manifest does not declare `handle`", route.to);
        let path = || vec![key("routes"), PathPart::Index(index), key("to")];
        lacks(registry, &route.to, &Command::Handle).then(|| Conflict { path: path(), message })
    });
    let endpoints = config.webhooks.iter().flat_map(|webhooks| &webhooks.endpoints).enumerate();
    let posted = endpoints.filter_map(|(index, endpoint)| {
        let message = format!(
            "webhook `{}` is for plugin `{}`, but its manifest does not declare `handle`",
            endpoint.path, endpoint.plugin
        );
        let path = || vec![key("webhooks"), key("endpoints"), PathPart::Index(index), key("plugin")];
        lacks(registry, &endpoint.plugin, &Command::Handle).then(|| Conflict { path: path(), message })
    });
    let timed = config.plugins.iter().flat_map(|(name, settings)| {
        let commands = settings.timeouts.named.keys().filter(|command| lacks(registry, name, command));
        commands.map(move |command| {
            let declared = loaded(registry, name).map(|plugin| plugin.manifest.commands.as_slice()).unwrap_or_default();
            let declared: Vec<_> = declared.iter().map(|declared| declared.command.as_str()).collect();
            let hint = hint(command.as_str(), &declared, "it declares");
            let message = format!(
                "plugin `{name}` has a timeout for `{command}`, but its manifest does not declare that command{hint}"
            );
            Conflict { path: path(["plugins", name, "timeouts", command.as_str()]), message }
        })
    });
    polled.chain(scheduled).chain(routed).chain(posted).chain(timed).collect()
}

fn lacks(registry: &Registry, name: &str, command: &Command) -> bool {
    loaded(registry, name).is_some_and(|plugin| !plugin.manifest.declares(command))
}

fn loaded<'a>(registry: &'a Registry, name: &str) -> Option<&'a Plugin> {
    registry.get(name)?.loaded.as_deref().ok()
}

fn path<const N: usize>(keys: [&str; N]) -> Vec<PathPart> {
    keys.map(key).into()
}

fn key(name: &str) -> PathPart {
    PathPart::Key(name.to_owned())
}
