//! How a command fails: what it prints on stderr, and its exit code.

use std::io;
use std::process::ExitCode;

use super::output;
use crate::config::ConfigError;
use crate::daemon::DaemonError;
use crate::log::chain;
use crate::queue::Limits;
use crate::state::lock::LockError;
use crate::state::{BackupError, DirError, Error, OpenError};

/// The exit code for a bad configuration: EX_CONFIG of sysexits.h.
const EX_CONFIG: u8 = 78;

#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Dir(#[from] DirError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    State(#[from] Error),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("output cannot be written")]
    Output(#[from] io::Error),
    /// The arguments are well-formed, but make no sense together or for this installation.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// A job that was not added.
    pub(super) fn queue_full(limits: Limits) -> Self {
        let most = limits.max_queue_depth;
        Self::Failed(format!("the queue is full ({most} jobs, `service.max_queue_depth`); nothing was added"))
    }

    /// One line, or one for each problem of a configuration.
    pub(super) fn print(&self) {
        match self {
            // The reader of our output is gone, and knows it.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Self::Config(error) => output::message(error),
            error => output::message(format_args!("ductile: {}", chain(error))),
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(EX_CONFIG),
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
