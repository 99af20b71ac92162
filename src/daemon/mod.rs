//! The composition root: brings the parts up in order, joins them, and takes them down in order.

mod heartbeat;
mod notify;
mod reload;
mod signals;
mod watchdog;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::active::Active;
use crate::clock::{Clock, Timestamp};
use crate::counters::Counters;
use crate::dispatch::{self, Dispatcher, Stop};
use crate::fault::crash_point;
use crate::http::{self, Respond, Server};
use crate::metrics::{self, Metrics, Turn};
use crate::plugin::stray;
use crate::state::lock::{Lock, LockError, Role};
use crate::state::{Db, DirError, Error, OpenError, StateDir, Tx, publish};
use crate::vitals::Vitals;
use crate::webhook::{Budget, Gateway};
use heartbeat::Heartbeat;
use notify::Manager;
use reload::{Reloader, activate, published};
pub use signals::Signals;
use watchdog::Watchdog;

/// Why a state dir could not be taken into use, or why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Dir(#[from] DirError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the daemon cannot go on with its database")]
    State(#[from] Error),
    #[error("`{}` was deleted or replaced while the daemon was running; restore it, then start again", path.display())]
    Replaced { path: PathBuf },
    #[error("cannot listen on {address} (`{key}`)")]
    Listen { key: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("signal handlers cannot be installed")]
    Signals(#[source] std::io::Error),
}

/// The state dir in our hands: locked, opened, without stray processes, the interrupted job recovered.
#[derive(Debug)]
pub struct Owned {
    pub db: Db,
    pub instance: Uuid,
    lock: Lock,
    database: DatabaseFile,
}

/// The database's name and the file that it led to when it was opened.
#[derive(Debug)]
struct DatabaseFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl DatabaseFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Owned {
    /// Lock, database, stray plugin processes, recovery: in this order, each before anything else may touch the queue.
    ///
    /// # Errors
    /// When another process holds the lock, or the state dir or the database cannot be used.
    pub async fn take(active: &Arc<Active>, role: Role, clock: &Clock, rng: &mut StdRng) -> Result<Self, DaemonError> {
        let state_path = &active.registry.config().state_path;
        let dir = StateDir::prepare(state_path)?;
        let lock = Lock::take(dir.path(), role)?;
        if let Some(warning) = &dir.warning {
            tracing::warn!(warning, "the state dir can be read by others");
        }
        let db = Db::open(state_path)?;
        let instance = publish::service(&*db.reader()?)?.instance;
        let killed = stray::kill_all(instance);
        if killed > 0 {
            tracing::warn!(killed, "killed plugin processes that were left from an earlier run");
        }
        let (active, now, seed) = (Arc::clone(active), clock.now(), rng.random());
        let recover = move |tx: &Tx<'_>| {
            dispatch::recover(tx, &active, now, &mut StdRng::seed_from_u64(seed))?;
            crash_point!("recovery.uncommitted");
            Ok(())
        };
        db.write(recover).await?;
        crash_point!("recovery.committed");
        Ok(Self { db, instance, lock, database: DatabaseFile::new(state_path) })
    }

    /// Whether lock and database are still the files that we hold: with another file in their place, a second daemon
    /// could run, or what we store would be lost.
    fn check(&self) -> Result<(), DaemonError> {
        let database = &self.database;
        if identity(&database.path) != database.identity {
            return Err(DaemonError::Replaced { path: database.path.clone() });
        }
        if !self.lock.is_in_place() {
            return Err(DaemonError::Replaced { path: self.lock.path().to_owned() });
        }
        Ok(())
    }
}

/// The daemon, ready to run.
#[derive(Debug)]
pub struct Daemon {
    pub active: Arc<Active>,
    pub clock: Clock,
    pub rng: StdRng,
    pub signals: Signals,
}

