//! The protocols: the JSON a plugin is given on stdin and answers on stdout. Processes are not its business.
//!
//! What only passes through (payloads, state, configuration) stays text: it is neither copied into trees nor rounded.

use std::fmt;

use serde::{Serialize, Serializer};

mod event;
mod log;
mod request;
mod response;
#[cfg(test)]
mod schema;
mod shape;
mod unknown;

pub use event::{Envelope, Event};
pub(crate) use request::{Question, Request};
pub use response::{Effects, MAX_EVENTS, ProtocolError, Response, Status};
pub use unknown::unknown_fields;

/// What a plugin speaks, by its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The four commands; an event is for `handle` alone.
    One,
    /// Commands of any name, each with a payload; an answer in words.
    Two,
}

impl Protocol {
    /// The one with this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    /// As in manifests and requests.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}
