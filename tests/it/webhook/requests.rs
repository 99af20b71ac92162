//! One daemon and a table of requests: what each is answered, and what of it reached the plugin, byte for byte.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Shutdown;

use crate::support::{Daemon, Plugin, SECRET, SIGNATURE, Site, post, read_answer, sign};

mod bodies;
mod headers;
mod sizes;
mod wire;

/// `webhooks.endpoints.max_body_size` of all rows: more than comes in one packet.
const LIMIT: usize = 256 << 10;

const PATH: &str = "/hooks/work";

enum Expected {
    /// 202, and the event that the plugin got has this payload.
    Payload(String),
    Status(u16),
    /// No HTTP: any 4xx, or no answer before the end of the connection.
    Refused,
}

pub(super) struct Row {
    name: String,
    request: Vec<u8>,
    half_close: bool,
    expected: Expected,
}

impl Row {
    fn new(name: impl Into<String>, request: impl Into<Vec<u8>>, expected: Expected) -> Self {
        Self { name: name.into(), request: request.into(), half_close: false, expected }
    }

    fn status(name: &str, request: impl Into<Vec<u8>>, status: u16) -> Self {
        Self::new(name, request, Expected::Status(status))
    }

    fn refused(name: &str, request: impl Into<Vec<u8>>) -> Self {
        Self::new(name, request, Expected::Refused)
    }

    fn taken(name: &str, request: impl Into<Vec<u8>>, payload: impl Into<String>) -> Self {
        Self::new(name, request, Expected::Payload(payload.into()))
    }

    /// The sender sends nothing more.
    fn half_close(mut self) -> Self {
        self.half_close = true;
        self
    }

    fn run(&self, daemon: &Daemon) -> Option<Accepted> {
        let mut stream = daemon.connect();
        // All of it before the answer is read. Many clients give up when this fails, and never see the answer.
        let written = stream.write_all(&self.request);
        if !matches!(self.expected, Expected::Refused) {
            written.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        }
        if self.half_close {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let answer = read_answer(&mut stream);
        let status = answer.as_ref().map(|answer| answer.status);
        match &self.expected {
            Expected::Payload(payload) => {
                assert_eq!(status, Some(202), "{}: {answer:?}", self.name);
                return Some(Accepted { id: answer?.job_id(), payload: payload.clone() });
            }
            Expected::Status(expected) => assert_eq!(status, Some(*expected), "{}: {answer:?}", self.name),
            Expected::Refused => assert!(status.is_none_or(|s| (400..500).contains(&s)), "{}: {answer:?}", self.name),
        }
        None
    }
}

struct Accepted {
    id: String,
    payload: String,
}

/// The head of a request as it is, and its body.
fn raw(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{line}\r\nHost: ductile\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

/// A signed POST.
fn signed(body: &[u8]) -> Vec<u8> {
    post(PATH, &[(SIGNATURE, &sign(SECRET, body))], body)
}

/// A chunked POST, signed for `body`: `wire` is what is sent of it.
fn chunked(body: &[u8], wire: &[u8]) -> Vec<u8> {
    let signature = sign(SECRET, body);
    let headers = [(SIGNATURE, signature.as_str()), ("Transfer-Encoding", "chunked")];
    raw(&format!("POST {PATH} HTTP/1.1"), &headers, wire)
}

/// A body in chunks of this size.
fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in body.chunks(size) {
        wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
        wire.extend(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

fn text(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length - 2))
}

#[test]
fn every_row_of_the_table_is_answered_as_it_must_be() {
    let mut site = Site::with(Plugin::sh("work", "cat > \"$IT/seen.$DUCTILE_JOB_ID\"; echo '{\"status\": \"ok\"}'"));
    site.more(&format!(
        "webhooks:\n  listen: 127.0.0.1:0\n  endpoints:\n    - {{path: {PATH}, plugin: work, secret: [new, \"{SECRET}\"], \
         signature_header: {SIGNATURE}, max_body_size: {LIMIT}B, dedupe_header: X-Delivery}}\n"
    ));
    let daemon = site.start();
    let rows: Vec<Row> = [headers::rows(), sizes::rows(), wire::rows(), bodies::rows()].into_iter().flatten().collect();
    let accepted: Vec<_> = rows.iter().filter_map(|row| Some((&row.name, row.run(&daemon)?))).collect();
    for (name, Accepted { id, payload }) in &accepted {
        site.wait_job(id, "succeeded");
        let request = std::fs::read_to_string(site.path(format!("seen.{id}"))).unwrap();
        let event = format!(r#""event":{{"type":"webhook","payload":{payload},"source":"webhook","timestamp":""#);
        assert!(request.contains(&event), "{name}: {}", request.chars().take(600).collect::<String>());
    }
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), accepted.len() as i64, "no other job");
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE dedupe_key IS NOT NULL"), 0);
    assert_eq!(daemon.get("/healthz").status, 200);
    daemon.stop();
}
