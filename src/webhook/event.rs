//! From a request to the event that its plugin sees; pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::command::Command;
use crate::config::Endpoint;
use crate::plugin::Envelope;
use crate::queue::{NewJob, SubmittedBy};

/// The job that a delivery becomes.
pub(super) fn job(endpoint: &Endpoint, headers: &HeaderMap, body: &[u8], max_attempts: u32, now: Timestamp) -> NewJob {
    let kind = match value(headers, endpoint.event_header.as_deref()) {
        Some(event) => format!("webhook.{event}"),
        None => "webhook".to_owned(),
    };
    let dedupe_key = value(headers, endpoint.dedupe_header.as_deref());
    let event_id = Uuid::now_v7();
    let envelope = Envelope {
        kind: &kind,
        payload: &payload(body),
        dedupe_key: dedupe_key.as_deref(),
        source: "webhook",
        timestamp: now,
        event_id,
    }
    .to_json();
    NewJob {
        payload: Some(envelope.into()),
        dedupe_key,
        source_event_id: Some(event_id),
        ..NewJob::new(&endpoint.plugin, Command::Handle, SubmittedBy::Webhook, max_attempts)
    }
}

/// The body's JSON as it is; what is not JSON in an object that says so.
fn payload(body: &[u8]) -> Cow<'_, RawValue> {
    let object = |key: &str, text: &str| {
        Cow::Owned(to_raw_value(&BTreeMap::from([(key, text)])).expect("texts can be written as JSON"))
    };
    match std::str::from_utf8(body) {
        Err(_) => object("raw_base64", &BASE64_STANDARD.encode(body)),
        Ok(text) => serde_json::from_str(text).map_or_else(|_| object("raw", text), Cow::Borrowed),
    }
}

/// A header's value if the endpoint names the header and the request has it; of several the first.
fn value(headers: &HeaderMap, name: Option<&str>) -> Option<String> {
    let value = headers.get(name?)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &[u8], headers: &[(&'static str, &str)]) -> (NewJob, String) {
        let endpoint = Endpoint {
            path: "/hooks/github".to_owned(),
            plugin: "github".to_owned(),
            secrets: vec!["s".to_owned()],
            signature_header: "x-hub-signature-256".to_owned(),
            max_body_size: 1 << 20,
            dedupe_header: Some("x-github-delivery".to_owned()),
            event_header: Some("x-github-event".to_owned()),
        };
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let job = job(&endpoint, &headers, body, 4, Timestamp::from_millis(0));
        let payload = job.payload.as_ref().unwrap().get().to_owned();
        (job, payload)
    }

    #[test]
    fn json_passes_byte_for_byte() {
        for body in [
            r#"{"a": 1.10, "b": 9223372036854775808, "a": null}"#,
            "[1,\t2]",
            "0.1000000000000000000000000000000000000001",
            "null",
            r#""text \ud800""#,
            r#"{"type":"ping","payload":{},"source":"echo","event_id":"x","dedupe_key":"k"}"#,
        ] {
            let (job, payload) = event(body.as_bytes(), &[]);
            assert!(payload.starts_with(r#"{"type":"webhook","payload":"#), "{payload}");
            assert!(payload.contains(&format!(r#""payload":{body},"source":"webhook","#)), "{payload}");
            assert_eq!(job.dedupe_key, None, "nothing is taken from the body");
        }
        let (_, payload) = event(b" \n{} \n", &[]);
        assert!(payload.contains(r#""payload":{},"#), "white space around it is not part of the value");
    }

    #[test]
    fn what_is_not_json_says_so() {
        for (body, expected) in [
            (&b""[..], r#"{"raw":""}"#),
            (b"a=1&b=%7B%7D", r#"{"raw":"a=1&b=%7B%7D"}"#),
            (b"{} {}", r#"{"raw":"{} {}"}"#),
            (b"{", r#"{"raw":"{"}"#),
            (b"\xef\xbb\xbf{}", "{\"raw\":\"\u{feff}{}\"}"),
            (b"NaN", r#"{"raw":"NaN"}"#),
            (b"a\0\n", r#"{"raw":"a\u0000\n"}"#),
            (b"\xff\xfe", r#"{"raw_base64":"//4="}"#),
            (b"{\"a\":\"\xff\"}", r#"{"raw_base64":"eyJhIjoi/yJ9"}"#),
        ] {
            let (_, payload) = event(body, &[]);
            assert!(payload.contains(&format!(r#""payload":{expected},"#)), "{payload}");
        }
    }

    #[test]
    fn headers_name_the_event_and_the_delivery() {
        let (job, payload) = event(b"{}", &[("x-github-event", "push"), ("x-github-delivery", "72d3162e")]);
        assert!(payload.starts_with(r#"{"type":"webhook.push","#), "{payload}");
        assert!(payload.contains(r#""dedupe_key":"72d3162e","#), "{payload}");
        assert_eq!(job.dedupe_key.as_deref(), Some("72d3162e"));
        assert_eq!((job.submitted_by, job.max_attempts, job.hops), (SubmittedBy::Webhook, 4, 0));
        let (job, payload) = event(b"{}", &[("x-github-event", ""), ("x-github-delivery", "")]);
        assert!(payload.starts_with(r#"{"type":"webhook","#) && job.dedupe_key.is_none(), "{payload}");
    }
}
