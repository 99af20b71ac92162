//! What is active: one configuration with its plugins, in the shape in which the running parts use it.
//!
//! It never changes; a reload replaces the whole of it, and a job keeps the one it was claimed under.

mod changes;
mod load;

use std::collections::BTreeSet;

use crate::command::Command;
use crate::config::{Endpoint, Route};
use crate::plugin::Registry;
use crate::queue::{Limits, Retention};
use crate::scheduler::{Plan, Plans};
use crate::state::publish::Published;

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
                let schedule = settings.get(&entry.name).and_then(|settings| settings.schedule.as_ref());
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
                    schedule_every_ms: schedule.map(|schedule| schedule.every.as_millis() as u64),
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
        if let Some(schedule) = settings.schedule.clone().filter(|_| declares(&Command::Poll)) {
            let plan = Plan {
                schedule,
                max_outstanding_polls: settings.max_outstanding_polls,
                max_attempts: settings.retry.max_attempts,
                circuit_breaker: settings.circuit_breaker,
            };
            plans.polls.insert(name.clone(), plan);
        }
    }
    plans
}
