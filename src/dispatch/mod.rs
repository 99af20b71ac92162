//! The serial dispatcher: claim a job, run its plugin, settle it and claim the next in one commit.

mod alarm;
mod lifecycle;
mod outcome;
mod recover;
mod settle;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, trace_span};
use uuid::Uuid;

use crate::active::Active;
use crate::clock::{Clock, Timestamp};
use crate::command::Command;
use crate::counters::Counters;
use crate::fault::crash_point;
use crate::plugin::{self, Attempt, Call, Cancel, Outcome};
use crate::queue::{self, Attempted, Claimed, Job};
use crate::router::{self, Producer};
use crate::scheduler;
use crate::state::{Db, Error, Tx, plugin_state};
use crate::vitals::Vitals;
use lifecycle::Ended;
use settle::{Settled, Settlement};

pub use alarm::core_event;
pub use recover::recover;

/// How the dispatcher is told to end.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Claim nothing more; the job in flight goes on.
    pub claiming: CancellationToken,
    /// Stop the job in flight and put it back on the queue.
    pub job: Cancel,
}

/// Runs one job at a time.
#[derive(Debug)]
pub struct Dispatcher {
    pub db: Db,
    pub active: watch::Receiver<Arc<Active>>,
    pub clock: Clock,
    pub rng: StdRng,
    /// Notified by whoever has changed the queue.
    pub wake: Arc<Notify>,
    /// The database's identity, for the environment of every plugin process.
    pub instance: Uuid,
    pub stop: Stop,
    pub vitals: Arc<Vitals>,
    pub counters: Arc<Counters>,
}

/// A claimed job with what its request needs.
#[derive(Debug)]
struct Work {
    claimed: Claimed,
    /// The plugin's state, JSON text.
    state: String,
    active: Arc<Active>,
}

/// What the queue had.
enum Taken {
    Work(Box<Work>),
    Nothing { next_retry: Option<Timestamp> },
}

impl Dispatcher {
    /// Runs jobs until it is told to stop.
    ///
    /// # Errors
    /// When the database is damaged or has a bug that no retry can pass. A job in flight is then left `running`, and
    /// is recovered at the next start.
    pub async fn run(mut self) -> Result<(), Error> {
        let mut next = None;
        loop {
            let work = match next.take() {
                Some(work) => work,
                None => match self.wait_for_work().await? {
                    Some(work) => work,
                    None => return Ok(()),
                },
            };
            let executed = self.execute(*work, true).await;
            if !matches!(executed, Ok(Some(_))) {
                self.vitals.idle();
            }
            next = match executed {
                Ok(next) => next,
                // A bug, or an operator who has changed the row: nothing was written, and the other jobs go on.
                Err(Error::Conflict(reason)) => {
                    tracing::error!(reason, "attempt not settled: please report this");
                    None
                }
                Err(error) => return Err(error),
            };
        }
    }

