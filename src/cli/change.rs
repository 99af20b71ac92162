//! Changing the database from the command line: beside the process that holds the state dir, or holding it.

use std::path::Path;
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
    /// The daemon that was told of it, by PID; without one nobody acts on it until `ductile start`.
    pub(super) daemon: Option<i32>,
}

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
    F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
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
        if let Some(Err(error)) = daemon.map(|daemon| daemon.wake()) {
            output::message(format_args!(
                "warning: the daemon was not woken ({error}); it sees the change at its next tick"
            ));
        }
        Ok(Changed { outcome, daemon: daemon.map(|daemon| daemon.pid) })
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
