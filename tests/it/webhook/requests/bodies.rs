//! Bodies of all kinds: none is altered, none is taken for more than a payload.

use super::{LIMIT, PATH, Row, signed, text};
use crate::support::{SECRET, SIGNATURE, post, sign};

/// `{"a": "gzip"}`, compressed.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabVJT\xb2RPJ\xaf\xca,P\xaa\x05\0\xe1\xc8\x5a\x5c\x0d\0\0\0";
const GZIP_BASE64: &str = "H4sIAAAAAAACA6tWSlSyUlBKr8osUKoFAOHIWlwNAAAA";

/// Taken as they are.
const JSON: &[&str] = &[
    r#"{"type":"ping","payload":{"x":1},"dedupe_key":"k","source":"echo","event_id":"x","timestamp":"t"}"#,
    r#"{"protocol":1,"job_id":"x","command":"poll","config":{},"state":{},"event":{"type":"y"}}"#,
    r#"{"status":"ok","events":[{"type":"e","dedupe_key":"k"}],"state_updates":{"a":1}}"#,
    r#"{"raw":"x"}"#,
    r#"{"raw_base64":"//4="}"#,
    r#"{"a": 1, "a": 2, "a": {"a": null}}"#,
    "[1,\t2,\r\n3 ]",
    "[]",
    "{}",
    "null",
    "true",
    "-0.0e+05",
    "1234567890123456789012345678901234567890",
    "0.1000000000000000000000000000000000000001",
    "[1e400, -1E-999, 9223372036854775808]",
    r#""""#,
    r#""text \"quoted\" \u0000 \ud83d\ude00 😀 \/""#,
    r#""\ud800 alone""#,
];

/// With what is made of them.
const OTHERS: &[(&[u8], &str)] = &[
    (b"\r\n {} \n", "{}"),
    (b"a=1&b=%7B%7D&payload=%7B%22a%22%3A1%7D", r#"{"raw":"a=1&b=%7B%7D&payload=%7B%22a%22%3A1%7D"}"#),
    (b"{'a': 1}", r#"{"raw":"{'a': 1}"}"#),
    (b"{} {}", r#"{"raw":"{} {}"}"#),
    (b"{\"a\": 1,}", r#"{"raw":"{\"a\": 1,}"}"#),
    (b"NaN", r#"{"raw":"NaN"}"#),
    (b" ", r#"{"raw":" "}"#),
    (b"\0", r#"{"raw":"\u0000"}"#),
    (b"\"a\nb\"", r#"{"raw":"\"a\nb\""}"#),
    ("grüße".as_bytes(), r#"{"raw":"grüße"}"#),
    (b"\xef\xbb\xbf{}", "{\"raw\":\"\u{feff}{}\"}"),
    (b"gr\xfc\xdfe", r#"{"raw_base64":"Z3L832U="}"#),
    (b"\"gr\xfc\xdfe\"", r#"{"raw_base64":"Imdy/N9lIg=="}"#),
    (b"\xed\xa0\x80", r#"{"raw_base64":"7aCA"}"#),
    (b"\xff\xfe{\0}\0", r#"{"raw_base64":"//57AH0A"}"#),
];

pub(super) fn rows() -> Vec<Row> {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deeper = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let unclosed = "[".repeat(10_000);
    let long = text(LIMIT);
    let mut rows: Vec<_> = JSON
        .iter()
        .copied()
        .chain([deep.as_str(), &deeper, &long])
        .map(|body| Row::taken(body, signed(body.as_bytes()), body))
        .collect();
    rows.extend(
        OTHERS.iter().map(|(body, payload)| Row::taken(&String::from_utf8_lossy(body), signed(body), *payload)),
    );
    rows.push(Row::taken("unclosed", signed(unclosed.as_bytes()), format!(r#"{{"raw":"{unclosed}"}}"#)));
    let signature = sign(SECRET, GZIP);
    let encoded = [(SIGNATURE, signature.as_str()), ("Content-Encoding", "gzip"), ("Content-Type", "application/json")];
    rows.push(Row::taken("gzip", post(PATH, &encoded, GZIP), format!(r#"{{"raw_base64":"{GZIP_BASE64}"}}"#)));
    rows
}