    /// Runs one attempt of just this job. Whether it was queued.
    ///
    /// # Errors
    /// As [`Dispatcher::run`].
    pub async fn run_one(&mut self, job_id: Uuid) -> Result<bool, Error> {
        let active = Arc::clone(&self.active.borrow());
        let now = self.clock.now();
        let work = move |tx: &Tx<'_>| {
            let claimed = queue::claim_one(tx, job_id, now)?;
            let work = claimed.map(|claimed| begin(tx, claimed, Arc::clone(&active))).transpose()?;
            crash_point!("claim_one.uncommitted");
            Ok(work)
        };
        let work = self.db.write_in_place(work).await?;
        crash_point!("claim_one.committed");
        let Some(work) = work else { return Ok(false) };
        self.execute(work, false).await?;
        Ok(true)
    }

    /// Sleeps until a job is due; `None` once claiming has been stopped.
    async fn wait_for_work(&mut self) -> Result<Option<Box<Work>>, Error> {
        let wake = Arc::clone(&self.wake);
        loop {
            // Armed before the look at the queue, so that no job that comes in between is slept over.
            let mut woken = std::pin::pin!(wake.notified());
            woken.as_mut().enable();
            if self.stop.claiming.is_cancelled() {
                return Ok(None);
            }
            self.active.mark_unchanged();
            let in_force = self.active.clone();
            let claim = || claim(in_force.clone(), self.clock.clone());
            let taken = self.db.write_until_done("claim", &self.stop.claiming, claim).await;
            let next_retry = match claimed(taken)? {
                Some(Taken::Work(work)) => return Ok(Some(work)),
                Some(Taken::Nothing { next_retry }) => next_retry,
                None => continue,
            };
            let wait = next_retry.map(|at| at.since(self.clock.now()));
            let look_again = async {
                tokio::select! {
                    () = woken => {}
                    () = sleep(wait) => {}
                    _ = self.active.changed() => {}
                    () = self.stop.claiming.cancelled() => {}
                }
            };
            // The commit that enqueues the next job claims it, too.
            let taken = self.db.write_with_next(claim(), look_again).await;
            if let Some(Some(Taken::Work(work))) = taken.map(claimed).transpose()? {
                return Ok(Some(work));
            }
        }
    }

    /// Runs one attempt to its end on disk; with `claim_next`, the same commit claims the next job.
    async fn execute(&mut self, work: Work, claim_next: bool) -> Result<Option<Box<Work>>, Error> {
        let Work { mut claimed, state, active } = work;
        let job = claimed.job();
        tracing::info!(
            plugin = job.plugin,
            job_id = %job.id,
            command = job.command.as_str(),
            attempt = job.attempt,
            "job started"
        );
        outcome::count_start(&self.counters, job);
        let started = Instant::now();
        let attempt = self.attempt(&mut claimed, state, &active).instrument(trace_span!("attempt")).await;
        let duration = started.elapsed();
        outcome::log_output(&claimed, &attempt);
        let settlement = self.settlement(claimed, active, attempt, duration);
        let (settlement, settled, next) = self.settle(settlement, claim_next).instrument(trace_span!("settle")).await?;
        outcome::log_end(&settlement.claimed, &settled, duration);
        outcome::count_end(&self.counters, &settlement, &settled, duration);
        Ok(next)
    }

    /// The plugin's part, without the job: its panic is an outcome like any other.
    async fn attempt(&self, claimed: &mut Claimed, state: String, active: &Active) -> Attempt {
        let payload = claimed.take_payload();
        let job = claimed.job();
        let Some(plugin) = active.registry.runnable(&job.plugin) else {
            return failed_attempt(format!("plugin `{}` is not loaded", job.plugin), true);
        };
        if !plugin.manifest.declares(&job.command) {
            return failed_attempt(format!("its manifest does not declare `{}` any more", job.command), false);
        }
        if self.stop.claiming.is_cancelled() {
            return Attempt::without_process(Outcome::Interrupted);
        }
        let payload = match payload.map(RawValue::from_string) {
            Some(Err(error)) => return failed_attempt(format!("the job's payload is not JSON: {error}"), false),
            payload => payload.and_then(Result::ok),
        };
        // Nobody but `plugin_state` writes it, or an operator by hand.
        let state = match RawValue::from_string(state) {
            Ok(state) => state,
            Err(error) => return failed_attempt(format!("the plugin's stored state is not JSON: {error}"), false),
        };
        let call = Call {
            job_id: job.id,
            instance: self.instance,
            command: job.command.clone(),
            state,
            payload,
            now: self.clock.now(),
        };
        self.vitals.running(plugin.settings.timeouts.of(&job.command));
        caught(plugin::run(plugin, call, &self.stop.job)).await
    }

    fn settlement(
        &mut self,
        claimed: Claimed,
        active: Arc<Active>,
        attempt: Attempt,
        duration: Duration,
    ) -> Settlement {
        let now = self.clock.now();
        let job = claimed.job();
        let (ended, mut effects) = match attempt.outcome {
            Outcome::Succeeded(effects) => (Ended::Succeeded, Some(effects)),
            Outcome::Failed { error, retryable } => (Ended::Failed { error, retryable }, None),
            Outcome::TimedOut { error } => (Ended::TimedOut { error }, None),
            Outcome::Interrupted => (Ended::Interrupted, None),
        };
        let producer = Producer { job_id: job.id, plugin: &job.plugin, hops: job.hops, from_core: job.from_core };
        let events = effects.as_mut().map_or_else(Vec::new, |effects| std::mem::take(&mut effects.events));
        let children = router::route(active.routes(), producer, events, |plugin| active.max_attempts(plugin), now);
        let printed = Some(attempt.stdout).filter(|text| !text.is_empty());
        let (result, response) = match attempt.result {
            Some(result) => (Some(result), printed),
            None => (printed, None),
        };
        let attempted = Attempted {
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            exit_code: attempt.exit_code,
            result,
            response,
            logs: attempt.logs,
            stderr: Some(attempt.stderr).filter(|text| !text.is_empty()),
        };
        let (seed, draw) = (self.rng.next_u64(), self.rng.random());
        Settlement { claimed, active, ended, effects, children, attempted, now, seed, draw }
    }

    /// Writes a settlement, however long the disk is full; the same commit claims the next job.
    async fn settle(
        &mut self,
        settlement: Settlement,
        claim_next: bool,
    ) -> Result<(Arc<Settlement>, Settled, Option<Box<Work>>), Error> {
        let settlement = Arc::new(settlement);
        match self.try_settle(&settlement, claim_next).await {
            Ok((settled, next)) => Ok((settlement, settled, next)),
            // A bug in what the attempt would have changed must not stop every other job.
            Err(error @ (Error::Refused(_) | Error::Panicked(_))) => {
                let reason = format!("its result could not be stored: {}", crate::log::chain(&error));
                tracing::error!(job_id = %settlement.claimed.job().id, error = reason, "settling failed");
                let settlement = Arc::into_inner(settlement).expect("the failed write has dropped its share");
                let settlement = Arc::new(settlement.into_failure(reason));
                let (settled, next) = self.try_settle(&settlement, claim_next).await?;
                Ok((settlement, settled, next))
            }
            Err(error) => Err(error),
        }
    }

    async fn try_settle(
        &mut self,
        settlement: &Arc<Settlement>,
        claim_next: bool,
    ) -> Result<(Settled, Option<Box<Work>>), Error> {
        let (in_force, stop, clock) = (&self.active, &self.stop, &self.clock);
        let work = || {
            let (settlement, in_force) = (Arc::clone(settlement), in_force.clone());
            let claim_next = claim_next && !stop.claiming.is_cancelled();
            let now = clock.now();
            move |tx: &Tx<'_>| {
                // A reload may have been written since the job was claimed.
                let newest = Arc::clone(&in_force.borrow());
                let settled = settlement.write(tx, &newest)?;
                let taken = claim_next.then(|| take(tx, newest, now)).transpose()?;
                crash_point!("settle.uncommitted");
                Ok((settled, taken))
            }
        };
        let (settled, taken) = self.db.write_until_done("settle", &self.stop.job.kill, work).await?;
        crash_point!("settle.committed");
        let next = match taken {
            Some(Taken::Work(work)) => Some(work),
            Some(Taken::Nothing { .. }) | None => None,
        };
        Ok((settled, next))
    }
}

