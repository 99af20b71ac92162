//! `ductile backup`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::error::CliError;
use super::{open_reader, output};
use crate::state;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The copy is of one moment; a daemon that runs is not held up. It is complete, checked and on disk
when its name appears. It holds the queue with all payloads, the log and what plugins remember;
configuration, secrets and plugins are not in it.

To restore it (data/ductile.db stands for `state.path`):
  1. stop the daemon
  2. mkdir data/old && mv data/ductile.db* data/old/    -wal and -shm belong to the old one
  3. cp backup.db data/ductile.db                       as the user that the daemon runs as
  4. ductile start
Jobs that were queued or running at the moment of the copy are run, also those that have run since.

Examples:
  ductile backup backup.db
  ductile backup /var/backups/ductile-$(date +%F).db")]
pub(super) struct Args {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

pub(super) fn backup(args: &Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (_, reader) = open_reader(config)?;
    let bytes = state::backup(&reader, &args.to)?;
    output::line(&format!("{}: {}, checked", args.to.display(), output::size(bytes)))?;
    Ok(ExitCode::SUCCESS)
}
