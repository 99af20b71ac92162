//! Ending an attempt: the guarded transitions out of `running`, and out of `queued` without a run.

use uuid::Uuid;

use super::claim::Claimed;
use super::job::{JobLogStatus, Status};
use super::{log, store};
use crate::clock::Timestamp;
use crate::state::{Error, Tx};

/// Where an ended attempt leads. What leads where is decided in `dispatch::lifecycle`.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    Succeeded,
    /// Back on the queue for the next attempt, at `at` or as soon as its turn comes.
    Retry {
        status: JobLogStatus,
        error: String,
        at: Option<Timestamp>,
    },
    Dead {
        status: JobLogStatus,
        error: String,
    },
    /// Interrupted by our own shutdown: back on the queue, the attempt neither charged nor logged.
    Requeued,
}

/// What is kept of an attempt in `job_log`.
#[derive(Debug, Clone, Default)]
pub struct Attempted {
    /// Measured with a monotonic clock, milliseconds.
    pub duration_ms: u64,
    pub exit_code: Option<i32>,
    /// What its response says in words, or else what the plugin printed on stdout; as much of it as is stored.
    pub result: Option<String>,
    /// What the plugin printed, if `result` is from its response.
    pub response: Option<String>,
    /// JSON array.
    pub logs: Option<String>,
    pub stderr: Option<String>,
}

/// Ends the attempt of a claimed job: the only code that does.
///
/// # Errors
/// [`Error::Conflict`] when the job is not `running` in this attempt any more, which is a bug; and when the database
/// cannot be written. Either way the caller's transaction must not commit.
pub fn finish(
    tx: &Tx<'_>,
    claimed: &Claimed,
    transition: &Transition,
    attempted: &Attempted,
    now: Timestamp,
) -> Result<(), Error> {
    let job = claimed.job();
    let (changed, logged) = match transition {
        Transition::Succeeded => {
            (store::complete(tx, job, Status::Succeeded, now, None)?, Some((JobLogStatus::Succeeded, None)))
        }
        Transition::Retry { status, error, at } => {
            (store::retry(tx, job, *at, now, error)?, Some((*status, Some(error.as_str()))))
        }
        Transition::Dead { status, error } => {
            (store::complete(tx, job, Status::Dead, now, Some(error))?, Some((*status, Some(error.as_str()))))
        }
        Transition::Requeued => (store::requeue(tx, job)?, None),
    };
    if !changed {
        let (id, attempt) = (job.id, job.attempt);
        return Err(Error::Conflict(format!("job {id} is not running in attempt {attempt}, so it was not finished")));
    }
    if let Some((status, error)) = logged {
        log::insert(tx, job, status, error, attempted, now)?;
    }
    Ok(())
}

/// Ends a queued job as `dead` for `reason`. Whether it was queued.
///
/// # Errors
/// When the database cannot be written.
pub fn cancel(tx: &Tx<'_>, id: Uuid, reason: &str, now: Timestamp) -> Result<bool, Error> {
    store::cancel(tx, id, reason, now)
}

/// Ends every queued job of `plugin` as `dead` for `reason`. How many there were.
///
/// # Errors
/// When the database cannot be written.
pub fn bury(tx: &Tx<'_>, plugin: &str, reason: &str, now: Timestamp) -> Result<usize, Error> {
    store::bury(tx, plugin, reason, now)
}
