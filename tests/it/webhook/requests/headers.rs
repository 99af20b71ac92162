//! Signatures, paths, methods, and which of two wrongs is told.

use super::{PATH, Row, raw};
use crate::support::{SECRET, SIGNATURE, post, sign};

pub(super) fn rows() -> Vec<Row> {
    [signatures(), paths(), methods()].into_iter().flatten().collect()
}

fn signatures() -> Vec<Row> {
    let body = br#"{"a": 1}"#;
    let valid = sign(SECRET, body);
    let hex = valid.strip_prefix("sha256=").unwrap();
    let taken = |name, header: &str, value: &str| Row::taken(name, post(PATH, &[(header, value)], body), r#"{"a": 1}"#);
    let wrong = |name, value: &str| Row::status(name, post(PATH, &[(SIGNATURE, value)], body), 403);
    vec![
        taken("the old secret", SIGNATURE, &valid),
        taken("the new secret", SIGNATURE, &sign("new", body)),
        taken("bare hex", SIGNATURE, hex),
        taken("upper-case hex", SIGNATURE, &format!("sha256={}", hex.to_uppercase())),
        taken("name in odd case", "x-HUB-signature-256", &valid),
        taken("white space around it", SIGNATURE, &format!("  {valid}\t ")),
        Row::status("none", post(PATH, &[], body), 403),
        Row::status("another header", post(PATH, &[("X-Signature", &valid)], body), 403),
        Row::status("repeated", post(PATH, &[(SIGNATURE, &valid), (SIGNATURE, &valid)], body), 403),
        Row::status("after a wrong one", post(PATH, &[(SIGNATURE, "x"), (SIGNATURE, &valid)], body), 403),
        wrong("of another secret", &sign("another", body)),
        wrong("of another body", &sign(SECRET, br#"{"a": 2}"#)),
        wrong("of the body with a line end", &sign(SECRET, b"{\"a\": 1}\n")),
        wrong("empty", ""),
        wrong("no hex", "sha256="),
        wrong("SHA-1", "sha1=0a4d55a8d778e5022fab701977c5d840bbc486d0"),
        wrong("another algorithm's name", &format!("sha1={hex}")),
        wrong("upper-case name", &format!("SHA256={hex}")),
        wrong("too short", &valid[..valid.len() - 1]),
        wrong("too long", &format!("{valid}0")),
        wrong("not ASCII", &format!("sha256=é{hex}")),
    ]
}

fn paths() -> Vec<Row> {
    let body = b"1";
    let signature = sign(SECRET, body);
    let to = |target: &str| post(target, &[(SIGNATURE, &signature)], body);
    let unknown = [
        "/",
        "/hooks",
        "/hooks/work/",
        "/hooks/WORK",
        "/hooks/other",
        "//hooks/work",
        "/hooks//work",
        "/hooks/./work",
        "/hooks/x/../work",
        "/hooks/%77ork",
        "/hooks%2Fwork",
        "/hooks/work%00",
        "/hooks/work;a=1",
        "/healthz/",
    ];
    let known =
        ["/hooks/work?", "/hooks/work?a=/b&c=%00", "http://ductile/hooks/work", "http://another:1/hooks/work?x"];
    let unknown = unknown.iter().map(|path| Row::status(path, to(path), 404));
    unknown.chain(known.iter().map(|path| Row::taken(path, to(path), "1"))).collect()
}

fn methods() -> Vec<Row> {
    let huge = [("Content-Length", "10000000000")];
    let mut rows = Vec::new();
    for method in ["GET", "PUT", "OPTIONS", "DELETE", "PATCH", "TRACE", "post", "Post"] {
        rows.push(Row::status(method, raw(&format!("{method} {PATH} HTTP/1.1"), &[], b""), 405));
        rows.push(Row::status(method, raw(&format!("{method} /unknown HTTP/1.1"), &[], b""), 404));
    }
    rows.extend([
        Row::status("OPTIONS *", raw("OPTIONS * HTTP/1.1", &[], b""), 404),
        Row::status("CONNECT", raw("CONNECT ductile:80 HTTP/1.1", &[], b""), 404),
        Row::status("404 before 405 and 413", raw("PUT /unknown HTTP/1.1", &huge, b""), 404),
        Row::status("404 before 413", raw("POST /unknown HTTP/1.1", &huge, b""), 404),
        Row::status("405 before 413", raw(&format!("PUT {PATH} HTTP/1.1"), &huge, b""), 405),
        Row::status("413 before 403", raw(&format!("POST {PATH} HTTP/1.1"), &huge, b""), 413),
        Row::status("health is read", raw("POST /healthz HTTP/1.1", &[], b""), 405),
    ]);
    rows
}
