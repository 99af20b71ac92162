//! The SQL of `job_queue` and `job_payload`, but for jobs that are over: one function a statement, no policy.

use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::job::{Job, NewJob, Status, SubmittedBy};
use crate::clock::Timestamp;
use crate::state::{Error, Text, Tx};

/// The columns of [`Job`], in the order in which `job` reads them.
macro_rules! columns {
    () => {
        "seq, id, plugin, command, status, attempt, max_attempts, submitted_by, dedupe_key, parent_job_id, \
         source_event_id, hops, from_core, created_at, started_at, completed_at, next_retry_at, last_error, schedule"
    };
}
pub(super) use columns;

/// Conditions and order of the jobs that are not over, in the words of the index `job_queue_live`.
macro_rules! live {
    (running) => {
        "completed_at IS NULL AND status = 'running'"
    };
    (queued) => {
        "completed_at IS NULL AND status = 'queued'"
    };
    (ready) => {
        concat!(live!(queued), " AND (next_retry_at IS NOT NULL) = 0")
    };
    (waiting) => {
        concat!(live!(queued), " AND (next_retry_at IS NOT NULL) = 1")
    };
    (order) => {
        "iif(status = 'running', 0, seq)"
    };
}
pub(super) use live;

pub(super) const INSERT: &str = "INSERT INTO job_queue (id, plugin, command, status, attempt, max_attempts, \
     submitted_by, dedupe_key, parent_job_id, source_event_id, hops, from_core, created_at, completed_at, last_error, schedule) \
     VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
pub(super) const INSERT_PAYLOAD: &str = "INSERT INTO job_payload (seq, payload) VALUES (?1, ?2)";
pub(super) const QUEUED: &str = "SELECT seq FROM job_queue WHERE id = ?1 AND status = 'queued'";
pub(super) const PAYLOAD: &str = "SELECT payload FROM job_payload WHERE seq = ?1";
pub(super) const DUPLICATE: &str = "SELECT id FROM job_queue WHERE status = 'succeeded' AND dedupe_key IS NOT NULL \
     AND plugin = ?1 AND command = ?2 AND dedupe_key = ?3 AND completed_at > ?4 ORDER BY completed_at DESC LIMIT 1";
pub(super) const NEWEST: &str = "SELECT max(seq) FROM job_queue";
pub(super) const OLDEST_READY: &str =
    concat!("SELECT seq FROM job_queue WHERE ", live!(ready), " ORDER BY ", live!(order), " LIMIT 1");
pub(super) const OLDEST_WAITING: &str =
    concat!("SELECT seq FROM job_queue WHERE ", live!(waiting), " ORDER BY ", live!(order), " LIMIT 1");
pub(super) const DEPTH: &str = concat!("SELECT count(*) FROM job_queue WHERE ", live!(queued));
pub(super) const RELEASE_DUE: &str = "UPDATE job_queue SET next_retry_at = NULL, retry_set_at = NULL \
     WHERE next_retry_at IS NOT NULL AND next_retry_at <= ?1";
pub(super) const NEXT_RETRY: &str = "SELECT next_retry_at FROM job_queue \
     WHERE next_retry_at IS NOT NULL ORDER BY next_retry_at LIMIT 1";
pub(super) const HEAD: &str =
    concat!("SELECT seq, plugin FROM job_queue WHERE ", live!(ready), " ORDER BY ", live!(order), " LIMIT ?1");
pub(super) const NEXT_PLUGIN: &str = "SELECT min(plugin) FROM job_queue \
     WHERE status = 'queued' AND next_retry_at IS NULL AND plugin > ?1";
pub(super) const FIRST_OF_PLUGIN: &str = "SELECT min(seq) FROM job_queue \
     WHERE status = 'queued' AND next_retry_at IS NULL AND plugin = ?1";
