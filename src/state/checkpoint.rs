//! Folding the write-ahead log into the database, beside the writes: a thread with a connection of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::open::{self, OpenError};

/// As many pages of the log are folded at a time, while it is written to.
const PIECE: usize = 2_000;

/// As often the thread folds what came while it folded, for each piece. SQLite syncs the database with the fold that
/// catches up with the log: better here than in the writer, on which everybody waits.
const PASSES: usize = 6;

/// What the thread has left of a piece, because it came meanwhile, is folded by the writer if it is no more than this: then
/// all is folded, and the log begins anew.
const REST: usize = 800;

/// A log of so many pages is folded by its writer: whoever writes all the time would never let the thread finish. 16 MB.
const MOST: usize = 8_192;

/// The log is folded this long after a change, however small.
const DELAY: Duration = Duration::from_secs(2);

/// What the writer and the thread tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// The thread knows that there is something to fold.
    pending: AtomicBool,
    /// As many pages of the log are folded, by the thread's last look.
    folded: AtomicUsize,
}

/// The thread. It ends when its writer's connection is closed.
#[derive(Debug)]
pub(super) struct Checkpointer(JoinHandle<()>);

impl Checkpointer {
    /// Starts the thread, and has `writer` wake it.
    ///
    /// # Errors
    /// When there can be no second connection, or no thread.
    pub(super) fn start(path: &Path, writer: &mut Connection) -> Result<Self, OpenError> {
        let (wake, woken) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let connection = open::another_writer(path)?;
        hook(writer, wake, Arc::clone(&shared))
            .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
        let thread = std::thread::Builder::new().name("db-checkpoint".to_owned());
        let thread = thread.spawn(move || run(&connection, &woken, &shared));
        thread.map(Self).map_err(|source| OpenError::Thread { source })
    }

    /// Waits for its end.
    pub(super) fn join(self) {
        // Its panic was logged, and what it did not fold stays in the log.
        let _ = self.0.join();
    }
}

/// After each commit: wakes the thread for the first change and then for each piece, and ends what it has begun.
fn hook(writer: &mut Connection, wake: SyncSender<()>, shared: Arc<Shared>) -> rusqlite::Result<()> {
    let mut told = 0;
    writer.wal_hook(Some(move |log: &mut rusqlite::hooks::Wal, pages| {
        let pages = usize::try_from(pages).unwrap_or(0);
        // A shorter log has begun anew.
        told = told.min(pages);
        let folded = shared.folded.load(Ordering::Relaxed);
        if folded > pages {
            shared.folded.store(0, Ordering::Relaxed);
        }
        let rest = pages.checked_sub(folded).filter(|_| folded >= PIECE);
        if pages >= MOST || rest.is_some_and(|rest| rest <= REST) {
            // The commit stands. An error returned from here would be reported as its own.
            let _ = log.checkpoint();
        }
        // Also then: a reader may have kept it from folding all.
        if !shared.pending.swap(true, Ordering::Relaxed) || pages - told >= PIECE {
            told = pages;
            // A full channel has woken it already.
            let _ = wake.try_send(());
        }
        Ok(())
    }))
}

fn run(connection: &Connection, woken: &Receiver<()>, shared: &Shared) {
    while let Ok(()) = woken.recv() {
        loop {
            let quiet = match woken.recv_timeout(DELAY) {
                Ok(()) => false,
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if quiet {
                // What is written from here on wakes it again.
                shared.pending.store(false, Ordering::Relaxed);
            }
            shared.folded.store(catch_up(connection), Ordering::Relaxed);
            if quiet {
                break;
            }
        }
    }
}

/// Folds what there is, and what has come meanwhile. As many pages of the log are folded then.
fn catch_up(connection: &Connection) -> usize {
    let mut folded = 0;
    for _ in 0..PASSES {
        let before = std::mem::replace(&mut folded, fold(connection, "PASSIVE"));
        if folded == before {
            break;
        }
    }
    folded
}

/// Moves the write-ahead log into the database file. As many of its pages are there now. It may fail beside a long read;
/// the next time does it.
pub(super) fn fold(connection: &Connection, mode: &str) -> usize {
    // The third column, as in <https://www.sqlite.org/pragma.html#pragma_wal_checkpoint>; -1 when there is no log.
    let folded = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(2));
    match folded {
        Ok(pages) => usize::try_from(pages).unwrap_or(0),
        Err(error) => {
            tracing::warn!(error = crate::log::chain(&error), "checkpoint failed; it will be tried again");
            0
        }
    }
}
