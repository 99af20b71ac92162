//! What a response holds beside the fields that are read: ignored when a job runs, told to a plugin's author.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::shape::{self, Text};
use crate::config::hint;

pub(super) const RESPONSE: [&str; 7] = ["status", "error", "result", "retry", "events", "state_updates", "logs"];
pub(super) const EVENT: [&str; 3] = ["type", "payload", "dedupe_key"];
pub(super) const LOG: [&str; 2] = ["level", "message"];

/// One text for each field, such as "unknown field `events[0].typ`; did you mean `type`?"; none for what is no response.
pub fn unknown_fields(stdout: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(response) = serde_json::from_str::<&RawValue>(stdout) else { return found };
    let fields = object(response, "", &RESPONSE, &mut found);
    for (list, known) in [("events", &EVENT[..]), ("logs", &LOG[..])] {
        let Some(raw) = fields.get(list) else { continue };
        // What has the wrong shape is an error of its own.
        let _ = shape::each(raw, list, |index, raw| {
            object(raw, &format!("{list}[{index}]."), known, &mut found);
            Ok(())
        });
    }
    found
}

/// The fields of an object, none of what is no object; those that are not known are noted.
fn object<'a>(
    raw: &'a RawValue,
    prefix: &str,
    known: &[&str],
    found: &mut Vec<String>,
) -> BTreeMap<String, &'a RawValue> {
    let fields: BTreeMap<Text<'a>, &RawValue> = shape::object(raw, "").unwrap_or_default();
    let fields: BTreeMap<_, _> = fields.into_iter().map(|(name, raw)| (name.0.into_owned(), raw)).collect();
    for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
        found.push(format!("unknown field `{prefix}{name}`{}", hint(name, known, "the fields are")));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_with_its_place() {
        let response = r#"{"status": "ok", "state_update": {}, "x": 1,
            "events": [{"type": "a"}, {"typ": "a"}, 7], "logs": [{"level": "info", "text": "b"}]}"#;
        assert_eq!(
            unknown_fields(response),
            [
                "unknown field `state_update`; did you mean `state_updates`?",
                "unknown field `x`; the fields are `status`, `error`, `result`, `retry`, `events`, `state_updates` and `logs`",
                "unknown field `events[1].typ`; did you mean `type`?",
                "unknown field `logs[0].text`; the fields are `level` and `message`",
            ]
        );
        for none in ["", "7", "[]", "{", r#"{"status": "ok", "events": 3, "logs": [1]}"#] {
            assert_eq!(unknown_fields(none), [""; 0], "{none}");
        }
    }
}
