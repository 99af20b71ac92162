//! What a plugin reads on stdin.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::command::Command;

/// One request.
#[derive(Serialize)]
pub(crate) struct Request<'a> {
    protocol: u32,
    job_id: Uuid,
    command: &'static str,
    config: &'a RawValue,
    state: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    deadline_at: Timestamp,
}

impl<'a> Request<'a> {
    /// A request; `event` is for [`Command::Handle`] alone and dropped for every other command.
    pub(crate) fn new(
        job_id: Uuid,
        command: Command,
        config: &'a RawValue,
        state: &'a RawValue,
        event: Option<&'a RawValue>,
        deadline_at: Timestamp,
    ) -> Self {
        let event = event.filter(|_| command == Command::Handle);
        Self { protocol: 1, job_id, command: command.as_str(), config, state, event, deadline_at }
    }

    /// The bytes for stdin: one line, unless a value brings line ends of its own.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        const ENVELOPE_BYTES: usize = 256;
        let raw_bytes = self.config.get().len() + self.state.get().len() + self.event.map_or(0, |raw| raw.get().len());
        let mut bytes = Vec::with_capacity(raw_bytes + ENVELOPE_BYTES);
        serde_json::to_writer(&mut bytes, self).expect("a request can be written as JSON, and memory takes it");
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_pass_byte_for_byte() {
        let config = RawValue::from_string(r#"{"n": 9223372036854775807}"#.to_owned()).unwrap();
        let state = RawValue::from_string(r#"{"d":0.10000000000000000000000001}"#.to_owned()).unwrap();
        let event = RawValue::from_string("{\"type\": \"x\"}".to_owned()).unwrap();
        let text = |command| {
            let deadline = Timestamp::from_millis(1_000);
            let request = Request::new(Uuid::nil(), command, &config, &state, Some(&event), deadline);
            String::from_utf8(request.to_bytes()).unwrap()
        };
        let expected = concat!(
            r#"{"protocol":1,"job_id":"00000000-0000-0000-0000-000000000000","command":"handle","#,
            r#""config":{"n": 9223372036854775807},"state":{"d":0.10000000000000000000000001},"#,
            r#""event":{"type": "x"},"deadline_at":"1970-01-01T00:00:01.000Z"}"#,
            "\n"
        );
        assert_eq!(text(Command::Handle), expected);
        let poll = expected.replace("handle", "poll").replace(r#""event":{"type": "x"},"#, "");
        assert_eq!(text(Command::Poll), poll);
    }
}
