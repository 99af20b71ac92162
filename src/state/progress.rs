//! How writing goes, for the health check and the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::Error;

/// How writing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteHealth {
    /// The last write failed for a reason that may pass: no space, an input/output error, a lock held elsewhere. One
    /// that had nothing to write does not count.
    pub failed: bool,
    /// One that failed so is kept in memory, to be tried again. Others may succeed meanwhile: a small one where there
    /// is no room for a large one.
    pub retrying: bool,
    /// How long writes have waited without one being answered; `None` when none waits.
    pub waiting: Option<Duration>,
}

/// Where every write is noted.
#[derive(Debug, Default)]
pub(super) struct Progress {
    failed: AtomicBool,
    failures: AtomicU64,
    retrying: AtomicUsize,
    waiting: AtomicUsize,
    /// The last answer, or the first wait after none.
    since: Mutex<Option<Instant>>,
}

impl Progress {
    pub(super) fn begin(&self) -> Waiting<'_> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.moved();
        }
        Waiting(self)
    }

    /// A write will be tried again, until the guard is dropped.
    pub(super) fn retry(&self) -> Retrying<'_> {
        self.retrying.fetch_add(1, Ordering::Relaxed);
        Retrying(self)
    }

    pub(super) fn health(&self) -> WriteHealth {
        let waits = self.waiting.load(Ordering::Relaxed) > 0;
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = since.filter(|_| waits).map(|since| since.elapsed());
        let retrying = self.retrying.load(Ordering::Relaxed) > 0;
        WriteHealth { failed: self.failed.load(Ordering::Relaxed), retrying, waiting }
    }

    /// How many writes have failed for a reason that may pass.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn moved(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// One write that is not answered yet.
pub(super) struct Waiting<'a>(&'a Progress);

impl Waiting<'_> {
    /// `wrote`: something went to the disk, so that its success says something of the disk.
    pub(super) fn answered<T>(self, result: Result<T, Error>, wrote: bool) -> Result<T, Error> {
        match &result {
            Ok(_) if !wrote => {}
            Ok(_) => self.0.failed.store(false, Ordering::Relaxed),
            Err(error) if error.is_transient() => {
                self.0.failed.store(true, Ordering::Relaxed);
                self.0.failures.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        result
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.moved();
    }
}

/// One write that is kept in memory.
pub(super) struct Retrying<'a>(&'a Progress);

impl Drop for Retrying<'_> {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_what_waits_and_what_failed() {
        let progress = Progress::default();
        assert_eq!(progress.health(), WriteHealth { failed: false, retrying: false, waiting: None });
        let write = progress.begin();
        assert!(progress.health().waiting.is_some());
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        let error: Error = rusqlite::Error::SqliteFailure(full, None).into();
        write.answered(Err::<(), _>(error), false).unwrap_err();
        assert_eq!(progress.health(), WriteHealth { failed: true, retrying: false, waiting: None });
        progress.begin().answered::<()>(Err(Error::Conflict("a bug".to_owned())), false).unwrap_err();
        progress.begin().answered(Ok(()), false).unwrap();
        assert!(progress.health().failed, "they say nothing of the disk");
        assert_eq!(progress.failures(), 1);
        progress.begin().answered(Ok(()), true).unwrap();
        assert!(!progress.health().failed);
        let retrying = progress.retry();
        progress.begin().answered(Ok(()), true).unwrap();
        assert!(progress.health().retrying, "another one was written");
        drop(retrying);
        assert!(!progress.health().retrying);
        drop(progress.begin());
        assert_eq!(progress.health().waiting, None, "given up");
    }
}
