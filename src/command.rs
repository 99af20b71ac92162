//! The names of what a plugin can be asked to do.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What a job asks of its plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// Look at the outside world; what the scheduler submits.
    Poll,
    /// Take one event, routed or from a webhook.
    Handle,
    /// Say whether the plugin could work.
    Health,
    /// Prepare; once per manifest and configuration.
    Init,
    /// What only this plugin knows; protocol 2.
    Named(Name),
}

/// The name of a command beside the four: never one of theirs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

const LONGEST_NAME: usize = 64;

impl Command {
    /// The commands whose meaning is known here, in the order of the documentation.
    pub const STANDARD: [Self; 4] = [Self::Poll, Self::Handle, Self::Health, Self::Init];

    /// The name in manifests, requests, tables and on the command line.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Poll => "poll",
            Self::Handle => "handle",
            Self::Health => "health",
            Self::Init => "init",
            Self::Named(Name(name)) => name,
        }
    }

    /// Whether it is one of [`Command::STANDARD`].
    pub fn is_standard(&self) -> bool {
        !matches!(self, Self::Named(_))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A text that cannot name a [`Command`].
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of a command: letters, digits, `-` and `_`, starting with a letter, \
     at most {LONGEST_NAME} characters"
)]
pub struct InvalidCommand(pub String);

impl FromStr for Command {
    type Err = InvalidCommand;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if let Some(command) = Self::STANDARD.into_iter().find(|command| command.as_str() == name) {
            return Ok(command);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let is_name = name.len() <= LONGEST_NAME
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(allowed);
        if is_name { Ok(Self::Named(Name(name.into()))) } else { Err(InvalidCommand(name.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "x".repeat(64);
        for name in ["poll", "handle", "health", "init", "a", "token_refresh", "Re-scan2", "POLL", longest.as_str()] {
            let command: Command = name.parse().unwrap();
            assert_eq!((command.as_str(), command.to_string().as_str()), (name, name));
            assert_eq!(command.is_standard(), ["poll", "handle", "health", "init"].contains(&name), "{name}");
            assert_eq!(serde_json::to_string(&command).unwrap(), format!("\"{name}\""));
        }
        for name in ["", "2nd", "_a", "-a", "a b", "a.b", "é", "a\n", &"x".repeat(65)] {
            assert!(name.parse::<Command>().is_err(), "{name:?}");
        }
    }
}
