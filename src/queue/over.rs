//! Jobs that are over: which were the last, and which may go. They are found plugin by plugin.

use std::cmp::Reverse;

use rusqlite::{Connection, OptionalExtension, Row};

use super::job::Job;
use super::store::{self, columns};
use crate::clock::Timestamp;
use crate::state::{Error, Text};

/// The next plugin with jobs that have succeeded, and when the first of them did.
const NEXT_SUCCEEDED: &str = "SELECT plugin, completed_at FROM job_queue \
     WHERE status = 'succeeded' AND plugin > ?1 ORDER BY plugin, completed_at LIMIT 1";
const EXPIRED_SUCCEEDED: &str = "SELECT seq FROM job_queue \
     WHERE status = 'succeeded' AND plugin = ?1 AND completed_at < ?2 ORDER BY completed_at LIMIT ?3";
const EXPIRED_DEAD: &str = "SELECT seq FROM job_queue INDEXED BY job_queue_dead_completed \
     WHERE status = 'dead' AND completed_at < ?1 ORDER BY completed_at LIMIT ?2";
/// With its payload.
pub(super) const DELETE: &str = "DELETE FROM job_queue WHERE seq = ?1";
const SUCCEEDED_SINCE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM job_queue WHERE status = 'succeeded' AND plugin = ?1 AND completed_at >= ?2 ORDER BY completed_at DESC LIMIT ?3"
);
/// Every text is above the empty one: the condition is there for the index.
const LAST_DEAD: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM job_queue WHERE status = 'dead' AND completed_at > '' ORDER BY completed_at DESC LIMIT ?1"
);
const LAST_SUCCESS: &str = "SELECT completed_at FROM job_queue \
     WHERE status = 'succeeded' AND plugin = ?1 AND completed_at <= ?2 ORDER BY completed_at DESC LIMIT 1";

/// Every statement whose cost must not depend on how many jobs there are or have been.
#[cfg(test)]
pub(super) const HOT: &[&str] =
    &[NEXT_SUCCEEDED, EXPIRED_SUCCEEDED, EXPIRED_DEAD, DELETE, SUCCEEDED_SINCE, LAST_DEAD, LAST_SUCCESS];

/// The jobs that were over last, the newest first; one look-up a plugin.
///
/// # Errors
/// When the database cannot be read.
pub fn ended(connection: &Connection, limit: u32) -> Result<Vec<Job>, Error> {
    let mut last_dead = connection.prepare_cached(LAST_DEAD)?;
    let mut succeeded = connection.prepare_cached(SUCCEEDED_SINCE)?;
    let mut ended: Vec<_> = last_dead.query_map([limit], store::job)?.collect::<Result<_, _>>()?;
    let mut plugin = String::new();
    while let Some((next, _)) = next_succeeded(connection, &plugin)? {
        // What is older than all that were found is not wanted.
        let full = ended.len() == limit as usize;
        let since = ended.last().filter(|_| full).and_then(|job| job.completed_at.map(|at| at.to_string()));
        let newer = succeeded.query_map((&next, since.unwrap_or_default(), limit), store::job)?;
        ended.extend(newer.collect::<Result<Vec<_>, _>>()?);
        ended.sort_by_key(|job| Reverse((job.completed_at, job.seq)));
        ended.truncate(limit as usize);
        plugin = next;
    }
    Ok(ended)
}

/// When the last of a plugin's jobs to succeed did; `None` when there is none any more. What a clock that was ahead has
/// put after `now` does not count: it would hide for long that nothing succeeds.
///
/// # Errors
/// When the database cannot be read.
pub fn last_success(connection: &Connection, plugin: &str, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let mut statement = connection.prepare_cached(LAST_SUCCESS)?;
    Ok(statement.query_row((plugin, Text(now)), |row| row.get::<_, Text<_>>(0)).optional()?.map(|at| at.0))
}

/// The first `limit` jobs that were over before `before`: one look-up a plugin.
pub(super) fn completed_before(connection: &Connection, before: Timestamp, limit: u32) -> Result<Vec<i64>, Error> {
    let seq = |row: &Row<'_>| row.get(0);
    let mut statement = connection.prepare_cached(EXPIRED_DEAD)?;
    let mut seqs: Vec<i64> = statement.query_map((Text(before), limit), seq)?.collect::<Result<_, _>>()?;
    let mut statement = connection.prepare_cached(EXPIRED_SUCCEEDED)?;
    let mut plugin = String::new();
    while seqs.len() < limit as usize
        && let Some((next, first)) = next_succeeded(connection, &plugin)?
    {
        if first < before {
            let room = limit as usize - seqs.len();
            let succeeded = statement.query_map((&next, Text(before), room), seq)?;
            seqs.extend(succeeded.collect::<Result<Vec<_>, _>>()?);
        }
        plugin = next;
    }
    Ok(seqs)
}

/// The first plugin behind `plugin` with jobs that have succeeded, and when the first of them did.
fn next_succeeded(connection: &Connection, plugin: &str) -> Result<Option<(String, Timestamp)>, Error> {
    let mut statement = connection.prepare_cached(NEXT_SUCCEEDED)?;
    Ok(statement.query_row([plugin], |row| Ok((row.get(0)?, row.get::<_, Text<_>>(1)?.0))).optional()?)
}
