//! The circuit breaker of scheduled jobs: what opens it, what a due poll may do, what closes it. Its state is pure; the
//! functions at the end read and write it.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use uuid::Uuid;

use super::tick::Consequence;
use crate::clock::Timestamp;
use crate::command::Command;
use crate::config::CircuitBreaker;
use crate::queue::{self, Job};
use crate::state::{Error, Text, Tx};

/// The breaker of one command of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Jobs in a row that ended `dead` by their own outcome.
    pub failures: u32,
    /// `None` while it is closed.
    pub opened_at: Option<Timestamp>,
    /// The job whose outcome decides, once it is half open.
    pub probe: Option<Uuid>,
    /// Jobs up to this place do not count: an operator has reset the breaker since.
    reset_seq: i64,
}

/// How a breaker is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

/// What a job that is due may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Pass,
    /// It is the probe.
    Probe,
    Hold,
}

/// How a job ended, as far as its breaker is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Succeeded,
    /// It ended `dead`, by its own outcome.
    Failed,
    /// It ended `dead` because its process was interrupted.
    Interrupted,
}

impl Breaker {
    pub fn state(&self) -> BreakerState {
        match (self.opened_at, self.probe) {
            (None, _) => BreakerState::Closed,
            (Some(_), None) => BreakerState::Open,
            (Some(_), Some(_)) => BreakerState::HalfOpen,
        }
    }

    /// What a due job may do; `outstanding` says whether the probe is queued or running.
    pub(super) fn gate(&self, settings: CircuitBreaker, now: Timestamp, outstanding: bool) -> Gate {
        match (self.opened_at, self.probe) {
            (None, _) => Gate::Pass,
            (Some(_), Some(_)) if outstanding => Gate::Hold,
            // The probe was cancelled: the time was over when it was enqueued.
            (Some(_), Some(_)) => Gate::Probe,
            (Some(opened_at), None) if now >= opened_at.after(settings.reset_after) => Gate::Probe,
            (Some(_), None) => Gate::Hold,
        }
    }

    /// Takes the outcome of a scheduled job into account. What changed, if anything did.
    pub(super) fn settle(
        &mut self,
        job: &Job,
        verdict: Verdict,
        settings: CircuitBreaker,
        now: Timestamp,
    ) -> Option<Consequence> {
        let probing = self.probe == Some(job.id);
        if job.seq <= self.reset_seq || (self.opened_at.is_some() && !probing) {
            return None;
        }
        match verdict {
            // As if it had been cancelled: the next one decides.
            Verdict::Interrupted => return None,
            Verdict::Succeeded => {
                let was_open = self.opened_at.is_some();
                *self = Self { reset_seq: self.reset_seq, ..Self::default() };
                return was_open.then_some(Consequence::BreakerClosed);
            }
            Verdict::Failed => {}
        }
        self.failures = self.failures.saturating_add(1);
        if !probing && self.failures < settings.threshold {
            return None;
        }
        self.opened_at = Some(now);
        self.probe = None;
        Some(Consequence::BreakerOpened { failures: self.failures, reset_after: settings.reset_after })
    }
}

pub(super) const ONE: &str = "SELECT failures, opened_at, probe_job_id, reset_seq FROM circuit_breaker \
     WHERE plugin = ?1 AND command = ?2";
const PUT: &str = "INSERT INTO circuit_breaker (plugin, command, failures, opened_at, probe_job_id, reset_seq) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (plugin, command) DO UPDATE SET failures = excluded.failures, \
     opened_at = excluded.opened_at, probe_job_id = excluded.probe_job_id, reset_seq = excluded.reset_seq";
const NOT_CLOSED: &str = "SELECT count(DISTINCT plugin) FROM circuit_breaker WHERE opened_at IS NOT NULL AND EXISTS \
     (SELECT 1 FROM schedule WHERE schedule.plugin = circuit_breaker.plugin \
     AND schedule.command = circuit_breaker.command AND next_run IS NOT NULL)";
const COMMANDS: &str = "SELECT command FROM circuit_breaker WHERE plugin = ?1 \
     UNION SELECT command FROM schedule WHERE plugin = ?1";
const SCHEDULED_COMMANDS: &str = "SELECT DISTINCT command FROM schedule WHERE plugin = ?1";

fn breaker(row: &Row<'_>) -> rusqlite::Result<Breaker> {
    Ok(Breaker {
        failures: row.get(0)?,
        opened_at: row.get::<_, Option<Text<_>>>(1)?.map(|time| time.0),
        probe: row.get::<_, Option<Text<_>>>(2)?.map(|id| id.0),
        reset_seq: row.get(3)?,
    })
}

