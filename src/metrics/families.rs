//! Which families there are, what each is called, and where its numbers come from.

use std::collections::BTreeSet;
use std::time::Instant;

use super::text::{Kind, Text};
use crate::active::Active;
use crate::clock::{Clock, Timestamp};
use crate::command::Command;
use crate::counters::{AttemptEnd, CommandCounts, Counts, JobEnd, PluginCounts};
use crate::health::{QueueReading, Reading};
use crate::state::{Db, Error, Reader};
use crate::vitals::{Activity, Vitals};
use crate::{log, queue, scheduler};

const ATTEMPT_ENDS: [(AttemptEnd, &str); 3] =
    [(AttemptEnd::Succeeded, "succeeded"), (AttemptEnd::Failed, "failed"), (AttemptEnd::TimedOut, "timed_out")];
const JOB_ENDS: [(JobEnd, &str); 2] = [(JobEnd::Succeeded, "succeeded"), (JobEnd::Dead, "dead")];

/// What a delivery may be answered with. They are there from the beginning, since a series that begins with 1 has not risen.
const ANSWERS: [u16; 8] = [200, 202, 400, 403, 404, 405, 413, 503];

/// The label of requests to what is no endpoint: those begin with `/`.
const NO_ENDPOINT: &str = "other";

/// What the numbers come from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) db: &'a Db,
    pub(super) reader: &'a Reader,
    pub(super) active: &'a Active,
    pub(super) clock: &'a Clock,
    pub(super) vitals: &'a Vitals,
    pub(super) started_at: Timestamp,
}

/// What the database says of one enabled plugin.
struct PluginReading<'a> {
    name: &'a str,
    loaded: bool,
    paused: bool,
    unhealthy: bool,
    /// Of each command that it has a schedule for.
    breakers: Vec<(Command, scheduler::Breaker)>,
    last_success: Option<Timestamp>,
    next_runs: Vec<scheduler::NextRun>,
}

/// All families; those that the database is asked for are missing while it cannot be read.
pub(super) fn all(sources: &Sources<'_>, counts: &Counts) -> String {
    let Sources { db, reader, active, clock, vitals, .. } = *sources;
    let reading = Reading::take(db, reader, active, clock, vitals);
    let plugins = plugins(reader, active, clock.now());
    let mut text = Text::default();
    service(&mut text, sources, &reading, plugins.is_ok());
    writes(&mut text, db, &reading);
    if let Ok(queue) = &reading.queue {
        self::queue(&mut text, active, &reading, queue);
    }
    if let Ok(plugins) = &plugins {
        plugin_states(&mut text, plugins);
    }
    jobs(&mut text, active, counts);
    answers(&mut text, active, counts);
    text.into_string()
}

fn service(text: &mut Text, sources: &Sources<'_>, reading: &Reading, readable: bool) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.family("ductile_build_info", Kind::Gauge, "Always 1; the version that runs.").sample(&version, 1);
    text.gauge("ductile_start_time_seconds", "When the daemon was started.", seconds(sources.started_at));
    let healthy = readable && reading.troubles().is_empty();
    text.gauge("ductile_healthy", "1 while GET /healthz would answer 200, else 0.", u8::from(healthy));
    let ticked = sources.clock.now().before(Instant::now().saturating_duration_since(reading.signs.ticked));
    text.gauge("ductile_last_tick_timestamp_seconds", "When the scheduler looked at the clock last.", seconds(ticked));
    let interval = reading.tick_interval.as_secs_f64();
    text.gauge("ductile_tick_interval_seconds", "How often it does, as configured.", interval);
    let dropped = log::dropped_lines() as u64;
    text.counter("ductile_log_lines_dropped_total", "Log lines that were lost since nobody read them.", dropped);
}