/// A transaction that claims the next job.
fn claim(
    in_force: watch::Receiver<Arc<Active>>,
    clock: Clock,
) -> impl FnMut(&Tx<'_>) -> Result<Taken, Error> + Send + 'static {
    move |tx| {
        // As it is when this runs: a reload may have been written since.
        let newest = Arc::clone(&in_force.borrow());
        let taken = take(tx, newest, clock.now())?;
        if matches!(taken, Taken::Work(_)) {
            crash_point!("claim.uncommitted");
        }
        Ok(taken)
    }
}

/// What came of a claim; `None` when it failed for a reason that may pass.
fn claimed(taken: Result<Taken, Error>) -> Result<Option<Taken>, Error> {
    match taken {
        Ok(taken) => {
            if matches!(taken, Taken::Work(_)) {
                crash_point!("claim.committed");
            }
            Ok(Some(taken))
        }
        Err(error) if error.is_transient() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The next job that is due, claimed, with its plugin's state.
fn take(tx: &Tx<'_>, active: Arc<Active>, now: Timestamp) -> Result<Taken, Error> {
    match queue::claim(tx, now, |plugin| active.may_run(plugin))? {
        Some(claimed) => Ok(Taken::Work(Box::new(begin(tx, claimed, active)?))),
        None => Ok(Taken::Nothing { next_retry: queue::next_retry(tx)? }),
    }
}

fn begin(tx: &Tx<'_>, claimed: Claimed, active: Arc<Active>) -> Result<Work, Error> {
    let Job { plugin, command, .. } = claimed.job();
    let state = plugin_state::read(tx, plugin)?;
    if let (Command::Init, Some(Some(hash))) = (command, active.plans.inits.get(plugin)) {
        scheduler::init_started(tx, plugin, hash)?;
    }
    Ok(Work { claimed, state, active })
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// An attempt to its end, whatever it is: its panic is a failure.
async fn caught(attempt: impl Future<Output = Attempt>) -> Attempt {
    AssertUnwindSafe(attempt).catch_unwind().await.unwrap_or_else(|panic| {
        let message = crate::log::panic_message(panic.as_ref());
        failed_attempt(format!("running the plugin panicked: {message}"), true)
    })
}

fn failed_attempt(error: String, retryable: bool) -> Attempt {
    Attempt::without_process(Outcome::Failed { error, retryable })
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failed_attempt() {
        let attempt = caught(async { panic!("out of paper") }).await;
        let expected = "running the plugin panicked: out of paper";
        assert!(
            matches!(&attempt.outcome, Outcome::Failed { error, retryable: true } if error == expected),
            "{attempt:?}"
        );
    }
}
