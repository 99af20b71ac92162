//! What a job is.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::command::Command;

/// A job as its producer submits it. It gets its place in the queue, its attempt and its times when it is enqueued.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// UUIDv7, so that new rows of every index lie together.
    pub id: Uuid,
    pub plugin: String,
    pub command: Command,
    /// For `handle` the whole event; for others what a plugin of protocol 2 is given, if anything. Shared, as an event
    /// of megabytes may go to many plugins.
    pub payload: Option<Arc<RawValue>>,
    /// Of the target plugin, whoever produced the job.
    pub max_attempts: u32,
    pub submitted_by: SubmittedBy,
    /// The id of the schedule that asks for it, when one does.
    pub schedule: Option<String>,
    pub dedupe_key: Option<String>,
    pub parent_job_id: Option<Uuid>,
    pub source_event_id: Option<Uuid>,
    /// Root 0, child = parent + 1.
    pub hops: u32,
    /// It was caused by a core event, or descends from one: it causes none itself.
    pub from_core: bool,
    /// Enter it as `dead` for this reason, never to run.
    pub stillborn: Option<String>,
}

impl NewJob {
    /// A root without payload and key.
    pub fn new(plugin: &str, command: Command, submitted_by: SubmittedBy, max_attempts: u32) -> Self {
        Self {
            id: Uuid::now_v7(),
            plugin: plugin.to_owned(),
            command,
            payload: None,
            max_attempts,
            submitted_by,
            schedule: None,
            dedupe_key: None,
            parent_job_id: None,
            source_event_id: None,
            hops: 0,
            from_core: false,
            stillborn: None,
        }
    }
}

/// A row of `job_queue`.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    #[serde(skip)]
    pub seq: i64,
    pub id: Uuid,
    pub plugin: String,
    pub command: Command,
    #[serde(serialize_with = "text")]
    pub status: Status,
    /// The number of the current or next attempt, from 1; the last one when the job is over.
    pub attempt: u32,
    pub max_attempts: u32,
    #[serde(serialize_with = "text")]
    pub submitted_by: SubmittedBy,
    /// The id of the schedule that asked for it.
    pub schedule: Option<String>,
    pub dedupe_key: Option<String>,
    pub parent_job_id: Option<Uuid>,
    pub source_event_id: Option<Uuid>,
    pub hops: u32,
    /// It was caused by a core event, or descends from one.
    pub from_core: bool,
    pub created_at: Timestamp,
    /// Of the current or last attempt.
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    /// Set while it waits for its retry.
    pub next_retry_at: Option<Timestamp>,
    pub last_error: Option<String>,
}

fn text<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A word of the database, written and read as it stands there.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $(Self::$variant => $word,)+
                })
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { word: word.to_owned(), expected: &[$($word),+] }),
                }
            }
        }
    };
}

/// A word that should be one of a few others.
#[derive(Debug, thiserror::Error)]
#[error("`{word}` is none of {}", expected.join(", "))]
pub struct UnknownWord {
    word: String,
    expected: &'static [&'static str],
}

words! {
    /// Where a job rests. `failed` and `timed_out` are attempts, see [`JobLogStatus`].
    Status {
        Queued = "queued",
        Running = "running",
        Succeeded = "succeeded",
        Dead = "dead",
    }
}

words! {
    /// Who put a job on the queue.
    SubmittedBy {
        Scheduler = "scheduler",
        Webhook = "webhook",
        Route = "route",
        Cli = "cli",
    }
}

words! {
    /// How an attempt ended.
    JobLogStatus {
        Succeeded = "succeeded",
        Failed = "failed",
        TimedOut = "timed_out",
    }
}
