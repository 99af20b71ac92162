//! What is active: one configuration with its plugins, in the shape in which the running parts use it.
//!
//! It never changes; a reload replaces the whole of it, and a job keeps the one it was claimed under.

mod changes;
mod load;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::to_raw_value;

use crate::command::Command;
use crate::config::{Endpoint, NamedSchedule, PluginConfig, Route};
use crate::plugin::Registry;
use crate::queue::{Limits, Retention};
use crate::scheduler::{Plan, Plans};
use crate::state::publish::{Published, Scheduled};

pub use changes::changes;
pub use load::{Failure, LoadedActive, load};

/// One configuration with its plugins.
#[derive(Debug)]
pub struct Active {
    pub registry: Registry,
    pub plans: Plans,
    pub limits: Limits,
    pub retention: Retention,
}

impl Active {
    /// From the plugins that were found for a configuration.
    pub fn new(registry: Registry) -> Self {
        let service = &registry.config().service;
        let limits = Limits { dedupe_ttl: service.dedupe_ttl, max_queue_depth: service.max_queue_depth };
        let retention = Retention {
            job_log: service.job_log_retention,
            job_queue: service.job_queue_retention,
            facts: service.fact_retention,
        };
        let plans = plans(&registry);
        Self { registry, plans, limits, retention }
    }

    /// Whether a job of this plugin may be claimed.
    pub fn may_run(&self, plugin: &str) -> bool {
        self.registry.runnable(plugin).is_some()
    }

    /// The attempts that a job of this plugin gets; 1 for one that is not configured, whose jobs never run anyway.
    pub fn max_attempts(&self, plugin: &str) -> u32 {
        self.registry.config().plugins.get(plugin).map_or(1, |plugin| plugin.retry.max_attempts)
    }

    /// The routes whose target is enabled: a disabled plugin gets no new jobs.
    pub fn routes(&self) -> impl Iterator<Item = &Route> + Clone {
        let config = self.registry.config();
        config.routes.iter().filter(|route| self.is_enabled(&route.to))
    }

    /// The endpoint with this path, if its plugin is enabled.
    pub fn endpoint(&self, path: &str) -> Option<&Endpoint> {
        let config = self.registry.config();
        let endpoint = config.webhooks.as_ref()?.endpoints.iter().find(|endpoint| endpoint.path == path)?;
        self.is_enabled(&endpoint.plugin).then_some(endpoint)
    }

    /// Whether new jobs of this plugin are taken.
    pub fn is_enabled(&self, plugin: &str) -> bool {
        self.absent(plugin).is_none()
    }

    /// Why jobs of this plugin are not kept; `None` when they are.
    pub fn absent(&self, plugin: &str) -> Option<String> {
        let state = match self.registry.config().plugins.get(plugin) {
            Some(plugin) if plugin.enabled => return None,
            Some(_) => "disabled",
            None => "not configured any more",
        };
        Some(format!("plugin `{plugin}` is {state}"))
    }

    /// The plugins whose jobs are kept, loaded or not.
    pub fn enabled(&self) -> BTreeSet<&str> {
        let plugins = self.registry.config().plugins.iter();
        plugins.filter(|(_, plugin)| plugin.enabled).map(|(name, _)| name.as_str()).collect()
    }

    /// What other commands are told of the plugins.
    pub fn published(&self) -> Vec<Published> {
        let settings = &self.registry.config().plugins;
        self.registry
            .entries()
            .filter(|entry| entry.configured)
            .map(|entry| {
                let plugin = entry.loaded.as_ref().ok();
                let settings = settings.get(&entry.name);
                let schedules: Vec<_> =
                    settings.into_iter().flat_map(PluginConfig::all_schedules).map(published).collect();
                Published {
                    name: entry.name.clone(),
                    enabled: entry.enabled,
                    loaded: plugin.is_some(),
                    error: entry.loaded.as_ref().err().map(ToString::to_string),
                    version: plugin.and_then(|plugin| plugin.manifest.version.clone()),
                    protocol: plugin.map(|plugin| plugin.manifest.protocol.number()),
                    commands: plugin
                        .map(|plugin| {
                            plugin.manifest.commands.iter().map(|declared| declared.command.to_string()).collect()
                        })
                        .unwrap_or_default(),
                    max_attempts: self.max_attempts(&entry.name),
                    schedule_every_ms: schedules.iter().map(|schedule| schedule.every_ms).min(),
                    schedules,
                    uses: settings.and_then(|settings| settings.uses.clone()),
                    folder: plugin.map(|plugin| plugin.folder().display().to_string()),
                    warnings: entry.warnings.clone(),
                    manifest: plugin.map(|plugin| {
                        serde_json::to_string(&plugin.manifest).expect("texts and JSON can be written as JSON")
                    }),
                }
            })
            .collect()
    }
}

fn plans(registry: &Registry) -> Plans {
    let mut plans = Plans::default();
    for (name, settings) in &registry.config().plugins {
        let Some(plugin) = registry.runnable(name) else { continue };
        let declares = |command: &Command| plugin.manifest.declares(command);
        plans.inits.insert(name.clone(), declares(&Command::Init).then(|| plugin.fingerprint().to_owned()));
        let declared = settings.all_schedules().filter(|schedule| declares(&schedule.command));
        let schedules: BTreeMap<_, _> =
            declared.map(|schedule| (schedule.id.clone(), plan(schedule, settings))).collect();
        if !schedules.is_empty() {
            plans.schedules.insert(name.clone(), schedules);
        }
    }
    plans
}

fn plan(NamedSchedule { command, schedule, payload, .. }: NamedSchedule, settings: &PluginConfig) -> Plan {
    let payload = (!payload.is_empty()).then(|| to_raw_value(&payload).expect("a JSON map can be written as JSON"));
    Plan {
        command,
        payload: payload.map(Into::into),
        schedule,
        max_outstanding: settings.max_outstanding_polls,
        max_attempts: settings.retry.max_attempts,
        circuit_breaker: settings.circuit_breaker,
    }
}

fn published(NamedSchedule { id, command, schedule, .. }: NamedSchedule) -> Scheduled {
    let every_ms = u64::try_from(schedule.every.as_millis()).unwrap_or(u64::MAX);
    Scheduled { id, command: command.to_string(), every_ms, next_run: None }
}
