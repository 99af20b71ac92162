//! What the log says of an ended attempt, and what is counted.

use std::time::Duration;

use super::settle::{Settled, Settlement};
use crate::counters::{AttemptEnd, Counters, JobEnd};
use crate::plugin::Attempt;
use crate::queue::{Claimed, Job, JobLogStatus, Transition};
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
            tracing::error!(plugin, %job_id, command, failures, reset_after_s, "circuit breaker opened: the schedule stands still until a probe then succeeds");
        }
        Some(Consequence::BreakerClosed) => {
            tracing::info!(plugin, %job_id, command, "circuit breaker closed: the probe has succeeded");
        }
        Some(Consequence::InitFailed) => {
            tracing::error!(plugin, %job_id, "init failed: the plugin's schedules stop until one succeeds, by `ductile run {plugin} --command init` or at the next start");
        }
        None => {}
    }
}

pub(super) fn count_start(counters: &Counters, job: &Job) {
    // A retry waits on purpose.
    if let Some(started_at) = job.started_at.filter(|_| job.attempt == 1) {
        counters.waited(&job.plugin, started_at.since(job.created_at));
    }
}

/// For when it is on disk.
pub(super) fn count_end(counters: &Counters, settlement: &Settlement, settled: &Settled, duration: Duration) {
    let job = settlement.claimed.job();
    let (attempt, end) = match &settled.transition {
        Transition::Succeeded => (Some(AttemptEnd::Succeeded), Some(JobEnd::Succeeded)),
        Transition::Retry { status, .. } => (Some(attempt_end(*status)), None),
        Transition::Dead { status, .. } => (Some(attempt_end(*status)), Some(JobEnd::Dead)),
        Transition::Requeued => (None, None),
    };
    if let Some(attempt) = attempt {
        counters.attempt_ended(&job.plugin, &job.command, attempt, duration);
    }
    if let Some(end) = end.or(settled.cancelled.as_ref().map(|_| JobEnd::Dead)) {
        counters.job_ended(&job.plugin, &job.command, end);
    }
    if settled.transition == Transition::Succeeded {
        for child in settlement.children.iter().filter(|child| child.stillborn.is_some()) {
            counters.job_ended(&child.plugin, &child.command, JobEnd::Dead);
        }
    }
}

fn attempt_end(status: JobLogStatus) -> AttemptEnd {
    match status {
        JobLogStatus::Succeeded => AttemptEnd::Succeeded,
        JobLogStatus::Failed => AttemptEnd::Failed,
        JobLogStatus::TimedOut => AttemptEnd::TimedOut,
    }
}
