//! What `ductile status` prints for people.

use std::io::{self, Write};

use super::{PluginStatus, Queue, Status};
use crate::cli::output;
use crate::cli::plugins::{every, write_schedules};
use crate::clock::Timestamp;
use crate::queue::Stats;
use crate::scheduler::BreakerState;

/// The service, the queue and a table of the plugins.
pub(super) fn all(status: &Status, health: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    service(&mut out, status)?;
    queue(&mut out, &status.queue, status.at)?;
    if status.plugins.is_empty() {
        writeln!(out, "\nno plugins: `ductile start` has not run yet with any configured")?;
        return Ok(());
    }
    writeln!(out)?;
    drop(out);
    let head = ["PLUGIN", "STATE", "EVERY", "LAST RUN", "RESULT", "NEXT RUN", "BREAKER", "RATE", "P50/P95"];
    let head = head.into_iter().chain(health.then_some("HEALTH")).chain(["REASON"]);
    let rows = status.plugins.iter().map(|plugin| {
        let health = health.then(|| health_text(plugin));
        row(plugin, status.at).into_iter().chain(health).chain([reason(plugin)]).collect::<Vec<_>>()
    });
    output::table(head.collect::<Vec<_>>(), rows)
}

/// Everything of one plugin, a line each.
pub(super) fn plugin(status: &Status, health: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for plugin in &status.plugins {
        let [name, state, every, last_run, result, next_run, breaker, rate, durations] = row(plugin, status.at);
        let published = &plugin.published;
        let mut lines = vec![
            ("plugin", name),
            ("state", state),
            ("version", published.version.clone().unwrap_or_else(dash)),
            ("commands", or_dash(published.commands.join(", "))),
            ("every", every),
            ("last run", last_run),
            ("result", result),
            ("next run", next_run),
            ("breaker", breaker),
            ("last 24 h", rate),
            ("p50/p95", durations),
            ("attempts", format!("at most {} a job", published.max_attempts)),
        ];
        if let Some(uses) = &published.uses {
            lines.insert(1, ("uses", uses.clone()));
        }
        if health {
            lines.push(("health", health_text(plugin)));
        }
        lines.push(("reason", reason(plugin)));
        for (label, text) in lines {
            writeln!(out, "{label:<10}{text}")?;
        }
        write_schedules(&mut out, published)?;
    }
    Ok(())
}

fn service(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let service = &status.service;
    match (status.holder_pid, status.running) {
        (Some(pid), true) => {
            let (version, since) = (service.version.as_deref().unwrap_or("?"), service.started_at);
            let name = service.name.as_deref().unwrap_or("ductile");
            let up = since.map_or_else(dash, |since| age(since, status.at));
            writeln!(out, "service   {name}, ductile {version}, running as PID {pid} for {up}")?;
        }
        (Some(pid), false) => writeln!(out, "service   no daemon; `ductile run` (PID {pid}) holds the state dir")?,
        (None, _) => writeln!(out, "service   no daemon is running; what follows is its last state")?,
    }
    if let Some(listen) = service.listen.as_deref().filter(|_| status.running) {
        writeln!(out, "webhooks  http://{listen}")?;
    }
    if let Some(listen) = service.metrics_listen.as_deref().filter(|_| status.running) {
        writeln!(out, "metrics   http://{listen}/metrics")?;
    }
    writeln!(out, "config    {}", service.config_path.as_deref().unwrap_or("-"))?;
    if let Some(reload) = &service.last_reload {
        let (at, outcome) = (
            output::local(reload.at),
            reload
                .error
                .as_deref()
                .map_or("taken".to_owned(), |error| format!("refused: {}", output::first_line(error))),
        );
        writeln!(out, "reload    {at}, {outcome}")?;
    }
    writeln!(out, "state     {}", status.state_path)
}

