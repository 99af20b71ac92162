//! When a plugin's `init` runs: once for each manifest and configuration, before the plugin's other jobs.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};

use super::breaker::Verdict;
use super::tick::Consequence;
use crate::clock::Timestamp;
use crate::command::Command;
use crate::queue::{self, Job, NewJob, SubmittedBy};
use crate::state::{Error, Text, Tx};

/// Every loaded plugin; those that declare `init` with what identifies their manifest and configuration.
pub type Inits = BTreeMap<String, Option<String>>;

/// Why and since when a plugin is unhealthy.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unhealthy {
    pub since: Timestamp,
    pub error: String,
}

#[derive(Debug, Default)]
struct Row {
    done_hash: Option<String>,
    started_hash: Option<String>,
}

pub(super) const ONE: &str = "SELECT done_hash, started_hash FROM plugin_init WHERE plugin = ?1";
pub(super) const UNHEALTHY: &str =
    "SELECT failed_at, error FROM plugin_init WHERE plugin = ?1 AND failed_at IS NOT NULL";
const FORGET: &str = "DELETE FROM plugin_init WHERE plugin = ?1";
const STARTED: &str = "INSERT INTO plugin_init (plugin, started_hash) VALUES (?1, ?2) \
     ON CONFLICT (plugin) DO UPDATE SET started_hash = excluded.started_hash";
const SUCCEEDED: &str = "INSERT INTO plugin_init (plugin, done_hash) VALUES (?1, ?2) \
     ON CONFLICT (plugin) DO UPDATE SET done_hash = excluded.done_hash, failed_at = NULL, error = NULL";
const FAILED: &str = "INSERT INTO plugin_init (plugin, failed_at, error) VALUES (?1, ?2, ?3) \
     ON CONFLICT (plugin) DO UPDATE SET done_hash = NULL, failed_at = excluded.failed_at, error = excluded.error";

/// Enqueues the inits that are due, and ends those on the queue that are not: of each plugin at most one is left.
/// That of a plugin which is not loaded waits for it.
pub(super) fn sync(tx: &Tx<'_>, inits: &Inits, now: Timestamp) -> Result<(), Error> {
    let mut needed = BTreeSet::new();
    for (plugin, hash) in inits {
        let Some(hash) = hash else {
            tx.prepare_cached(FORGET)?.execute([plugin])?;
            continue;
        };
        let row = one(tx, plugin)?.unwrap_or_default();
        let running = row.started_hash.as_ref() == Some(hash) && queue::init_runs(tx, plugin)?;
        if row.done_hash.as_ref() != Some(hash) && !running {
            needed.insert(plugin.as_str());
        }
    }
    for init in queue::queued_inits(tx)? {
        let wanted = needed.remove(init.plugin.as_str());
        if !wanted && inits.contains_key(&init.plugin) && init.submitted_by == SubmittedBy::Scheduler {
            queue::cancel(tx, init.id, "another init, or none, is needed by now", now)?;
        }
    }
    for plugin in needed {
        let init = NewJob::new(plugin, Command::Init, SubmittedBy::Scheduler, 1);
        queue::enqueue_beyond_limit(tx, &init, now)?;
    }
    Ok(())
}

/// Whether `init` has succeeded with this manifest and configuration.
///
/// # Errors
/// When the database cannot be read.
pub fn is_initialized(connection: &Connection, plugin: &str, hash: &str) -> Result<bool, Error> {
    Ok(one(connection, plugin)?.is_some_and(|row| row.done_hash.as_deref() == Some(hash)))
}

/// Why a plugin is unhealthy; `None` when it is not.
///
/// # Errors
/// When the database cannot be read.
pub fn unhealthy(connection: &Connection, plugin: &str) -> Result<Option<Unhealthy>, Error> {
    let read = |row: &rusqlite::Row<'_>| Ok(Unhealthy { since: row.get::<_, Text<_>>(0)?.0, error: row.get(1)? });
    Ok(connection.prepare_cached(UNHEALTHY)?.query_row([plugin], read).optional()?)
}

/// Notes that an `init` was claimed, and with which manifest and configuration.
///
/// # Errors
/// When the database cannot be written.
pub fn init_started(tx: &Tx<'_>, plugin: &str, hash: &str) -> Result<(), Error> {
    tx.prepare_cached(STARTED)?.execute((plugin, hash))?;
    Ok(())
}

/// Takes the outcome of an `init` into account; `inits` are those of the configuration that it ran with.
pub(super) fn settled(
    tx: &Tx<'_>,
    job: &Job,
    verdict: Verdict,
    error: &str,
    inits: &Inits,
    now: Timestamp,
) -> Result<Option<Consequence>, Error> {
    match verdict {
        Verdict::Succeeded => {
            if let Some(hash) = inits.get(&job.plugin).and_then(Option::as_ref) {
                tx.prepare_cached(SUCCEEDED)?.execute((&job.plugin, hash))?;
            }
            Ok(None)
        }
        Verdict::Failed => {
            tx.prepare_cached(FAILED)?.execute((&job.plugin, Text(now), error))?;
            Ok(Some(Consequence::InitFailed))
        }
        Verdict::Interrupted => Ok(None),
    }
}

fn one(connection: &Connection, plugin: &str) -> Result<Option<Row>, Error> {
    let read = |row: &rusqlite::Row<'_>| Ok(Row { done_hash: row.get(0)?, started_hash: row.get(1)? });
    Ok(connection.prepare_cached(ONE)?.query_row([plugin], read).optional()?)
}
