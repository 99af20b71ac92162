//! The names of what a plugin can be asked to do.

use std::fmt;
use std::str::FromStr;

/// What a job asks of its plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// Look at the outside world; what the scheduler submits.
    Poll,
    /// Take one event, routed or from a webhook.
    Handle,
    /// Say whether the plugin could work.
    Health,
    /// Prepare; once per manifest and configuration.
    Init,
}

impl Command {
    /// Every command, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Poll, Self::Handle, Self::Health, Self::Init];

    /// The name in manifests, requests, tables and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Handle => "handle",
            Self::Health => "health",
            Self::Init => "init",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no [`Command`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a command; the commands are poll, handle, health and init")]
pub struct UnknownCommand(pub String);

impl FromStr for Command {
    type Err = UnknownCommand;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|command| command.as_str() == name).ok_or_else(|| UnknownCommand(name.to_owned()))
    }
}