fn queue(out: &mut impl Write, queue: &Queue, now: Timestamp) -> io::Result<()> {
    let counts = queue.counts;
    let oldest =
        queue.oldest_waits_since.map_or_else(String::new, |since| format!("; the first waits for {}", age(since, now)));
    writeln!(
        out,
        "queue     {} queued ({} waiting for a retry), {} running, {} dead{oldest}",
        counts.queued, counts.waiting, counts.running, counts.dead
    )?;
    if let Some(since) = queue.paused_since {
        writeln!(out, "paused    since {}; `ductile resume` goes on", output::local(since))?;
    }
    if let Some(job) = &queue.running_job {
        let since = job.started_at.map_or_else(dash, |since| age(since, now));
        writeln!(out, "running   {} {}, job {}, for {since}", job.plugin, job.command, job.id)?;
    }
    Ok(())
}

fn row(plugin: &PluginStatus, now: Timestamp) -> [String; 9] {
    let published = &plugin.published;
    [
        published.name.clone(),
        state(plugin).to_owned(),
        every(published),
        output::local_or_dash(plugin.last_run_at),
        plugin.last_status.clone().unwrap_or_else(dash),
        output::local_or_dash(plugin.next_run),
        breaker(plugin, now),
        plugin.last_24h.map_or_else(dash, rate),
        plugin.last_24h.map_or_else(dash, |stats| {
            format!("{}/{}", output::duration(stats.p50_ms), output::duration(stats.p95_ms))
        }),
    ]
}

/// What it can be asked for, in a word or two.
pub(in crate::cli) fn state(plugin: &PluginStatus) -> &'static str {
    match (plugin.published.enabled, plugin.published.loaded) {
        (false, _) => "disabled",
        (true, false) => "not loaded",
        (true, true) if plugin.paused_since.is_some() => "paused",
        (true, true) if plugin.init_pending => "init pending",
        (true, true) if plugin.unhealthy.is_some() => "unhealthy",
        (true, true) => "loaded",
    }
}

/// Its circuit breaker, in a few words.
pub(in crate::cli) fn breaker(plugin: &PluginStatus, now: Timestamp) -> String {
    let text = match (plugin.breaker.state, plugin.breaker.opened_at) {
        (BreakerState::Closed, _) if plugin.published.schedule_every_ms.is_none() => return dash(),
        (BreakerState::Closed, _) | (_, None) => return "closed".to_owned(),
        (BreakerState::Open, Some(since)) => format!("open for {}", age(since, now)),
        (BreakerState::HalfOpen, Some(_)) => "half open".to_owned(),
    };
    match plugin.breaker.command.as_deref() {
        None | Some("poll") => text,
        Some(command) => format!("{text} ({command})"),
    }
}

fn rate(stats: Stats) -> String {
    // Rounded down: 100% is for none failed.
    format!("{}% of {}", stats.succeeded * 100 / stats.attempts.max(1), stats.attempts)
}

/// Why it is not as it should be: the first of what keeps it from running, its init, its last attempt.
pub(in crate::cli) fn reason(plugin: &PluginStatus) -> String {
    let load = plugin.published.error.as_ref().filter(|_| plugin.published.enabled);
    let init = plugin.unhealthy.as_ref().map(|unhealthy| format!("init failed: {}", unhealthy.error));
    let reason = load.or(init.as_ref()).or(plugin.last_error.as_ref());
    reason.map_or_else(dash, |reason| output::first_line(reason))
}

fn health_text(plugin: &PluginStatus) -> String {
    match &plugin.health {
        None => dash(),
        Some(health) => match &health.error {
            None => {
                let took = output::duration(health.duration_ms);
                match &health.result {
                    Some(result) => format!("ok, {took}: {}", output::first_line(result)),
                    None => format!("ok, {took}"),
                }
            }
            Some(error) => output::first_line(error),
        },
    }
}

/// How long it has been so.
pub(in crate::cli) fn age(since: Timestamp, now: Timestamp) -> String {
    output::duration(now.since(since).as_millis() as u64)
}

fn dash() -> String {
    "-".to_owned()
}

fn or_dash(text: String) -> String {
    if text.is_empty() { dash() } else { text }
}
