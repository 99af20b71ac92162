//! What each signal means to the daemon.

use std::io;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::notify::Manager;
use super::reload::Reloader;
use crate::dispatch::Stop;

/// The installed handlers. Made before the lock is taken, so that no signal to its holder is lost or fatal.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    wake: Signal,
}

impl Signals {
    /// Installs them.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            wake: signal(SignalKind::user_defined1())?,
        })
    }

    /// Acts on signals until the job in flight has been told to end: SIGUSR1 wakes the dispatcher; SIGHUP reloads; SIGTERM
    /// and SIGINT stop claiming, give the job in flight `service.shutdown_grace`, then stop it; a second one does not wait.
    pub(super) async fn watch(&mut self, stop: &Stop, wake: &Notify, reloader: &mut Reloader, manager: &Manager) {
        loop {
            tokio::select! {
                _ = self.wake.recv() => wake.notify_one(),
                _ = self.hangup.recv() => {
                    // From the one message to the other the unit is `reloading`.
                    manager.reloading().await;
                    if self.stopped_before(reloader.reload(), wake).await {
                        break;
                    }
                    manager.ready().await;
                }
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
            }
        }
        let grace = reloader.active.borrow().registry.config().service.shutdown_grace;
        tracing::info!(grace_ms = grace.as_millis() as u64, "stopping; a job in flight may end first");
        stop.claiming.cancel();
        tokio::select! {
            () = tokio::time::sleep(grace) => {
                tracing::warn!("the job in flight did not end within `service.shutdown_grace` and is stopped");
                stop.job.terminate.cancel();
                self.stop_requested().await;
                tracing::warn!("second signal: the job in flight is killed");
            }
            () = self.stop_requested() => tracing::warn!("second signal: the job in flight is killed"),
        }
        stop.job.kill.cancel();
    }

    /// Whether SIGTERM or SIGINT comes before `reload` has ended, which is given up then.
    async fn stopped_before(&mut self, reload: impl Future<Output = ()>, wake: &Notify) -> bool {
        let mut reload = pin!(reload);
        loop {
            tokio::select! {
                () = &mut reload => return false,
                _ = self.wake.recv() => wake.notify_one(),
                _ = self.terminate.recv() => return true,
                _ = self.interrupt.recv() => return true,
            }
        }
    }

    /// The next SIGTERM or SIGINT.
    pub async fn stop_requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
