//! Bodies around the limit, and far beyond it. All are written before the answer is read.

use super::{LIMIT, PATH, Row, chunked, chunks, raw, signed, text};
use crate::support::{SECRET, SIGNATURE, post, sign};

/// More than the sockets between the two hold.
const LARGE: usize = 20 << 20;

pub(super) fn rows() -> Vec<Row> {
    let (most, over, large) = (text(LIMIT), text(LIMIT + 1), text(LARGE));
    let put = format!("PUT {PATH} HTTP/1.1\r\nContent-Length: {LARGE}");
    let undeclared = raw(&format!("POST {PATH} HTTP/1.1"), &[(SIGNATURE, &sign(SECRET, b""))], b"");
    vec![
        Row::taken("at the limit", signed(most.as_bytes()), most.as_str()),
        Row::status("one over", signed(over.as_bytes()), 413),
        Row::status("one over, unsigned", post(PATH, &[], over.as_bytes()), 413),
        Row::status("far over", signed(large.as_bytes()), 413),
        Row::taken("chunks at the limit", in_chunks(&most, 1000), most.as_str()),
        Row::taken("one chunk at the limit", in_chunks(&most, LIMIT), most.as_str()),
        Row::status("chunks one over", in_chunks(&over, 1000), 413),
        Row::status("one chunk one over", in_chunks(&over, LIMIT + 1), 413),
        Row::status("chunks far over", in_chunks(&large, 100_000), 413),
        Row::refused("a chunk that says it is huge", chunked(b"", b"7fffffffffffffff\r\nabc")).half_close(),
        Row::status("far over, to nowhere", post("/unknown", &[], large.as_bytes()), 404),
        Row::status("far over, not POST", raw(&put, &[], large.as_bytes()), 405),
        Row::status("10 GB declared, none sent", declared("10000000000", ""), 413),
        Row::status("10 GB declared, some sent", declared("10000000000", &most), 413),
        Row::refused("18 digits", declared("999999999999999999", "1")),
        Row::refused("more than 64 bits", declared("99999999999999999999999", "1")),
        Row::refused("less than declared", declared("100", "1")).half_close(),
        Row::refused("much less than declared", declared(&LIMIT.to_string(), "1")).half_close(),
        Row::status("more than declared", declared("1", "12"), 403),
        Row::taken("nothing", signed(b""), r#"{"raw":""}"#),
        Row::taken("nothing, undeclared", undeclared, r#"{"raw":""}"#),
    ]
}

/// Signed, with this length in its head.
fn declared(length: &str, body: &str) -> Vec<u8> {
    let headers = [("Content-Length", length), (SIGNATURE, &sign(SECRET, body.as_bytes()))];
    raw(&format!("POST {PATH} HTTP/1.1"), &headers, body.as_bytes())
}

fn in_chunks(body: &str, size: usize) -> Vec<u8> {
    chunked(body.as_bytes(), &chunks(body.as_bytes(), size))
}
