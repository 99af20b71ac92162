//! All SQL of `job_log`: one row for each ended attempt.

use rusqlite::Connection;

use super::finish::Attempted;
use super::job::{Job, JobLogStatus};
use crate::clock::Timestamp;
use crate::state::{Error, Text, Tx};

pub(super) const INSERT: &str = "INSERT INTO job_log (job_id, attempt, plugin, command, submitted_by, status, \
     started_at, completed_at, duration_ms, exit_code, error, result, logs, stderr) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
pub(super) const ANY_EXPIRED: &str = "SELECT 1 FROM job_log WHERE completed_at < ?1 LIMIT 1";
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM job_log WHERE id IN \
     (SELECT id FROM job_log WHERE completed_at < ?1 ORDER BY completed_at LIMIT ?2)";

/// Every statement whose cost must not depend on how many rows there are.
#[cfg(test)]
pub(super) const HOT: &[&str] = &[INSERT, ANY_EXPIRED, DELETE_EXPIRED];

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
        Text(job.command),
        Text(job.submitted_by),
        Text(status),
        Text(job.started_at.unwrap_or(now)),
        Text(now),
        attempted.duration_ms,
        attempted.exit_code,
        error,
        &attempted.result,
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
