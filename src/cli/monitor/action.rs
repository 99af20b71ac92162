//! What a person has the gateway do from the dashboard: asked for once more, then done as the command of that name does it.

use std::path::Path;

use uuid::Uuid;

use crate::cli::change::Said;
use crate::cli::error::CliError;
use crate::cli::pause::{pause_now, resume_now};
use crate::cli::queue::{cancel, retry};
use crate::cli::reset::reset_now;
use crate::cli::run::later::run_later;
use crate::command::Command;
use crate::config;

/// Something that changes the database.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    Run {
        plugin: String,
        command: Command,
    },
    Retry {
        job: Uuid,
        what: String,
    },
    Cancel {
        job: Uuid,
        what: String,
    },
    Reset {
        plugin: String,
    },
    /// The whole queue without a plugin.
    Pause(Option<String>),
    Resume(Option<String>),
}

impl Action {
    /// What it does, as a question without its mark.
    pub(super) fn question(&self) -> String {
        let of = |plugin: &Option<String>| match plugin {
            Some(name) => format!("plugin `{name}`"),
            None => "the whole queue".to_owned(),
        };
        match self {
            Self::Run { plugin, command } => format!("run `{plugin}` now ({command})"),
            Self::Retry { job, what } => format!("retry {what}, job {job}"),
            Self::Cancel { job, what } => format!("cancel {what}, job {job}"),
            Self::Reset { plugin } => format!("close the circuit breaker of `{plugin}`"),
            Self::Pause(plugin) => format!("pause {}", of(plugin)),
            Self::Resume(plugin) => format!("resume {}", of(plugin)),
        }
    }

    /// Does it to the database at `path`. Nothing of this process may have that open.
    pub(super) fn perform(self, path: &Path, config: Option<&Path>) -> Result<Said, CliError> {
        let named = config::load_minimal(&config::find(config)?)?.state_path;
        if named != path {
            let (named, path) = (named.display(), path.display());
            return Err(CliError::Failed(format!("the configuration names `{named}` by now, and this shows `{path}`")));
        }
        match self {
            Self::Run { plugin, command } => run_later(plugin, command, config),
            Self::Retry { job, .. } => retry::retry_now(job.into(), config),
            Self::Cancel { job, .. } => cancel::cancel_now(job.into(), "ductile monitor", config),
            Self::Reset { plugin } => reset_now(plugin, config),
            Self::Pause(plugin) => pause_now(plugin, config),
            Self::Resume(plugin) => resume_now(plugin, config),
        }
    }
}
