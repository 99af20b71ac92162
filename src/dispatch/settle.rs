//! Settling an attempt: everything it changes, in one transaction.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::Local;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::alarm;
use super::lifecycle::{Ended, decide};
use crate::active::Active;
use crate::clock::Timestamp;
use crate::config::Retry;
use crate::plugin::Effects;
use crate::queue::{self, Attempted, Children, Claimed, NewJob, Transition};
use crate::scheduler::{self, Consequence};
use crate::state::plugin_state::{self, STATE_LIMIT};
use crate::state::{Error, Tx, facts};

/// An ended attempt with all that it changes. It is kept until it is on disk.
#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) claimed: Claimed,
    /// The configuration it was claimed under.
    pub(super) active: Arc<Active>,
    pub(super) ended: Ended,
    /// `None` unless it succeeded.
    pub(super) effects: Option<Effects>,
    pub(super) children: Vec<NewJob>,
    pub(super) attempted: Attempted,
    pub(super) now: Timestamp,
    /// For the times that are drawn; the same at each try to write it.
    pub(super) seed: u64,
    pub(super) draw: f64,
}

/// What an attempt led to.
#[derive(Debug)]
pub(super) struct Settled {
    /// Of the job.
    pub(super) transition: Transition,
    /// For its plugin.
    pub(super) consequence: Option<Consequence>,
    /// Why it is dead all the same, and not back on the queue.
    pub(super) cancelled: Option<String>,
}

impl Settlement {
    /// Writes everything, on a queue that takes jobs by the `newest` configuration. What the attempt led to.
    pub(super) fn write(&self, tx: &Tx<'_>, newest: &Active) -> Result<Settled, Error> {
        let job = self.claimed.job();
        let ended = self.apply_effects(tx, newest)?.unwrap_or_else(|| self.ended.clone());
        let interrupted = ended == Ended::Orphaned;
        let transition = decide(job, ended, self.backoff_base(), self.now, self.draw);
        queue::finish(tx, &self.claimed, &transition, &self.attempted, self.now)?;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let ended = scheduler::Ended { job, transition: &transition, interrupted };
        let plans = &self.active.plans;
        let consequence = scheduler::settled(tx, ended, plans, &newest.plans, &Local, self.now, &mut rng)?;
        self.raise_alarms(tx, newest, &transition, consequence)?;
        let mut cancelled = newest.absent(&job.plugin);
        if let Some(reason) = &cancelled
            && !queue::cancel(tx, job.id, reason, self.now)?
        {
            cancelled = None;
        }
        Ok(Settled { transition, consequence, cancelled })
    }

    fn raise_alarms(
        &self,
        tx: &Tx<'_>,
        newest: &Active,
        transition: &Transition,
        consequence: Option<Consequence>,
    ) -> Result<(), Error> {
        let job = self.claimed.job();
        let mut error = "";
        if let Transition::Dead { error: reason, .. } = transition {
            error = reason;
            alarm::job_dead(tx, newest, job, error, self.now)?;
        }
        match consequence {
            Some(consequence) => alarm::consequence(tx, newest, job, consequence, error, self.now),
            None => Ok(()),
        }
    }

    /// The same attempt as a failure without effects, for when its effects cannot be written.
    pub(super) fn into_failure(self, error: String) -> Self {
        Self { ended: Ended::Failed { error, retryable: true }, effects: None, children: Vec::new(), ..self }
    }

    /// What its state updates are facts of; empty when they are to be merged.
    fn fact_types(&self) -> Vec<&str> {
        let job = self.claimed.job();
        let plugin = self.active.registry.runnable(&job.plugin);
        plugin.map(|plugin| plugin.manifest.fact_types(&job.command).collect()).unwrap_or_default()
    }

    /// Writes children, state and facts of a success. Some failure when they do not fit: then neither was written.
    fn apply_effects(&self, tx: &Tx<'_>, newest: &Active) -> Result<Option<Ended>, Error> {
        let Some(effects) = &self.effects else { return Ok(None) };
        let failed = |error: String| Ok(Some(Ended::Failed { error, retryable: true }));
        let job = self.claimed.job();
        let (mut next, mut fact_types) = (None, Vec::new());
        if let Some(updates) = &effects.state_updates {
            fact_types = self.fact_types();
            next = match fact_types.is_empty() {
                true => plugin_state::merge(tx, &job.plugin, updates)?,
                false => plugin_state::replace(&job.plugin, updates),
            };
            if next.is_none() {
                return failed(format!("the plugin's state would be larger than {STATE_LIMIT} bytes"));
            }
        }
        let limits = newest.limits;
        let absent = |child: &NewJob| child.stillborn.is_none().then(|| newest.absent(&child.plugin)).flatten();
        let mut children = Cow::Borrowed(&self.children);
        if self.children.iter().any(|child| absent(child).is_some()) {
            for child in children.to_mut() {
                child.stillborn = absent(child).or(child.stillborn.take());
            }
        }
        match queue::enqueue_children(tx, &children, limits, self.now)? {
            Children::Inserted(children) => {
                // That a plugin was removed is known to whoever did it.
                for child in children.iter().filter(|child| newest.is_enabled(&child.plugin)) {
                    if let Some(error) = &child.stillborn {
                        alarm::stillborn(tx, newest, child, error, self.now)?;
                    }
                }
            }
            Children::QueueFull => {
                let (count, most) = (self.children.len(), limits.max_queue_depth);
                return failed(format!(
                    "its {count} routed jobs do not fit on the queue (`service.max_queue_depth` is {most})"
                ));
            }
        }
        if let Some(next) = next {
            plugin_state::write(tx, &next, self.now)?;
            for fact_type in fact_types {
                facts::append(tx, &next, fact_type, (job.id, &job.command), self.now)?;
            }
        }
        Ok(None)
    }

    fn backoff_base(&self) -> Duration {
        let plugins = &self.active.registry.config().plugins;
        plugins
            .get(&self.claimed.job().plugin)
            .map_or(Retry::default().backoff_base, |plugin| plugin.retry.backoff_base)
    }
}
