//! Events: as a plugin emits them, and as a plugin sees them. Where they lead is not decided here.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::shape::{self, ShapeError};
use crate::clock::Timestamp;

const KIND_BYTES: usize = 256;
const DEDUPE_KEY_BYTES: usize = 1_024;

/// An event in a plugin's response.
#[derive(Debug, Clone)]
pub struct Event {
    /// `type` in JSON: not empty, at most 256 bytes.
    pub kind: String,
    /// Any JSON, as the plugin wrote it; `{}` when it gave none.
    pub payload: Box<RawValue>,
    /// Not empty, at most 1,024 bytes.
    pub dedupe_key: Option<String>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Event"))]
pub(super) struct Fields<'a> {
    /// What routes match on, at most 256 bytes.
    #[serde(borrow, rename = "type")]
    #[cfg_attr(test, schemars(with = "String", required, length(min = 1, max = 256)))]
    kind: Option<&'a RawValue>,
    /// Any JSON. Default: {}
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    payload: Option<&'a RawValue>,
    /// A job with the key of one that has succeeded is not enqueued; at most 1,024 bytes.
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<String>", length(min = 1, max = 1024)))]
    dedupe_key: Option<&'a RawValue>,
}

impl Event {
    pub(crate) fn parse(raw: &RawValue) -> Result<Self, ShapeError> {
        let fields: Fields<'_> = shape::object(raw, "")?;
        let kind = fields.kind.ok_or_else(|| ShapeError::new("type", "is missing"))?;
        Ok(Self {
            kind: short_string(kind, "type", KIND_BYTES)?,
            payload: fields.payload.map_or_else(empty_object, RawValue::to_owned),
            dedupe_key: fields.dedupe_key.map(|raw| short_string(raw, "dedupe_key", DEDUPE_KEY_BYTES)).transpose()?,
        })
    }
}

fn short_string(raw: &RawValue, field: &str, limit: usize) -> Result<String, ShapeError> {
    let text = shape::string(raw, field)?;
    match text.len() {
        0 => Err(ShapeError::new(field, "must not be empty")),
        length if length > limit => {
            Err(ShapeError::new(field, format!("must be at most {limit} bytes long, not {length}")))
        }
        _ => Ok(text.into_owned()),
    }
}

/// `{}`, what there is when nothing was given.
pub(super) fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("this is JSON")
}

/// An event as the plugin that handles it sees it; the payload of its job.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Event"))]
pub struct Envelope<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    #[cfg_attr(test, schemars(with = "serde_json::Value"))]
    pub payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<&'a str>,
    /// The plugin that emitted it, or `webhook`, `cli` or `ductile`.
    pub source: &'a str,
    #[cfg_attr(test, schemars(with = "String", extend("format" = "date-time")))]
    pub timestamp: Timestamp,
    #[cfg_attr(test, schemars(with = "String", extend("format" = "uuid")))]
    pub event_id: Uuid,
}

impl Envelope<'_> {
    /// Its JSON, the payload byte for byte.
    pub fn to_json(&self) -> Box<RawValue> {
        to_raw_value(self).expect("texts, a time and JSON can be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_keeps_the_payload_byte_for_byte() {
        let payload = RawValue::from_string(r#"[1.10, 9223372036854775808, {"a" : null}]"#.to_owned()).unwrap();
        let envelope = Envelope {
            kind: "new \"mail\"",
            payload: &payload,
            dedupe_key: None,
            source: "imap",
            timestamp: Timestamp::from_millis(0),
            event_id: Uuid::nil(),
        };
        let expected = concat!(
            r#"{"type":"new \"mail\"","payload":[1.10, 9223372036854775808, {"a" : null}],"source":"imap","#,
            r#""timestamp":"1970-01-01T00:00:00.000Z","event_id":"00000000-0000-0000-0000-000000000000"}"#
        );
        assert_eq!(envelope.to_json().get(), expected);
        let keyed = Envelope { dedupe_key: Some("k"), ..envelope };
        assert!(keyed.to_json().get().contains(r#","dedupe_key":"k","source""#));
    }
}
