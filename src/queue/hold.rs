//! What keeps queued jobs from being claimed, apart from their plugin: a pause, or an `init` that has to come first.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::clock::Timestamp;
use crate::state::{Error, Text, Tx};

pub(super) const HOLDS: &str = "SELECT plugin, NULL FROM pause \
     UNION ALL SELECT plugin, min(seq) FROM job_queue WHERE command = 'init' AND status = 'queued' GROUP BY plugin";
pub(super) const PAUSES: &str = "SELECT plugin, since FROM pause";
pub(super) const PAUSE: &str = "INSERT INTO pause (plugin, since) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
pub(super) const RESUME: &str = "DELETE FROM pause WHERE plugin = ?1";

/// Statements that read nothing but what is held, however many jobs there are.
#[cfg(test)]
pub(super) const HOT: &[&str] = &[HOLDS, PAUSE, RESUME];

/// The name that stands for the whole queue.
const WHOLE_QUEUE: &str = "";

/// What may be claimed of a plugin.
pub(super) enum Turn {
    Any,
    /// Its `init`, at this place, before anything else.
    Only(i64),
    Nothing,
}

/// Everything that is held at the moment.
#[derive(Debug, Default)]
pub(super) struct Holds {
    paused: BTreeSet<String>,
    inits: BTreeMap<String, i64>,
}

impl Holds {
    pub(super) fn read(connection: &Connection) -> Result<Self, Error> {
        let mut statement = connection.prepare_cached(HOLDS)?;
        let mut rows = statement.query([])?;
        let mut holds = Self::default();
        while let Some(row) = rows.next()? {
            let plugin: String = row.get(0)?;
            match row.get::<_, Option<i64>>(1)? {
                None => {
                    holds.paused.insert(plugin);
                }
                Some(seq) => {
                    holds.inits.insert(plugin, seq);
                }
            }
        }
        Ok(holds)
    }

    /// Nothing at all may be claimed.
    pub(super) fn everything(&self) -> bool {
        self.paused.contains(WHOLE_QUEUE)
    }

    pub(super) fn turn(&self, plugin: &str) -> Turn {
        if self.paused.contains(plugin) {
            return Turn::Nothing;
        }
        self.inits.get(plugin).map_or(Turn::Any, |seq| Turn::Only(*seq))
    }
}

/// What an operator has paused, and since when.
#[derive(Debug, Clone, Default)]
pub struct Pauses {
    /// The whole queue.
    pub queue: Option<Timestamp>,
    pub plugins: BTreeMap<String, Timestamp>,
}

/// What is paused.
///
/// # Errors
/// When the database cannot be read.
pub fn pauses(connection: &Connection) -> Result<Pauses, Error> {
    let mut statement = connection.prepare_cached(PAUSES)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Text<Timestamp>>(1)?.0)))?;
    let mut plugins = rows.collect::<Result<BTreeMap<String, _>, _>>()?;
    Ok(Pauses { queue: plugins.remove(WHOLE_QUEUE), plugins })
}

/// Has no job of `plugin`, or with `None` no job at all, claimed any more. Whether it was not paused before.
///
/// # Errors
/// When the database cannot be written.
pub fn pause(tx: &Tx<'_>, plugin: Option<&str>, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.prepare_cached(PAUSE)?.execute((plugin.unwrap_or(WHOLE_QUEUE), Text(now)))? == 1)
}

/// Ends what [`pause`] began. Whether it was paused.
///
/// # Errors
/// When the database cannot be written.
pub fn resume(tx: &Tx<'_>, plugin: Option<&str>) -> Result<bool, Error> {
    Ok(tx.prepare_cached(RESUME)?.execute([plugin.unwrap_or(WHOLE_QUEUE)])? == 1)
}