pub(super) const CREATED_AT: &str = "SELECT created_at FROM job_queue WHERE seq = ?1";
// Without RETURNING: SQLite gathers what that returns in a temporary b-tree, which makes a claim a third dearer.
pub(super) const START: &str = "UPDATE job_queue SET status = 'running', started_at = ?2, next_retry_at = NULL, \
     retry_set_at = NULL WHERE seq = ?1 AND status = 'queued'";
pub(super) const WITH_PAYLOAD: &str = concat!("SELECT ", columns!(), ", payload FROM jobs WHERE seq = ?1");
pub(super) const RUNNING: &str = concat!("SELECT ", columns!(), " FROM job_queue WHERE ", live!(running));
pub(super) const COMPLETE: &str = "UPDATE job_queue SET status = ?3, completed_at = ?4, last_error = coalesce(?5, last_error) \
     WHERE seq = ?1 AND status = 'running' AND attempt = ?2";
pub(super) const RETRY: &str = "UPDATE job_queue SET status = 'queued', attempt = attempt + 1, \
     max_attempts = max(max_attempts, attempt + 1), next_retry_at = ?3, \
     retry_set_at = ?4, last_error = ?5 WHERE seq = ?1 AND status = 'running' AND attempt = ?2";
pub(super) const REQUEUE: &str = "UPDATE job_queue SET status = 'queued' \
     WHERE seq = ?1 AND status = 'running' AND attempt = ?2";
pub(super) const BURY: &str = concat!(
    "UPDATE job_queue SET status = 'dead', completed_at = ?2, last_error = ?3, next_retry_at = NULL, retry_set_at = NULL WHERE ",
    live!(queued),
    " AND plugin = ?1"
);
pub(super) const CANCEL: &str = "UPDATE job_queue SET status = 'dead', completed_at = ?2, last_error = ?3, \
     next_retry_at = NULL, retry_set_at = NULL WHERE status = 'queued' AND id = ?1";
pub(super) const QUEUED_INITS: &str =
    "SELECT plugin, id, submitted_by FROM job_queue WHERE command = 'init' AND status = 'queued' ORDER BY plugin, seq";
pub(super) const RUNNING_INIT: &str =
    concat!("SELECT 1 FROM job_queue WHERE ", live!(running), " AND command = 'init' AND plugin = ?1");
pub(super) const OUTSTANDING_OF_SCHEDULE: &str = "SELECT count(*) FROM job_queue \
     WHERE status IN ('queued', 'running') AND (schedule IS NOT NULL OR command = 'poll') \
     AND plugin = ?1 AND schedule IS ?2";
pub(super) const OUTSTANDING: &str = "SELECT 1 FROM job_queue WHERE id = ?1 AND status IN ('queued', 'running')";
pub(super) const RETRIES_SET_AFTER: &str = "SELECT seq, next_retry_at, retry_set_at FROM job_queue \
     WHERE retry_set_at IS NOT NULL AND retry_set_at > ?1 LIMIT ?2";
pub(super) const MOVE_RETRY: &str = "UPDATE job_queue SET next_retry_at = ?2, retry_set_at = ?3 WHERE seq = ?1";
pub(super) const QUEUED_PLUGINS: &str =
    concat!("SELECT DISTINCT plugin FROM job_queue WHERE ", live!(queued), " ORDER BY plugin");

/// Every statement whose cost must not depend on how many jobs there are or have been: all but `DEPTH`,
/// `BURY` and `QUEUED_PLUGINS`, which walk the queued jobs.
#[cfg(test)]
pub(super) const HOT: &[&str] = &[
    INSERT,
    INSERT_PAYLOAD,
    QUEUED,
    PAYLOAD,
    DUPLICATE,
    NEWEST,
    OLDEST_READY,
    OLDEST_WAITING,
    RELEASE_DUE,
    NEXT_RETRY,
    HEAD,
    NEXT_PLUGIN,
    FIRST_OF_PLUGIN,
    CREATED_AT,
    START,
    WITH_PAYLOAD,
    RUNNING,
    COMPLETE,
    RETRY,
    REQUEUE,
    CANCEL,
    QUEUED_INITS,
    RUNNING_INIT,
    OUTSTANDING_OF_SCHEDULE,
    OUTSTANDING,
    RETRIES_SET_AFTER,
    MOVE_RETRY,
];

