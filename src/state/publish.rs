//! `service` and `plugin`: what the daemon tells commands that do not read the configuration.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::db::Tx;
use super::error::Error;
use super::sql::Text;
use crate::clock::Timestamp;

/// The one row of `service`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Service {
    #[serde(skip)]
    pub instance: Uuid,
    pub name: Option<String>,
    /// Of the running daemon, or of one that was killed; `None` when the last one ended properly.
    pub pid: Option<i32>,
    pub version: Option<String>,
    pub started_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    pub config_path: Option<String>,
    pub config_hash: Option<String>,
    /// Where webhooks are taken, as it was bound.
    pub listen: Option<String>,
    /// Where metrics are told, as it was bound.
    pub metrics_listen: Option<String>,
    /// Since the daemon has started.
    pub last_reload: Option<Reload>,
    /// The limits for those who enqueue; `None` before the first start.
    #[serde(skip)]
    pub limits: Option<(Duration, u64)>,
}

/// The last time that a new configuration was asked for.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Reload {
    /// Counts them all.
    pub number: u64,
    pub at: Timestamp,
    /// Why it was refused; `None` when it was taken.
    pub error: Option<String>,
    /// What it has changed, for people.
    pub changes: Vec<String>,
}

/// What a daemon writes about itself when it starts.
#[derive(Debug, Clone)]
pub struct Started {
    pub pid: u32,
    pub at: Timestamp,
    pub listen: Option<String>,
    pub metrics_listen: Option<String>,
    pub in_force: InForce,
}

/// What a daemon writes about the configuration in force.
#[derive(Debug, Clone)]
pub struct InForce {
    pub name: String,
    pub config_path: String,
    pub config_hash: String,
    pub dedupe_ttl: Duration,
    pub max_queue_depth: u64,
}

/// A row of `plugin`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Published {
    pub name: String,
    pub enabled: bool,
    pub loaded: bool,
    /// Why it is not loaded.
    pub error: Option<String>,
    pub version: Option<String>,
    /// `None` when it is not loaded.
    pub protocol: Option<u8>,
    pub commands: Vec<String>,
    pub max_attempts: u32,
    /// The shortest of `schedules`.
    pub schedule_every_ms: Option<u64>,
    pub schedules: Vec<Scheduled>,
    /// Of an alias: the plugin whose files it runs.
    pub uses: Option<String>,
    /// Where it was loaded from.
    pub folder: Option<String>,
    /// What is odd about it and does not keep it from running.
    pub warnings: Vec<String>,
    /// All that it declares, JSON text; `None` when it is not loaded.
    #[serde(skip)]
    pub manifest: Option<String>,
}

/// What a plugin is asked for at its time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scheduled {
    pub id: String,
    pub command: String,
    pub every_ms: u64,
    /// Not published, but known by the scheduler's table: for whoever shows both.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Timestamp>,
}

/// The identity of the database, which every plugin process carries.
///
/// # Errors
/// When the database cannot be read.
pub fn service(connection: &Connection) -> Result<Service, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT instance, name, pid, version, started_at, stopped_at, config_path, config_hash,
                listen, dedupe_ttl_ms, max_queue_depth, reloads, reload_tried_at, reload_error, reload_changes,
                metrics_listen
         FROM service",
    )?;
    Ok(statement.query_row([], |row| {
        let reloads = row.get(11)?;
        let reload = |at: Text<Timestamp>| {
            let changes: Option<String> = row.get(14)?;
            let changes = changes.and_then(|changes| serde_json::from_str(&changes).ok()).unwrap_or_default();
            Ok::<_, rusqlite::Error>(Reload { number: reloads, at: at.0, error: row.get(13)?, changes })
        };
        let ttl: Option<u64> = row.get(9)?;
        let depth: Option<u64> = row.get(10)?;
        Ok(Service {
            instance: row.get::<_, Text<Uuid>>(0)?.0,
            name: row.get(1)?,
            pid: row.get(2)?,
            version: row.get(3)?,
            started_at: row.get::<_, Option<Text<_>>>(4)?.map(|text| text.0),
            stopped_at: row.get::<_, Option<Text<_>>>(5)?.map(|text| text.0),
            config_path: row.get(6)?,
            config_hash: row.get(7)?,
            listen: row.get(8)?,
            metrics_listen: row.get(15)?,
            last_reload: row.get::<_, Option<Text<_>>>(12)?.map(reload).transpose()?,
            limits: ttl.map(Duration::from_millis).zip(depth),
        })
    })?)
}

/// Records that a daemon runs, with `version` from the build.
///
/// # Errors
/// When the database cannot be written.
pub fn started(tx: &Tx<'_>, started: &Started) -> Result<(), Error> {
    tx.execute(
        "UPDATE service SET pid = ?1, version = ?2, started_at = ?3, stopped_at = NULL, listen = ?4,
                metrics_listen = ?5, reload_tried_at = NULL, reload_error = NULL, reload_changes = NULL",
        (started.pid, env!("CARGO_PKG_VERSION"), Text(started.at), &started.listen, &started.metrics_listen),
    )?;
    in_force(tx, &started.in_force)
}

