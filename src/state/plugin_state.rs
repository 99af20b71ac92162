//! `plugin_state`: what each plugin remembers between its runs, one JSON object each.

use rusqlite::{Connection, OptionalExtension};
use serde_json::value::RawValue;

use super::db::Tx;
use super::error::Error;
use super::merge;
use super::sql::Text;
use crate::clock::Timestamp;

/// The most that one plugin may remember: bytes of JSON text, inclusive.
pub const STATE_LIMIT: usize = 1 << 20;

/// A plugin's next object, known to be within [`STATE_LIMIT`].
#[derive(Debug)]
#[must_use = "nothing has been written yet"]
pub struct Merged<'p> {
    plugin: &'p str,
    state: String,
}

impl Merged<'_> {
    /// Whose it is.
    pub fn plugin(&self) -> &str {
        self.plugin
    }

    /// The object as JSON text.
    pub fn json(&self) -> &str {
        &self.state
    }
}

/// The object of a plugin as JSON text, `{}` when there is none yet.
///
/// # Errors
/// When the database cannot be read.
pub fn read(connection: &Connection, plugin: &str) -> Result<String, Error> {
    let text: Option<String> = connection
        .prepare_cached("SELECT state FROM plugin_state WHERE plugin_name = ?1")?
        .query_row([plugin], |row| row.get(0))
        .optional()?;
    Ok(text.unwrap_or_else(|| "{}".to_owned()))
}

/// What a plugin's object becomes with `updates`, key by key; `None` when that would be over [`STATE_LIMIT`].
///
/// # Errors
/// When the database cannot be read.
pub fn merge<'p>(connection: &Connection, plugin: &'p str, updates: &RawValue) -> Result<Option<Merged<'p>>, Error> {
    let current = read(connection, plugin)?;
    Ok(merge_into(&current, plugin, updates))
}

/// As [`merge()`], for an object that is in no database.
pub fn merge_into<'p>(current: &str, plugin: &'p str, updates: &RawValue) -> Option<Merged<'p>> {
    let state = merge::merge(current, updates, STATE_LIMIT).ok()?;
    Some(Merged { plugin, state })
}

/// A plugin's object when `snapshot` is all of it; `None` when that would be over [`STATE_LIMIT`].
pub fn replace<'p>(plugin: &'p str, snapshot: &RawValue) -> Option<Merged<'p>> {
    let state = merge::merge("{}", snapshot, STATE_LIMIT).ok()?;
    Some(Merged { plugin, state })
}

/// Stores what [`merge()`] or [`replace`] made. The only function that writes state.
///
/// # Errors
/// When the database cannot be written.
pub fn write(tx: &Tx<'_>, merged: &Merged<'_>, now: Timestamp) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO plugin_state (plugin_name, state, updated_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (plugin_name) DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at",
    )?
    .execute((merged.plugin, &merged.state, Text(now)))?;
    Ok(())
}
