//! All SQL of `schedule`: one function a statement, no policy.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::command::Command;
use crate::state::{Error, Text, Tx};

pub(super) const DUE: &str = "SELECT plugin, schedule, command, hash, anchor, next_run FROM schedule WHERE next_run IS NOT NULL AND next_run <= ?1";
pub(super) const ANCHORED_AFTER: &str =
    "SELECT plugin, schedule, command, hash, anchor, next_run FROM schedule WHERE next_run IS NOT NULL AND anchor > ?1";
pub(super) const ONE: &str = "SELECT plugin, schedule, command, hash, anchor, next_run FROM schedule \
     WHERE plugin = ?1 AND schedule = ?2";
pub(super) const PUT: &str = "INSERT INTO schedule (plugin, schedule, command, hash, anchor, next_run) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (plugin, schedule) DO UPDATE SET command = excluded.command, \
     hash = excluded.hash, anchor = excluded.anchor, next_run = excluded.next_run";
pub(super) const SUSPEND: &str = "UPDATE schedule SET next_run = NULL WHERE plugin = ?1 AND schedule = ?2";
pub(super) const DELETE: &str = "DELETE FROM schedule WHERE plugin = ?1 AND schedule = ?2";
pub(super) const OF_PLUGIN: &str = "SELECT schedule, command, next_run FROM schedule \
     WHERE plugin = ?1 AND next_run IS NOT NULL";

/// A row of `schedule`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scheduled {
    pub(super) plugin: String,
    /// Its id, unique in the plugin.
    pub(super) schedule: String,
    pub(super) command: Command,
    pub(super) hash: String,
    /// When the last run was enqueued or ended; `None` before the first.
    pub(super) anchor: Option<Timestamp>,
    /// `None` while the plugin is not loaded.
    pub(super) next_run: Option<Timestamp>,
}

fn scheduled(row: &Row<'_>) -> rusqlite::Result<Scheduled> {
    Ok(Scheduled {
        plugin: row.get(0)?,
        schedule: row.get(1)?,
        command: row.get::<_, Text<_>>(2)?.0,
        hash: row.get(3)?,
        anchor: row.get::<_, Option<Text<_>>>(4)?.map(|time| time.0),
        next_run: row.get::<_, Option<Text<_>>>(5)?.map(|time| time.0),
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

pub(super) fn one(connection: &Connection, plugin: &str, schedule: &str) -> Result<Option<Scheduled>, Error> {
    Ok(connection.prepare_cached(ONE)?.query_row([plugin, schedule], scheduled).optional()?)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Scheduled>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT plugin, schedule, command, hash, anchor, next_run FROM schedule")?;
    let rows = statement.query_map([], scheduled)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn put(tx: &Tx<'_>, row: &Scheduled) -> Result<(), Error> {
    let Scheduled { plugin, schedule, command, hash, anchor, next_run } = row;
    let columns = (plugin, schedule, Text(command), hash, anchor.map(Text), next_run.map(Text));
    tx.prepare_cached(PUT)?.execute(columns)?;
    Ok(())
}

/// Keeps the anchor, so that a plugin which comes back is not due at once.
pub(super) fn suspend(tx: &Tx<'_>, row: &Scheduled) -> Result<(), Error> {
    tx.prepare_cached(SUSPEND)?.execute([&row.plugin, &row.schedule])?;
    Ok(())
}

/// Forgets a schedule that its plugin has no more.
pub(super) fn delete(tx: &Tx<'_>, row: &Scheduled) -> Result<(), Error> {
    tx.prepare_cached(DELETE)?.execute([&row.plugin, &row.schedule])?;
    Ok(())
}

/// When a schedule runs next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextRun {
    #[serde(rename = "id")]
    pub schedule: String,
    #[serde(serialize_with = "name")]
    pub command: Command,
    pub next_run: Timestamp,
}

fn name<S: serde::Serializer>(command: &Command, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(command)
}

/// The schedules of a plugin, the one that runs next first; none while the plugin is not loaded.
///
/// # Errors
/// When the database cannot be read.
pub fn next_runs_of(connection: &Connection, plugin: &str) -> Result<Vec<NextRun>, Error> {
    let mut statement = connection.prepare_cached(OF_PLUGIN)?;
    let rows = statement.query_map([plugin], |row| {
        Ok(NextRun {
            schedule: row.get(0)?,
            command: row.get::<_, Text<_>>(1)?.0,
            next_run: row.get::<_, Text<_>>(2)?.0,
        })
    })?;
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| row.next_run);
    Ok(rows)
}
