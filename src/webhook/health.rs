//! `GET /healthz`: whether the daemon does what it is there for. It reads, and never writes.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::{Gateway, answer, connection::Connection, refuse, refuse_method};
use crate::state::{Error, WriteHealth};
use crate::vitals::{Activity, Signs};
use crate::{queue, scheduler};

/// A write that waits longer is stuck.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// A job that is longer past its deadline is stuck: 5 s for the plugin to end when it is told to, then 10 s.
const JOB_PATIENCE: Duration = Duration::from_secs(15);
/// A job that is due must not wait longer while nothing runs.
const DUE_PATIENCE: Duration = Duration::from_secs(10);
/// As many intervals may pass without a tick.
const TICK_PATIENCE: u32 = 3;

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    uptime_seconds: u64,
    /// Jobs that are queued, those that wait for a retry included.
    queue_depth: u64,
    plugins_loaded: usize,
    /// Whose breaker is open or half open.
    plugins_circuit_open: usize,
    /// Why it is degraded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// What is judged.
#[derive(Debug, Clone)]
struct Reading {
    now: Instant,
    signs: Signs,
    tick_interval: Duration,
    writes: WriteHealth,
    /// How long the first job that may run has been due.
    due_for: Option<Duration>,
}

/// Answers loopback peers; for others the path does not exist.
pub(super) fn respond(gateway: &Gateway, connection: &Connection, method: &Method) -> Response {
    if !may_ask(connection.peer) {
        return refuse(StatusCode::NOT_FOUND);
    }
    if method != Method::GET {
        return refuse_method("GET");
    }
    let health = health(gateway);
    let status = if health.reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &health)
}

/// Whether it is this machine, also when it is reached as an IPv4 address through an IPv6 socket.
fn may_ask(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

fn health(gateway: &Gateway) -> Health {
    let active = gateway.active.borrow();
    let now = gateway.clock.now();
    let reader = gateway.reader.lock().unwrap_or_else(PoisonError::into_inner);
    let read = || -> Result<_, Error> {
        let due_since = queue::due_since(&reader, now, |plugin| active.may_run(plugin))?;
        Ok((queue::depth(&reader)?, due_since, scheduler::open_breakers(&reader)?))
    };
    let signs = gateway.vitals.signs();
    let mut reading = Reading {
        now: Instant::now(),
        signs,
        tick_interval: active.registry.config().service.tick_interval,
        writes: gateway.db.health(),
        due_for: None,
    };
    let (queue_depth, plugins_circuit_open, mut reasons) = match read() {
        Ok((depth, due_since, open)) => {
            reading.due_for = due_since.map(|due| now.since(due));
            (depth, open, Vec::new())
        }
        Err(error) => (0, 0, vec![format!("the database cannot be read: {}", crate::log::chain(&error))]),
    };
    reasons.extend(troubles(&reading));
    Health {
        status: if reasons.is_empty() { "ok" } else { "degraded" },
        uptime_seconds: signs.started.elapsed().as_secs(),
        queue_depth,
        plugins_loaded: active.registry.entries().filter(|entry| active.may_run(&entry.name)).count(),
        plugins_circuit_open,
        reasons,
    }
}

fn troubles(reading: &Reading) -> Vec<String> {
    let Reading { now, signs, tick_interval, writes, due_for } = reading;
    let mut troubles = Vec::new();
    let mut trouble = |what: std::fmt::Arguments<'_>| troubles.push(what.to_string());
    if writes.failed {
        trouble(format_args!("the last write failed"));
    }
    if let Some(waiting) = writes.waiting.filter(|waiting| *waiting > WRITE_PATIENCE) {
        trouble(format_args!("a write has waited for {} s", waiting.as_secs()));
    }
    match signs.dispatcher {
        Activity::Running { deadline } => {
            let late = deadline.map_or(Duration::ZERO, |deadline| now.saturating_duration_since(deadline));
            if late > JOB_PATIENCE {
                trouble(format_args!("a job is {} s past its deadline", late.as_secs()));
            }
        }
        Activity::Idle { since } => {
            let idle = now.saturating_duration_since(since);
            if let Some(waited) = due_for.map(|due| due.min(idle)).filter(|waited| *waited > DUE_PATIENCE) {
                trouble(format_args!("a job has been due for {} s while nothing runs", waited.as_secs()));
            }
        }
    }
    let silent = now.saturating_duration_since(signs.ticked);
    if silent > *tick_interval * TICK_PATIENCE {
        trouble(format_args!("no tick for {} s", silent.as_secs()));
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All is well, at `now`, with the last signs of life at the returned instant.
    fn well() -> Reading {
        let start = Instant::now();
        let signs = Signs { started: start, ticked: start, dispatcher: Activity::Idle { since: start } };
        let writes = WriteHealth { failed: false, waiting: None };
        Reading { now: start, signs, tick_interval: Duration::from_secs(60), writes, due_for: None }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn only_this_machine_may_ask() {
        for own in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"] {
            assert!(may_ask(own.parse().unwrap()), "{own}");
        }
        for other in ["10.0.0.1", "192.168.1.1", "0.0.0.0", "::", "fe80::1", "::ffff:10.0.0.1", "::127.0.0.1"] {
            assert!(!may_ask(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn each_trouble_has_its_reason_and_its_patience() {
        let start = well();
        assert_eq!(troubles(&start), Vec::<String>::new());
        let failed = Reading { writes: WriteHealth { failed: true, waiting: None }, ..start.clone() };
        assert_eq!(troubles(&failed), ["the last write failed"]);
        let waiting =
            |count| Reading { writes: WriteHealth { failed: false, waiting: Some(seconds(count)) }, ..start.clone() };
        assert_eq!(troubles(&waiting(5)).len(), 0);
        assert_eq!(troubles(&waiting(6)), ["a write has waited for 6 s"]);
        let silent = |count| Reading { now: start.now + seconds(count), ..start.clone() };
        assert_eq!(troubles(&silent(180)).len(), 0);
        assert_eq!(troubles(&silent(181)), ["no tick for 181 s"]);
    }

    #[test]
    fn a_job_is_late_only_after_all_that_its_plugin_may_take() {
        let mut reading = well();
        reading.signs.dispatcher = Activity::Running { deadline: Some(reading.now + seconds(30)) };
        reading.due_for = Some(seconds(3_600));
        reading.now += seconds(45);
        assert_eq!(troubles(&reading).len(), 0, "others wait while one runs");
        reading.now += seconds(1);
        assert_eq!(troubles(&reading), ["a job is 16 s past its deadline"]);
    }

    #[test]
    fn a_due_job_waits_only_since_nothing_runs() {
        let mut reading = Reading { due_for: Some(seconds(3_600)), ..well() };
        reading.now += seconds(10);
        assert_eq!(troubles(&reading).len(), 0);
        reading.now += seconds(1);
        assert_eq!(troubles(&reading), ["a job has been due for 11 s while nothing runs"]);
        reading.due_for = Some(seconds(2));
        assert_eq!(troubles(&reading).len(), 0, "it has only come");
    }
}
