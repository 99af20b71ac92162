//! The log entries of a response, kept up to a limit while they are parsed.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::shape::{self, ShapeError};
use crate::plugin::text::{self, STORED_BYTES};

const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Log"))]
pub(super) struct Fields<'a> {
    /// `debug`, `info`, `warn` or `error`; any other is `info`.
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    level: Option<&'a RawValue>,
    #[serde(borrow)]
    #[cfg_attr(test, schemars(with = "String", required))]
    message: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Entry<'a> {
    level: &'a str,
    message: &'a str,
}

/// The text of a JSON array of entries, or `None` if there are none.
pub(crate) fn collect(raw: &RawValue) -> Result<Option<String>, ShapeError> {
    let mut logs = Logs { json: String::new(), kept: 0, total: 0 };
    shape::each(raw, "logs", |index, raw| logs.add(raw).map_err(|error| error.in_element("logs", index)))?;
    Ok(logs.finish())
}

struct Logs {
    /// The array without its last bracket.
    json: String,
    kept: usize,
    total: usize,
}

impl Logs {
    fn add(&mut self, raw: &RawValue) -> Result<(), ShapeError> {
        let fields: Fields<'_> = shape::object(raw, "")?;
        let level = fields.level.map(|raw| shape::lenient_string(raw, "level")).transpose()?;
        let message = fields.message.ok_or_else(|| ShapeError::new("message", "is missing"))?;
        let message = shape::lenient_string(message, "message")?;
        let level = level.as_deref().and_then(|level| LEVELS.into_iter().find(|known| *known == level));
        // Once an entry was left out, later ones are, too: what is kept has no gaps.
        if self.kept == self.total && self.push(level.unwrap_or("info"), &message) {
            self.kept += 1;
        }
        self.total += 1;
        Ok(())
    }

    /// Adds an entry, its message cut if need be; says whether there was room for it whole.
    fn push(&mut self, level: &str, message: &str) -> bool {
        const ENTRY_BYTES: usize = r#",{"level":"error","message":""}]"#.len();
        let room = STORED_BYTES.saturating_sub(self.json.len() + ENTRY_BYTES);
        let mut kept = text::head(message, room);
        let mut json = entry(level, kept);
        if json.len() > room + ENTRY_BYTES {
            // No character takes more than six times its bytes as JSON.
            kept = text::head(message, room / 6);
            json = entry(level, kept);
        }
        if kept.is_empty() && !message.is_empty() || self.json.len() + ENTRY_BYTES > STORED_BYTES {
            return false;
        }
        self.append(&json);
        kept.len() == message.len()
    }

    fn append(&mut self, entry: &str) {
        self.json.push(if self.json.is_empty() { '[' } else { ',' });
        self.json.push_str(entry);
    }

    fn finish(mut self) -> Option<String> {
        if self.total == 0 {
            return None;
        }
        if self.kept < self.total {
            let note = format!("[cut: {} of {} log entries kept whole]", self.kept, self.total);
            self.append(&entry("warn", &note));
        }
        self.json.push(']');
        Some(self.json)
    }
}

fn entry(level: &str, message: &str) -> String {
    serde_json::to_string(&Entry { level, message }).expect("two texts can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(json: String) -> Option<String> {
        collect(&RawValue::from_string(json).unwrap()).unwrap()
    }

    #[test]
    fn entries_are_normalised() {
        for (logs, expected) in [
            ("[]", None),
            (r#"[{"message":"a"}]"#, Some(r#"[{"level":"info","message":"a"}]"#)),
            (r#"[{"level":null,"message":""}]"#, Some(r#"[{"level":"info","message":""}]"#)),
            (r#"[{"level":"loud","message":"a","x":1}]"#, Some(r#"[{"level":"info","message":"a"}]"#)),
            (
                r#"[{"level":"error","message":"\u00e9\ud800"},{"level":"debug","message":"\n"}]"#,
                Some("[{\"level\":\"error\",\"message\":\"é\u{fffd}\"},{\"level\":\"debug\",\"message\":\"\\n\"}]"),
            ),
        ] {
            assert_eq!(collected(logs.to_owned()).as_deref(), expected, "{logs}");
        }
    }

    #[test]
    fn what_is_over_the_limit_is_counted() {
        let many = format!("[{}]", vec![r#"{"level":"warn","message":"0123456789"}"#; 10_000].join(","));
        let long = format!(r#"[{{"message":"{}"}},{{"message":"b"}}]"#, "é".repeat(100_000));
        let escaped = format!(r#"[{{"message":"{}"}}]"#, r"\u0001".repeat(60_000));
        for (logs, total, at_least) in [(many, 10_000, 65_000), (long, 2, 65_000), (escaped, 1, 65_000)] {
            let kept = collected(logs).unwrap();
            assert!((at_least..STORED_BYTES + 128).contains(&kept.len()), "{total}: {}", kept.len());
            let entries: Vec<serde_json::Value> = serde_json::from_str(&kept).unwrap();
            let note = entries.last().unwrap()["message"].as_str().unwrap();
            assert!(note.ends_with(&format!("of {total} log entries kept whole]")), "{note}");
        }
    }
}
