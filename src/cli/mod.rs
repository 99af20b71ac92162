//! The command line: one file for each subcommand.

mod backup;
mod change;
mod check;
mod completions;
mod error;
mod init;
mod logs;
#[cfg(feature = "monitor")]
mod monitor;
mod new_files;
mod output;
mod pause;
mod plugin;
mod plugins;
mod queue;
mod reload;
mod reset;
mod run;
mod start;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{self, Minimal};
use crate::state::{Reader, StateDir};
use error::CliError;

/// A lightweight, YAML-configured integration gateway: schedules, events and commands become jobs on one durable
/// queue, and plugins in any language run them one by one.
#[derive(Debug, Parser)]
#[command(name = "ductile", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    /// The configuration file [default: $DUCTILE_CONFIG, ./config.yaml, $XDG_CONFIG_HOME/ductile/config.yaml,
    /// /etc/ductile/config.yaml]
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  ductile init gateway                   a folder to begin with
  ductile check                          is the configuration right?
  ductile start                          run the gateway in the foreground
  ductile run echo                       run a plugin now and see what it says
  ductile queue --status dead            what has failed for good, and why
  ductile logs echo --limit 5            the last attempts of a plugin

Exit codes: 0 ok, 1 failure, 2 usage, 78 configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway: scheduler and dispatcher, until SIGTERM or Ctrl-C
    Start(start::Args),
    /// Put one job on the queue and show its result; without a daemon, run it right here
    Run(run::Args),
    /// Check the configuration and every plugin, without running anything
    Check(check::Args),
    /// Show the service, the queue and every plugin; with --health ask the plugins how they are
    Status(status::Args),
    /// Have the daemon read its configuration again, and say what has changed
    Reload(reload::Args),
    /// Close a plugin's circuit breaker, so that its schedules go on
    Reset(reset::Args),
    /// Start no more jobs of a plugin, or none at all
    Pause(pause::Args),
    /// Go on with what was paused
    Resume(pause::Args),
    /// Show jobs: those that are queued or running, or others
    Queue(queue::Args),
    /// Show attempts: what ran, when, how it ended and what the plugin said
    Logs(logs::Args),
    /// Watch it in the terminal: service, plugins, queue, history; act on them with single keys
    #[cfg(feature = "monitor")]
    Monitor(monitor::Args),
    /// Another name: `ductile system monitor`
    #[cfg(feature = "monitor")]
    #[command(hide = true, subcommand)]
    System(System),
    /// Show the plugins: which are loaded, why not, what they can do
    Plugins(plugins::Args),
    /// Write a plugin of your own: make one that works, test it as the daemon would run it
    Plugin(plugin::Args),
    /// Make a folder that is ready to start: configuration, two plugins, a README
    Init(init::Args),
    /// Copy the database to a file, also while the daemon runs
    Backup(backup::Args),
    /// Print a script that completes ductile's command line in a shell
    Completions(completions::Args),
}

#[cfg(feature = "monitor")]
#[derive(Debug, Subcommand)]
enum System {
    /// Watch it in the terminal, as `ductile monitor`
    Monitor(monitor::Args),
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = cli.config.as_deref();
    let result = match cli.command {
        Command::Start(args) => start::start(args, config),
        Command::Run(args) => run::run(args, config),
        Command::Check(args) => check::check(args, config),
        Command::Status(args) => status::status(args, config),
        Command::Reload(args) => reload::reload(args, config),
        Command::Reset(args) => reset::reset(args, config),
        Command::Pause(args) => pause::pause(args, config),
        Command::Resume(args) => pause::resume(args, config),
        Command::Queue(args) => queue::queue(args, config),
        Command::Logs(args) => logs::logs(args, config),
        #[cfg(feature = "monitor")]
        Command::Monitor(args) | Command::System(System::Monitor(args)) => monitor::monitor(&args, config),
        Command::Plugins(args) => plugins::plugins(&args, config),
        Command::Plugin(args) => plugin::plugin(args),
        Command::Init(args) => init::init(&args),
        Command::Backup(args) => backup::backup(&args, config),
        Command::Completions(args) => completions::completions(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            error.print();
            error.exit_code()
        }
    }
}

/// What commands need that only look: the state path, and the database opened for reading.
fn open_reader(config: Option<&Path>) -> Result<(Minimal, Reader), CliError> {
    let minimal = config::load_minimal(&config::find(config)?)?;
    StateDir::check_readable(&minimal.state_path)?;
    let reader = Reader::open(&minimal.state_path)?;
    Ok((minimal, reader))
}

/// Whether it is known that no daemon runs with this database: who may not look at the lock does not know.
fn no_daemon(minimal: &Minimal) -> bool {
    change::daemon(&minimal.state_path).is_ok_and(|daemon| daemon.is_none())
}

/// A duration as the configuration has them.
fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).map_err(|error| format!("`{text}` {error}"))
}

/// A runtime for one command: one thread, as everything that blocks has a thread of its own.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)
}
