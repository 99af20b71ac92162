//! The one write connection. Its thread takes what is waiting, runs it in one transaction, answers all; a caller that can
//! do without the thread commits in place while the connection is free, and one that waits for what others write can join
//! their commit.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::trace_span;

use super::checkpoint::{self, Checkpointer};
use super::db::Tx;
use super::error::Error;
use super::open::BUSY_TIMEOUT;
use crate::counters::Histogram;
use crate::log::panic_message;

/// More than the webhooks that arrive during one fsync; bounds how long one commit can take.
const MAX_BATCH: usize = 256;

/// How long a commit may take: from a disk with a battery to one that hangs.
const DURATIONS: &[Duration] = &[
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// What the thread is asked to do.
pub(super) enum Message {
    Write(Box<dyn Work>),
    Close(oneshot::Sender<()>),
}

/// What the thread shares with those who write in place, or wait for a commit to go with.
#[derive(Clone)]
pub(super) struct Shared {
    /// `None` once it is closed.
    writer: Arc<Mutex<Option<Writer>>>,
    joining: Arc<Mutex<Option<Box<dyn Work>>>>,
    /// The thread's last batch was of more than one: a commit in place would keep the next one waiting.
    crowded: Arc<AtomicBool>,
    durations: Arc<Mutex<Histogram>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    /// `None` beside another process that has one.
    checkpointer: Option<Checkpointer>,
}

/// One closure with the channel of its answer, its types hidden.
pub(super) trait Work: Send {
    /// Runs the closure, perhaps not for the first time. Whether its changes are to be kept.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Sends what the closure returned, or the error that kept it from being committed.
    fn answer(self: Box<Self>, committed: Result<Committed, Error>);
}

/// A commit that has succeeded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    /// Without a change nothing goes to the disk: its success says nothing of the disk.
    changed: bool,
}

/// What a closure returned, or the error that kept it from being committed.
pub(super) struct Answer<T> {
    pub(super) result: Result<T, Error>,
    /// Something went to the disk.
    pub(super) wrote: bool,
}

pub(super) struct Pending<T, F> {
    work: F,
    /// `None` until the closure has run.
    result: Option<Result<T, Error>>,
    reply: oneshot::Sender<Answer<T>>,
}

impl<T, F> Pending<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Answer<T>>) -> Self {
        Self { work, result: None, reply }
    }
}

impl<T, F> Work for Pending<T, F>
where
    T: Send,
    F: FnMut(&Tx<'_>) -> Result<T, Error> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let result = catch_unwind(AssertUnwindSafe(|| (self.work)(tx)))
            .unwrap_or_else(|panic| Err(Error::Panicked(panic_message(panic.as_ref()).to_owned())));
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<Committed, Error>) {
        let Self { work, result, reply } = *self;
        // Whoever is answered may want to have back what it shares with the closure.
        drop(work);
        let wrote = committed.as_ref().is_ok_and(|committed| committed.changed);
        let result = match (result, committed) {
            // The closure's own error says more than that of the transaction it broke.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(_)) => Ok(value),
            (None, Ok(_)) => unreachable!("a transaction commits after it has run every closure"),
        };
        // Nobody waits any more when the caller was cancelled; the write stands.
        let _ = reply.send(Answer { result, wrote });
    }
}

/// Starts the thread. It ends when it is told to close, or when nobody is left to send.
pub(super) fn spawn(
    connection: Connection,
    checkpointer: Option<Checkpointer>,
) -> std::io::Result<(Sender<Message>, Shared)> {
    let (sender, receiver) = mpsc::channel();
    let writer = Arc::new(Mutex::new(Some(Writer { connection, checkpointer })));
    let durations = Arc::new(Mutex::new(Histogram::new(DURATIONS)));
    let shared = Shared { writer, joining: Arc::default(), crowded: Arc::default(), durations };
    let writer = shared.clone();
    std::thread::Builder::new().name("db-writer".to_owned()).spawn(move || writer.run(&receiver))?;
    Ok((sender, shared))
}

impl Shared {
    fn run(self, queue: &Receiver<Message>) {
        let mut batch: Vec<Box<dyn Work>> = Vec::new();
        let closing = loop {
            let mut next = queue.recv().ok();
            let ended = next.is_none();
            let mut close = None;
            while let Some(message) = next {
                match message {
                    Message::Write(work) => batch.push(work),
                    Message::Close(reply) => {
                        close = Some(reply);
                        break;
                    }
                }
                next = if batch.len() < MAX_BATCH { queue.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                self.crowded.store(batch.len() > 1, Ordering::Relaxed);
                batch.extend(self.take_joining());
                let committed = self.commit(&mut batch);
                // With the connection free again: whoever is answered may want to write in place.
                answer(&mut batch, &committed);
            }
            if close.is_some() || ended {
                break close;
            }
        };
        self.close();
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    /// Commits `work` on the caller's thread; gives it back when the connection is in use, here or by another process, or
    /// when others are likely to share the thread's next commit.
    pub(super) fn commit_in_place(&self, work: Box<dyn Work>) -> Result<(), Box<dyn Work>> {
        if self.crowded.load(Ordering::Relaxed) {
            return Err(work);
        }
        let writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(work),
        };
        let Some(Writer { connection, .. }) = writer.as_ref() else { return Err(work) };
        if !begin_at_once(connection) {
            return Err(work);
        }
        let mut batch = vec![work];
        let committed = self.finish(connection, &mut batch);
        answer(&mut batch, &committed);
        Ok(())
    }

    /// Runs a batch in one transaction, for the thread.
    fn commit(&self, batch: &mut [Box<dyn Work>]) -> Result<Committed, Error> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = &writer.as_ref().expect("only the thread itself closes it, at its end").connection;
        execute(connection, "BEGIN IMMEDIATE")?;
        self.finish(connection, batch)
    }

