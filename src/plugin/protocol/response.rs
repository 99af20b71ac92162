//! What a plugin writes to stdout: exactly one JSON object.

use std::str::Utf8Error;

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::event::Event;
use super::shape::{self, ShapeError};
use super::{Protocol, log};
use crate::plugin::text;

#[cfg(test)]
mod tests;

/// The most events a response may carry.
pub const MAX_EVENTS: usize = 1_000;

const DEFAULT_ERROR: &str = "the plugin reported an error and gave no message";

/// A valid response.
#[derive(Debug)]
pub struct Response {
    pub status: Status,
    /// What it has done, in its own words, at most 64 KB and a note; never blank when it succeeds in protocol 2.
    pub result: Option<String>,
    /// Whether trying again may help; true unless the plugin says otherwise.
    pub retry: bool,
    /// What it asks for; a plugin that reports an error asks for nothing, see [`Status::Error`].
    pub effects: Effects,
    /// A JSON array of `{level, message}`, at most 64 KB and a note.
    pub logs: Option<String>,
}

/// What a plugin asks for.
#[derive(Debug, Default)]
pub struct Effects {
    /// At most 1,000.
    pub events: Vec<Event>,
    /// An object with at least one key, to be merged into the plugin's state.
    pub state_updates: Option<Box<RawValue>>,
}

/// How a plugin says it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Ok,
    /// Events and state updates of the same response do not count.
    Error(String),
}

/// Why what a plugin printed is no response.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("protocol error: stdout is empty")]
    Empty,
    #[error("protocol error: stdout exceeded {} MB", .limit >> 20)]
    TooLarge { limit: usize },
    #[error("protocol error: stdout is not valid UTF-8: {0}")]
    NotUtf8(Utf8Error),
    #[error("protocol error: stdout is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("protocol error: stdout must be a JSON object, not {found}")]
    NotAnObject { found: &'static str },
    #[error("protocol error: stdout has more than one JSON object: {0}")]
    NotAlone(serde_json::Error),
    #[error("protocol error: stdout is not a response: {0}")]
    Invalid(serde_json::Error),
    #[error("protocol error: `{field}` {reason}")]
    Field { field: String, reason: String },
}

impl From<ShapeError> for ProtocolError {
    fn from(ShapeError { field, reason }: ShapeError) -> Self {
        Self::Field { field, reason }
    }
}

/// What a plugin prints on stdout: this object, and nothing else.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Response"))]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "String", required, extend("enum" = ["ok", "error"])))]
    status: Option<&'a RawValue>,
    /// Why, with the status `error`.
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    error: Option<&'a RawValue>,
    /// What it has done, in a few words. In protocol 2 a success must have one that is not blank.
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    result: Option<&'a RawValue>,
    /// Whether trying again may help, with the status `error`. Default: true
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    retry: Option<&'a RawValue>,
    /// Become jobs, as the routes say.
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<Vec<super::event::Fields<'_>>>", length(max = MAX_EVENTS)))]
    events: Option<&'a RawValue>,
    /// Merged into the state, key by key.
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    state_updates: Option<&'a RawValue>,
    /// Kept with the attempt.
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<Vec<super::log::Fields<'_>>>"))]
    logs: Option<&'a RawValue>,
}

impl Response {
    /// Reads the whole of stdout. Memory beyond the text is bounded by what the text passes through.
    pub fn parse(protocol: Protocol, stdout: &str) -> Result<Self, ProtocolError> {
        let fields = fields(stdout)?;
        let error = fields.error.map(|raw| shape::lenient_string(raw, "error")).transpose()?;
        let status = fields.status.ok_or_else(|| ShapeError::new("status", "is missing"))?;
        let status = match &*shape::string(status, "status")? {
            "ok" => Status::Ok,
            "error" => Status::Error(error.filter(|text| !text.is_empty()).unwrap_or_else(|| DEFAULT_ERROR.to_owned())),
            _ => return Err(ShapeError::new("status", "must be `ok` or `error`").into()),
        };
        let result = result(protocol, fields.result)?;
        if protocol == Protocol::Two && status == Status::Ok && result.is_none() {
            return Err(
                ShapeError::new("result", "is missing: protocol 2 wants a short text with every success").into()
            );
        }
        Ok(Self {
            status,
            result,
            retry: fields.retry.map_or(Ok(true), |raw| shape::boolean(raw, "retry"))?,
            effects: Effects {
                events: fields.events.map_or(Ok(Vec::new()), events)?,
                state_updates: fields.state_updates.map_or(Ok(None), state_updates)?,
            },
            logs: fields.logs.map_or(Ok(None), log::collect)?,
        })
    }
}

/// The fields of the one object in `stdout`, still as text.
fn fields(stdout: &str) -> Result<Fields<'_>, ProtocolError> {
    let start = stdout.trim_ascii_start();
    if start.is_empty() {
        return Err(ProtocolError::Empty);
    }
    if !start.starts_with('{') {
        let other = serde_json::from_str::<&RawValue>(stdout).map_err(ProtocolError::NotJson)?;
        return Err(ProtocolError::NotAnObject { found: shape::kind(other.get()) });
    }
    let mut deserializer = serde_json::Deserializer::from_str(stdout);
    let fields = Fields::deserialize(&mut deserializer).map_err(|error| match error.classify() {
        Category::Data => ProtocolError::Invalid(error),
        _ => ProtocolError::NotJson(error),
    })?;
    deserializer.end().map_err(ProtocolError::NotAlone)?;
    Ok(fields)
}

fn events(raw: &RawValue) -> Result<Vec<Event>, ShapeError> {
    let mut events = Vec::new();
    shape::each(raw, "events", |index, raw| {
        if index == MAX_EVENTS {
            return Err(ShapeError::new("events", format!("must not be more than {MAX_EVENTS}")));
        }
        events.push(Event::parse(raw).map_err(|error| error.in_element("events", index))?);
        Ok(())
    })?;
    Ok(events)
}

/// `None` when it is blank. To protocol 1 it is an unknown field, which may hold anything.
fn result(protocol: Protocol, raw: Option<&RawValue>) -> Result<Option<String>, ShapeError> {
    let result = match (protocol, raw.map(|raw| shape::lenient_string(raw, "result"))) {
        (_, None) | (Protocol::One, Some(Err(_))) => return Ok(None),
        (_, Some(result)) => result?,
    };
    let total = result.len() as u64;
    Ok(Some(result).filter(|text| !text.trim().is_empty()).map(|text| text::stored(text, total)))
}

/// `None` when there is nothing to update.
fn state_updates(raw: &RawValue) -> Result<Option<Box<RawValue>>, ShapeError> {
    Ok((shape::count_keys(raw, "state_updates")? > 0).then(|| raw.to_owned()))
}
