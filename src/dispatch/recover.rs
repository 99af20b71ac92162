//! After a crash: the job that was running gets its attempt ended, like any other attempt.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::lifecycle::Ended;
use super::settle::Settlement;
use crate::active::Active;
use crate::clock::Timestamp;
use crate::queue::{self, Attempted, Transition};
use crate::state::{Error, Tx};

/// Ends the attempt that a killed process left `running`: back on the queue with the next attempt, or `dead`. Only at
/// process start, by the lock holder. How many there were.
///
/// # Errors
/// When the database cannot be written.
pub fn recover(tx: &Tx<'_>, active: &Arc<Active>, now: Timestamp, rng: &mut StdRng) -> Result<usize, Error> {
    let mut count = 0;
    while let Some(claimed) = queue::adopt(tx)? {
        let since = claimed.job().started_at.map_or(Duration::ZERO, |started_at| now.since(started_at));
        let attempted =
            Attempted { duration_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), ..Attempted::default() };
        let settlement = Settlement {
            claimed,
            active: Arc::clone(active),
            ended: Ended::Orphaned,
            effects: None,
            children: Vec::new(),
            attempted,
            now,
            seed: rng.random(),
            draw: 0.0,
        };
        let settled = settlement.write(tx, active)?;
        let job = settlement.claimed.job();
        let (plugin, job_id, attempt) = (&job.plugin, job.id, job.attempt);
        let again = matches!(settled.transition, Transition::Retry { .. }) && settled.cancelled.is_none();
        let max_attempts = job.max_attempts;
        match again {
            true => tracing::warn!(plugin, %job_id, attempt, max_attempts, "job was interrupted, back on the queue"),
            false => tracing::warn!(plugin, %job_id, attempt, max_attempts, "job was interrupted and is dead"),
        }
        count += 1;
    }
    Ok(count)
}
