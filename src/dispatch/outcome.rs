//! What the log says of an ended attempt.

use std::time::Duration;

use super::settle::Settled;
use crate::plugin::Attempt;
use crate::queue::{Claimed, Transition};
use crate::scheduler::Consequence;

pub(super) fn log_output(claimed: &Claimed, attempt: &Attempt) {
    let job = claimed.job();
    if !attempt.stderr.is_empty() {
        tracing::warn!(plugin = job.plugin, job_id = %job.id, stderr = attempt.stderr, "plugin wrote to stderr");
    }
}

/// For when it is on disk.
pub(super) fn log_end(claimed: &Claimed, settled: &Settled, duration: Duration) {
    let Settled { transition, consequence, cancelled } = settled;
    let job = claimed.job();
    let (plugin, job_id, command, attempt) = (&job.plugin, job.id, job.command.as_str(), job.attempt);
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if let Some(reason) = cancelled {
        tracing::error!(plugin, %job_id, command, attempt, duration_ms, reason, "attempt ended, job is dead: it would have run again");
        return;
    }
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
    match consequence {
        Some(Consequence::BreakerOpened { failures, reset_after }) => {
            let reset_after_s = reset_after.as_secs();
            tracing::error!(plugin, %job_id, failures, reset_after_s, "circuit breaker opened: the plugin is not polled until a probe then succeeds");
        }
        Some(Consequence::BreakerClosed) => {
            tracing::info!(plugin, %job_id, "circuit breaker closed: the probe has succeeded");
        }
        Some(Consequence::InitFailed) => {
            tracing::error!(plugin, %job_id, "init failed: the plugin is not polled until one succeeds, by `ductile run {plugin} --command init` or at the next start");
        }
        None => {}
    }
}