/// Those of them that walk a partial index, which holds nothing but the rows they ask for.
#[cfg(test)]
pub(super) const SCANS_A_PARTIAL_INDEX: &[&str] =
    &[NEXT_RETRY, QUEUED_INITS, super::hold::HOLDS, super::by_hand::DEAD_BEFORE];

/// Reads a row of [`columns`].
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        seq: row.get(0)?,
        id: row.get::<_, Text<_>>(1)?.0,
        plugin: row.get(2)?,
        command: row.get::<_, Text<_>>(3)?.0,
        status: row.get::<_, Text<_>>(4)?.0,
        attempt: row.get(5)?,
        max_attempts: row.get(6)?,
        submitted_by: row.get::<_, Text<_>>(7)?.0,
        dedupe_key: row.get(8)?,
        parent_job_id: row.get::<_, Option<Text<_>>>(9)?.map(|id| id.0),
        source_event_id: row.get::<_, Option<Text<_>>>(10)?.map(|id| id.0),
        hops: row.get(11)?,
        from_core: row.get(12)?,
        created_at: row.get::<_, Text<_>>(13)?.0,
        started_at: row.get::<_, Option<Text<_>>>(14)?.map(|time| time.0),
        completed_at: row.get::<_, Option<Text<_>>>(15)?.map(|time| time.0),
        next_retry_at: row.get::<_, Option<Text<_>>>(16)?.map(|time| time.0),
        last_error: row.get(17)?,
        schedule: row.get(18)?,
    })
}

/// At the end of the queue; `dead` at once with a reason when it is stillborn.
pub(super) fn insert(tx: &Tx<'_>, new: &NewJob, now: Timestamp) -> Result<(), Error> {
    let dead = new.stillborn.as_ref();
    tx.prepare_cached(INSERT)?.execute((
        Text(new.id),
        &new.plugin,
        new.command.as_str(),
        Text(if dead.is_some() { Status::Dead } else { Status::Queued }),
        new.max_attempts,
        Text(new.submitted_by),
        &new.dedupe_key,
        new.parent_job_id.map(Text),
        new.source_event_id.map(Text),
        new.hops,
        new.from_core,
        Text(now),
        dead.map(|_| Text(now)),
        dead,
        &new.schedule,
    ))?;
    if let Some(payload) = &new.payload {
        tx.prepare_cached(INSERT_PAYLOAD)?.execute((tx.last_insert_rowid(), payload.get()))?;
    }
    Ok(())
}

/// The job that succeeded after `since` with this key, if there is one.
pub(super) fn duplicate(tx: &Tx<'_>, new: &NewJob, key: &str, since: Timestamp) -> Result<Option<Uuid>, Error> {
    let id: Option<Text<Uuid>> = tx
        .prepare_cached(DUPLICATE)?
        .query_row((&new.plugin, new.command.as_str(), key, Text(since)), |row| row.get(0))
        .optional()?;
    Ok(id.map(|id| id.0))
}

/// No fewer than the queued jobs, at the cost of three look-ups: those since the oldest of them.
pub(super) fn depth_at_most(tx: &Tx<'_>) -> Result<u64, Error> {
    let newest = newest(tx)?;
    let mut oldest: Option<i64> = None;
    for sql in [OLDEST_READY, OLDEST_WAITING] {
        oldest = oldest.into_iter().chain(first(tx, sql)?).min();
    }
    Ok(oldest.map_or(0, |oldest| u64::try_from(newest - oldest + 1).unwrap_or(0)))
}

/// Whether there is a job that waits for nothing but its turn.
///
/// # Errors
/// When the database cannot be read.
pub fn any_ready(connection: &Connection) -> Result<bool, Error> {
    Ok(first(connection, OLDEST_READY)?.is_some())
}