fn writes(text: &mut Text, db: &Db, reading: &Reading) {
    let help = "How long write transactions took that changed something, the sync to disk included.";
    text.family("ductile_commit_duration_seconds", Kind::Histogram, help).histogram(&[], &db.commit_durations());
    let help = "Writes that failed for a reason that may pass; each try counts.";
    text.counter("ductile_write_failures_total", help, db.failed_writes());
    let failing = reading.writes.failed || reading.writes.retrying;
    let help = "1 while the last write has failed, or one that failed is kept to be tried again.";
    text.gauge("ductile_writes_failing", help, u8::from(failing));
}

fn queue(text: &mut Text, active: &Active, reading: &Reading, queue: &QueueReading) {
    text.gauge("ductile_queue_depth", "Jobs that are queued, those that wait for a retry included.", queue.depth);
    let limit = active.limits.max_queue_depth;
    text.gauge("ductile_queue_depth_limit", "How many may be, as configured.", limit);
    let waited = queue.due_for.map_or(0.0, |due_for| due_for.as_secs_f64());
    let help = "How long the first job that may run has been due; 0 when none is.";
    text.gauge("ductile_queue_oldest_wait_seconds", help, waited);
    text.gauge("ductile_queue_paused", "1 while the whole queue is paused.", u8::from(queue.paused));
    let running = matches!(reading.signs.dispatcher, Activity::Running { .. });
    text.gauge("ductile_jobs_running", "Jobs that run now: 0 or 1.", u8::from(running));
}

fn plugins<'a>(reader: &Reader, active: &'a Active, now: Timestamp) -> Result<Vec<PluginReading<'a>>, Error> {
    let pauses = queue::pauses(reader)?;
    let enabled = active.registry.entries().filter(|entry| entry.enabled);
    let read = |name: &'a str| {
        Ok(PluginReading {
            name,
            loaded: active.may_run(name),
            paused: pauses.plugins.contains_key(name),
            unhealthy: scheduler::unhealthy(reader, name)?.is_some(),
            breakers: scheduler::breakers_of(reader, name)?,
            last_success: queue::last_success(reader, name, now)?,
            next_runs: scheduler::next_runs_of(reader, name)?,
        })
    };
    enabled.map(|entry| read(&entry.name)).collect()
}