/// The breaker of a plugin's scheduled jobs with this command; a closed one if nothing has ever happened to it.
///
/// # Errors
/// When the database cannot be read.
pub fn breaker_of(connection: &Connection, plugin: &str, command: &Command) -> Result<Breaker, Error> {
    let found = connection.prepare_cached(ONE)?.query_row((plugin, Text(command)), breaker).optional()?;
    Ok(found.unwrap_or_default())
}

/// The breaker of each command that a plugin has a schedule for, or had when it was last loaded.
///
/// # Errors
/// When the database cannot be read.
pub fn breakers_of(connection: &Connection, plugin: &str) -> Result<Vec<(Command, Breaker)>, Error> {
    let read = |command: Command| {
        let breaker = breaker_of(connection, plugin, &command)?;
        Ok((command, breaker))
    };
    commands(connection, SCHEDULED_COMMANDS, plugin)?.into_iter().map(read).collect()
}

/// The one of several breakers that matters most: an open one before a half open one before a closed one, then the one
/// with the most failures; none of none.
pub fn worst(breakers: Vec<(Command, Breaker)>) -> Option<(Command, Breaker)> {
    breakers.into_iter().max_by_key(|(_, breaker)| {
        let state = match breaker.state() {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        (state, breaker.failures)
    })
}

fn commands(connection: &Connection, sql: &str, plugin: &str) -> Result<Vec<Command>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([plugin], |row| Ok(row.get::<_, Text<Command>>(0)?.0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many plugins have a breaker that is open or half open, of a schedule that would run.
///
/// # Errors
/// When the database cannot be read.
pub fn open_breakers(connection: &Connection) -> Result<usize, Error> {
    Ok(connection.prepare_cached(NOT_CLOSED)?.query_row([], |row| row.get(0))?)
}

pub(super) fn put(tx: &Tx<'_>, plugin: &str, command: &Command, breaker: &Breaker) -> Result<(), Error> {
    let Breaker { failures, opened_at, probe, reset_seq } = breaker;
    let row = (plugin, Text(command), failures, opened_at.map(Text), probe.map(Text), reset_seq);
    tx.prepare_cached(PUT)?.execute(row)?;
    Ok(())
}

/// Closes the breakers of a plugin by hand. What they were before; jobs that are on the queue by now do not count again.
///
/// # Errors
/// When the database cannot be written.
pub fn reset_breakers(tx: &Tx<'_>, plugin: &str) -> Result<Vec<(Command, Breaker)>, Error> {
    let reset_seq = queue::newest(tx)?;
    let mut before = Vec::new();
    for command in commands(tx, COMMANDS, plugin)? {
        let breaker = breaker_of(tx, plugin, &command)?;
        put(tx, plugin, &command, &Breaker { reset_seq, ..Breaker::default() })?;
        before.push((command, breaker));
    }
    Ok(before)
}

/// What a job that is due may do, with the time mended if the clock stepped back over the opening.
pub(super) fn gate(
    tx: &Tx<'_>,
    plugin: &str,
    command: &Command,
    settings: CircuitBreaker,
    now: Timestamp,
) -> Result<Gate, Error> {
    let mut breaker = breaker_of(tx, plugin, command)?;
    if breaker.opened_at.is_some_and(|opened_at| opened_at > now) {
        breaker.opened_at = Some(now);
        put(tx, plugin, command, &breaker)?;
    }
    let outstanding = match breaker.probe {
        Some(probe) => queue::outstanding(tx, probe)?,
        None => false,
    };
    Ok(breaker.gate(settings, now, outstanding))
}

/// Notes what was enqueued by a schedule.
pub(super) fn enqueued(tx: &Tx<'_>, plugin: &str, command: &Command, job: Uuid, gate: Gate) -> Result<(), Error> {
    let breaker = breaker_of(tx, plugin, command)?;
    // A place in the queue is given again when the last jobs were deleted: this one is newer than the reset.
    let reset_seq = breaker.reset_seq.min(queue::newest(tx)? - 1);
    let probe = if gate == Gate::Probe { Some(job) } else { breaker.probe };
    let noted = Breaker { probe, reset_seq, ..breaker.clone() };
    if noted != breaker {
        put(tx, plugin, command, &noted)?;
    }
    Ok(())
}

/// Takes the outcome of a scheduled job into account.
pub(super) fn settled(
    tx: &Tx<'_>,
    job: &Job,
    verdict: Verdict,
    settings: CircuitBreaker,
    now: Timestamp,
) -> Result<Option<Consequence>, Error> {
    let before = breaker_of(tx, &job.plugin, &job.command)?;
    let mut breaker = before.clone();
    let change = breaker.settle(job, verdict, settings, now);
    if breaker != before {
        put(tx, &job.plugin, &job.command, &breaker)?;
    }
    Ok(change)
}