fn in_force(tx: &Tx<'_>, config: &InForce) -> Result<(), Error> {
    tx.execute(
        "UPDATE service SET name = ?1, config_path = ?2, config_hash = ?3, dedupe_ttl_ms = ?4, max_queue_depth = ?5",
        (
            &config.name,
            &config.config_path,
            &config.config_hash,
            whole_ms(config.dedupe_ttl),
            i64::try_from(config.max_queue_depth).unwrap_or(i64::MAX),
        ),
    )?;
    Ok(())
}

/// Records that a new configuration was put in force.
///
/// # Errors
/// When the database cannot be written.
pub fn reloaded(tx: &Tx<'_>, config: &InForce, changes: &[String], now: Timestamp) -> Result<(), Error> {
    in_force(tx, config)?;
    let changes = serde_json::to_string(changes).expect("a list of strings is JSON");
    reload(tx, now, None, Some(&changes))
}

/// Records that a new configuration was refused.
///
/// # Errors
/// When the database cannot be written.
pub fn reload_refused(tx: &Tx<'_>, reason: &str, now: Timestamp) -> Result<(), Error> {
    reload(tx, now, Some(reason), None)
}

fn reload(tx: &Tx<'_>, now: Timestamp, error: Option<&str>, changes: Option<&str>) -> Result<(), Error> {
    tx.execute(
        "UPDATE service SET reloads = reloads + 1, reload_tried_at = ?1, reload_error = ?2, reload_changes = ?3",
        (Text(now), error, changes),
    )?;
    Ok(())
}

/// Records that the daemon ended properly.
///
/// # Errors
/// When the database cannot be written.
pub fn stopped(tx: &Tx<'_>, now: Timestamp) -> Result<(), Error> {
    tx.execute("UPDATE service SET pid = NULL, stopped_at = ?1", [Text(now)])?;
    Ok(())
}

/// Changes nothing, but has something to write: finds out whether that works. For a daemon that has [`started`].
///
/// # Errors
/// When the database cannot be written.
pub fn probe(tx: &Tx<'_>) -> Result<(), Error> {
    // There and back: SQLite does not write a row that it is given as it is.
    for _ in 0..2 {
        tx.execute("UPDATE service SET pid = -pid", [])?;
    }
    Ok(())
}

/// Replaces the whole table.
///
/// # Errors
/// When the database cannot be written.
pub fn plugins(tx: &Tx<'_>, plugins: &[Published]) -> Result<(), Error> {
    tx.execute("DELETE FROM plugin", [])?;
    let mut insert = tx.prepare(
        "INSERT INTO plugin (name, enabled, loaded, error, version, protocol, commands, max_attempts,
                schedule_every_ms, schedules, uses, folder, warnings, manifest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    for plugin in plugins {
        let commands = serde_json::to_string(&plugin.commands).expect("a list of strings is JSON");
        let schedules = serde_json::to_string(&plugin.schedules).expect("texts and numbers are JSON");
        let warnings = serde_json::to_string(&plugin.warnings).expect("a list of strings is JSON");
        insert.execute((
            &plugin.name,
            plugin.enabled,
            plugin.loaded,
            &plugin.error,
            &plugin.version,
            plugin.protocol,
            commands,
            plugin.max_attempts,
            plugin.schedule_every_ms,
            schedules,
            &plugin.uses,
            &plugin.folder,
            warnings,
            &plugin.manifest,
        ))?;
    }
    Ok(())
}

/// What the daemon published, by name; empty before its first start.
///
/// # Errors
/// When the database cannot be read.
pub fn all_plugins(connection: &Connection) -> Result<Vec<Published>, Error> {
    let mut statement = connection.prepare(&format!("{SELECT_PLUGIN} ORDER BY name"))?;
    let rows = statement.query_map([], published)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One plugin of [`all_plugins`].
///
/// # Errors
/// When the database cannot be read.
pub fn plugin(connection: &Connection, name: &str) -> Result<Option<Published>, Error> {
    let mut statement = connection.prepare(&format!("{SELECT_PLUGIN} WHERE name = ?1"))?;
    Ok(statement.query_row([name], published).optional()?)
}

const SELECT_PLUGIN: &str = "SELECT name, enabled, loaded, error, version, protocol, commands, max_attempts, \
     schedule_every_ms, schedules, uses, folder, warnings, manifest FROM plugin";

fn published(row: &rusqlite::Row<'_>) -> rusqlite::Result<Published> {
    let (commands, schedules, warnings): (String, String, String) = (row.get(6)?, row.get(9)?, row.get(12)?);
    Ok(Published {
        name: row.get(0)?,
        enabled: row.get(1)?,
        loaded: row.get(2)?,
        error: row.get(3)?,
        version: row.get(4)?,
        protocol: row.get(5)?,
        commands: serde_json::from_str(&commands).unwrap_or_default(),
        max_attempts: row.get(7)?,
        schedule_every_ms: row.get(8)?,
        schedules: serde_json::from_str(&schedules).unwrap_or_default(),
        uses: row.get(10)?,
        folder: row.get(11)?,
        warnings: serde_json::from_str(&warnings).unwrap_or_default(),
        manifest: row.get(13)?,
    })
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
