//! Requests, through a socket, to the webhook server with a database behind it.
//!
//! Oracle: the table of SPEC section 5, read once more here. A [`Case`] says what is sent and what is on the queue before;
//! [`expected`] is the first row of the table that applies. The answer must have that status and its body; there must be a
//! job for each 202 and none for anything else, and it must hold the body as it was sent. What is not plain HTTP may be
//! answered as the server likes, but in time, without a job unless it says so, and without harm to the next request.

mod case;
mod site;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ductile::clock::Timestamp;
use uuid::Uuid;

use crate::json;
use case::{Case, Header};
use site::{Answer, Endpoint, Job, MOST_QUEUED, Site};

thread_local! {
    static SITE: Site = Site::new();
}

/// What the server's clock says, all the time.
fn now() -> Timestamp {
    Timestamp::from_millis(1_767_268_800_000)
}

/// What SPEC makes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Status(u16),
    /// Or nothing: the request was not sent to its end.
    BrokenOff,
    /// The key of a job that succeeded.
    Duplicate(String),
    Accepted(Event),
}

/// The event of an accepted delivery, apart from its id.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    kind: String,
    dedupe_key: Option<String>,
    /// Of the body: JSON as it is, or the text, or the bytes.
    payload: Payload,
}

#[derive(Debug, PartialEq, Eq)]
enum Payload {
    Json(String),
    Raw(String),
    Base64(String),
}

/// Fails unless the server answers as SPEC says.
pub fn check(data: &[u8]) {
    SITE.with(|site| match data.strip_prefix(b"RAW\n") {
        Some(bytes) => anything(site, &[], bytes),
        None => {
            let Some(case) = Case::parse(data) else { return };
            site.prepare(case.queued, &case.done);
            if case.is_plain() { plain(site, &case) } else { anything(site, &case.done, &case.bytes()) }
        }
    });
}

fn anything(site: &Site, done: &[String], bytes: &[u8]) {
    if done.is_empty() {
        site.prepare(0, &[]);
    }
    let before = site.jobs();
    let answers = site.converse(&[bytes], true, usize::MAX, false);
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(site.jobs(), before + accepted, "{answers:?}");
    let next = site.converse(&[b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], false, 1, false);
    assert_eq!(next[0].status, 200, "after {answers:?}: {next:?}");
}

fn plain(site: &Site, case: &Case<'_>) {
    let before = site.jobs();
    let first = expected(case, case.queued);
    let twice = case.again && matches!(first, Expected::Accepted(_));
    let bytes = if twice { case.bytes().repeat(2) } else { case.bytes() };
    let pieces: Vec<&[u8]> = bytes.chunks(case.split.unwrap_or(usize::MAX)).collect();
    let answers = site.converse(&pieces, case.is_broken_off(), 1 + usize::from(twice), case.method == b"HEAD");
    let mut expected = vec![first];
    if twice {
        expected.push(self::expected(case, case.queued + 1));
    }
    if expected == [Expected::BrokenOff] {
        assert!(answers.is_empty() || answers[0].status == 400, "{answers:?}");
        return assert_eq!(site.jobs(), before);
    }
    assert_eq!(answers.len(), expected.len(), "{answers:?} for {expected:?}");
    for (expected, answer) in expected.iter().zip(&answers) {
        compare(site, expected, answer, case.method == b"HEAD");
    }
    let accepted = expected.iter().filter(|expected| matches!(expected, Expected::Accepted(_))).count();
    assert_eq!(site.jobs(), before + accepted);
}

