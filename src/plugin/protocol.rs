//! Protocol 1: the JSON a plugin is given on stdin and answers on stdout. Processes are not its business.
//!
//! What only passes through (payloads, state, configuration) stays text: it is neither copied into trees nor rounded.

mod event;
mod log;
mod request;
mod response;
mod shape;

pub use event::{Envelope, Event};
pub(crate) use request::Request;
pub use response::{Effects, ProtocolError, Response, Status};
