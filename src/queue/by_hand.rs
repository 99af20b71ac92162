//! What a person does with dead jobs: try again, forget.

use rusqlite::{Connection, Row};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::enqueue::{Enqueued, Limits, enqueue};
use super::job::{Job, NewJob, Status, SubmittedBy};
use super::store;
use crate::clock::Timestamp;
use crate::state::{Error, Text, Tx};

/// Puts a job like a dead one at the end of the queue, with `max_attempts` attempts before it. The dead one stays as
/// it is and is the new one's parent; the event, and how far it has come, are the same.
///
/// # Errors
/// When the database cannot be written.
pub fn retry(
    tx: &Tx<'_>,
    dead: &Job,
    max_attempts: u32,
    limits: Limits,
    now: Timestamp,
) -> Result<(Uuid, Enqueued), Error> {
    if dead.status != Status::Dead {
        return Err(Error::Conflict(format!("job {} is {}, and only dead ones are retried", dead.id, dead.status)));
    }
    let payload = store::payload(tx, dead.seq)?.map(RawValue::from_string).transpose();
    let payload =
        payload.map_err(|error| Error::Conflict(format!("the payload of job {} is no JSON: {error}", dead.id)))?;
    let new = NewJob {
        payload: payload.map(Into::into),
        dedupe_key: dead.dedupe_key.clone(),
        parent_job_id: Some(dead.id),
        source_event_id: dead.source_event_id,
        hops: dead.hops,
        from_core: dead.from_core,
        ..NewJob::new(&dead.plugin, dead.command.clone(), SubmittedBy::Cli, max_attempts)
    };
    Ok((new.id, enqueue(tx, &new, limits, now)?))
}

pub(super) const DEAD_BEFORE: &str = "SELECT seq FROM job_queue INDEXED BY job_queue_dead \
     WHERE status = 'dead' AND completed_at < ?1 ORDER BY seq";
pub(super) const DEAD_OF_PLUGIN_BEFORE: &str = "SELECT seq FROM job_queue INDEXED BY job_queue_dead_plugin \
     WHERE status = 'dead' AND completed_at < ?1 AND plugin = ?2 ORDER BY seq";
/// The number may have been given again since it was looked up.
pub(super) const DELETE_DEAD: &str = "DELETE FROM job_queue WHERE seq = ?1 AND status = 'dead' AND completed_at < ?2";

/// Dead jobs to be forgotten.
#[derive(Debug, Clone)]
pub struct Forgotten {
    seqs: Vec<i64>,
    before: Timestamp,
}

impl Forgotten {
    /// Those that were over before `before`, of one plugin or of all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find(connection: &Connection, before: Timestamp, plugin: Option<&str>) -> Result<Self, Error> {
        let seq = |row: &Row<'_>| row.get(0);
        let seqs: rusqlite::Result<_> = match plugin {
            None => connection.prepare_cached(DEAD_BEFORE)?.query_map([Text(before)], seq)?.collect(),
            Some(plugin) => {
                connection.prepare_cached(DEAD_OF_PLUGIN_BEFORE)?.query_map((Text(before), plugin), seq)?.collect()
            }
        };
        Ok(Self { seqs: seqs?, before })
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.seqs.len()
    }

    /// In pieces that one transaction deletes, so that no claim waits long behind it.
    pub fn pieces(&self) -> impl Iterator<Item = Self> {
        self.seqs.chunks(PIECE).map(|seqs| Self { seqs: seqs.to_vec(), before: self.before })
    }

    /// Deletes them with their payloads; their attempts stay in the log. How many there still were.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn delete(&self, tx: &Tx<'_>) -> Result<usize, Error> {
        let mut deleted = 0;
        let mut delete = tx.prepare_cached(DELETE_DEAD)?;
        for seq in &self.seqs {
            deleted += delete.execute((seq, Text(self.before)))?;
        }
        Ok(deleted)
    }
}

/// As many rows as retention deletes at once.
const PIECE: usize = 250;
