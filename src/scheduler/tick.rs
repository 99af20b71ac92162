//! What happens at a heartbeat, at the start, and when a run has ended: each inside the caller's transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeZone;
use rand::{Rng, RngExt};
use rusqlite::Connection;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::breaker::{self, Gate, Verdict};
use super::init::{self, Inits};
use super::schedule::{hash, into_window, next_run};
use super::store::{self, Scheduled};
use crate::clock::Timestamp;
use crate::command::Command;
use crate::config::{CircuitBreaker, SCHEDULER_SOURCE, Schedule};
use crate::plugin::Envelope;
use crate::queue::{self, Enqueued, Job, Limits, NewJob, SubmittedBy, Transition};
use crate::state::{Error, Tx};

/// One schedule of a plugin.
#[derive(Debug, Clone)]
pub struct Plan {
    pub command: Command,
    /// Of each job; for `handle` it is wrapped in an event.
    pub payload: Option<Arc<RawValue>>,
    pub schedule: Schedule,
    /// How many jobs of it may wait or run at once.
    pub max_outstanding: u32,
    /// Of the jobs, from the plugin's `retry`.
    pub max_attempts: u32,
    pub circuit_breaker: CircuitBreaker,
}

/// What is to be done for which plugin.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    /// By the plugin's name, then by the schedule's id, which is the order in which they are visited.
    pub schedules: BTreeMap<String, BTreeMap<String, Plan>>,
    /// Every plugin that is loaded, also without a schedule.
    pub inits: Inits,
}

impl Plans {
    /// The schedule of this id.
    pub fn plan(&self, plugin: &str, schedule: &str) -> Option<&Plan> {
        self.schedules.get(plugin)?.get(schedule)
    }

    /// When the breakers of a plugin open; it is the same for all of its schedules.
    fn circuit_breaker(&self, plugin: &str) -> Option<CircuitBreaker> {
        self.schedules.get(plugin)?.values().next().map(|plan| plan.circuit_breaker)
    }
}

/// What a tick did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Plugin and schedule of what was put on the queue.
    pub enqueued: Vec<(String, String)>,
    /// The queue was full: what is due waits for a later tick.
    pub queue_full: bool,
    /// The clock has moved, so that the dispatcher's own alarm for the next retry may be wrong.
    pub wake: bool,
}

/// As many retries are moved by one tick after the clock stepped back.
const RETRIES_AT_ONCE: u32 = 1_000;

