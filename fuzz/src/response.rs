//! What a plugin prints, and the parser of both protocols.
//!
//! Oracle: [`expected`], a reading of SPEC section 3 ("Protocol 1", "Protocol 2") with a JSON reader of our own. The parser takes a text
//! exactly if it does, and makes the same of it; payloads and state updates are the text that was printed.

use ductile::clock::Timestamp;
use ductile::plugin::{Envelope, Protocol, ProtocolError, Response, Status};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::json::{self, Text};

/// What a response says.
struct Expected<'a> {
    /// The message of a plugin that reports an error, if it gave one.
    error: Option<Option<String>>,
    result: Option<String>,
    retry: bool,
    events: Vec<Event<'a>>,
    state_updates: Option<&'a str>,
    logs: Vec<(String, String)>,
}

struct Event<'a> {
    kind: String,
    payload: &'a str,
    dedupe_key: Option<String>,
}

/// Fails unless the parser and SPEC agree on these bytes. What is not UTF-8 never gets to the parser.
pub fn check(data: &[u8]) {
    let Ok(stdout) = str::from_utf8(data) else { return };
    for protocol in [Protocol::One, Protocol::Two] {
        agree(expected(protocol, stdout), Response::parse(protocol, stdout));
    }
}

fn agree(expected: Option<Expected<'_>>, parsed: Result<Response, ProtocolError>) {
    match (expected, parsed) {
        (Some(expected), Ok(response)) => compare(&expected, &response),
        (None, Err(error)) => {
            let message = error.to_string();
            assert!(message.strip_prefix("protocol error: ").is_some_and(|reason| reason.len() > 5), "{message:?}");
        }
        (Some(_), Err(error)) => panic!("a response was refused: {error}"),
        (None, Ok(response)) => panic!("this is no response: {response:?}"),
    }
}

fn compare(expected: &Expected<'_>, response: &Response) {
    match (&expected.error, &response.status) {
        (None, Status::Ok) => {}
        (Some(Some(message)), Status::Error(found)) if !message.is_empty() => assert_eq!(message, found),
        (Some(_), Status::Error(found)) => assert!(!found.is_empty(), "there is a default text"),
        (_, status) => panic!("{status:?}"),
    }
    assert_eq!(expected.retry, response.retry);
    result(expected.result.as_deref(), response.result.as_deref());
    assert_eq!(expected.state_updates, response.effects.state_updates.as_deref().map(RawValue::get));
    assert_eq!(expected.events.len(), response.effects.events.len());
    for (expected, event) in expected.events.iter().zip(&response.effects.events) {
        assert_eq!(
            (&expected.kind, expected.payload, &expected.dedupe_key),
            (&event.kind, event.payload.get(), &event.dedupe_key)
        );
        passed_on(event);
    }
    logs(&expected.logs, response.logs.as_deref());
}

