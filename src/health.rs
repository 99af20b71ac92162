//! Whether the daemon does what it is there for: what its parts tell of themselves, judged for `/healthz` and for the
//! service manager's watchdog. It reads, and never writes.

use std::time::{Duration, Instant};

use crate::active::Active;
use crate::clock::Clock;
use crate::state::{Db, Error, Reader, WriteHealth};
use crate::vitals::{Activity, Signs, Vitals};
use crate::{queue, scheduler};

/// A write that waits longer is stuck.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// A job that is longer past its deadline is stuck: 5 s for the plugin to end when it is told to, then 10 s.
const JOB_PATIENCE: Duration = Duration::from_secs(15);
/// A job that is due must not wait longer while nothing runs.
const DUE_PATIENCE: Duration = Duration::from_secs(10);
/// As many intervals may pass without a tick.
const TICK_PATIENCE: u32 = 3;

/// What is judged.
#[derive(Debug, Clone)]
pub struct Reading {
    pub now: Instant,
    pub signs: Signs,
    pub tick_interval: Duration,
    pub writes: WriteHealth,
    /// The queue, or why it cannot be read.
    pub queue: Result<QueueReading, String>,
}

/// What the queue says.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueueReading {
    /// Jobs that are queued, those that wait for a retry included.
    pub depth: u64,
    /// How long the first job that may run has been due.
    pub due_for: Option<Duration>,
    /// Plugins with a breaker that is open or half open.
    pub open_breakers: usize,
    /// Nothing is claimed, because an operator has said so.
    pub paused: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("the database cannot be read: {reason}")]
    Unreadable { reason: String },
    #[error("the last write failed")]
    WriteFailed,
    #[error("a write has waited for {} s", .0.as_secs())]
    WriteWaits(Duration),
    #[error("a job is {} s past its deadline", .0.as_secs())]
    JobLate(Duration),
    #[error("a job has been due for {} s while nothing runs", .0.as_secs())]
    JobWaits(Duration),
    #[error("no tick for {} s", .0.as_secs())]
    NoTick(Duration),
}

impl Reading {
    /// How things are now.
    pub fn take(db: &Db, reader: &Reader, active: &Active, clock: &Clock, vitals: &Vitals) -> Self {
        let now = clock.now();
        let queue = || -> Result<_, Error> {
            let due_since = queue::due_since(reader, now, |plugin| active.may_run(plugin))?;
            Ok(QueueReading {
                depth: queue::depth(reader)?,
                due_for: due_since.map(|due| now.since(due)),
                open_breakers: scheduler::open_breakers(reader)?,
                paused: queue::pauses(reader)?.queue.is_some(),
            })
        };
        Self {
            now: Instant::now(),
            signs: vitals.signs(),
            tick_interval: active.registry.config().service.tick_interval,
            writes: db.health(),
            queue: queue().map_err(|error| crate::log::chain(&error)),
        }
    }

