//! What is different between two configurations, in words for an operator.

use std::path::PathBuf;

use super::Active;
use crate::plugin::Entry;

/// One line for each thing that has changed; empty when nothing has.
pub fn changes(old: &Active, new: &Active) -> Vec<String> {
    let mut changes = Vec::new();
    let (old_config, new_config) = (old.registry.config(), new.registry.config());
    let names = old_config.plugins.keys().chain(new_config.plugins.keys());
    for name in names.collect::<std::collections::BTreeSet<_>>() {
        if let Some(change) = plugin(old, new, name) {
            changes.push(format!("plugin `{name}`: {change}"));
        }
    }
    let sections = [
        ("service", old_config.service != new_config.service),
        ("plugin roots", old_config.plugin_roots != new_config.plugin_roots),
        ("routes", old_config.routes != new_config.routes),
        ("webhooks", old_config.webhooks != new_config.webhooks),
        ("metrics", old_config.metrics != new_config.metrics),
    ];
    changes.extend(sections.iter().filter(|(_, changed)| *changed).map(|(section, _)| format!("{section}: changed")));
    changes
}

fn plugin(old: &Active, new: &Active, name: &str) -> Option<String> {
    let settings = |active: &Active| active.registry.config().plugins.get(name).cloned();
    let (before, after) = match (settings(old), settings(new)) {
        (None, None) => return None,
        (None, Some(_)) => return Some(loaded("added", new, name)),
        (Some(_), None) => return Some("removed".to_owned()),
        (Some(before), Some(after)) => (before, after),
    };
    match (before.enabled, after.enabled) {
        (true, false) => return Some("disabled".to_owned()),
        (false, true) => return Some(loaded("enabled", new, name)),
        (false, false) => return (before != after).then(|| "changed, disabled".to_owned()),
        (true, true) => {}
    }
    let state = |active: &Active| active.registry.get(name).map(state_of);
    (before != after || state(old) != state(new)).then(|| loaded("changed", new, name))
}

/// What of a plugin's files matters: where they are and its manifest, or why there is none to go by.
fn state_of(entry: &Entry) -> Result<(PathBuf, String), String> {
    let plugin = entry.loaded.as_ref().map_err(ToString::to_string)?;
    Ok((plugin.folder(), plugin.fingerprint().to_owned()))
}

fn loaded(change: &str, active: &Active, name: &str) -> String {
    match active.registry.get(name).map(|entry| &entry.loaded) {
        Some(Err(error)) => format!("{change}, not loaded: {}", crate::log::chain(error)),
        _ => change.to_owned(),
    }
}
