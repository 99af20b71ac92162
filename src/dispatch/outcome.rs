//! What the log says of an ended attempt.

use std::time::Duration;

use crate::plugin::Attempt;
use crate::queue::{Claimed, Transition};

pub(super) fn log_output(claimed: &Claimed, attempt: &Attempt) {
    let job = claimed.job();
    if !attempt.stderr.is_empty() {
        tracing::warn!(plugin = job.plugin, job_id = %job.id, stderr = attempt.stderr, "plugin wrote to stderr");
    }
}

pub(super) fn log_end(claimed: &Claimed, transition: &Transition, duration: Duration) {
    let job = claimed.job();
    let (plugin, job_id, command, attempt) = (&job.plugin, job.id, job.command.as_str(), job.attempt);
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match transition {
        Transition::Succeeded => {
            tracing::info!(plugin, %job_id, command, attempt, duration_ms, "job succeeded");
        }
        Transition::Retry { status, error, at } => {
            let next_retry_at = at.map(|at| at.to_string());
            tracing::warn!(plugin, %job_id, command, attempt, duration_ms, %status, error, next_retry_at, "attempt ended, job will be retried");
        }
        Transition::Dead { status, error } => {
            tracing::error!(plugin, %job_id, command, attempt, duration_ms, %status, error, "job is dead, `ductile logs` has its attempts");
        }
        Transition::Requeued => {
            tracing::info!(plugin, %job_id, command, attempt, duration_ms, "job interrupted by shutdown, back on the queue");
        }
    }
}