/// When the first of the jobs that wait for nothing but their turn was enqueued.
///
/// # Errors
/// When the database cannot be read.
pub fn oldest_ready(connection: &Connection) -> Result<Option<Timestamp>, Error> {
    first(connection, OLDEST_READY)?.map(|seq| created_at(connection, seq)).transpose()
}

fn first(connection: &Connection, sql: &str) -> Result<Option<i64>, Error> {
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
}

/// How many jobs are queued, those that wait for a retry included.
///
/// # Errors
/// When the database cannot be read.
pub fn depth(connection: &Connection) -> Result<u64, Error> {
    Ok(connection.prepare_cached(DEPTH)?.query_row([], |row| row.get(0))?)
}

/// Lets every retry whose time has come compete for its old place.
pub(super) fn release_due(tx: &Tx<'_>, now: Timestamp) -> Result<(), Error> {
    // The look costs an eighth of the update, which is seldom needed.
    if next_retry(tx)?.is_some_and(|at| at <= now) {
        tx.prepare_cached(RELEASE_DUE)?.execute([Text(now)])?;
    }
    Ok(())
}

/// When the next waiting retry is due.
pub(super) fn next_retry(connection: &Connection) -> Result<Option<Timestamp>, Error> {
    let at: Option<Text<_>> = connection.prepare_cached(NEXT_RETRY)?.query_row([], |row| row.get(0)).optional()?;
    Ok(at.map(|at| at.0))
}

/// When the job was enqueued.
pub(super) fn created_at(connection: &Connection, seq: i64) -> Result<Timestamp, Error> {
    let at: Text<_> = connection.prepare_cached(CREATED_AT)?.query_row([seq], |row| row.get(0))?;
    Ok(at.0)
}

/// Makes a queued job the running one; it, and its payload.
pub(super) fn start(tx: &Tx<'_>, seq: i64, now: Timestamp) -> Result<Option<(Job, Option<String>)>, Error> {
    match tx.prepare_cached(START)?.execute((seq, Text(now)))? {
        0 => Ok(None),
        _ => Ok(Some(tx.prepare_cached(WITH_PAYLOAD)?.query_row([seq], |row| Ok((job(row)?, row.get("payload")?)))?)),
    }
}

/// The job that is running, if there is one.
pub(super) fn running(tx: &Tx<'_>) -> Result<Option<Job>, Error> {
    Ok(tx.prepare_cached(RUNNING)?.query_row([], job).optional()?)
}

/// The place of a queued job.
pub(super) fn queued(tx: &Tx<'_>, id: Uuid) -> Result<Option<i64>, Error> {
    Ok(tx.prepare_cached(QUEUED)?.query_row([Text(id)], |row| row.get(0)).optional()?)
}

pub(super) fn payload(connection: &Connection, seq: i64) -> Result<Option<String>, Error> {
    Ok(connection.prepare_cached(PAYLOAD)?.query_row([seq], |row| row.get(0)).optional()?)
}

/// Ends a running job; `error` replaces the last one when there is a new one.
pub(super) fn complete(tx: &Tx<'_>, job: &Job, to: Status, now: Timestamp, error: Option<&str>) -> Result<bool, Error> {
    let changed = tx.prepare_cached(COMPLETE)?.execute((job.seq, job.attempt, Text(to), Text(now), error))?;
    Ok(changed == 1)
}

/// Puts a running job back for its next attempt, at `at` or at once.
pub(super) fn retry(tx: &Tx<'_>, job: &Job, at: Option<Timestamp>, now: Timestamp, error: &str) -> Result<bool, Error> {
    let set_at = at.map(|_| Text(now));
    Ok(tx.prepare_cached(RETRY)?.execute((job.seq, job.attempt, at.map(Text), set_at, error))? == 1)
}

/// Puts a running job back for the same attempt.
pub(super) fn requeue(tx: &Tx<'_>, job: &Job) -> Result<bool, Error> {
    Ok(tx.prepare_cached(REQUEUE)?.execute((job.seq, job.attempt))? == 1)
}

