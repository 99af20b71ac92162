//! Taking the next job, and the token that owns it until its attempt has ended.

use rusqlite::Connection;
use uuid::Uuid;

use super::hold::{Holds, Turn};
use super::job::Job;
use super::store;
use crate::clock::Timestamp;
use crate::state::{Error, Tx};

/// A running job. Whoever holds it has to end the attempt with [`super::finish`]; it cannot be copied.
#[derive(Debug)]
#[must_use = "a claimed job stays `running` until its attempt is finished"]
pub struct Claimed {
    job: Job,
    payload: Option<String>,
}

impl Claimed {
    /// The row as it was when it was claimed.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The job's payload, JSON text; once, so that its megabytes are not kept while the plugin runs.
    pub fn take_payload(&mut self) -> Option<String> {
        self.payload.take()
    }
}

/// As many jobs at the head of the queue are looked at one by one before the plugins are asked instead.
const LOOK_AHEAD: u32 = 32;

/// Takes the first job that is due, whose plugin `may_run`, and which nothing holds: no pause, no `init` to come first.
///
/// Jobs that may not run now cost nothing when they wait for a retry, and one look-up a plugin otherwise.
///
/// # Errors
/// When the database cannot be written.
pub fn claim(tx: &Tx<'_>, now: Timestamp, may_run: impl Fn(&str) -> bool) -> Result<Option<Claimed>, Error> {
    store::release_due(tx, now)?;
    match first_runnable(tx, &may_run)? {
        Some(seq) => start(tx, seq, now),
        None => Ok(None),
    }
}

/// Since when a job has been due that could run: the first of the queue, or a retry that nobody has let in.
///
/// # Errors
/// When the database cannot be read.
pub fn due_since(
    connection: &Connection,
    now: Timestamp,
    may_run: impl Fn(&str) -> bool,
) -> Result<Option<Timestamp>, Error> {
    let first = first_runnable(connection, &may_run)?;
    let created = first.map(|seq| store::created_at(connection, seq)).transpose()?;
    let retry = next_retry(connection)?.filter(|at| *at <= now);
    Ok(created.into_iter().chain(retry).min())
}

fn first_runnable(connection: &Connection, may_run: &impl Fn(&str) -> bool) -> Result<Option<i64>, Error> {
    let holds = Holds::read(connection)?;
    if holds.everything() {
        return Ok(None);
    }
    let turn = |plugin: &str| if may_run(plugin) { holds.turn(plugin) } else { Turn::Nothing };
    Ok(match first_of_the_head(connection, &turn)? {
        Head::Runnable(seq) => Some(seq),
        Head::AllSeen => None,
        Head::Blocked => first_by_plugin(connection, &turn)?,
    })
}

/// Takes just this job, if it is queued; its retry time does not matter.
///
/// # Errors
/// When the database cannot be written.
pub fn claim_one(tx: &Tx<'_>, id: Uuid, now: Timestamp) -> Result<Option<Claimed>, Error> {
    match store::queued(tx, id)? {
        Some(seq) => start(tx, seq, now),
        None => Ok(None),
    }
}

/// Takes over the job that a process left `running` when it was killed.
///
/// # Errors
/// When the database cannot be read.
pub fn adopt(tx: &Tx<'_>) -> Result<Option<Claimed>, Error> {
    Ok(store::running(tx)?.map(|job| Claimed { job, payload: None }))
}

/// When the next waiting retry is due.
///
/// # Errors
/// When the database cannot be read.
pub fn next_retry(connection: &Connection) -> Result<Option<Timestamp>, Error> {
    store::next_retry(connection)
}

fn start(tx: &Tx<'_>, seq: i64, now: Timestamp) -> Result<Option<Claimed>, Error> {
    Ok(store::start(tx, seq, now)?.map(|(job, payload)| Claimed { job, payload }))
}

enum Head {
    Runnable(i64),
    /// Nothing is due but what was seen, and none of it may run.
    AllSeen,
    /// The first [`LOOK_AHEAD`] may not run.
    Blocked,
}

fn first_of_the_head(connection: &Connection, turn: &impl Fn(&str) -> Turn) -> Result<Head, Error> {
    let mut statement = connection.prepare_cached(store::HEAD)?;
    let mut rows = statement.query([LOOK_AHEAD])?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let may_run = match turn(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?) {
            Turn::Any => true,
            Turn::Only(only) => only == seq,
            Turn::Nothing => false,
        };
        if may_run {
            return Ok(Head::Runnable(seq));
        }
        seen += 1;
    }
    Ok(if seen < LOOK_AHEAD { Head::AllSeen } else { Head::Blocked })
}

/// The least of each plugin's first: one jump in the index from plugin to plugin.
fn first_by_plugin(connection: &Connection, turn: &impl Fn(&str) -> Turn) -> Result<Option<i64>, Error> {
    let mut next_plugin = connection.prepare_cached(store::NEXT_PLUGIN)?;
    let mut first_of_plugin = connection.prepare_cached(store::FIRST_OF_PLUGIN)?;
    let mut plugin = String::new();
    let mut first: Option<i64> = None;
    loop {
        let Some(next) = next_plugin.query_row([&plugin], |row| row.get::<_, Option<String>>(0))? else {
            return Ok(first);
        };
        let seq = match turn(&next) {
            Turn::Any => first_of_plugin.query_row([&next], |row| row.get::<_, Option<i64>>(0))?,
            Turn::Only(seq) => Some(seq),
            Turn::Nothing => None,
        };
        first = first.into_iter().chain(seq).min();
        plugin = next;
    }
}
