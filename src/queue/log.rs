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
pub(super) const FROM: &str = "SELECT id, completed_at FROM job_log WHERE id >= ?1 ORDER BY id";
pub(super) const DELETE: &str = "DELETE FROM job_log WHERE id = ?1";
pub(super) const NEWEST: &str = "SELECT max(id) FROM job_log";
pub(super) const IDS_IN_RANGE: &str =
    "SELECT DISTINCT job_id FROM job_log WHERE job_id >= ?1 AND job_id < ?2 ORDER BY job_id LIMIT ?3";
pub(super) const LAST_DURATION: &str =
    "SELECT duration_ms FROM job_log WHERE job_id = ?1 ORDER BY attempt DESC LIMIT 1";

/// Every statement whose cost must not depend on how many rows there are.
#[cfg(test)]
pub(super) const HOT: &[&str] = &[INSERT, FROM, DELETE, NEWEST, IDS_IN_RANGE, LAST_DURATION];

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

/// The first `limit` of the attempts that ended before `before`, in their order: from the oldest on up to one that is to
/// be kept. Those of a clock that was ahead are passed over: they say nothing of what is behind them.
pub(super) fn expired(
    connection: &Connection,
    before: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<i64>, Error> {
    let mut statement = connection.prepare_cached(FROM)?;
    let (mut expired, mut from) = (Vec::new(), Some(1));
    while let Some(first) = from.take() {
        let mut rows = statement.query([first])?;
        while expired.len() < limit as usize
            && let Some(row) = rows.next()?
        {
            let (id, ended): (_, Text<Timestamp>) = (row.get(0)?, row.get(1)?);
            if ended.0 < before {
                expired.push(id);
                continue;
            }
            if ended.0 > now {
                from = first_that(connection, id + 1, |ended| ended <= now)?;
            }
            break;
        }
    }
    Ok(expired)
}

/// The first attempt that ended then or later.
pub(super) fn first_since(connection: &Connection, since: Timestamp) -> Result<Option<i64>, Error> {
    first_that(connection, 1, |ended| ended >= since)
}

/// The first attempt, from the number `first` on, whose end is as wanted: found by halving, as attempts are numbered as they
/// end. A clock that was set back makes it one of several such.
fn first_that(connection: &Connection, first: i64, wanted: impl Fn(Timestamp) -> bool) -> Result<Option<i64>, Error> {
    let mut statement = connection.prepare_cached(FROM)?;
    let beyond = newest(connection)? + 1;
    let (mut first, mut end) = (first, beyond);
    while first < end {
        let middle = first + (end - first) / 2;
        let attempt =
            statement.query_row([middle], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Text<Timestamp>>(1)?)));
        match attempt.optional()? {
            Some((id, ended)) if !wanted(ended.0) => first = id + 1,
            _ => end = middle,
        }
    }
    Ok((first < beyond).then_some(first))
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
