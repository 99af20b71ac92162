//! The job that the arguments ask for, and putting it on the queue.

use std::io;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::Args;
use crate::cli::error::CliError;
use crate::cli::plugins::configured;
use crate::clock::Clock;
use crate::command::Command;
use crate::fault::crash_point;
use crate::plugin::{Envelope, Protocol};
use crate::queue::{self, Enqueued, Limits, NewJob, SubmittedBy};
use crate::state::publish::{self, Published};
use crate::state::{Db, Tx};

/// What a job of a plugin gets.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Runnable {
    pub(in crate::cli) max_attempts: u32,
    /// Whether a payload may go with every command: with `handle` it always may.
    takes_payload: bool,
}

/// What a job of the plugin gets, if the plugin can run the command.
pub(in crate::cli) fn runnable(name: &str, command: &Command, known: &[Published]) -> Result<Runnable, CliError> {
    let plugin = configured(known, name)?;
    if !plugin.enabled {
        return Err(CliError::Usage(format!("plugin `{name}` is disabled (`plugins.{name}.enabled`)")));
    }
    if let Some(error) = &plugin.error {
        return Err(CliError::Failed(format!("plugin `{name}` is not loaded: {error}")));
    }
    if *command == Command::Health {
        return Err(CliError::Usage(format!(
            "`health` is asked for outside of the queue: `ductile status {name} --health`"
        )));
    }
    if !plugin.commands.iter().any(|declared| declared == command.as_str()) {
        let declared = plugin.commands.join(", ");
        return Err(CliError::Usage(format!(
            "plugin `{name}` has no command `{command}`; its manifest declares: {declared}"
        )));
    }
    // An init that fails is tried again by hand, or by the next start.
    let max_attempts = if *command == Command::Init { 1 } else { plugin.max_attempts };
    Ok(Runnable { max_attempts, takes_payload: plugin.protocol == Some(Protocol::Two.number()) })
}

/// The JSON of `--payload`, checked.
pub(super) fn payload(args: &Args) -> Result<Option<Box<RawValue>>, CliError> {
    if args.command != Command::Handle && args.event_type.is_some() {
        return Err(CliError::Usage("--event-type is for `--command handle` only".to_owned()));
    }
    let (text, from) = match args.payload.as_deref() {
        None if args.command == Command::Handle => ("{}".to_owned(), String::new()),
        None => return Ok(None),
        Some("-") => (io::read_to_string(io::stdin())?, "standard input".to_owned()),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| CliError::Failed(format!("payload file `{file}` cannot be read: {error}")))?;
                (text, format!("`{file}`"))
            }
            None => (text.to_owned(), "`--payload`".to_owned()),
        },
    };
    let payload = RawValue::from_string(text.trim().to_owned());
    payload.map(Some).map_err(|error| CliError::Usage(format!("{from} is not JSON: {error}")))
}

/// The job, if its plugin takes the payload.
pub(super) fn new_job(args: &Args, payload: Option<Box<RawValue>>, runnable: Runnable) -> Result<NewJob, CliError> {
    let Args { plugin, command, dedupe_key, .. } = args;
    let is_handle = *command == Command::Handle;
    if payload.is_some() && !is_handle && !runnable.takes_payload {
        return Err(CliError::Usage(format!(
            "plugin `{plugin}` speaks protocol 1, in which --payload is for `--command handle` only"
        )));
    }
    let event_id = is_handle.then(Uuid::now_v7);
    let payload = match (payload, event_id) {
        (Some(payload), Some(event_id)) => {
            let event = Envelope {
                kind: args.event_type.as_deref().unwrap_or("cli"),
                payload: &payload,
                dedupe_key: dedupe_key.as_deref(),
                source: "cli",
                timestamp: Clock::System.now(),
                event_id,
            };
            Some(event.to_json())
        }
        (payload, _) => payload,
    };
    Ok(NewJob {
        payload: payload.map(Into::into),
        dedupe_key: dedupe_key.clone(),
        source_event_id: event_id,
        ..NewJob::new(plugin, command.clone(), SubmittedBy::Cli, runnable.max_attempts)
    })
}

/// Puts the job on the queue, unless there is one already that has succeeded: that one. `published`: it is a daemon's
/// queue, whose configuration may have changed since it was looked at.
pub(super) async fn enqueue(db: &Db, job: NewJob, limits: Limits, published: bool) -> Result<Option<Uuid>, CliError> {
    let now = Clock::System.now();
    let name = job.plugin.clone();
    let enqueue = move |tx: &Tx<'_>| {
        if published && !publish::plugin(tx, &job.plugin)?.is_some_and(|plugin| plugin.enabled) {
            return Ok(None);
        }
        let enqueued = queue::enqueue(tx, &job, limits, now)?;
        crash_point!("enqueue.uncommitted");
        Ok(Some(enqueued))
    };
    let enqueued = db.write(enqueue).await?;
    crash_point!("enqueue.committed");
    let Some(enqueued) = enqueued else {
        return Err(CliError::Failed(format!("plugin `{name}` was removed or disabled just now; nothing was added")));
    };
    match enqueued {
        Enqueued::Inserted => Ok(None),
        Enqueued::Duplicate(existing) => Ok(Some(existing)),
        Enqueued::QueueFull => Err(CliError::queue_full(limits)),
    }
}