/// The plugin that handles an event gets it as it was, and nothing of the payload is taken for something else.
fn passed_on(event: &ductile::plugin::Event) {
    let envelope = Envelope {
        kind: &event.kind,
        payload: &event.payload,
        dedupe_key: event.dedupe_key.as_deref(),
        source: "source",
        timestamp: Timestamp::from_millis(0),
        event_id: Uuid::nil(),
    };
    let envelope = envelope.to_json();
    let fields = json::whole(envelope.get()).and_then(json::members).expect("an object");
    let field = |name: &str| {
        let mut same = fields.iter().filter(|(other, _)| other.text == name).map(|(_, value)| *value);
        assert!(same.clone().count() <= 1, "`{name}` is there twice");
        same.next()
    };
    assert_eq!(field("payload"), Some(event.payload.get()));
    assert_eq!(field("type").and_then(json::string).map(|text| text.text).as_ref(), Some(&event.kind));
    assert_eq!(field("dedupe_key").and_then(json::string).map(|text| text.text), event.dedupe_key);
    assert_eq!(field("source"), Some(r#""source""#));
}

/// All of it if it fits into 64 KB; of more the beginning, and a note.
fn result(expected: Option<&str>, found: Option<&str>) {
    const STORED: usize = 64 << 10;
    let (Some(expected), Some(found)) = (expected, found) else { return assert_eq!(expected, found) };
    if expected.len() <= STORED {
        return assert_eq!(expected, found);
    }
    let (kept, note) = found.rsplit_once("\n[cut: ").expect("a note");
    assert!(expected.starts_with(kept) && kept.len() <= STORED && kept.len() > STORED - 4);
    assert_eq!(note, format!("{} of {} bytes kept]", kept.len(), expected.len()));
}

/// All entries while they fit into 64 KB; of more, the first ones, the last of them perhaps cut, and a note.
fn logs(expected: &[(String, String)], found: Option<&str>) {
    const STORED: usize = 64 << 10;
    const NOTE: usize = 128;
    let Some(found) = found else { return assert!(expected.is_empty()) };
    assert!(found.len() <= STORED + NOTE, "{} bytes of logs", found.len());
    let entry = |entry: &str| {
        let fields = json::members(entry).expect("an object");
        let text = |index: usize| json::string(fields[index].1).expect("a text").text;
        assert_eq!((fields.len(), fields[0].0.text.as_str(), fields[1].0.text.as_str()), (2, "level", "message"));
        (text(0), text(1))
    };
    let array = json::whole(found).and_then(json::elements).expect("an array");
    let mut found: Vec<_> = array.into_iter().map(entry).collect();
    if found != expected {
        let whole: usize = expected.iter().map(|(level, message)| level.len() + 6 * message.len() + 64).sum();
        assert!(whole > STORED, "they would have fitted");
        let (level, note) = found.pop().expect("at least the note");
        assert!(
            level == "warn" && note.ends_with(&format!(" of {} log entries kept whole]", expected.len())),
            "{note}"
        );
        assert!(found.len() <= expected.len());
        for (index, (expected, kept)) in expected.iter().zip(&found).enumerate() {
            let may_be_cut = index + 1 == found.len();
            assert_eq!(expected.0, kept.0);
            assert!(expected.1 == kept.1 || may_be_cut && expected.1.starts_with(&kept.1), "entry {index}");
        }
    }
}

/// SPEC section 3: `None` is a protocol error.
fn expected(protocol: Protocol, stdout: &str) -> Option<Expected<'_>> {
    const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];
    let names = ["status", "error", "result", "retry", "events", "state_updates", "logs"];
    let [status, error, result, retry, events, state_updates, logs] = fields(json::whole(stdout)?, names)?;
    let error = error.map_or(Some(None), |error| json::string(error).map(Some))?;
    let error = match sound(status?)?.as_str() {
        "ok" => None,
        "error" => Some(error.map(|error| error.text)),
        _ => return None,
    };
    let result = match (protocol, result.map(json::string)) {
        (Protocol::Two, Some(None)) => return None,
        (_, result) => result.flatten().map(|result| result.text).filter(|text| !text.trim().is_empty()),
    };
    if protocol == Protocol::Two && error.is_none() && result.is_none() {
        return None;
    }
    let retry = match retry {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return None,
    };
    let events = events.map_or(Some(Vec::new()), json::elements)?;
    if events.len() > 1_000 {
        return None;
    }
    let event = |event| {
        let [kind, payload, dedupe_key] = fields(event, ["type", "payload", "dedupe_key"])?;
        let within = |most: usize| move |text: &String| (1..=most).contains(&text.len());
        Some(Event {
            kind: sound(kind?).filter(within(256))?,
            payload: payload.unwrap_or("{}"),
            dedupe_key: dedupe_key.map_or(Some(None), |key| sound(key).filter(within(1_024)).map(Some))?,
        })
    };
    let state_updates = match state_updates {
        None => None,
        Some(updates) => {
            let members = json::members(updates)?;
            if !members.iter().all(|(key, _)| key.sound) {
                return None;
            }
            Some(updates).filter(|_| !members.is_empty())
        }
    };
    let log = |entry| {
        let [level, message] = fields(entry, ["level", "message"])?;
        let level = level.map_or(Some(None), |level| json::string(level).map(|level| Some(level.text)))?;
        let level = level.filter(|level| LEVELS.contains(&level.as_str())).unwrap_or_else(|| "info".to_owned());
        Some((level, json::string(message?)?.text))
    };
    Some(Expected {
        error,
        result,
        retry,
        events: events.into_iter().map(event).collect::<Option<_>>()?,
        state_updates,
        logs: logs.map_or(Some(Vec::new()), json::elements)?.into_iter().map(log).collect::<Option<_>>()?,
    })
}

/// The values of these fields of an object: `null` is absent, others are ignored, one that is there twice is an error.
fn fields<'a, const N: usize>(value: &'a str, names: [&str; N]) -> Option<[Option<&'a str>; N]> {
    let mut found = [None; N];
    for (name, value) in json::members(value)? {
        if !name.sound {
            return None;
        }
        let Some(index) = names.iter().position(|known| *known == name.text) else { continue };
        if found[index].replace(value).is_some() {
            return None;
        }
    }
    Some(found.map(|value| value.filter(|value| *value != "null")))
}

/// A text without half surrogate pairs.
fn sound(value: &str) -> Option<String> {
    json::string(value).filter(|text| text.sound).map(|Text { text, .. }| text)
}
