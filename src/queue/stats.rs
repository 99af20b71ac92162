//! How a plugin has done lately, in numbers.

use rusqlite::Connection;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::state::{Error, Text};

/// As many attempts are looked at, the newest ones.
const MOST: u32 = 10_000;

/// By an index that has all it needs: rows of the log may be large.
pub(super) const RECENT: &str = "SELECT status = 'succeeded', duration_ms FROM \
     (SELECT completed_at, status, duration_ms FROM job_log INDEXED BY job_log_plugin WHERE plugin = ?1 \
      ORDER BY id DESC LIMIT ?3) WHERE completed_at >= ?2";

/// The attempts of a plugin since some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub attempts: u64,
    pub succeeded: u64,
    /// The middle duration.
    pub p50_ms: u64,
    /// As long as at most one in twenty takes longer.
    pub p95_ms: u64,
}

/// Of the attempts that ended since then, but of no more than 10,000; `None` when there was none.
///
/// # Errors
/// When the database cannot be read.
pub fn stats(connection: &Connection, plugin: &str, since: Timestamp) -> Result<Option<Stats>, Error> {
    let mut statement = connection.prepare_cached(RECENT)?;
    let rows =
        statement.query_map((plugin, Text(since), MOST), |row| Ok((row.get::<_, bool>(0)?, row.get::<_, u64>(1)?)))?;
    let attempts = rows.collect::<Result<Vec<_>, _>>()?;
    if attempts.is_empty() {
        return Ok(None);
    }
    let mut durations: Vec<_> = attempts.iter().map(|(_, duration_ms)| *duration_ms).collect();
    durations.sort_unstable();
    let rank = |share: usize| durations[(durations.len() * share).div_ceil(100).max(1) - 1];
    Ok(Some(Stats {
        attempts: attempts.len() as u64,
        succeeded: attempts.iter().filter(|(succeeded, _)| *succeeded).count() as u64,
        p50_ms: rank(50),
        p95_ms: rank(95),
    }))
}