/// Ends every queued job of a plugin as `dead`. How many there were.
pub(super) fn bury(tx: &Tx<'_>, plugin: &str, reason: &str, now: Timestamp) -> Result<usize, Error> {
    Ok(tx.prepare_cached(BURY)?.execute((plugin, Text(now), reason))?)
}

/// Ends a queued job as `dead`. Whether it was queued.
pub(super) fn cancel(tx: &Tx<'_>, id: Uuid, reason: &str, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.prepare_cached(CANCEL)?.execute((Text(id), Text(now), reason))? == 1)
}

/// An `init` on the queue.
#[derive(Debug)]
pub struct QueuedInit {
    pub plugin: String,
    pub id: Uuid,
    pub submitted_by: SubmittedBy,
}

/// Every `init` on the queue, by plugin, in their order.
///
/// # Errors
/// When the database cannot be read.
pub fn queued_inits(connection: &Connection) -> Result<Vec<QueuedInit>, Error> {
    let mut statement = connection.prepare_cached(QUEUED_INITS)?;
    let rows = statement.query_map([], |row| {
        Ok(QueuedInit {
            plugin: row.get(0)?,
            id: row.get::<_, Text<_>>(1)?.0,
            submitted_by: row.get::<_, Text<_>>(2)?.0,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether the job that runs is an `init` of the plugin.
///
/// # Errors
/// When the database cannot be read.
pub fn init_runs(connection: &Connection, plugin: &str) -> Result<bool, Error> {
    Ok(connection.prepare_cached(RUNNING_INIT)?.exists([plugin])?)
}

/// How many jobs of a schedule are queued (waiting for a retry included) or running; without one, how many polls of the
/// plugin are that no schedule has asked for.
///
/// # Errors
/// When the database cannot be read.
pub fn outstanding_of_schedule(connection: &Connection, plugin: &str, schedule: Option<&str>) -> Result<u32, Error> {
    let mut statement = connection.prepare_cached(OUTSTANDING_OF_SCHEDULE)?;
    Ok(statement.query_row((plugin, schedule), |row| row.get(0))?)
}

/// Whether a job is queued or running.
///
/// # Errors
/// When the database cannot be read.
pub fn outstanding(connection: &Connection, id: Uuid) -> Result<bool, Error> {
    Ok(connection.prepare_cached(OUTSTANDING)?.exists([Text(id)])?)
}

/// The last place that was given in the queue; 0 when it is empty.
///
/// # Errors
/// When the database cannot be read.
pub fn newest(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.prepare_cached(NEWEST)?.query_row([], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(0))
}

/// Whether [`pull_back_retries`] has something to do.
///
/// # Errors
/// When the database cannot be read.
pub fn any_retry_set_after(connection: &Connection, now: Timestamp) -> Result<bool, Error> {
    Ok(connection.prepare_cached(RETRIES_SET_AFTER)?.exists((Text(now), 1))?)
}

/// After the clock stepped back: retries that were set in what is now the future wait their own delay from `now`.
/// At most `limit` of them; how many it were.
///
/// # Errors
/// When the database cannot be written.
pub fn pull_back_retries(tx: &Tx<'_>, now: Timestamp, limit: u32) -> Result<usize, Error> {
    let mut statement = tx.prepare_cached(RETRIES_SET_AFTER)?;
    let rows = statement.query_map((Text(now), limit), |row| {
        let (at, set_at): (Text<Timestamp>, Text<Timestamp>) = (row.get(1)?, row.get(2)?);
        Ok((row.get::<_, i64>(0)?, at.0.since(set_at.0)))
    })?;
    let late = rows.collect::<Result<Vec<_>, _>>()?;
    for (seq, delay) in &late {
        tx.prepare_cached(MOVE_RETRY)?.execute((seq, Text(now.after(*delay)), Text(now)))?;
    }
    Ok(late.len())
}

/// The plugins that have queued jobs.
///
/// # Errors
/// When the database cannot be read.
pub fn queued_plugins(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare(QUEUED_PLUGINS)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
