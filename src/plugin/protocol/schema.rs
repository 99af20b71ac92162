//! The JSON Schemas of requests and responses, made from the shapes that are written and read.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Request;
use super::response::Fields;

/// What a plugin is sent: every field that is always there is required.
fn request() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    crate::schema::committed::<Request<'_>>("request", generator, "ductile: a plugin's stdin")
}

/// What the types of a request do not say, as it depends on the values of other fields.
pub(super) fn conditions() -> Value {
    json!([
        {"if": {"properties": {"protocol": {"const": 2}}}, "then": {"required": ["payload", "context"]}},
        {"if": {"properties": {"command": {"const": "handle"}}}, "then": {"required": ["event"]}},
    ])
}

fn response() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    crate::schema::committed::<Fields<'_>>("response", generator, "ductile: a plugin's stdout")
}

mod tests {
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::super::{Envelope, Protocol, Question, Response, unknown};
    use super::*;
    use crate::clock::Timestamp;
    use crate::schema::{errors, files, validator};

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn every_request_is_valid_and_less_is_not() {
        let validator = validator(&request());
        let (config, state, payload) = (raw(r#"{"a": 1}"#), raw("{}"), raw("[1, null]"));
        let event = Envelope {
            kind: "a",
            payload: &payload,
            dedupe_key: Some("k"),
            source: "cli",
            timestamp: Timestamp::from_millis(0),
            event_id: Uuid::nil(),
        };
        let event = event.to_json();
        for protocol in [Protocol::One, Protocol::Two] {
            for (command, payload) in [("poll", None), ("scan", Some(&payload)), ("handle", Some(&event))] {
                let command = command.parse().unwrap();
                let question = Question {
                    job_id: Uuid::nil(),
                    command: &command,
                    config: &config,
                    state: &state,
                    payload: payload.map(|payload| &**payload),
                    deadline_at: Timestamp::from_millis(1_000),
                };
                let value: Value = serde_json::from_slice(&Request::new(protocol, question).to_bytes()).unwrap();
                assert_eq!(errors(&validator, &value), [""; 0], "{value}");
                for field in value.as_object().unwrap().keys() {
                    let mut less = value.clone();
                    less.as_object_mut().unwrap().remove(field);
                    assert!(!validator.is_valid(&less), "{field} is always there: {value}");
                }
            }
        }
    }

    #[test]
    fn what_is_a_response_is_one_by_the_schema() {
        let validator = validator(&response());
        let mut valid = 0;
        for (path, text) in files("fuzz/seeds/response") {
            // What comes before it says how the seed is to be read.
            let text = &text[text.find('{').unwrap_or(0)..];
            // Half a surrogate pair is JSON to nobody else.
            let Ok(value) = serde_json::from_str::<Value>(text) else { continue };
            // In protocol 1 `result` may be anything.
            let protocol = if value["result"].is_null() { Protocol::One } else { Protocol::Two };
            if Response::parse(protocol, text).is_err() {
                continue;
            }
            assert_eq!(errors(&validator, &value), [""; 0], "{}", path.display());
            valid += 1;
        }
        assert!(valid > 5, "{valid}");
    }

    #[test]
    fn what_is_none_is_none_by_the_schema() {
        let validator = validator(&response());
        let many = json!({"status": "ok", "events": vec![json!({"type": "a"}); 1_001]});
        assert!(!validator.is_valid(&many));
        for text in [
            "[]",
            "{}",
            r#"{"status": "fine"}"#,
            r#"{"status": null}"#,
            r#"{"status": "error", "error": 1}"#,
            r#"{"status": "ok", "result": 1}"#,
            r#"{"status": "ok", "retry": "no"}"#,
            r#"{"status": "ok", "result": "a", "events": [{}]}"#,
            r#"{"status": "ok", "result": "a", "events": [{"type": ""}]}"#,
            r#"{"status": "ok", "result": "a", "events": [{"type": "a", "dedupe_key": ""}]}"#,
            r#"{"status": "ok", "result": "a", "state_updates": []}"#,
            r#"{"status": "ok", "result": "a", "logs": [{"level": "info"}]}"#,
            r#"{"status": "ok", "result": "a", "logs": ["a"]}"#,
        ] {
            assert!(Response::parse(Protocol::Two, text).is_err(), "{text}");
            assert!(!validator.is_valid(&serde_json::from_str(text).unwrap()), "{text}");
        }
        let nulls = r#"{"status": "ok", "result": "a", "error": null, "retry": null, "events": null, "state_updates": null,
            "logs": [{"level": null, "message": ""}], "other": 1}"#;
        assert!(Response::parse(Protocol::Two, nulls).is_ok());
        assert_eq!(errors(&validator, &serde_json::from_str(nulls).unwrap()), [""; 0]);
    }

    /// `plugin test` warns of the others.
    #[test]
    fn the_known_fields_are_those_that_are_read() {
        let schema = response();
        let names = |schema: &Value| {
            let mut names: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        let sorted = |known: &[&str]| {
            let mut known: Vec<_> = known.iter().map(|name| (*name).to_owned()).collect();
            known.sort();
            known
        };
        assert_eq!(names(&schema), sorted(&unknown::RESPONSE));
        assert_eq!(names(&schema["$defs"]["Event"]), sorted(&unknown::EVENT));
        assert_eq!(names(&schema["$defs"]["Log"]), sorted(&unknown::LOG));
    }
}
