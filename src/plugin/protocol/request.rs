//! What a plugin reads on stdin.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Protocol, event};
use crate::clock::Timestamp;
use crate::command::Command;

/// What a plugin is to be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) job_id: Uuid,
    pub(crate) command: &'a Command,
    pub(crate) config: &'a RawValue,
    pub(crate) state: &'a RawValue,
    /// The job's: of `handle` the event. In protocol 1 no other command gets one.
    pub(crate) payload: Option<&'a RawValue>,
    pub(crate) deadline_at: Timestamp,
}

/// What a plugin reads on stdin.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("allOf" = super::schema::conditions())))]
pub(crate) struct Request<'a> {
    #[cfg_attr(test, schemars(with = "u8", extend("enum" = [1, 2])))]
    protocol: Protocol,
    /// The same in every attempt.
    #[cfg_attr(test, schemars(with = "String", extend("format" = "uuid")))]
    job_id: Uuid,
    command: &'a str,
    /// `plugins.<name>.config`.
    #[cfg_attr(test, schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    config: &'a RawValue,
    /// What it remembers.
    #[cfg_attr(test, schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    state: &'a RawValue,
    /// The job's, of `handle` that of the event; only in protocol 2, and there always.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "serde_json::Value"))]
    payload: Option<Cow<'a, RawValue>>,
    /// Only in protocol 2, and there always.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    context: Option<Context>,
    /// Only of `handle`, and there always.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "crate::plugin::Envelope<'_>"))]
    event: Option<&'a RawValue>,
    /// When it will be stopped.
    #[cfg_attr(test, schemars(with = "String", extend("format" = "date-time")))]
    deadline_at: Timestamp,
}

/// What pipelines would carry from job to job; there are none here.
#[derive(Serialize)]
struct Context {}

impl<'a> Request<'a> {
    pub(crate) fn new(protocol: Protocol, question: Question<'a>) -> Self {
        let Question { job_id, command, config, state, payload, deadline_at } = question;
        let event = payload.filter(|_| *command == Command::Handle);
        let (payload, context) = match protocol {
            Protocol::One => (None, None),
            Protocol::Two => {
                let payload = if let Some(event) = event { payload_of(event) } else { payload };
                (Some(payload.map_or_else(|| Cow::Owned(event::empty_object()), Cow::Borrowed)), Some(Context {}))
            }
        };
        Self { protocol, job_id, command: command.as_str(), config, state, payload, context, event, deadline_at }
    }

    /// The bytes for stdin: one line, unless a value brings line ends of its own.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        const ENVELOPE_BYTES: usize = 256;
        let raws = [Some(self.config), Some(self.state), self.payload.as_deref(), self.event];
        let raw_bytes: usize = raws.into_iter().flatten().map(|raw| raw.get().len()).sum();
        let mut bytes = Vec::with_capacity(raw_bytes + ENVELOPE_BYTES);
        serde_json::to_writer(&mut bytes, self).expect("a request can be written as JSON, and memory takes it");
        bytes.push(b'\n');
        bytes
    }
}

/// The payload inside an event, `null` included; `None` only of what somebody has written by hand.
fn payload_of(event: &RawValue) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        payload: Option<&'a RawValue>,
    }

    fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
        Deserialize::deserialize(deserializer).map(Some)
    }

    serde_json::from_str::<Fields<'_>>(event.get()).ok()?.payload
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#""job_id":"00000000-0000-0000-0000-000000000000","command":"#;
    const CONFIG: &str = r#"{"n": 9223372036854775807}"#;
    const STATE: &str = r#"{"d":0.10000000000000000000000001}"#;
    const TAIL: &str = "\"deadline_at\":\"1970-01-01T00:00:01.000Z\"}\n";

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn text(protocol: Protocol, command: &str, payload: Option<&str>) -> String {
        let (command, config, state, payload) = (command.parse().unwrap(), raw(CONFIG), raw(STATE), payload.map(raw));
        let question = Question {
            job_id: Uuid::nil(),
            command: &command,
            config: &config,
            state: &state,
            payload: payload.as_deref(),
            deadline_at: Timestamp::from_millis(1_000),
        };
        String::from_utf8(Request::new(protocol, question).to_bytes()).unwrap()
    }

    #[test]
    fn values_pass_byte_for_byte() {
        let event = r#"{"type": "x", "payload": [1.10]}"#;
        let expected = |command: &str, event: &str| {
            format!(r#"{{"protocol":1,{HEAD}"{command}","config":{CONFIG},"state":{STATE},{event}{TAIL}"#)
        };
        assert_eq!(text(Protocol::One, "handle", Some(event)), expected("handle", &format!(r#""event":{event},"#)));
        assert_eq!(text(Protocol::One, "poll", Some(event)), expected("poll", ""));
        assert_eq!(text(Protocol::One, "poll", None), expected("poll", ""));
    }

    #[test]
    fn in_protocol_2_every_command_has_a_payload_and_a_context() {
        let expected = |command: &str, payload: &str, event: &str| {
            format!(
                r#"{{"protocol":2,{HEAD}"{command}","config":{CONFIG},"state":{STATE},"payload":{payload},"context":{{}},{event}{TAIL}"#
            )
        };
        for (command, payload, in_request) in [
            ("poll", None, "{}"),
            ("poll", Some(r#"{"a": 1.10}"#), r#"{"a": 1.10}"#),
            ("token_refresh", Some("[1, null]"), "[1, null]"),
            ("token_refresh", Some("null"), "null"),
            ("handle", None, "{}"),
        ] {
            assert_eq!(text(Protocol::Two, command, payload), expected(command, in_request, ""), "{payload:?}");
        }
        for (event, payload) in [
            (r#"{"type":"x","payload":{"a" : 1.10},"source":"cli"}"#, r#"{"a" : 1.10}"#),
            (r#"{"type":"x","payload":null}"#, "null"),
            (r#"{"type":"by hand"}"#, "{}"),
            ("7", "{}"),
        ] {
            let expected = expected("handle", payload, &format!(r#""event":{event},"#));
            assert_eq!(text(Protocol::Two, "handle", Some(event)), expected);
        }
    }
}