fn compare(site: &Site, expected: &Expected, answer: &Answer, is_head: bool) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let job = |answer: &Answer| {
        let members = json::whole(&answer.body).and_then(json::members).expect("an object");
        assert_eq!((members.len(), members[0].0.text.as_str()), (1, "job_id"));
        let id = json::string(members[0].1).expect("a text").text;
        site.job(&id).unwrap_or_else(|| panic!("no job {id}"))
    };
    match expected {
        Expected::Status(status) => {
            assert_eq!(answer.status, *status, "{answer:?}");
            let words = match status {
                200 => return assert!(answer.body.starts_with(r#"{"status":"ok","#), "{answer:?}"),
                403 => "Forbidden",
                404 => "Not Found",
                405 => "Method Not Allowed",
                413 => "Payload Too Large",
                503 => "Service Unavailable",
                other => panic!("{other} is not in the table"),
            };
            assert!(is_head || answer.body == format!(r#"{{"error":"{words}"}}"#), "{answer:?}");
            assert_eq!(answer.header("retry-after"), (*status == 503).then_some("30"));
            assert_eq!(answer.header("allow").is_some(), *status == 405);
        }
        Expected::Duplicate(key) => {
            assert_eq!(answer.status, 200, "{answer:?}");
            let job = job(answer);
            assert_eq!((job.status.as_str(), job.dedupe_key.as_ref()), ("succeeded", Some(key)));
        }
        Expected::Accepted(event) => {
            assert_eq!(answer.status, 202, "{answer:?}");
            let job = job(answer);
            assert_eq!((job.status.as_str(), job.submitted_by.as_str()), ("queued", "webhook"));
            assert_eq!((job.plugin.as_str(), job.command.as_str(), job.hops), ("echo", "handle", 0));
            assert_eq!(job.dedupe_key, event.dedupe_key);
            stored(event, &job);
        }
        Expected::BrokenOff => panic!("handled before"),
    }
}

/// The job holds the event, and nothing else.
fn stored(event: &Event, job: &Job) {
    let payload = job.payload.as_deref().expect("a delivery has a payload");
    let members = json::whole(payload).and_then(json::members).expect("an object");
    let mut names: Vec<_> = members.iter().map(|(name, _)| name.text.as_str()).collect();
    names.sort_unstable();
    let keyed = ["dedupe_key", "event_id", "payload", "source", "timestamp", "type"];
    assert_eq!(names, keyed[usize::from(event.dedupe_key.is_none())..]);
    let field = |name: &str| members.iter().find(|(other, _)| other.text == name).map(|(_, value)| *value);
    let text = |name: &str| field(name).and_then(json::string).map(|text| text.text);
    assert_eq!(text("type").as_ref(), Some(&event.kind));
    assert_eq!(text("dedupe_key"), event.dedupe_key);
    assert_eq!(text("source").as_deref(), Some("webhook"));
    assert_eq!(text("timestamp"), Some(now().to_string()));
    let id = text("event_id").and_then(|id| Uuid::parse_str(&id).ok());
    assert!(id.is_some() && id == job.source_event_id, "{payload}");
    let found = field("payload").expect("it is there");
    let (name, value) = match &event.payload {
        Payload::Json(json) => return assert_eq!(found, json),
        Payload::Raw(text) => ("raw", text),
        Payload::Base64(text) => ("raw_base64", text),
    };
    let wrapped = json::members(found).expect("an object");
    assert_eq!((wrapped.len(), wrapped[0].0.text.as_str()), (1, name));
    assert_eq!(json::string(wrapped[0].1).map(|text| text.text).as_ref(), Some(value));
}

/// The first row of SPEC's table that applies, when so many jobs are queued.
fn expected(case: &Case<'_>, queued: usize) -> Expected {
    let path = case.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if path == b"/healthz" {
        return Expected::Status(if case.method == b"GET" { 200 } else { 405 });
    }
    let Some(endpoint) = Endpoint::at(path) else { return Expected::Status(404) };
    if case.method != b"POST" {
        return Expected::Status(405);
    }
    // Of a body that breaks off, as much counts as was announced, or else came.
    let size = if case.chunk.is_some() { case.sent().len() } else { case.body.len() };
    if size > endpoint.max_body_size {
        return Expected::Status(413);
    }
    if case.is_broken_off() {
        return Expected::BrokenOff;
    }
    let headers = case.headers(endpoint);
    if !is_signed(endpoint, &headers, case.body) {
        return Expected::Status(403);
    }
    let value = |name: Option<&str>| {
        let header = headers.iter().find(|header| Some(header.name.as_str()) == name)?;
        Some(String::from_utf8_lossy(&header.value).into_owned()).filter(|value| !value.is_empty())
    };
    let dedupe_key = value(endpoint.dedupe_header);
    if let Some(key) = dedupe_key.as_ref().filter(|key| case.done.contains(key)) {
        return Expected::Duplicate(key.clone());
    }
    if queued >= MOST_QUEUED {
        return Expected::Status(503);
    }
    let kind = value(endpoint.event_header).map_or("webhook".to_owned(), |value| format!("webhook.{value}"));
    let payload = match str::from_utf8(case.body) {
        Err(_) => Payload::Base64(BASE64_STANDARD.encode(case.body)),
        Ok(text) => match json::whole(text) {
            Some(json) => Payload::Json(json.to_owned()),
            None => Payload::Raw(text.to_owned()),
        },
    };
    Expected::Accepted(Event { kind, dedupe_key, payload })
}

/// Whether there is one signature, and it is right.
fn is_signed(endpoint: &Endpoint, headers: &[Header], body: &[u8]) -> bool {
    let mut values = headers.iter().filter(|header| header.name == endpoint.signature_header);
    let (Some(header), None) = (values.next(), values.next()) else { return false };
    let hex = header.value.strip_prefix(b"sha256=").unwrap_or(&header.value).to_ascii_lowercase();
    endpoint.secrets.iter().any(|secret| case::hmac(secret, body).as_bytes() == hex)
}
