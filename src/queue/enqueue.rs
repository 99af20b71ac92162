//! Entering jobs: dedupe and the depth limit, as typed results.

use std::time::Duration;

use uuid::Uuid;

use super::job::NewJob;
use super::store;
use crate::clock::Timestamp;
use crate::state::{Error, Tx};

/// What bounds the queue, from `service` in the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a succeeded job's key keeps equal jobs away.
    pub dedupe_ttl: Duration,
    /// The most jobs that may be queued at once.
    pub max_queue_depth: u64,
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Enqueued {
    Inserted,
    /// A job with the same plugin, command and key succeeded within the dedupe time: this one.
    Duplicate(Uuid),
    /// The queue holds as many jobs as it may; nothing was changed.
    QueueFull,
}

/// What became of the children of one completion.
#[derive(Debug, Clone)]
#[must_use]
pub enum Children<'a> {
    /// These: all but the duplicates.
    Inserted(Vec<&'a NewJob>),
    /// They do not all fit; nothing was changed.
    QueueFull,
}

/// Puts one job at the end of the queue.
///
/// # Errors
/// When the database cannot be written.
pub fn enqueue(tx: &Tx<'_>, new: &NewJob, limits: Limits, now: Timestamp) -> Result<Enqueued, Error> {
    if let Some(existing) = duplicate(tx, new, limits, now)? {
        return Ok(Enqueued::Duplicate(existing));
    }
    if !fits(tx, 1, limits)? {
        return Ok(Enqueued::QueueFull);
    }
    store::insert(tx, new, now)?;
    Ok(Enqueued::Inserted)
}

/// Puts what one completion routed on the queue, all or nothing. A duplicate is dropped and is no failure.
///
/// # Errors
/// When the database cannot be written.
pub fn enqueue_children<'a>(
    tx: &Tx<'_>,
    children: &'a [NewJob],
    limits: Limits,
    now: Timestamp,
) -> Result<Children<'a>, Error> {
    let mut new = Vec::with_capacity(children.len());
    for child in children {
        if duplicate(tx, child, limits, now)?.is_none() {
            new.push(child);
        }
    }
    // Those which will not run, too: each may be told of by a job.
    if !fits(tx, new.len() as u64, limits)? {
        return Ok(Children::QueueFull);
    }
    for child in &new {
        store::insert(tx, child, now)?;
    }
    Ok(Children::Inserted(new))
}

/// Puts a job on the queue whatever its depth: for what must not be lost and is bounded otherwise, the gateway's own
/// calls for help and inits.
///
/// # Errors
/// When the database cannot be written.
pub fn enqueue_beyond_limit(tx: &Tx<'_>, new: &NewJob, now: Timestamp) -> Result<(), Error> {
    store::insert(tx, new, now)
}

fn duplicate(tx: &Tx<'_>, new: &NewJob, limits: Limits, now: Timestamp) -> Result<Option<Uuid>, Error> {
    let Some(key) = &new.dedupe_key else { return Ok(None) };
    let existing = store::duplicate(tx, new, key, now.before(limits.dedupe_ttl))?;
    if let Some(existing) = existing {
        tracing::info!(
            plugin = new.plugin,
            command = new.command.as_str(),
            dedupe_key = key,
            existing_job_id = %existing,
            "duplicate not enqueued"
        );
    }
    Ok(existing)
}

/// Whether `count` more jobs fit. They are only counted when the cheap bound does not settle it.
fn fits(tx: &Tx<'_>, count: u64, limits: Limits) -> Result<bool, Error> {
    let fits = |depth: u64| depth.saturating_add(count) <= limits.max_queue_depth;
    Ok(count == 0 || fits(store::depth_at_most(tx)?) || fits(store::depth(tx)?))
}
