//! Changing the database from the command line: beside the process that holds the state dir, or holding it.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::error::CliError;
use super::{output, runtime};
use crate::config;
use crate::state::lock::{self, Holder, Lock, LockError, Role};
use crate::state::publish::{self, Service};
use crate::state::{Db, Error, OpenError, Reader, StateDir, Tx};

/// A change that is on disk.
#[derive(Debug)]
pub(super) struct Changed<T> {
    pub(super) outcome: T,
    pub(super) told: Told,
}

/// Who was told of a change.
#[derive(Debug)]
pub(super) struct Told {
    /// The daemon, by PID; without one nobody acts on the change until `ductile start`.
    pub(super) daemon: Option<i32>,
    /// Why the daemon does not know of it yet.
    warning: Option<String>,
}

impl Told {
    /// What there is to say of it, and of the daemon.
    pub(super) fn said(self, result: String) -> Said {
        Said { result, notes: self.warning.into_iter().collect() }
    }
}

/// What came of a change, for a person.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) result: String,
    /// What there is to know besides.
    pub(super) notes: Vec<String>,
}

impl Said {
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The result on stdout, the rest on stderr.
    pub(super) fn print(&self) -> io::Result<ExitCode> {
        self.notes.iter().for_each(output::message);
        output::line(&self.result)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What to say of a new job then.
pub(super) const NO_DAEMON: &str = "no daemon is running: the job waits on the queue until `ductile start`";

/// How long a daemon that has just been started may take until it can be asked for something.
const STARTING: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs `work` in a transaction of the database that the configuration names, and wakes the daemon if there is one.
///
/// Of the configuration only `state.path` is read. Nothing is recovered, migrated, created or run: a row that a killed
/// daemon left `running` is still there. What `work` refuses, it returns as part of its value, having changed nothing.
pub(super) fn change<T, F>(config: Option<&Path>, work: F) -> Result<Changed<T>, CliError>
where
    T: Send + 'static,
    F: FnMut(&Tx<'_>) -> Result<T, Error> + Send + 'static,
{
    changes(config, async |db| Ok(db.write(work).await?))
}

/// As [`change`], for what should not be one transaction.
pub(super) fn changes<T>(
    config: Option<&Path>,
    work: impl AsyncFnOnce(&Db) -> Result<T, CliError>,
) -> Result<Changed<T>, CliError> {
    let state_path = config::load_minimal(&config::find(config)?)?.state_path;
    // Before the lock is looked at: another user's cannot even be read.
    let Some(dir) = StateDir::find(&state_path)? else {
        return Err(OpenError::Missing { path: state_path }.into());
    };
    runtime()?.block_on(async {
        let Access { db, holder, lock } = access(dir.path(), &state_path).await?;
        let result = work(&db).await;
        db.close().await;
        drop(lock);
        let outcome = result?;
        let daemon = holder.filter(Holder::is_daemon);
        let warning = daemon
            .and_then(|daemon| daemon.wake().err())
            .map(|error| format!("warning: the daemon was not woken ({error}); it sees the change at its next tick"));
        Ok(Changed { outcome, told: Told { daemon: daemon.map(|daemon| daemon.pid), warning } })
    })
}

/// The database, open for writing: beside its holder, or with the lock in our hands.
struct Access {
    db: Db,
    holder: Option<Holder>,
    lock: Option<Lock>,
}

async fn access(dir: &Path, state_path: &Path) -> Result<Access, CliError> {
    let deadline = Instant::now() + STARTING;
    loop {
        let error = match lock::holder(dir)? {
            Some(holder) => match attach(holder, state_path).await {
                Ok((db, ..)) => return Ok(Access { db, holder: Some(holder), lock: None }),
                // It ended while we looked: then it is our turn, or the next one's.
                Err(error) => error,
            },
            None => match Lock::take(dir, Role::Run) {
                Ok(lock) => return Ok(Access { db: Db::attach(state_path)?, holder: None, lock: Some(lock) }),
                Err(error @ LockError::Io { .. }) => return Err(error.into()),
                Err(error) => error.into(),
            },
        };
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The daemon of the state dir of this database, if one runs.
pub(super) fn daemon(state_path: &Path) -> Result<Option<Holder>, CliError> {
    let dir = state_path.parent().unwrap_or(Path::new("/"));
    Ok(lock::holder(dir)?.filter(Holder::is_daemon))
}

/// The database of a process that holds the lock; of a daemon once it has published what it runs.
pub(super) async fn attach(holder: Holder, state_path: &Path) -> Result<(Db, Reader, Service), CliError> {
    let deadline = Instant::now() + STARTING;
    loop {
        let attached = Db::attach(state_path).and_then(|db| Ok((db.reader()?, db)));
        let error = match attached {
            Ok((reader, db)) => {
                let service = publish::service(&reader)?;
                if holder.role == Role::Run || service.pid == Some(holder.pid) {
                    return Ok((db, reader, service));
                }
                drop(reader);
                // Before the next try opens the file: see `state::open`.
                db.close().await;
                CliError::Failed(format!("the daemon (PID {}) is still starting; try again", holder.pid))
            }
            Err(error) => error.into(),
        };
        if Instant::now() > deadline || !holder.is_daemon() {
            return Err(error);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
