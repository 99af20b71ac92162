//! Chunks, and what is not quite HTTP.

use super::{PATH, Row, chunked, chunks, raw};
use crate::support::{SECRET, SIGNATURE, sign};

pub(super) fn rows() -> Vec<Row> {
    [chunkings(), malformed()].into_iter().flatten().collect()
}

fn chunkings() -> Vec<Row> {
    let odd = "für\r\n0\r\n\r\n".as_bytes();
    let shown = r#"{"raw":"für\r\n0\r\n\r\n"}"#;
    let ok = b"[1, 2]";
    vec![
        Row::taken("one-byte chunks", chunked(odd, &chunks(odd, 1)), shown),
        Row::taken("chunks that cut a character", chunked(odd, &chunks(odd, 2)), shown),
        Row::taken("extensions", chunked(ok, b"3;a=1;b=\"x\"\r\n[1,\r\n3 ;c\r\n 2]\r\n0;d\r\n\r\n"), "[1, 2]"),
        Row::taken("trailers", chunked(ok, b"6\r\n[1, 2]\r\n0\r\nX-A: 1\r\nX-Delivery: k\r\n\r\n"), "[1, 2]"),
        Row::taken(
            "a size with zeros",
            chunked(b"1         2", b"00B\r\n1         2\r\n00\r\n\r\n"),
            r#"{"raw":"1         2"}"#,
        ),
        Row::taken("no chunk", chunked(b"", b"0\r\n\r\n"), r#"{"raw":""}"#),
        Row::refused("no last chunk", chunked(ok, b"6\r\n[1, 2]\r\n")).half_close(),
        Row::refused("half a chunk", chunked(ok, b"6\r\n[1,")).half_close(),
        Row::refused("a chunk longer than it says", chunked(ok, b"5\r\n[1, 2]\r\n0\r\n\r\n")),
        Row::refused("a size that is no number", chunked(ok, b"x\r\n[1, 2]\r\n0\r\n\r\n")),
        Row::refused("a negative size", chunked(ok, b"-6\r\n[1, 2]\r\n0\r\n\r\n")),
        Row::refused("a size beyond 64 bits", chunked(ok, b"fffffffffffffffff\r\n[1, 2]\r\n0\r\n\r\n")),
    ]
}

fn malformed() -> Vec<Row> {
    let body = b"[1, 2]";
    let signature = sign(SECRET, body);
    let with = |headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().copied().chain([(SIGNATURE, signature.as_str())]).collect();
        raw(&format!("POST {PATH} HTTP/1.1"), &headers, body)
    };
    let lined = |line: &str| raw(line, &[("Content-Length", "6"), (SIGNATURE, &signature)], body);
    let names: Vec<_> = (0..200).map(|number| format!("X-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).chain([("Content-Length", "6")]).collect();
    let long = "x".repeat(100 << 10);
    let both = [("Content-Length", "6"), ("Transfer-Encoding", "chunked"), (SIGNATURE, &signature)];
    let both = |wire: &[u8]| raw(&format!("POST {PATH} HTTP/1.1"), &both, wire);
    vec![
        Row::refused("garbage", "garbage\r\n\r\n"),
        Row::refused("bytes", [0u8, 255, 13, 10, 13, 10, 1, 2, 3]),
        Row::refused("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        Row::refused("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Row::refused("nothing at all", "").half_close(),
        Row::refused("half a line", "POST /hoo").half_close(),
        Row::refused("half of the headers", "POST /hooks/work HTTP/1.1\r\nHost: x\r\n").half_close(),
        Row::refused("no path", lined("POST HTTP/1.1")),
        Row::refused("a space in the path", lined("POST /hooks/work x HTTP/1.1")),
        Row::refused("a later version", lined("POST /hooks/work HTTP/3.7")),
        Row::refused("a NUL in the path", lined("POST /hooks/work\0 HTTP/1.1")),
        Row::refused("no version", "POST /hooks/work\r\n\r\n"),
        Row::refused("a negative length", with(&[("Content-Length", "-6")])),
        Row::refused("a length with a plus", with(&[("Content-Length", "+6")])),
        Row::refused("a length that is no number", with(&[("Content-Length", "six")])),
        Row::refused("two lengths", with(&[("Content-Length", "6"), ("Content-Length", "5")])),
        Row::refused("an unknown coding", with(&[("Transfer-Encoding", "gzip")])),
        Row::refused("chunked not last", with(&[("Transfer-Encoding", "chunked, gzip")])),
        Row::refused("a header without a name", with(&[("", "1"), ("Content-Length", "6")])),
        Row::refused("a space in a name", with(&[("X Y", "1"), ("Content-Length", "6")])),
        Row::refused("a NUL in a header", with(&[("X-Y", "a\0b"), ("Content-Length", "6")])),
        Row::refused("a folded header", with(&[("X-Y", "a\r\n b"), ("Content-Length", "6")])),
        Row::refused("a long header", with(&[("X-Y", &long), ("Content-Length", "6")])),
        Row::refused("a long path", lined(&format!("POST /{long} HTTP/1.1"))),
        Row::refused("200 headers", with(&many)),
        // Beside chunks a length is void (RFC 9112, 6.3): what is signed is what the chunks hold.
        Row::refused("a length and chunks, sent by length", both(body)),
        Row::taken("a length and chunks, sent in chunks", both(&chunks(body, 3)), "[1, 2]"),
    ]
}
