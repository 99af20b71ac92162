//! `ductile monitor`: the dashboard for the terminal.
//!
//! `source` reads the database, `model` is what the screen is about and what keys do to it, `draw` makes a picture of it;
//! both are pure. `action` is what was confirmed, by the functions of the other commands. `screen` owns the terminal and
//! waits for keys, signals and time.

mod action;
mod detail;
mod draw;
mod help;
mod model;
mod rows;
mod screen;
mod source;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use super::error::CliError;
use crate::config;
use crate::state::StateDir;
use source::Source;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the service, the plugins, the queue and what has ended, and looks once a second whether
anything has changed. It only reads, also without a daemon; what it is told to do is asked for
once more, and is then the same as `run --detach`, `queue retry`, `queue cancel`, `reset`, `pause`
and `resume`. `?` shows the keys, `q` quits.")]
pub(super) struct Args {}

pub(super) fn monitor(_: &Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let minimal = config::load_minimal(&config::find(config)?)?;
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CliError::Failed(
            "`ductile monitor` needs a terminal; `ductile status` and `ductile queue` write to anything".to_owned(),
        ));
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(CliError::Failed(
            "`ductile monitor` needs a terminal that can draw, and TERM is `dumb`".to_owned(),
        ));
    }
    StateDir::check_readable(&minimal.state_path)?;
    screen::run(Source::new(minimal.state_path), config.map(Path::to_owned))
}
