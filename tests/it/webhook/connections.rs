//! More and less than one request on a connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::support::{Daemon, OK, Plugin, SECRET, SIGNATURE, Site, post, read_answer, sign};

const PATH: &str = "/hooks/work";

fn site() -> Site {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&["work"]);
    site
}

fn signed(body: &[u8]) -> Vec<u8> {
    post(PATH, &[(SIGNATURE, &sign(SECRET, body))], body)
}

/// The head of a POST that waits for leave to send its body.
fn expecting(path: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let signature = sign(SECRET, body);
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
    format!("{head}Expect: 100-continue\r\n{SIGNATURE}: {signature}\r\n\r\n").into_bytes()
}

/// All that comes until the daemon closes the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    rest
}

#[track_caller]
fn assert_ends(site: &Site, daemon: Daemon, jobs: i64) {
    site.wait_rows(&format!("SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE status = 'succeeded') = {jobs}"));
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), jobs);
    daemon.stop();
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let site = site();
    let daemon = site.start();
    let mut stream = daemon.connect();
    let unsigned = post(PATH, &[], b"{}");
    let nowhere = post("/unknown", &[], b"{}");
    let health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    for (request, status) in
        [(signed(b"1"), 202), (unsigned, 403), (nowhere, 404), (signed(b"2"), 202), (health, 200), (signed(b"3"), 202)]
    {
        stream.write_all(&request).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().status, status);
    }
    assert_ends(&site, daemon, 3);
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn requests_in_one_packet_are_answered_in_their_order() {
    let site = site();
    let daemon = site.start();
    let mut stream = daemon.connect();
    let requests = [signed(b"1"), post(PATH, &[], b"x"), signed(b"2"), post("/x", &[], b"abc"), signed(b"3")];
    let mut bytes = requests.concat();
    let last = bytes.split_off(bytes.len() - 10);
    stream.write_all(&bytes).unwrap();
    let answers: Vec<_> = (0..4).map(|_| read_answer(&mut stream).unwrap()).collect();
    stream.write_all(&last).unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 202);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [202, 403, 202, 404]);
    assert_ends(&site, daemon, 3);
}

#[test]
fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    let site = site();
    let daemon = site.start();
    let mut stream = daemon.connect();
    stream.set_nodelay(true).unwrap();
    for byte in signed(br#"{"a": 1}"#) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_answer(&mut stream).unwrap().status, 202);
    assert_ends(&site, daemon, 1);
}

#[test]
fn old_and_hasty_clients_are_answered() {
    let site = site();
    let daemon = site.start();
    let old = String::from_utf8(signed(b"1")).unwrap().replace("HTTP/1.1", "HTTP/1.0").replace("Host: ductile\r\n", "");
    let mut stream = daemon.connect();
    stream.write_all(old.as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.0 202") && answer.ends_with("\"}"), "the daemon closes: {answer}");

    let mut stream = daemon.connect();
    stream.write_all(&post(PATH, &[(SIGNATURE, &sign(SECRET, b"2")), ("Connection", "close")], b"2")).unwrap();
    assert!(rest(&mut stream).starts_with("HTTP/1.1 202"));

    let mut stream = daemon.connect();
    stream.write_all(&signed(b"3")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 202") && answer.ends_with("\"}"), "it may still listen: {answer}");

    // Gone before the answer: a job all the same, and it need not wait for a tick.
    daemon.connect().write_all(&signed(b"4")).unwrap();
    assert_ends(&site, daemon, 4);
}

#[test]
fn a_body_may_wait_for_leave_and_a_refused_one_is_not_asked_for() {
    let site = site();
    let daemon = site.start();
    let mut stream = daemon.connect();
    stream.write_all(&expecting(PATH, 2, b"{}")).unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 202);

    for (path, length, status) in
        [(PATH, (1 << 20) + 1, "413"), (PATH, 10_000_000_000, "413"), ("/unknown", 10, "404"), ("/healthz", 10, "405")]
    {
        let mut stream = daemon.connect();
        stream.write_all(&expecting(path, length, b"")).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"), "{path} {length}");
    }
    assert_ends(&site, daemon, 1);
}

#[test]
fn only_what_is_allowed_is_named_and_head_has_no_body() {
    let site = site();
    let daemon = site.start();
    for (path, allowed) in [(PATH, "POST"), ("/healthz", "GET")] {
        let answer = daemon.exchange(format!("PUT {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{answer:?}");
        let mut stream = daemon.connect();
        write!(stream, "HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 405") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    daemon.stop();
}
