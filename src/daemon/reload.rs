//! Making a configuration the one in force: at the start, and again whenever SIGHUP asks for it.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::Local;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::sync::{Notify, oneshot, watch};

use crate::active::{self, Active, LoadedActive};
use crate::clock::{Clock, Timestamp};
use crate::config::{RELOAD_REFUSED, Variables};
use crate::fault::crash_point;
use crate::state::{Db, Error, Tx, publish};
use crate::{dispatch, log, queue, scheduler};

/// Puts new configurations in place of the one in force.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) db: Db,
    pub(super) active: Arc<watch::Sender<Arc<Active>>>,
    pub(super) clock: Clock,
    pub(super) rng: StdRng,
    /// The dispatcher's.
    pub(super) wake: Arc<Notify>,
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error("`{key}` cannot be changed by a reload: restart ductile")]
    NeedsRestart { key: &'static str },
    #[error("the database cannot be written")]
    Database(#[from] Error),
    #[error("no thread can be started to read it")]
    Thread(#[source] std::io::Error),
    #[error("reading it panicked")]
    Panicked,
}

#[derive(Serialize)]
struct ReloadRefused<'a> {
    error: &'a str,
}

impl Reloader {
    /// Reads the configuration again and puts it in force whole, or leaves the old one in force whole.
    pub(super) async fn reload(&mut self) {
        let path = self.active.borrow().registry.config().path.clone();
        let begun = self.clock.now();
        match self.try_reload(path, begun).await {
            Ok(changes) if changes.is_empty() => tracing::info!("configuration reloaded: nothing has changed"),
            Ok(changes) => tracing::info!(changes = changes.join("; "), "configuration reloaded"),
            Err(error) => self.refused(&error, begun).await,
        }
    }

    async fn try_reload(&mut self, path: PathBuf, begun: Timestamp) -> Result<Vec<String>, Refused> {
        let loaded = load(path).await?;
        let old = Arc::clone(&self.active.borrow());
        let new = Arc::clone(&loaded.active);
        check_what_stays(&old, &new)?;
        let changes = active::changes(&old, &new);
        let (now, seed) = (self.clock.now(), self.rng.random());
        let put_in_force = {
            let (in_force, changes) = (Arc::clone(&self.active), changes.clone());
            move |tx: &Tx<'_>| {
                publish::reloaded(tx, &published(&new), &changes, begun)?;
                if !changes.is_empty() {
                    activate(tx, &new, now, &mut StdRng::seed_from_u64(seed))?;
                    // Within the transaction: whatever is written after it goes by the new one.
                    in_force.send_replace(Arc::clone(&new));
                }
                crash_point!("reload.uncommitted");
                Ok(())
            }
        };
        if let Err(error) = self.db.write(put_in_force).await {
            self.active.send_replace(old);
            return Err(error.into());
        }
        crash_point!("reload.committed");
        if !changes.is_empty() {
            let service = &loaded.active.registry.config().service;
            log::set(service.log_level, service.log_format);
            loaded.log();
            self.wake.notify_one();
        }
        Ok(changes)
    }

    async fn refused(&self, error: &Refused, begun: Timestamp) {
        let reason = log::chain(error);
        tracing::error!(error = reason, "reload refused: the configuration in force stays as it is");
        let (active, now) = (Arc::clone(&self.active.borrow()), self.clock.now());
        let tell = move |tx: &Tx<'_>| {
            publish::reload_refused(tx, &reason, begun)?;
            dispatch::core_event(tx, &active, RELOAD_REFUSED, &ReloadRefused { error: &reason }, None, now)
        };
        match self.db.write(tell).await {
            Ok(()) => self.wake.notify_one(),
            Err(error) => tracing::error!(error = log::chain(&error), "the refused reload could not be recorded"),
        }
    }
}

/// In a thread of its own: opening a file can take for ever, and the daemon must go on and be able to end meanwhile.
async fn load(path: PathBuf) -> Result<LoadedActive, Refused> {
    let (reply, loaded) = oneshot::channel();
    let load = move || reply.send(active::load(&path, &Variables::process()));
    std::thread::Builder::new().name("reload".to_owned()).spawn(load).map_err(Refused::Thread)?;
    Ok(loaded.await.map_err(|_| Refused::Panicked)??)
}

/// What cannot be exchanged while the daemon runs.
fn check_what_stays(old: &Active, new: &Active) -> Result<(), Refused> {
    let (old, new) = (old.registry.config(), new.registry.config());
    let listen = |config: &crate::config::Config| config.webhooks.as_ref().map(|webhooks| webhooks.listen);
    if old.state_path != new.state_path {
        return Err(Refused::NeedsRestart { key: "state.path" });
    }
    if listen(old) != listen(new) {
        return Err(Refused::NeedsRestart { key: "webhooks.listen" });
    }
    if old.metrics != new.metrics {
        return Err(Refused::NeedsRestart { key: "metrics.listen" });
    }
    Ok(())
}

/// What other commands are told of a configuration.
pub(super) fn published(active: &Active) -> publish::InForce {
    let config = active.registry.config();
    publish::InForce {
        name: config.service.name.clone(),
        config_path: config.path.display().to_string(),
        config_hash: config.hash.clone(),
        dedupe_ttl: config.service.dedupe_ttl,
        max_queue_depth: config.service.max_queue_depth,
    }
}

/// Makes a configuration the one in force: its plugins published, its schedules and inits set, the jobs of plugins that
/// it does not have (or has disabled) ended.
pub(super) fn activate(tx: &Tx<'_>, active: &Active, now: Timestamp, rng: &mut StdRng) -> Result<(), Error> {
    publish::plugins(tx, &active.published())?;
    scheduler::sync(tx, &active.plans, &Local, now, rng)?;
    for plugin in queue::queued_plugins(tx)? {
        if let Some(reason) = active.absent(&plugin) {
            let buried = queue::bury(tx, &plugin, &reason, now)?;
            tracing::warn!(plugin, buried, reason, "queued jobs are dead");
        }
    }
    Ok(())
}
