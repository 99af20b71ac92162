//! Core events: what the gateway itself has to say of an ended job, so that somebody can be called for help.

use serde::Serialize;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use crate::active::Active;
use crate::clock::Timestamp;
use crate::config::{BREAKER_CLOSED, BREAKER_OPENED, INIT_FAILED, JOB_DEAD};
use crate::plugin::Event;
use crate::queue::{self, Job, NewJob};
use crate::router;
use crate::scheduler::Consequence;
use crate::state::{Error, Tx};

/// What is told of a job that is dead.
#[derive(Serialize)]
struct JobDead<'a> {
    job_id: Uuid,
    plugin: &'a str,
    command: &'a str,
    submitted_by: String,
    attempt: u32,
    max_attempts: u32,
    error: &'a str,
}

#[derive(Serialize)]
struct BreakerOpened<'a> {
    plugin: &'a str,
    command: &'a str,
    /// Jobs in a row that ended dead.
    failures: u32,
    error: &'a str,
    /// No poll before this time.
    no_poll_before: Timestamp,
}

#[derive(Serialize)]
struct BreakerClosed<'a> {
    plugin: &'a str,
    command: &'a str,
}

#[derive(Serialize)]
struct InitFailed<'a> {
    job_id: Uuid,
    plugin: &'a str,
    error: &'a str,
}

/// Tells of a job that is dead with its attempt.
pub(super) fn job_dead(tx: &Tx<'_>, newest: &Active, job: &Job, error: &str, now: Timestamp) -> Result<(), Error> {
    let told = JobDead {
        job_id: job.id,
        plugin: &job.plugin,
        command: job.command.as_str(),
        submitted_by: job.submitted_by.to_string(),
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        error,
    };
    of_job(tx, newest, JOB_DEAD, &told, (job.id, job.from_core), now)
}

/// Tells of a job that was dead when it was entered, for this reason.
pub(super) fn stillborn(tx: &Tx<'_>, newest: &Active, job: &NewJob, error: &str, now: Timestamp) -> Result<(), Error> {
    let told = JobDead {
        job_id: job.id,
        plugin: &job.plugin,
        command: job.command.as_str(),
        submitted_by: job.submitted_by.to_string(),
        attempt: 1,
        max_attempts: job.max_attempts,
        error,
    };
    of_job(tx, newest, JOB_DEAD, &told, (job.id, job.from_core), now)
}

/// Tells what a job's end has meant for its plugin.
pub(super) fn consequence(
    tx: &Tx<'_>,
    newest: &Active,
    job: &Job,
    consequence: Consequence,
    error: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let (plugin, command) = (&job.plugin, job.command.as_str());
    let cause = (job.id, job.from_core);
    match consequence {
        Consequence::BreakerOpened { failures, reset_after } => {
            let no_poll_before = now.after(reset_after);
            let told = BreakerOpened { plugin, command, failures, error, no_poll_before };
            of_job(tx, newest, BREAKER_OPENED, &told, cause, now)
        }
        Consequence::BreakerClosed => {
            of_job(tx, newest, BREAKER_CLOSED, &BreakerClosed { plugin, command }, cause, now)
        }
        Consequence::InitFailed => {
            let told = InitFailed { job_id: job.id, plugin, error };
            of_job(tx, newest, INIT_FAILED, &told, cause, now)
        }
    }
}

/// Of a job; nothing if that descends from a core event itself.
fn of_job(
    tx: &Tx<'_>,
    newest: &Active,
    kind: &str,
    payload: &impl Serialize,
    (cause, from_core): (Uuid, bool),
    now: Timestamp,
) -> Result<(), Error> {
    if from_core {
        tracing::debug!(event_type = kind, job_id = %cause, "no core event: its cause descends from one");
        return Ok(());
    }
    core_event(tx, newest, kind, payload, Some(cause), now)
}

/// Puts what a core event causes on the queue, by the `newest` configuration and whatever the queue's depth: each comes
/// from one ended job or one operator, and causes no other. `cause` is the job that it tells of.
///
/// # Errors
/// When the database cannot be written.
pub fn core_event(
    tx: &Tx<'_>,
    newest: &Active,
    kind: &str,
    payload: &impl Serialize,
    cause: Option<Uuid>,
    now: Timestamp,
) -> Result<(), Error> {
    let payload = to_raw_value(payload).expect("texts and numbers can be written as JSON");
    let event = Event { kind: kind.to_owned(), payload, dedupe_key: None };
    let max_attempts = |plugin: &str| newest.max_attempts(plugin);
    for job in router::route_core_event(newest.routes(), &event, cause, max_attempts, now) {
        queue::enqueue_beyond_limit(tx, &job, now)?;
    }
    Ok(())
}