    /// The rest of a transaction that has begun.
    fn finish(&self, connection: &Connection, batch: &mut [Box<dyn Work>]) -> Result<Committed, Error> {
        let begun = Instant::now();
        let changed = transaction(connection, batch)?;
        if changed {
            self.durations.lock().unwrap_or_else(PoisonError::into_inner).observe(begun.elapsed());
        }
        Ok(Committed { changed })
    }

    pub(super) fn commit_durations(&self) -> Histogram {
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has `work` run at the end of the thread's next batch, unless the guard is dropped before.
    pub(super) fn join_next(&self, work: Box<dyn Work>) -> Joining<'_> {
        *self.joining.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
        Joining(self)
    }

    fn take_joining(&self) -> Option<Box<dyn Work>> {
        self.joining.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn close(&self) {
        let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        checkpoint::fold(&writer.connection, "TRUNCATE");
        if let Err((_, error)) = writer.connection.close() {
            tracing::error!(error = crate::log::chain(&error), "closing the database failed");
        }
        if let Some(checkpointer) = writer.checkpointer {
            checkpointer.join();
        }
    }
}

/// A closure that waits for a batch to go with; dropped, it does not wait any more.
pub(super) struct Joining<'a>(&'a Shared);

impl Joining<'_> {
    /// Whether the closure had not been taken: then it will never run.
    pub(super) fn withdraw(self) -> bool {
        self.0.take_joining().is_some()
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        self.0.take_joining();
    }
}

/// Begins a transaction unless another process holds the lock: that may take seconds.
fn begin_at_once(connection: &Connection) -> bool {
    let begun = connection.busy_timeout(Duration::ZERO).and_then(|()| execute_raw(connection, "BEGIN IMMEDIATE"));
    connection.busy_timeout(BUSY_TIMEOUT).is_ok() && begun.is_ok()
}

/// Answers every item; the batch is empty afterwards.
fn answer(batch: &mut Vec<Box<dyn Work>>, committed: &Result<Committed, Error>) {
    for work in batch.drain(..) {
        work.answer(committed.clone());
    }
}

/// Runs a batch and commits it. Whether it has changed anything.
fn transaction(connection: &Connection, batch: &mut [Box<dyn Work>]) -> Result<bool, Error> {
    let changes = connection.total_changes();
    for work in batch.iter_mut() {
        if !run(connection, work.as_mut())? {
            execute(connection, "ROLLBACK")?;
            return if batch.len() == 1 { Ok(false) } else { one_by_one(connection, batch) };
        }
    }
    commit(connection)?;
    Ok(connection.total_changes() != changes)
}

/// Runs a batch again, of which one has failed, each in a savepoint. Most batches do without: a savepoint copies every
/// page before it is changed.
fn one_by_one(connection: &Connection, batch: &mut [Box<dyn Work>]) -> Result<bool, Error> {
    execute(connection, "BEGIN IMMEDIATE")?;
    let mut changed = false;
    for work in batch {
        match in_savepoint(connection, work.as_mut()) {
            Ok(has_changed) => changed |= has_changed,
            Err(error) => {
                if !connection.is_autocommit() {
                    execute(connection, "ROLLBACK")?;
                }
                return Err(error);
            }
        }
    }
    commit(connection)?;
    Ok(changed)
}

/// Runs one of a transaction. Whether its changes are to be kept. An error here is the transaction's, not the closure's:
/// that one stays with the closure.
fn run(connection: &Connection, work: &mut dyn Work) -> Result<bool, Error> {
    let keep = trace_span!("statements").in_scope(|| work.run(&Tx(connection)));
    // SQLite itself rolls back on a full disk or an input/output error: then nothing of the batch is left.
    if connection.is_autocommit() {
        return Err(rolled_back());
    }
    Ok(keep)
}

fn commit(connection: &Connection) -> Result<(), Error> {
    let _committing = trace_span!("commit").entered();
    execute(connection, "COMMIT").or_else(|error| {
        if !connection.is_autocommit() {
            execute(connection, "ROLLBACK")?;
        }
        Err(error)
    })
}

/// Runs one of a transaction, perhaps to nothing. Whether it has changed anything: what is taken back still counts in
/// `total_changes`.
fn in_savepoint(connection: &Connection, work: &mut dyn Work) -> Result<bool, Error> {
    execute(connection, "SAVEPOINT work")?;
    let changes = connection.total_changes();
    let kept = run(connection, work)?;
    if !kept {
        execute(connection, "ROLLBACK TO work")?;
    }
    execute(connection, "RELEASE work")?;
    Ok(kept && connection.total_changes() != changes)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Error> {
    Ok(execute_raw(connection, sql)?)
}

fn execute_raw(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

fn rolled_back() -> Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    rusqlite::Error::SqliteFailure(code, Some("SQLite rolled the transaction back".to_owned())).into()
}
