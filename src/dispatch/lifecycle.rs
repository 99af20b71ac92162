//! What an ended attempt leads to. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::command::Command;
use crate::queue::{Job, JobLogStatus, Transition};

/// How an attempt ended, as far as the job's fate depends on it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ended {
    Succeeded,
    Failed {
        error: String,
        retryable: bool,
    },
    TimedOut {
        error: String,
    },
    /// The daemon was killed while it ran; found at the next start.
    Orphaned,
    /// We stopped it because we are shutting down.
    Interrupted,
}

/// The job's next state. `draw`, uniform in `[0, 1)`, spreads the retries.
pub(super) fn decide(job: &Job, ended: Ended, backoff_base: Duration, now: Timestamp, draw: f64) -> Transition {
    let interrupted = ended == Ended::Orphaned;
    let (status, error, retry) = match ended {
        Ended::Succeeded => return Transition::Succeeded,
        Ended::Interrupted => return Transition::Requeued,
        Ended::Failed { error, retryable } => {
            (JobLogStatus::Failed, error, retryable.then(|| Some(now.after(backoff(backoff_base, job.attempt, draw)))))
        }
        Ended::TimedOut { error } => {
            (JobLogStatus::TimedOut, error, Some(Some(now.after(backoff(backoff_base, job.attempt, draw)))))
        }
        Ended::Orphaned => (JobLogStatus::Failed, "interrupted".to_owned(), Some(None)),
    };
    // An interrupted `init` is no failed one: it is the daemon's own, and must not be lost.
    let again = job.attempt < job.max_attempts || (interrupted && job.command == Command::Init);
    match retry {
        Some(at) if again => Transition::Retry { status, error, at },
        _ => Transition::Dead { status, error },
    }
}

/// `base * 2^(attempt-1) + uniform(0, base)`, saturating.
fn backoff(base: Duration, attempt: u32, draw: f64) -> Duration {
    let doublings = attempt.saturating_sub(1);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    base.saturating_mul(factor).saturating_add(base.mul_f64(draw.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use uuid::Uuid;

    use super::*;
    use crate::queue::{Status, SubmittedBy};

    const BASE: Duration = Duration::from_secs(30);
    const NOW: i64 = 1_800_000_000_000;

    fn job(attempt: u32, max_attempts: u32) -> Job {
        Job {
            seq: 1,
            id: Uuid::nil(),
            plugin: "echo".to_owned(),
            command: Command::Poll,
            status: Status::Running,
            attempt,
            max_attempts,
            submitted_by: SubmittedBy::Scheduler,
            schedule: None,
            dedupe_key: None,
            parent_job_id: None,
            source_event_id: None,
            hops: 0,
            from_core: false,
            created_at: Timestamp::from_millis(0),
            started_at: Some(Timestamp::from_millis(0)),
            completed_at: None,
            next_retry_at: None,
            last_error: None,
        }
    }

    fn failed(retryable: bool) -> Ended {
        Ended::Failed { error: "e".to_owned(), retryable }
    }

    fn retry(status: JobLogStatus, error: &str, after: Option<u64>) -> Transition {
        let at = after.map(|seconds| Timestamp::from_millis(NOW).after(Duration::from_secs(seconds)));
        Transition::Retry { status, error: error.to_owned(), at }
    }

    fn dead(status: JobLogStatus, error: &str) -> Transition {
        Transition::Dead { status, error: error.to_owned() }
    }

    #[rstest]
    #[case(1, 4, Ended::Succeeded, Transition::Succeeded)]
    #[case(4, 4, Ended::Succeeded, Transition::Succeeded)]
    #[case(1, 4, failed(true), retry(JobLogStatus::Failed, "e", Some(45)))]
    #[case(2, 4, failed(true), retry(JobLogStatus::Failed, "e", Some(75)))]
    #[case(3, 4, failed(true), retry(JobLogStatus::Failed, "e", Some(135)))]
    #[case(4, 4, failed(true), dead(JobLogStatus::Failed, "e"))]
    #[case(1, 4, failed(false), dead(JobLogStatus::Failed, "e"))]
    #[case(1, 1, failed(true), dead(JobLogStatus::Failed, "e"))]
    #[case(1, 4, Ended::TimedOut { error: "t".to_owned() }, retry(JobLogStatus::TimedOut, "t", Some(45)))]
    #[case(4, 4, Ended::TimedOut { error: "t".to_owned() }, dead(JobLogStatus::TimedOut, "t"))]
    #[case(1, 4, Ended::Orphaned, retry(JobLogStatus::Failed, "interrupted", None))]
    #[case(1, 1, Ended::Orphaned, dead(JobLogStatus::Failed, "interrupted"))]
    #[case(1, 1, Ended::Interrupted, Transition::Requeued)]
    #[case(4, 4, Ended::Interrupted, Transition::Requeued)]
    fn transitions(#[case] attempt: u32, #[case] max: u32, #[case] ended: Ended, #[case] expected: Transition) {
        assert_eq!(decide(&job(attempt, max), ended, BASE, Timestamp::from_millis(NOW), 0.5), expected);
    }

    #[test]
    fn an_interrupted_init_runs_again_whatever_its_attempts() {
        let init = Job { command: Command::Init, ..job(1, 1) };
        let decide = |ended| decide(&init, ended, BASE, Timestamp::from_millis(NOW), 0.5);
        assert_eq!(decide(Ended::Orphaned), retry(JobLogStatus::Failed, "interrupted", None));
        assert_eq!(decide(failed(true)), dead(JobLogStatus::Failed, "e"), "but its own failure ends it");
    }

    #[test]
    fn backoff_saturates() {
        assert_eq!(backoff(BASE, 1, 0.0), BASE);
        assert_eq!(backoff(BASE, 1, 1.0), BASE * 2);
        assert_eq!(backoff(BASE, 5, 0.0), BASE * 16);
        assert!(backoff(BASE, u32::MAX, 1.0) >= backoff(BASE, 40, 0.0));
        assert_eq!(backoff(Duration::MAX, 9, 0.0), Duration::MAX);
    }
}
