//! What happens at a heartbeat, at the start, and when a run has ended: each inside the caller's transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeZone;
use rand::{Rng, RngExt};
use rusqlite::Connection;

use super::breaker::{self, Gate, Verdict};
use super::init::{self, Inits};
use super::schedule::{hash, into_window, next_run};
use super::store::{self, Scheduled};
use crate::clock::Timestamp;
use crate::command::Command;
use crate::config::{CircuitBreaker, Schedule};
use crate::queue::{self, Enqueued, Job, Limits, NewJob, SubmittedBy, Transition};
use crate::state::{Error, Tx};

/// One plugin that is to be polled.
#[derive(Debug, Clone)]
pub struct Plan {
    pub schedule: Schedule,
    pub max_outstanding_polls: u32,
    /// Of the jobs, from the plugin's `retry`.
    pub max_attempts: u32,
    pub circuit_breaker: CircuitBreaker,
}

/// What is to be done for which plugin.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    /// By plugin name, which is the order in which they are visited.
    pub polls: BTreeMap<String, Plan>,
    pub inits: Inits,
}

/// What a tick did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// The plugins whose poll was put on the queue.
    pub enqueued: Vec<String>,
    /// The queue was full: the polls that are due wait for a later tick.
    pub queue_full: bool,
    /// The clock has moved, so that the dispatcher's own alarm for the next retry may be wrong.
    pub wake: bool,
}

/// As many retries are moved by one tick after the clock stepped back.
const RETRIES_AT_ONCE: u32 = 1_000;

/// Brings the tables in line with the configuration: new plugins are due at once, changed schedules are drawn anew from
/// their anchor, plugins without a schedule keep their anchor and wait; inits that are due are enqueued.
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
    for row in stored.iter().filter(|row| row.next_run.is_some() && !plans.polls.contains_key(&row.plugin)) {
        store::suspend(tx, &row.plugin)?;
    }
    let mut stored: BTreeMap<_, _> = stored.into_iter().map(|row| (row.plugin.clone(), row)).collect();
    for (plugin, plan) in &plans.polls {
        let hash = hash(&plan.schedule);
        let row = stored.remove(plugin);
        if row.as_ref().is_some_and(|row| row.hash == hash && row.next_run.is_some()) {
            continue;
        }
        let anchor = row.and_then(|row| row.anchor).map(|anchor| anchor.min(now));
        let next = match anchor {
            None => into_window(&plan.schedule, zone, now),
            Some(anchor) => next_run(&plan.schedule, zone, anchor, rng.random()),
        };
        store::put(tx, &Scheduled { plugin: plugin.clone(), hash, anchor, next_run: Some(next) })?;
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

/// One heartbeat: mends what a clock that stepped back has left, then puts every poll that is due on the queue.
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
        if let Some(plan) = plans.polls.get(&row.plugin) {
            reanchor(tx, row, plan, zone, now, rng)?;
        }
    }
    let retry_due = queue::next_retry(tx)?.is_some_and(|at| at <= now);
    let mut ticked = Ticked { wake: pulled_back > 0 || retry_due, ..Ticked::default() };
    let mut due = store::due(tx, now)?;
    due.sort_by(|a, b| a.plugin.cmp(&b.plugin));
    for row in due {
        let Some(plan) = plans.polls.get(&row.plugin) else { continue };
        let plugin = row.plugin.clone();
        let allowed_at = into_window(&plan.schedule, zone, now);
        if allowed_at != now {
            store::put(tx, &Scheduled { next_run: Some(allowed_at), ..row })?;
            continue;
        }
        if queue::outstanding_polls(tx, &plugin)? >= plan.max_outstanding_polls {
            tracing::debug!(plugin, "poll is due, but enough of them are outstanding");
            continue;
        }
        let gate = breaker::gate(tx, &plugin, plan.circuit_breaker, now)?;
        if gate == Gate::Hold || init::unhealthy(tx, &plugin)?.is_some() {
            tracing::debug!(plugin, "poll is due, but its breaker is open or its init has failed");
            continue;
        }
        let poll = NewJob::new(&plugin, Command::Poll, SubmittedBy::Scheduler, plan.max_attempts);
        match queue::enqueue(tx, &poll, limits, now)? {
            Enqueued::Inserted => {
                breaker::enqueued(tx, &plugin, poll.id, gate)?;
                reanchor(tx, row, plan, zone, now, rng)?;
                ticked.enqueued.push(plugin);
            }
            Enqueued::QueueFull => {
                ticked.queue_full = true;
                break;
            }
            Enqueued::Duplicate(_) => unreachable!("a poll has no dedupe key"),
        }
    }
    Ok(ticked)
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

/// Moves what depends on how a job has ended: for a scheduled poll its breaker and its schedule, whose next run counts
/// from now; for an `init` the plugin's health. `plans` are those that it was claimed with; when its plugin is polled
/// next is for the `newest` to say.
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
    match (&job.command, job.submitted_by) {
        (Command::Poll, SubmittedBy::Scheduler) => {
            if let (Some(plan), Some(row)) = (newest.polls.get(&job.plugin), store::one(tx, &job.plugin)?) {
                reanchor(tx, row, plan, zone, now, rng)?;
            }
            let Some(plan) = plans.polls.get(&job.plugin) else { return Ok(None) };
            breaker::settled(tx, job, verdict, plan.circuit_breaker, now)
        }
        (Command::Init, _) => init::settled(tx, job, verdict, error, &plans.inits, now),
        _ => Ok(None),
    }
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