    /// All that is wrong.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        if let Err(reason) = &self.queue {
            troubles.push(Trouble::Unreadable { reason: reason.clone() });
        }
        if self.writes.failed || self.writes.retrying {
            troubles.push(Trouble::WriteFailed);
        }
        troubles.extend(self.write_waits(Duration::ZERO));
        troubles.extend(self.dispatcher_stands(Duration::ZERO));
        troubles.extend(self.no_tick(Duration::ZERO));
        troubles
    }

    /// What only a restart can be hoped to cure: a loop that has stood still for longer by `beyond` than what counts
    /// as trouble.
    ///
    /// A write that fails is tried again with its result in memory, which a restart would throw away, and no restart
    /// makes room on a disk: while one is kept so, a job that does not get on is excused. The ticks go on even then.
    pub fn standstill(&self, beyond: Duration) -> Option<Trouble> {
        let dispatcher = || self.dispatcher_stands(beyond).filter(|_| !self.writes.retrying);
        self.no_tick(beyond).or_else(|| self.write_waits(beyond)).or_else(dispatcher)
    }

    fn write_waits(&self, beyond: Duration) -> Option<Trouble> {
        self.writes.waiting.filter(|waiting| *waiting > WRITE_PATIENCE + beyond).map(Trouble::WriteWaits)
    }

    fn dispatcher_stands(&self, beyond: Duration) -> Option<Trouble> {
        match self.signs.dispatcher {
            Activity::Running { deadline } => {
                let late = self.now.saturating_duration_since(deadline?);
                (late > JOB_PATIENCE + beyond).then_some(Trouble::JobLate(late))
            }
            Activity::Idle { since } => {
                let due_for = self.queue.as_ref().ok()?.due_for?;
                let waited = due_for.min(self.now.saturating_duration_since(since));
                (waited > DUE_PATIENCE + beyond).then_some(Trouble::JobWaits(waited))
            }
        }
    }

    fn no_tick(&self, beyond: Duration) -> Option<Trouble> {
        let silent = self.now.saturating_duration_since(self.signs.ticked);
        (silent > self.tick_interval * TICK_PATIENCE + beyond).then_some(Trouble::NoTick(silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All is well, at `now`, with the last signs of life at the same instant.
    fn well() -> Reading {
        let start = Instant::now();
        let signs = Signs { started: start, ticked: start, dispatcher: Activity::Idle { since: start } };
        let writes = WriteHealth { failed: false, retrying: false, waiting: None };
        let queue = Ok(QueueReading::default());
        Reading { now: start, signs, tick_interval: seconds(60), writes, queue }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn due_for(count: u64) -> Result<QueueReading, String> {
        Ok(QueueReading { depth: 1, due_for: Some(seconds(count)), ..QueueReading::default() })
    }

    fn troubles(reading: &Reading) -> Vec<String> {
        reading.troubles().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_trouble_has_its_reason_and_its_patience() {
        let start = well();
        assert_eq!(troubles(&start), Vec::<String>::new());
        let unreadable = Reading { queue: Err("no such table".to_owned()), ..start.clone() };
        assert_eq!(troubles(&unreadable), ["the database cannot be read: no such table"]);
        for (failed, retrying) in [(true, false), (false, true), (true, true)] {
            let failing = Reading { writes: WriteHealth { failed, retrying, waiting: None }, ..start.clone() };
            assert_eq!(troubles(&failing), ["the last write failed"]);
        }
        let waiting = |count| Reading {
            writes: WriteHealth { failed: false, retrying: false, waiting: Some(seconds(count)) },
            ..start.clone()
        };
        assert_eq!(troubles(&waiting(5)).len(), 0);
        assert_eq!(troubles(&waiting(6)), ["a write has waited for 6 s"]);
        let silent = |count| Reading { now: start.now + seconds(count), ..start.clone() };
        assert_eq!(troubles(&silent(180)).len(), 0);
        assert_eq!(troubles(&silent(181)), ["no tick for 181 s"]);
    }

    #[test]
    fn a_job_is_late_only_after_all_that_its_plugin_may_take() {
        let mut reading = well();
        reading.signs.dispatcher = Activity::Running { deadline: Some(reading.now + seconds(30)) };
        reading.queue = due_for(3_600);
        reading.now += seconds(45);
        assert_eq!(troubles(&reading).len(), 0, "others wait while one runs");
        reading.now += seconds(1);
        assert_eq!(troubles(&reading), ["a job is 16 s past its deadline"]);
    }

    #[test]
    fn a_due_job_waits_only_since_nothing_runs() {
        let mut reading = Reading { queue: due_for(3_600), ..well() };
        reading.now += seconds(10);
        assert_eq!(troubles(&reading).len(), 0);
        reading.now += seconds(1);
        assert_eq!(troubles(&reading), ["a job has been due for 11 s while nothing runs"]);
        reading.queue = due_for(2);
        assert_eq!(troubles(&reading).len(), 0, "it has only come");
    }

    #[test]
    fn a_loop_stands_still_only_beyond_what_is_trouble() {
        let beyond = seconds(120);
        let mut silent = well();
        silent.now += seconds(300);
        assert_eq!(silent.standstill(beyond), None);
        silent.now += seconds(1);
        assert_eq!(silent.standstill(beyond), Some(Trouble::NoTick(seconds(301))));

        let waiting = |count| Reading {
            writes: WriteHealth { failed: false, retrying: false, waiting: Some(seconds(count)) },
            ..well()
        };
        assert_eq!(waiting(125).standstill(beyond), None);
        assert_eq!(waiting(126).standstill(beyond), Some(Trouble::WriteWaits(seconds(126))));

        let mut idle = Reading { queue: due_for(3_600), ..well() };
        idle.now += seconds(130);
        assert_eq!(idle.standstill(beyond), None);
        idle.now += seconds(1);
        assert_eq!(idle.standstill(beyond), Some(Trouble::JobWaits(seconds(131))));

        let mut unreadable = well();
        unreadable.queue = Err("disk I/O error".to_owned());
        assert_eq!(unreadable.standstill(Duration::ZERO), None, "no loop waits for a look");
    }

    #[test]
    fn a_child_may_take_all_its_time() {
        let mut running = Reading { tick_interval: seconds(3_600), ..well() };
        running.signs.dispatcher = Activity::Running { deadline: Some(running.now + seconds(600)) };
        running.now += seconds(600 + 15 + 120);
        assert_eq!(running.standstill(seconds(120)), None);
        running.now += seconds(1);
        assert_eq!(running.standstill(seconds(120)), Some(Trouble::JobLate(seconds(136))));
        running.signs.dispatcher = Activity::Running { deadline: None };
        assert_eq!(running.standstill(seconds(120)), None, "a deadline beyond the clock");
    }

    #[test]
    fn a_full_disk_is_no_standstill() {
        // What the ticks write may fit where the result does not.
        let mut full = Reading { writes: WriteHealth { failed: false, retrying: true, waiting: None }, ..well() };
        let hours = seconds(7_200);
        full.signs.dispatcher = Activity::Running { deadline: Some(full.now) };
        full.now += hours;
        full.signs.ticked = full.now;
        assert_eq!(full.standstill(Duration::ZERO), None, "the result is kept in memory");
        full.signs.dispatcher = Activity::Idle { since: full.now - hours };
        full.queue = due_for(7_200);
        assert_eq!(full.standstill(Duration::ZERO), None, "the claim is tried again and again");
        full.writes = WriteHealth { failed: true, retrying: false, waiting: None };
        assert_eq!(full.standstill(Duration::ZERO), Some(Trouble::JobWaits(hours)), "another's write has failed");
        full.writes.retrying = true;
        full.signs.ticked = full.now - hours;
        assert_eq!(full.standstill(Duration::ZERO), Some(Trouble::NoTick(hours)), "ticks go on even so");
    }
}
