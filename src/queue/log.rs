//! All SQL of `job_log`: one row for each ended attempt.

use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::finish::Attempted;
use super::job::{Job, JobLogStatus};
use crate::clock::Timestamp;
use crate::state::{Error, Text, Tx};

pub(super) const INSERT: &str = "INSERT INTO job_log (job_id, attempt, plugin, command, submitted_by, status, \
     started_at, completed_at, duration_ms, exit_code, error, result, response, logs, stderr) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
pub(super) const ANY_EXPIRED: &str = "SELECT 1 FROM job_log WHERE completed_at < ?1 LIMIT 1";
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM job_log WHERE id IN \
     (SELECT id FROM job_log WHERE completed_at < ?1 ORDER BY completed_at LIMIT ?2)";

pub(super) const FIRST_SINCE: &str = "SELECT id FROM job_log WHERE completed_at >= ?1 ORDER BY completed_at LIMIT 1";
pub(super) const NEWEST: &str = "SELECT max(id) FROM job_log";
pub(super) const IDS_IN_RANGE: &str =
    "SELECT DISTINCT job_id FROM job_log WHERE job_id >= ?1 AND job_id < ?2 ORDER BY job_id LIMIT ?3";
pub(super) const LAST_DURATION: &str =
    "SELECT duration_ms FROM job_log WHERE job_id = ?1 ORDER BY attempt DESC LIMIT 1";

/// Every statement whose cost must not depend on how many rows there are.
#[cfg(test)]
pub(super) const HOT: &[&str] =
    &[INSERT, ANY_EXPIRED, DELETE_EXPIRED, FIRST_SINCE, NEWEST, IDS_IN_RANGE, LAST_DURATION];

pub(super) fn insert(
    tx: &Tx<'_>,
    job: &Job,
    status: JobLogStatus,
    error: Option<&str>,
    attempted: &Attempted,
    now: Timestamp,
) -> Result<(), Error> {
    tx.prepare_cached(INSERT)?.execute((
        Text(job.id),
        job.attempt,
        &job.plugin,
        job.command.as_str(),
        Text(job.submitted_by),
        Text(status),
        Text(job.started_at.unwrap_or(now)),
        Text(now),
        attempted.duration_ms,
        attempted.exit_code,
        error,
        &attempted.result,
        &attempted.response,
        &attempted.logs,
        &attempted.stderr,
    ))?;
    Ok(())
}

pub(super) fn any_expired(connection: &Connection, before: Timestamp) -> Result<bool, Error> {
    Ok(connection.prepare_cached(ANY_EXPIRED)?.exists([Text(before)])?)
}

pub(super) fn delete_expired(tx: &Tx<'_>, before: Timestamp, limit: u32) -> Result<usize, Error> {
    Ok(tx.prepare_cached(DELETE_EXPIRED)?.execute((Text(before), limit))?)
}

/// The first attempt, by its end, that ended then or later.
pub(super) fn first_since(connection: &Connection, since: Timestamp) -> Result<Option<i64>, Error> {
    Ok(connection.prepare_cached(FIRST_SINCE)?.query_row([Text(since)], |row| row.get(0)).optional()?)
}

/// The number of the newest attempt, 0 when there is none.
pub(super) fn newest(connection: &Connection) -> Result<i64, Error> {
    let newest: Option<i64> = connection.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))?;
    Ok(newest.unwrap_or(0))
}

/// The first `limit` jobs with attempts whose ids are from `from` on and before `to`.
pub(super) fn ids_in_range(connection: &Connection, from: &str, to: &str, limit: u32) -> Result<Vec<Uuid>, Error> {
    let mut statement = connection.prepare_cached(IDS_IN_RANGE)?;
    let rows = statement.query_map((from, to, limit), |row| Ok(row.get::<_, Text<Uuid>>(0)?.0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How long the last ended attempt of a job took, milliseconds.
pub(super) fn last_duration(connection: &Connection, job: Uuid) -> Result<Option<u64>, Error> {
    Ok(connection.prepare_cached(LAST_DURATION)?.query_row([Text(job)], |row| row.get(0)).optional()?)
}
