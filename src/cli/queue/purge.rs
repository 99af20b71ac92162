//! `ductile queue purge`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::change::{Changed, changes};
use crate::cli::error::CliError;
use crate::cli::logs::of_plugin;
use crate::cli::{duration, open_reader, output};
use crate::clock::Clock;
use crate::queue::Forgotten;
use crate::state::{Db, Tx};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Dead jobs go by themselves when `service.job_queue_retention` is over; this is for those that
nobody wants to see until then. They are deleted with their payloads and cannot be retried any
more; their attempts stay in `ductile logs`.

Examples:
  ductile queue purge --dead --dry-run
  ductile queue purge --dead --plugin feed --older-than 7d")]
pub(super) struct Args {
    /// Dead jobs: there is nothing else that may be purged
    #[arg(long, required = true)]
    dead: bool,
    /// Jobs of this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Jobs that have been dead for longer than this, such as 12h or 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn purge(args: &Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let before = Clock::System.now().before(args.older_than.unwrap_or_default());
    let plugin = args.plugin.as_deref();
    if args.dry_run {
        let (_, reader) = open_reader(config)?;
        let count = Forgotten::find(&reader, before, plugin)?.count();
        let of_plugin = of_plugin(&reader, plugin)?;
        output::line(&format!("would be deleted: {}{of_plugin}", jobs(count)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Changed { outcome: (deleted, of_plugin), told } = changes(config, async |db: &Db| {
        let reader = db.reader()?;
        let mut deleted = 0;
        for piece in Forgotten::find(&reader, before, plugin)?.pieces() {
            deleted += db.write(move |tx: &Tx<'_>| piece.delete(tx)).await?;
        }
        Ok((deleted, of_plugin(&reader, plugin)?))
    })?;
    Ok(told.said(format!("deleted: {}{of_plugin}", jobs(deleted))).print()?)
}

fn jobs(count: usize) -> String {
    match count {
        1 => "1 dead job".to_owned(),
        _ => format!("{count} dead jobs"),
    }
}
