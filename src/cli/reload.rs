//! `ductile reload`.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::change::daemon;
use super::error::CliError;
use super::{open_reader, output};
use crate::clock::Clock;
use crate::config;
use crate::state::StateDir;
use crate::state::publish::{self, Reload};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The daemon reads its configuration and its plugins' manifests again, and takes them whole or not at all; what it \
was started with (its environment, `state.path`, `webhooks.listen`) stays. The same as SIGHUP, but it waits and says what came of it.

Exit codes: 0 it was taken, 1 it was refused or no daemon is running."
)]
pub(super) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A reload reads files and makes two commits; this is for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) fn reload(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (minimal, reader) = open_reader(config)?;
    // Only its owner may signal it.
    StateDir::find(&minimal.state_path)?;
    let Some(holder) = daemon(&minimal.state_path)? else {
        return Err(CliError::Failed("no daemon is running; `ductile start` reads the configuration".to_owned()));
    };
    let service = publish::service(&reader)?;
    let before = service.last_reload.map_or(0, |reload| reload.number);
    let asked = Clock::System.now();
    let ours = config::find(config)?.canonicalize().ok();
    if let Some(theirs) = service.config_path.filter(|theirs| Path::new(theirs).canonicalize().ok() != ours) {
        output::message(format_args!("the daemon was started with {theirs}: that is what it reads again"));
    }
    holder.reload().map_err(|error| CliError::Failed(format!("the daemon (PID {}): {error}", holder.pid)))?;
    let deadline = Instant::now() + PATIENCE;
    let reload = loop {
        let last = publish::service(&reader)?.last_reload;
        match last {
            // One that had begun before may have read the files as they were.
            Some(reload) if reload.number > before && reload.at >= asked => break reload,
            _ if !holder.is_daemon() => return Err(CliError::Failed("the daemon has ended meanwhile".to_owned())),
            _ if Instant::now() > deadline => {
                let waited = PATIENCE.as_secs();
                return Err(CliError::Failed(format!("the daemon has not answered for {waited} s; see its log")));
            }
            _ => std::thread::sleep(LOOK_EVERY),
        }
    };
    if args.json {
        output::json(&reload)?;
    } else {
        print(&reload)?;
    }
    Ok(if reload.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(reload: &Reload) -> Result<(), CliError> {
    match &reload.error {
        Some(error) => output::message(format_args!("ductile: reload refused: {error}")),
        None if reload.changes.is_empty() => output::line("reloaded: nothing has changed")?,
        None => {
            output::line("reloaded")?;
            for change in &reload.changes {
                output::line(&format!("  {change}"))?;
            }
        }
    }
    Ok(())
}
