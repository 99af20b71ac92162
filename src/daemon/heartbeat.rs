//! The heartbeat: every tick, the scheduler's turn and a bounded piece of retention.

use std::sync::Arc;

use chrono::Local;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::active::Active;
use crate::clock::{Clock, Timestamp};
use crate::fault::crash_point;
use crate::state::{Db, Error, Reader, Tx, publish};
use crate::vitals::Vitals;
use crate::{log, queue, scheduler};

use super::{DaemonError, Owned};

/// As many pieces are deleted after one tick, each in a transaction of its own.
const RETENTION_PIECES: u32 = 40;

#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) owned: Arc<Owned>,
    pub(super) db: Db,
    pub(super) reader: Reader,
    pub(super) active: watch::Receiver<Arc<Active>>,
    pub(super) clock: Clock,
    pub(super) rng: StdRng,
    /// The dispatcher's.
    pub(super) wake: Arc<Notify>,
    pub(super) stop: CancellationToken,
    pub(super) vitals: Arc<Vitals>,
    /// As many lost log lines were reported.
    pub(super) dropped_lines: usize,
}

impl Heartbeat {
    /// Ticks at once and then at every interval, until it is stopped.
    ///
    /// # Errors
    /// When somebody has taken the lock or the database away.
    pub(super) async fn run(mut self) -> Result<(), DaemonError> {
        let mut interval = self.interval();
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = self.active.changed() => {
                    // The first tick comes at once: what is new may be due.
                    interval = self.interval();
                    continue;
                }
                _ = interval.tick() => {}
            }
            self.owned.check()?;
            self.report_dropped_lines();
            self.vitals.ticked();
            // A tick that fails is made up for by the next: nothing of it has been written.
            if let Err(error) = self.tick().await {
                tracing::error!(error = log::chain(&error), "tick failed, the next one will try again");
            }
        }
    }

    fn interval(&mut self) -> Interval {
        let mut interval =
            tokio::time::interval(self.active.borrow_and_update().registry.config().service.tick_interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }

    fn report_dropped_lines(&mut self) {
        let dropped = log::dropped_lines();
        if dropped > self.dropped_lines {
            let count = dropped - self.dropped_lines;
            tracing::warn!(count, "log lines were dropped: whoever reads them was too slow");
            self.dropped_lines = dropped;
        }
    }

    async fn tick(&mut self) -> Result<(), Error> {
        // Without this an idle daemon would call itself ill until there is something to write.
        if self.db.health().failed {
            self.db.write(publish::probe).await?;
        }
        let active = Arc::clone(&self.active.borrow());
        let (now, seed) = (self.clock.now(), self.rng.random());
        if !self.anything_to_do(&active, now)? {
            return Ok(());
        }
        let (ticked, ready, expired) = {
            let (in_force, clock) = (self.active.clone(), self.clock.clone());
            let tick = move |tx: &Tx<'_>| {
                // The time at which this runs: an earlier one would take a run that was settled since for one of a clock
                // that has stepped back.
                let now = clock.now();
                // A reload may have been written since.
                let active = Arc::clone(&in_force.borrow());
                let mut rng = StdRng::seed_from_u64(seed);
                let ticked = scheduler::tick(tx, &active.plans, active.limits, &Local, now, &mut rng)?;
                // A producer can die between its commit and its signal to us.
                let ready = queue::any_ready(tx)?;
                let expired = queue::any_expired(tx, active.retention, now)?;
                crash_point!("tick.uncommitted");
                Ok((ticked, ready, expired))
            };
            self.db.write(tick).await?
        };
        crash_point!("tick.committed");
        if ready || ticked.wake {
            self.wake.notify_one();
        }
        if ticked.queue_full {
            tracing::warn!("the queue is full (`service.max_queue_depth`): schedules wait");
        }
        if expired {
            self.delete_expired(&active, now).await?;
        }
        Ok(())
    }

    /// A look without a write: most ticks of an idle daemon end here, without waking another thread.
    fn anything_to_do(&self, active: &Active, now: Timestamp) -> Result<bool, Error> {
        Ok(scheduler::anything_due(&self.reader, now)?
            || queue::any_ready(&self.reader)?
            || queue::any_expired(&self.reader, active.retention, now)?)
    }

    /// Some pieces of what has expired, each in a transaction of its own.
    async fn delete_expired(&mut self, active: &Active, now: Timestamp) -> Result<(), Error> {
        let retention = active.retention;
        for _ in 0..RETENTION_PIECES {
            let delete = move |tx: &Tx<'_>| {
                let more = queue::delete_expired(tx, retention, now)?;
                crash_point!("retention.uncommitted");
                Ok(more)
            };
            let more = self.db.write(delete).await?;
            crash_point!("retention.committed");
            if !more || self.stop.is_cancelled() {
                break;
            }
        }
        Ok(())
    }
}
