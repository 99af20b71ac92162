//! The writer thread: takes what is waiting, runs each closure in a savepoint, commits once, answers all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::db::Tx;
use super::error::Error;
use crate::log::panic_message;

/// More than the webhooks that arrive during one fsync; bounds how long one commit can take.
const MAX_BATCH: usize = 256;

/// A quiet time after which the write-ahead log is folded into the database.
const QUIET: Duration = Duration::from_secs(2);

/// What the thread is asked to do.
pub(super) enum Message {
    Write(Box<dyn Work>),
    Close(oneshot::Sender<()>),
}

/// One closure with the channel of its answer, its types hidden.
pub(super) trait Work: Send {
    /// Runs the closure. Whether its changes are to be kept.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Sends what the closure returned, or the error that kept it from being committed.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

pub(super) struct Pending<T, F> {
    work: Option<F>,
    /// `None` until the closure has run.
    result: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Pending<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, Error>>) -> Self {
        Self { work: Some(work), result: None, reply }
    }
}

impl<T, F> Work for Pending<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let work = self.work.take().expect("each closure is run once");
        let result = catch_unwind(AssertUnwindSafe(|| work(tx)))
            .unwrap_or_else(|panic| Err(Error::Panicked(panic_message(panic.as_ref()).to_owned())));
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let result = match (self.result, committed) {
            // The closure's own error says more than that of the transaction it broke.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => unreachable!("a transaction commits after it has run every closure"),
        };
        // Nobody waits any more when the caller was cancelled; the write stands.
        let _ = self.reply.send(result);
    }
}

/// Starts the thread. It ends when it is told to close, or when nobody is left to send.
pub(super) fn spawn(connection: Connection) -> std::io::Result<Sender<Message>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("db-writer".to_owned()).spawn(move || run(connection, &receiver))?;
    Ok(sender)
}

fn run(connection: Connection, queue: &Receiver<Message>) {
    let mut batch: Vec<Box<dyn Work>> = Vec::new();
    // When the log is folded unless something is written before; ticks that change nothing do not put it off.
    let mut fold_at: Option<Instant> = None;
    let closing = loop {
        let message = match fold_at {
            Some(at) => match queue.recv_timeout(at.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {
                    fold(&connection, "PASSIVE");
                    fold_at = None;
                    continue;
                }
                message => message.ok(),
            },
            None => queue.recv().ok(),
        };
        let mut next = message;
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
        let ended = batch.is_empty();
        if !ended {
            let changes = connection.total_changes();
            commit(&connection, &mut batch);
            if connection.total_changes() != changes {
                fold_at = Some(Instant::now() + QUIET);
            }
        }
        if close.is_some() || ended {
            break close;
        }
    };
    fold(&connection, "TRUNCATE");
    if let Err((_, error)) = connection.close() {
        tracing::error!(error = crate::log::chain(&error), "closing the database failed");
    }
    if let Some(reply) = closing {
        let _ = reply.send(());
    }
}

/// Runs a batch in one transaction. Every item is answered, and the batch is empty afterwards.
fn commit(connection: &Connection, batch: &mut Vec<Box<dyn Work>>) {
    let committed = transaction(connection, batch);
    for work in batch.drain(..) {
        work.answer(committed.clone());
    }
}

fn transaction(connection: &Connection, batch: &mut [Box<dyn Work>]) -> Result<(), Error> {
    execute(connection, "BEGIN IMMEDIATE")?;
    for work in batch.iter_mut() {
        if let Err(error) = in_savepoint(connection, work.as_mut()) {
            if !connection.is_autocommit() {
                execute(connection, "ROLLBACK")?;
            }
            return Err(error);
        }
    }
    execute(connection, "COMMIT").or_else(|error| {
        if !connection.is_autocommit() {
            execute(connection, "ROLLBACK")?;
        }
        Err(error)
    })
}

/// An error here is the transaction's, not the closure's: that one stays with the closure.
fn in_savepoint(connection: &Connection, work: &mut dyn Work) -> Result<(), Error> {
    execute(connection, "SAVEPOINT work")?;
    let keep = work.run(&Tx(connection));
    // SQLite itself rolls back on a full disk or an input/output error: then nothing of the batch is left.
    if connection.is_autocommit() {
        return Err(rolled_back());
    }
    if !keep {
        execute(connection, "ROLLBACK TO work")?;
    }
    execute(connection, "RELEASE work")
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn rolled_back() -> Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    rusqlite::Error::SqliteFailure(code, Some("SQLite rolled the transaction back".to_owned())).into()
}

/// Moves the write-ahead log into the database file. It may fail beside a long read; the next time does it.
fn fold(connection: &Connection, mode: &str) {
    let result = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
    if let Err(error) = result {
        tracing::warn!(error = crate::log::chain(&error), "checkpoint failed; it will be tried again");
    }
}