impl Daemon {
    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// When it cannot start, and when the database is damaged.
    pub async fn run(mut self) -> Result<(), DaemonError> {
        let owned = Arc::new(Owned::take(&self.active, Role::Start, &self.clock, &mut self.rng).await?);
        let db = owned.db.clone();
        let listening = self.bind().await?;
        self.prepare(&db, &listening).await?;

        let config = Arc::clone(self.active.registry.config());
        let wake = Arc::new(Notify::new());
        let stop = Stop::default();
        let (vitals, counters) = (Arc::new(Vitals::default()), Arc::new(Counters::default()));
        let (in_force, active) = watch::channel(Arc::clone(&self.active));
        let heartbeat = Heartbeat {
            owned: Arc::clone(&owned),
            db: db.clone(),
            reader: db.reader()?,
            active: active.clone(),
            clock: self.clock.clone(),
            rng: StdRng::from_rng(&mut self.rng),
            wake: Arc::clone(&wake),
            stop: stop.claiming.clone(),
            vitals: Arc::clone(&vitals),
            dropped_lines: 0,
        };
        let gateway = Gateway {
            db: db.clone(),
            reader: Mutex::new(db.reader()?),
            active: active.clone(),
            clock: self.clock.clone(),
            wake: Arc::clone(&wake),
            vitals: Arc::clone(&vitals),
            counters: Arc::clone(&counters),
            budget: Budget::default(),
        };
        let metrics = match listening.metrics {
            None => None,
            Some(_) => Some(Metrics {
                db: db.clone(),
                reader: Mutex::new(db.reader()?),
                active: active.clone(),
                clock: self.clock.clone(),
                vitals: Arc::clone(&vitals),
                counters: Arc::clone(&counters),
                started_at: self.clock.now(),
                turn: Turn::default(),
            }),
        };
        let mut reloader = Reloader {
            db: db.clone(),
            active: Arc::new(in_force),
            clock: self.clock.clone(),
            rng: StdRng::from_rng(&mut self.rng),
            wake: Arc::clone(&wake),
        };
        let manager = Arc::new(Manager::from_environment());
        let watchdog = Watchdog {
            manager: Arc::clone(&manager),
            db: db.clone(),
            reader: db.reader()?,
            active: active.clone(),
            clock: self.clock.clone(),
            vitals: Arc::clone(&vitals),
            stopping: stop.claiming.clone(),
        };
        let dispatcher = Dispatcher {
            db: db.clone(),
            active,
            clock: self.clock.clone(),
            rng: self.rng,
            wake: Arc::clone(&wake),
            instance: owned.instance,
            stop: stop.clone(),
            vitals,
            counters,
        };
        tracing::info!(
            name = config.service.name,
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            config = %config.path.display(),
            state = %config.state_path.display(),
            listen = address(&listening.webhooks),
            metrics_listen = address(&listening.metrics),
            "ductile started"
        );

        // They serve until the others have ended: what comes meanwhile is run after the next start.
        let (stop_serving, mut serving) = (CancellationToken::new(), Tasks::new());
        if let Some(server) = listening.webhooks {
            serving.spawn(serve(server, gateway, http::most_connections(), stop_serving.clone()));
        }
        if let Some((server, metrics)) = listening.metrics.zip(metrics) {
            serving.spawn(serve(server, metrics, metrics::MOST_CONNECTIONS, stop_serving.clone()));
        }
        let mut tasks = Tasks::new();
        tasks.spawn(heartbeat.run());
        tasks.spawn(async { Ok(dispatcher.run().await?) });
        let ended = CancellationToken::new();
        let watching_over = tokio::spawn(watchdog.run(ended.clone()));
        let mut result = Ok(());
        let mut signals = pin!(self.signals.watch(&stop, &wake, &mut reloader, &manager));
        let mut watching = true;
        while !tasks.is_empty() {
            tokio::select! {
                () = &mut signals, if watching => watching = false,
                Some(ended) = first_to_end(&mut tasks, &mut serving) => {
                    // One that ends without being told to has failed: then the others end too, as fast as they can.
                    if !stop.claiming.is_cancelled() {
                        stop.claiming.cancel();
                        stop.job.terminate.cancel();
                    }
                    result = result.and(joined(ended));
                }
            }
        }
        stop_serving.cancel();
        while let Some(ended) = serving.join_next().await {
            result = result.and(joined(ended));
        }
        ended.cancel();
        if let Err(panic) = watching_over.await {
            result = result.and(Err(Error::Panicked(panic.to_string()).into()));
        }
        close(db, self.clock.now()).await;
        match &result {
            Ok(()) => tracing::info!("ductile stopped"),
            Err(error) => tracing::error!(error = crate::log::chain(error), "ductile ended"),
        }
        result
    }

    /// The addresses that the configuration has.
    async fn bind(&self) -> Result<Listening, DaemonError> {
        let config = self.active.registry.config();
        Ok(Listening {
            webhooks: bind("webhooks.listen", config.webhooks.as_ref().map(|webhooks| webhooks.listen)).await?,
            metrics: bind("metrics.listen", config.metrics.map(|metrics| metrics.listen)).await?,
        })
    }

    /// What has to be in the database before anything runs: who we are, the plugins, the schedules.
    async fn prepare(&mut self, db: &Db, listening: &Listening) -> Result<(), Error> {
        let now = self.clock.now();
        let started = publish::Started {
            pid: std::process::id(),
            at: now,
            listen: address(&listening.webhooks),
            metrics_listen: address(&listening.metrics),
            in_force: published(&self.active),
        };
        let (active, seed) = (Arc::clone(&self.active), self.rng.random());
        let start = move |tx: &Tx<'_>| {
            publish::started(tx, &started)?;
            activate(tx, &active, now, &mut StdRng::seed_from_u64(seed))?;
            crash_point!("start.uncommitted");
            Ok(())
        };
        db.write(start).await?;
        crash_point!("start.committed");
        Ok(())
    }
}

/// What is bound.
#[derive(Debug)]
struct Listening {
    webhooks: Option<Server>,
    metrics: Option<Server>,
}

async fn bind(key: &'static str, address: Option<SocketAddr>) -> Result<Option<Server>, DaemonError> {
    let Some(address) = address else { return Ok(None) };
    Server::bind(address).await.map(Some).map_err(|source| DaemonError::Listen { key, address, source })
}

fn address(server: &Option<Server>) -> Option<String> {
    server.as_ref().map(|server| server.address().to_string())
}

async fn serve<R: Respond>(
    server: Server,
    responder: R,
    most_connections: usize,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    server.serve(responder, most_connections, stop).await;
    Ok(())
}

type Tasks = JoinSet<Result<(), DaemonError>>;

async fn first_to_end(tasks: &mut Tasks, serving: &mut Tasks) -> Option<Result<Result<(), DaemonError>, JoinError>> {
    tokio::select! {
        Some(ended) = tasks.join_next() => Some(ended),
        Some(ended) = serving.join_next() => Some(ended),
        else => None,
    }
}

/// The result of a task; a panic is an error like any other.
fn joined(ended: Result<Result<(), DaemonError>, JoinError>) -> Result<(), DaemonError> {
    ended.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string()).into()))
}

async fn close(db: Db, now: Timestamp) {
    let stopped = move |tx: &Tx<'_>| {
        publish::stopped(tx, now)?;
        crash_point!("stop.uncommitted");
        Ok(())
    };
    if let Err(error) = db.write(stopped).await {
        tracing::warn!(error = crate::log::chain(&error), "the end of the daemon was not recorded");
    }
    crash_point!("stop.committed");
    db.close().await;
}
