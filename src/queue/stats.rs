//! How a plugin has done lately, in numbers.

use rusqlite::Connection;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::state::{Error, Text};

/// As many attempts are looked at, the newest ones.
const MOST: u32 = 10_000;

/// By an index that has all it needs: rows of the log may be large.
pub(super) const RECENT: &str = "SELECT completed_at, status = 'succeeded', duration_ms \
     FROM job_log INDEXED BY job_log_plugin WHERE plugin = ?1 ORDER BY id DESC LIMIT ?2";

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
    let mut rows = statement.query((plugin, MOST))?;
    let (mut succeeded, mut durations) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        if row.get::<_, Text<Timestamp>>(0)?.0 < since {
            break;
        }
        succeeded += u64::from(row.get::<_, bool>(1)?);
        durations.push(row.get::<_, u64>(2)?);
    }
    if durations.is_empty() {
        return Ok(None);
    }
    durations.sort_unstable();
    let rank = |share: usize| durations[(durations.len() * share).div_ceil(100).max(1) - 1];
    Ok(Some(Stats { attempts: durations.len() as u64, succeeded, p50_ms: rank(50), p95_ms: rank(95) }))
}
