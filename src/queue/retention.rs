//! Forgetting finished jobs, their logs and the facts they stated, a bounded piece at a time.

use std::time::Duration;

use rusqlite::Connection;

use super::{log, over};
use crate::clock::Timestamp;
use crate::state::{Error, Tx, facts};

/// How long finished things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    pub job_log: Duration,
    pub job_queue: Duration,
    /// Of those with a successor.
    pub facts: Duration,
}

/// Rows of each table that one transaction deletes at most, so that no claim waits long behind it.
const PIECE: u32 = 250;

/// Whether anything has expired.
///
/// # Errors
/// When the database cannot be read.
pub fn any_expired(connection: &Connection, retention: Retention, now: Timestamp) -> Result<bool, Error> {
    Ok(!log::expired(connection, now.before(retention.job_log), now, 1)?.is_empty()
        || !over::completed_before(connection, now.before(retention.job_queue), 1)?.is_empty()
        || facts::any_expired(connection, now.before(retention.facts))?)
}

/// Deletes one piece of what has expired. Whether there may be more.
///
/// # Errors
/// When the database cannot be written.
pub fn delete_expired(tx: &Tx<'_>, retention: Retention, now: Timestamp) -> Result<bool, Error> {
    let logs = delete(tx, log::DELETE, &log::expired(tx, now.before(retention.job_log), now, PIECE)?)?;
    let jobs = delete(tx, over::DELETE, &over::completed_before(tx, now.before(retention.job_queue), PIECE)?)?;
    let facts = facts::delete_expired(tx, now.before(retention.facts), PIECE)?;
    Ok(logs.max(jobs).max(facts) == PIECE as usize)
}

/// Deletes rows one by one, by their numbers. How many it were.
fn delete(tx: &Tx<'_>, sql: &str, rows: &[i64]) -> Result<usize, Error> {
    let mut statement = tx.prepare_cached(sql)?;
    for row in rows {
        statement.execute([row])?;
    }
    Ok(rows.len())
}
