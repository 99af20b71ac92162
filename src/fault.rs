//! Faults that tests ask for; release builds have none of them (feature `fault-injection`).
//!
//! A crash point is a named place where the process aborts, as if killed, when `DUCTILE_CRASH_POINT` names it; with
//! `DUCTILE_CRASH_AFTER`, when it has passed there so many times. A test walks [`POINTS`], and every point that is
//! reached must be listed there. `DUCTILE_STALL_POINT` names one where the thread that comes there stands still for ever.

/// Every crash point, in the order of a job's life. `uncommitted` is inside the transaction with all its statements
/// done; `committed` is after the fsync, before anybody has been told.
pub const POINTS: &[&str] = &[
    "migrate.uncommitted",
    "migrate.committed",
    "recovery.uncommitted",
    "recovery.committed",
    "start.uncommitted",
    "start.committed",
    "tick.uncommitted",
    "tick.committed",
    "retention.uncommitted",
    "retention.committed",
    "enqueue.uncommitted",
    "enqueue.committed",
    "webhook.uncommitted",
    "webhook.committed",
    "claim.uncommitted",
    "claim.committed",
    "claim_one.uncommitted",
    "claim_one.committed",
    "spawn.before",
    "spawn.after",
    "group.before_kill",
    "group.killed",
    "response.before_read",
    "response.read",
    "settle.uncommitted",
    "settle.committed",
    "reload.uncommitted",
    "reload.committed",
    "stop.uncommitted",
    "stop.committed",
];

/// Aborts here if a test has asked for it.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "fault-injection")]
        $crate::fault::reached($name);
    };
}
pub(crate) use crash_point;

#[cfg(feature = "fault-injection")]
mod injected {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static CRASH_POINT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("DUCTILE_CRASH_POINT").ok());
    static STALL_POINT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("DUCTILE_STALL_POINT").ok());
    static CRASH_AFTER: LazyLock<usize> = LazyLock::new(|| {
        std::env::var("DUCTILE_CRASH_AFTER").map_or(0, |times| times.parse().expect("DUCTILE_CRASH_AFTER is a number"))
    });
    static PASSED: AtomicUsize = AtomicUsize::new(0);

    pub(crate) fn reached(point: &str) {
        assert!(super::POINTS.contains(&point), "crash point `{point}` is not listed");
        if CRASH_POINT.as_deref() == Some(point) && PASSED.fetch_add(1, Ordering::Relaxed) == *CRASH_AFTER {
            std::process::abort();
        }
        while STALL_POINT.as_deref() == Some(point) {
            std::thread::park();
        }
    }

    /// `DUCTILE_SYNCHRONOUS=NORMAL` makes commits that a power cut can take back, to show that the tests notice.
    pub(crate) fn synchronous() -> String {
        std::env::var("DUCTILE_SYNCHRONOUS").unwrap_or_else(|_| "FULL".to_owned())
    }
}
#[cfg(feature = "fault-injection")]
pub(crate) use injected::{reached, synchronous};
