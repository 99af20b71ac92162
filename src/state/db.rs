//! [`Db`]: write transactions, one at a time, and read-only connections.

use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::checkpoint::Checkpointer;
use super::error::Error;
use super::open::{self, OpenError};
use super::progress::{Progress, WriteHealth};
use super::writer::{self, Answer, Message, Pending, Shared, Work};
use crate::counters::Histogram;

/// A write transaction. Whatever it executes commits with the closure that got it, or not at all.
pub struct Tx<'c>(pub(super) &'c Connection);

#[cfg(test)]
impl<'c> Tx<'c> {
    /// For tests of what runs in a transaction, without one.
    pub(crate) fn over(connection: &'c Connection) -> Self {
        Self(connection)
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

/// The database, open for writing. Clones share one connection and its thread.
#[derive(Debug, Clone)]
pub struct Db {
    path: PathBuf,
    queue: mpsc::Sender<Message>,
    writer: Shared,
    commits: Arc<AtomicU64>,
    progress: Arc<Progress>,
}

impl Db {
    /// Opens the database, creating or migrating it. Only for a holder of the state dir's lock.
    ///
    /// # Errors
    /// When the file is on a network file system, is damaged, is newer than this program, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut connection = open::owned(path)?;
        let checkpointer = Checkpointer::start(path, &mut connection)?;
        Self::start(path, connection, Some(checkpointer))
    }

    /// Opens the database beside a daemon that holds the lock.
    ///
    /// # Errors
    /// As [`Db::open`], and when the schema is not exactly this program's.
    pub fn attach(path: &Path) -> Result<Self, OpenError> {
        Self::start(path, open::shared(path)?, None)
    }

    fn start(path: &Path, mut connection: Connection, checkpointer: Option<Checkpointer>) -> Result<Self, OpenError> {
        let commits = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&commits);
        connection
            .commit_hook(Some(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                false
            }))
            .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
        let (queue, writer) = writer::spawn(connection, checkpointer).map_err(|source| OpenError::Thread { source })?;
        Ok(Self { path: path.to_owned(), queue, writer, commits, progress: Arc::default() })
    }

    /// Runs `work` in a transaction and answers once it is on disk.
    ///
    /// Writes that wait at the same time share one commit. An error or a panic of `work` takes back its own changes only:
    /// the others are run once more then, so what `work` does besides writing must bear that. It is synchronous, so that
    /// no transaction can wait for anything.
    ///
    /// # Errors
    /// The error of `work`, or of the commit; in both cases nothing of it was written.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let waiting = self.progress.begin();
        self.send(Message::Write(Box::new(Pending::new(work, reply))))?;
        let Answer { result, wrote } = answer.await.map_err(|_| Error::Closed)?;
        waiting.answered(result, wrote)
    }

    /// As [`Db::write`], on the caller's own thread unless the connection is in use or many write at once: two threads that
    /// wake each other cost as much as the commit. Everything else on the thread waits for the disk meanwhile.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_in_place<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work: Box<dyn Work> = Box::new(Pending::new(work, reply));
        let waiting = self.progress.begin();
        if let Err(work) = self.writer.commit_in_place(work) {
            self.send(Message::Write(work))?;
        }
        let Answer { result, wrote } = answer.await.map_err(|_| Error::Closed)?;
        waiting.answered(result, wrote)
    }

    /// Runs `work` at the end of the next transaction that the database's thread commits for others, so that it needs
    /// no commit of its own; for one caller at a time. `None` when `give_up` came first: `work` has not run then.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_with_next<T, F>(&self, work: F, give_up: impl Future<Output = ()>) -> Option<Result<T, Error>>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let joining = self.writer.join_next(Box::new(Pending::new(work, reply)));
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = give_up => {
                if joining.withdraw() {
                    return None;
                }
                answer.await
            }
        };
        Some(answered.map_or(Err(Error::Closed), |answer| answer.result))
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.queue.send(message).map_err(|_| Error::Closed)
    }

    /// As [`Db::write_in_place`], but as long as the error is a passing one it waits (0.1 s, doubling to 30 s) and tries again,
    /// with a new closure from `work`, until `give_up` is cancelled.
    ///
    /// # Errors
    /// Errors that do not pass: damage, a bug in `work`, a closed database. The last error, once it has given up.
    pub async fn write_until_done<T, F, W>(
        &self,
        what: &str,
        give_up: &CancellationToken,
        mut work: W,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, Error> + Send + 'static,
        W: FnMut() -> F,
    {
        let mut delay = FIRST_DELAY;
        let mut retrying = None;
        loop {
            match self.write_in_place(work()).await {
                Err(error) if error.is_transient() && !give_up.is_cancelled() => {
                    retrying.get_or_insert_with(|| self.progress.retry());
                    tracing::error!(
                        write = what,
                        retry_in_ms = delay.as_millis() as u64,
                        error = crate::log::chain(&error),
                        "write failed, kept in memory to be tried again"
                    );
                    // Giving up, it tries once more at once: perhaps there is space again.
                    let _ = tokio::time::timeout(delay, give_up.cancelled()).await;
                    delay = (delay * 2).min(LAST_DELAY);
                }
                result => return result,
            }
        }
    }

    /// A read-only connection of its own.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub fn reader(&self) -> Result<Reader, OpenError> {
        let file = identity(&self.path);
        Ok(Reader { connection: open::another_reader(&self.path)?, file })
    }

    /// How writing goes.
    pub fn health(&self) -> WriteHealth {
        self.progress.health()
    }

    /// How long write transactions took that changed something, from their first statement to the end of the sync.
    pub fn commit_durations(&self) -> Histogram {
        self.writer.commit_durations()
    }

    /// How many writes have failed for a reason that may pass.
    pub fn failed_writes(&self) -> u64 {
        self.progress.failures()
    }

    /// How many write transactions were committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Empties the write-ahead log into the database and closes it; later writes fail with [`Error::Closed`].
    pub async fn close(self) {
        let (reply, answer) = oneshot::channel();
        if self.send(Message::Close(reply)).is_ok() {
            // No answer means that the thread had ended before: closed all the same.
            let _ = answer.await;
        }
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// A read-only connection.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    file: Option<FileId>,
}

/// Which file it is, whatever its name.
pub type FileId = (u64, u64);

/// The file that `path` leads to now; `None` when there is none.
pub fn identity(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Reader {
    /// Opens the database for reading only; it need not be running.
    ///
    /// # Errors
    /// When there is no database, or it is not exactly of this program's schema, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        // Before it is opened: one that was replaced meanwhile is then seen to be another.
        let file = identity(path);
        Ok(Self { connection: open::read_only(path)?, file })
    }

    /// The file that it reads.
    pub fn identity(&self) -> Option<FileId> {
        self.file
    }

    /// Another number after each change that others have made.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn version(&self) -> Result<i64, Error> {
        Ok(self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
    }
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

#[cfg(test)]
mod tests;