fn plugin_states(text: &mut Text, plugins: &[PluginReading<'_>]) {
    use scheduler::BreakerState::{Closed, HalfOpen, Open};
    let mut gauge = |name, help, value: &dyn Fn(&PluginReading<'_>) -> Option<f64>| {
        let mut family = text.family(name, Kind::Gauge, help);
        for plugin in plugins {
            if let Some(value) = value(plugin) {
                family.sample(&[("plugin", plugin.name)], value);
            }
        }
    };
    let flag = |is: bool| Some(f64::from(u8::from(is)));
    gauge("ductile_plugin_loaded", "1 when the enabled plugin is loaded.", &|plugin| flag(plugin.loaded));
    gauge("ductile_plugin_paused", "1 while an operator has paused the plugin.", &|plugin| flag(plugin.paused));
    gauge("ductile_plugin_unhealthy", "1 after the plugin's init has failed.", &|plugin| flag(plugin.unhealthy));
    gauge(
        "ductile_plugin_last_success_timestamp_seconds",
        "When the newest job of the plugin that succeeded did; missing when none is kept.",
        &|plugin| plugin.last_success.map(seconds),
    );
    let help = "When the schedule runs next.";
    let mut family = text.family("ductile_plugin_next_run_timestamp_seconds", Kind::Gauge, help);
    for plugin in plugins {
        for next in &plugin.next_runs {
            family.sample(&[("plugin", plugin.name), ("schedule", &next.schedule)], seconds(next.next_run));
        }
    }
    let help = "1 for the state that the circuit breaker of the plugin's scheduled command is in, 0 for the others.";
    let mut family = text.family("ductile_breaker_state", Kind::Gauge, help);
    for plugin in plugins {
        for (command, breaker) in &plugin.breakers {
            for (state, name) in [(Closed, "closed"), (Open, "open"), (HalfOpen, "half_open")] {
                let labels = [("plugin", plugin.name), ("command", command.as_str()), ("state", name)];
                family.sample(&labels, u8::from(state == breaker.state()));
            }
        }
    }
}

/// The counts of each enabled plugin, also when there are none yet.
fn jobs(text: &mut Text, active: &Active, counts: &Counts) {
    let none = (PluginCounts::default(), CommandCounts::default());
    let enabled = active.registry.entries().filter(|entry| entry.enabled).map(|entry| entry.name.as_str());
    let plugins: Vec<_> = enabled.map(|plugin| (plugin, counts.plugins.get(plugin).unwrap_or(&none.0))).collect();
    let commands: Vec<_> =
        plugins.iter().flat_map(|(plugin, counts)| commands(active, plugin, counts, &none.1)).collect();

    let help = "Jobs that ended with an attempt, or beyond the limit of hops.";
    let mut family = text.family("ductile_jobs_ended_total", Kind::Counter, help);
    for (plugin, command, counts) in &commands {
        for (end, outcome) in JOB_ENDS {
            let labels = [("plugin", *plugin), ("command", command.as_str()), ("outcome", outcome)];
            family.sample(&labels, counts.jobs(end));
        }
    }
    let mut family = text.family("ductile_attempts_ended_total", Kind::Counter, "Attempts that ended.");
    for (plugin, command, counts) in &commands {
        for (end, outcome) in ATTEMPT_ENDS {
            let labels = [("plugin", *plugin), ("command", command.as_str()), ("outcome", outcome)];
            family.sample(&labels, counts.attempts(end));
        }
    }
    let help = "How long attempts took.";
    let mut family = text.family("ductile_attempt_duration_seconds", Kind::Histogram, help);
    for (plugin, command, counts) in &commands {
        family.histogram(&[("plugin", plugin), ("command", command.as_str())], &counts.duration);
    }
    let help = "How long jobs waited from being enqueued to their first attempt.";
    let mut family = text.family("ductile_queue_wait_seconds", Kind::Histogram, help);
    for (plugin, counts) in &plugins {
        family.histogram(&[("plugin", plugin)], &counts.wait);
    }
}

/// The commands that a plugin declares, and those that it has run; `health` is no job.
fn commands<'a>(
    active: &'a Active,
    plugin: &'a str,
    counts: &'a PluginCounts,
    none: &'a CommandCounts,
) -> Vec<(&'a str, &'a Command, &'a CommandCounts)> {
    let manifest = active.registry.runnable(plugin).map(|plugin| &plugin.manifest);
    let declared = manifest.into_iter().flat_map(|manifest| &manifest.commands).map(|declared| &declared.command);
    let names: BTreeSet<_> = counts.commands.keys().chain(declared).collect();
    let jobs = names.into_iter().filter(|command| **command != Command::Health);
    jobs.map(|command| (plugin, command, counts.commands.get(command).unwrap_or(none))).collect()
}

fn answers(text: &mut Text, active: &Active, counts: &Counts) {
    let Some(webhooks) = &active.registry.config().webhooks else { return };
    let help = "Answers of the webhook server, but for the health check; `other` is what is no endpoint.";
    let mut family = text.family("ductile_webhook_answers_total", Kind::Counter, help);
    for endpoint in webhooks.endpoints.iter().filter(|endpoint| active.is_enabled(&endpoint.plugin)) {
        let counted = counts.answers.get(&endpoint.path);
        for code in ANSWERS {
            let count = counted.and_then(|codes| codes.get(&code)).copied().unwrap_or(0);
            family.sample(&[("path", &endpoint.path), ("code", &code.to_string())], count);
        }
    }
    let count = counts.other_answers.get(&404).copied().unwrap_or(0);
    family.sample(&[("path", NO_ENDPOINT), ("code", "404")], count);
}

/// Since the Unix epoch.
fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1000.0
}
