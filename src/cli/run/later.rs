//! A job by hand that nobody waits for.

use std::path::Path;

use super::job::payload;
use super::{Args, Submitted, submit};
use crate::cli::change::{Changed, NO_DAEMON, Said, changes};
use crate::cli::error::CliError;
use crate::cli::pause::paused;
use crate::command::Command;
use crate::state::Db;

/// Only puts a job without payload on the queue, needing nothing of the configuration but `state.path`.
pub(in crate::cli) fn run_later(plugin: String, command: Command, config: Option<&Path>) -> Result<Said, CliError> {
    let args = Args {
        plugin,
        command,
        payload: None,
        event_type: None,
        dedupe_key: None,
        wait: false,
        detach: true,
        json: false,
    };
    let payload = payload(&args)?;
    let Changed { outcome: (id, paused), told } = changes(config, async |db: &Db| {
        let reader = db.reader()?;
        let (Submitted::New(id) | Submitted::Duplicate(id)) = submit(&args, payload, db, &reader).await?;
        Ok((id, paused(&reader, &args.plugin)?))
    })?;
    let unseen = told.daemon.is_none().then(|| NO_DAEMON.to_owned());
    let waits = paused.map(|paused| format!("it waits: {paused}"));
    Ok(waits.into_iter().chain(unseen).fold(told.said(format!("queued: {id}")), Said::note))
}