/// Brings the tables in line with the configuration: new schedules are due at once, changed ones are drawn anew from
/// their anchor, those of plugins that are not loaded keep their anchor and wait, others that are gone are forgotten;
/// inits that are due are enqueued.
///
/// # Errors
/// When the database cannot be written.
pub fn sync<Z: TimeZone>(
    tx: &Tx<'_>,
    plans: &Plans,
    zone: &Z,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Result<(), Error> {
    let stored = store::all(tx)?;
    for row in stored.iter().filter(|row| plans.plan(&row.plugin, &row.schedule).is_none()) {
        if plans.inits.contains_key(&row.plugin) {
            store::delete(tx, row)?;
        } else if row.next_run.is_some() {
            store::suspend(tx, row)?;
        }
    }
    let key = |row: Scheduled| ((row.plugin.clone(), row.schedule.clone()), row);
    let mut stored: BTreeMap<_, _> = stored.into_iter().map(key).collect();
    let planned =
        plans.schedules.iter().flat_map(|(plugin, plans)| plans.iter().map(move |(id, plan)| (plugin, id, plan)));
    for (plugin, schedule, plan) in planned {
        let (hash, command) = (hash(&plan.schedule), plan.command.clone());
        let row = stored.remove(&(plugin.clone(), schedule.clone()));
        if let Some(row) = row.as_ref().filter(|row| row.hash == hash && row.next_run.is_some()) {
            if row.command != command {
                store::put(tx, &Scheduled { command, ..row.clone() })?;
            }
            continue;
        }
        let anchor = row.and_then(|row| row.anchor).map(|anchor| anchor.min(now));
        let next = match anchor {
            None => into_window(&plan.schedule, zone, now),
            Some(anchor) => next_run(&plan.schedule, zone, anchor, rng.random()),
        };
        let (plugin, schedule) = (plugin.clone(), schedule.clone());
        store::put(tx, &Scheduled { plugin, schedule, command, hash, anchor, next_run: Some(next) })?;
    }
    init::sync(tx, &plans.inits, now)
}

/// Whether [`tick`] has something to do.
///
/// # Errors
/// When the database cannot be read.
pub fn anything_due(connection: &Connection, now: Timestamp) -> Result<bool, Error> {
    Ok(!store::due(connection, now)?.is_empty()
        || queue::next_retry(connection)?.is_some_and(|at| at <= now)
        || queue::any_retry_set_after(connection, now)?
        || !store::anchored_after(connection, now)?.is_empty())
}

/// One heartbeat: mends what a clock that stepped back has left, then puts everything that is due on the queue.
///
/// # Errors
/// When the database cannot be written.
pub fn tick<Z: TimeZone>(
    tx: &Tx<'_>,
    plans: &Plans,
    limits: Limits,
    zone: &Z,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Result<Ticked, Error> {
    let pulled_back = queue::pull_back_retries(tx, now, RETRIES_AT_ONCE)?;
    for row in store::anchored_after(tx, now)? {
        if let Some(plan) = plans.plan(&row.plugin, &row.schedule) {
            reanchor(tx, row, plan, zone, now, rng)?;
        }
    }
    let retry_due = queue::next_retry(tx)?.is_some_and(|at| at <= now);
    let mut ticked = Ticked { wake: pulled_back > 0 || retry_due, ..Ticked::default() };
    let mut due = store::due(tx, now)?;
    due.sort_by(|a, b| (&a.plugin, &a.schedule).cmp(&(&b.plugin, &b.schedule)));
    for row in due {
        let Some(plan) = plans.plan(&row.plugin, &row.schedule) else { continue };
        let (plugin, schedule) = (row.plugin.clone(), row.schedule.clone());
        let allowed_at = into_window(&plan.schedule, zone, now);
        if allowed_at != now {
            store::put(tx, &Scheduled { next_run: Some(allowed_at), ..row })?;
            continue;
        }
        if outstanding(tx, &row, plan)? >= plan.max_outstanding {
            tracing::debug!(plugin, schedule, "a run is due, but enough of them are outstanding");
            continue;
        }
        let gate = breaker::gate(tx, &plugin, &plan.command, plan.circuit_breaker, now)?;
        if gate == Gate::Hold || init::unhealthy(tx, &plugin)?.is_some() {
            tracing::debug!(plugin, schedule, "a run is due, but its breaker is open or its init has failed");
            continue;
        }
        let job = job(&plugin, &schedule, plan, now);
        match queue::enqueue(tx, &job, limits, now)? {
            Enqueued::Inserted => {
                breaker::enqueued(tx, &plugin, &plan.command, job.id, gate)?;
                reanchor(tx, row, plan, zone, now, rng)?;
                ticked.enqueued.push((plugin, schedule));
            }
            Enqueued::QueueFull => {
                ticked.queue_full = true;
                break;
            }
            Enqueued::Duplicate(_) => unreachable!("a scheduled job has no dedupe key"),
        }
    }
    Ok(ticked)
}

/// The jobs that hold back the next run of a schedule. A poll by hand is as good as one of a schedule's.
fn outstanding(tx: &Tx<'_>, row: &Scheduled, plan: &Plan) -> Result<u32, Error> {
    let own = queue::outstanding_of_schedule(tx, &row.plugin, Some(&row.schedule))?;
    let by_hand = match plan.command {
        Command::Poll => queue::outstanding_of_schedule(tx, &row.plugin, None)?,
        _ => 0,
    };
    Ok(own.saturating_add(by_hand))
}

fn job(plugin: &str, schedule: &str, plan: &Plan, now: Timestamp) -> NewJob {
    let job = NewJob {
        schedule: Some(schedule.to_owned()),
        ..NewJob::new(plugin, plan.command.clone(), SubmittedBy::Scheduler, plan.max_attempts)
    };
    if plan.command != Command::Handle {
        return NewJob { payload: plan.payload.clone(), ..job };
    }
    let event_id = Uuid::now_v7();
    let empty = RawValue::from_string("{}".to_owned()).expect("this is JSON");
    let envelope = Envelope {
        kind: &format!("schedule.{schedule}"),
        payload: plan.payload.as_deref().unwrap_or(&empty),
        dedupe_key: None,
        source: SCHEDULER_SOURCE,
        timestamp: now,
        event_id,
    };
    NewJob { payload: Some(envelope.to_json().into()), source_event_id: Some(event_id), ..job }
}

/// What the end of a job means for its plugin, beside what it means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    BreakerOpened { failures: u32, reset_after: Duration },
    BreakerClosed,
    InitFailed,
}

/// How an attempt has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    pub job: &'a Job,
    pub transition: &'a Transition,
    /// With the process that ran it, not by an outcome of its own.
    pub interrupted: bool,
}

/// Moves what depends on how a job has ended: for a scheduled one its breaker and its schedule, whose next run counts
/// from now; for an `init` the plugin's health. `plans` are those that it was claimed with; when the next one comes is
/// for the `newest` to say.
///
/// # Errors
/// When the database cannot be written.
pub fn settled<Z: TimeZone>(
    tx: &Tx<'_>,
    ended: Ended<'_>,
    plans: &Plans,
    newest: &Plans,
    zone: &Z,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Result<Option<Consequence>, Error> {
    let Ended { job, transition, interrupted } = ended;
    let (verdict, error) = match transition {
        Transition::Succeeded => (Verdict::Succeeded, ""),
        Transition::Dead { error, .. } if interrupted => (Verdict::Interrupted, error.as_str()),
        Transition::Dead { error, .. } => (Verdict::Failed, error.as_str()),
        Transition::Retry { .. } | Transition::Requeued => return Ok(None),
    };
    if job.command == Command::Init {
        return init::settled(tx, job, verdict, error, &plans.inits, now);
    }
    let Some(schedule) = &job.schedule else { return Ok(None) };
    if let (Some(plan), Some(row)) = (newest.plan(&job.plugin, schedule), store::one(tx, &job.plugin, schedule)?) {
        reanchor(tx, row, plan, zone, now, rng)?;
    }
    // Also of a job whose schedule is gone by now: it may be the probe.
    let Some(settings) = plans.circuit_breaker(&job.plugin) else { return Ok(None) };
    breaker::settled(tx, job, verdict, settings, now)
}

fn reanchor<Z: TimeZone>(
    tx: &Tx<'_>,
    row: Scheduled,
    plan: &Plan,
    zone: &Z,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Result<(), Error> {
    let next_run = Some(next_run(&plan.schedule, zone, now, rng.random()));
    store::put(tx, &Scheduled { anchor: Some(now), next_run, ..row })
}
