//! All SQL of `schedule`: one function a statement, no policy.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::clock::Timestamp;
use crate::state::{Error, Text, Tx};

pub(super) const DUE: &str =
    "SELECT plugin, hash, anchor, next_run FROM schedule WHERE next_run IS NOT NULL AND next_run <= ?1";
pub(super) const ANCHORED_AFTER: &str =
    "SELECT plugin, hash, anchor, next_run FROM schedule WHERE next_run IS NOT NULL AND anchor > ?1";
pub(super) const ONE: &str = "SELECT plugin, hash, anchor, next_run FROM schedule WHERE plugin = ?1";
pub(super) const PUT: &str = "INSERT INTO schedule (plugin, hash, anchor, next_run) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (plugin) DO UPDATE SET hash = excluded.hash, anchor = excluded.anchor, next_run = excluded.next_run";
pub(super) const SUSPEND: &str = "UPDATE schedule SET next_run = NULL WHERE plugin = ?1";

/// A row of `schedule`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scheduled {
    pub(super) plugin: String,
    pub(super) hash: String,
    /// When the last run was enqueued or ended; `None` before the first.
    pub(super) anchor: Option<Timestamp>,
    /// `None` while the plugin has no schedule.
    pub(super) next_run: Option<Timestamp>,
}

fn scheduled(row: &Row<'_>) -> rusqlite::Result<Scheduled> {
    Ok(Scheduled {
        plugin: row.get(0)?,
        hash: row.get(1)?,
        anchor: row.get::<_, Option<Text<_>>>(2)?.map(|time| time.0),
        next_run: row.get::<_, Option<Text<_>>>(3)?.map(|time| time.0),
    })
}

/// Those whose next run is not after `now`, in no order.
pub(super) fn due(connection: &Connection, now: Timestamp) -> Result<Vec<Scheduled>, Error> {
    select(connection, DUE, now)
}

/// Those whose anchor is later than `now`: the clock stepped back.
pub(super) fn anchored_after(connection: &Connection, now: Timestamp) -> Result<Vec<Scheduled>, Error> {
    select(connection, ANCHORED_AFTER, now)
}

fn select(connection: &Connection, sql: &str, now: Timestamp) -> Result<Vec<Scheduled>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([Text(now)], scheduled)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn one(connection: &Connection, plugin: &str) -> Result<Option<Scheduled>, Error> {
    Ok(connection.prepare_cached(ONE)?.query_row([plugin], scheduled).optional()?)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Scheduled>, Error> {
    let mut statement = connection.prepare_cached("SELECT plugin, hash, anchor, next_run FROM schedule")?;
    let rows = statement.query_map([], scheduled)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn put(tx: &Tx<'_>, row: &Scheduled) -> Result<(), Error> {
    tx.prepare_cached(PUT)?.execute((&row.plugin, &row.hash, row.anchor.map(Text), row.next_run.map(Text)))?;
    Ok(())
}

/// Keeps the anchor, so that a plugin which comes back is not due at once.
pub(super) fn suspend(tx: &Tx<'_>, plugin: &str) -> Result<(), Error> {
    tx.prepare_cached(SUSPEND)?.execute([plugin])?;
    Ok(())
}

/// When a plugin is polled next; `None` when it has no schedule.
///
/// # Errors
/// When the database cannot be read.
pub fn next_run_of(connection: &Connection, plugin: &str) -> Result<Option<Timestamp>, Error> {
    Ok(one(connection, plugin)?.and_then(|row| row.next_run))
}
