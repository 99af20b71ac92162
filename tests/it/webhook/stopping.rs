//! Webhooks while the daemon ends, and an address that it cannot have.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Daemon, OK, Plugin, SECRET, SIGNATURE, Site, post, read_answer, sign};

/// A daemon with a job in flight that runs until the file `go` is there.
fn busy() -> (Site, Daemon) {
    let script = format!("echo x >> \"$IT/started\"; while [ ! -e \"$IT/go\" ]; do sleep 0.02; done; {OK}");
    let mut site = Site::with(Plugin::sh("work", &script));
    site.webhook(&["work"]);
    let daemon = site.start();
    assert_eq!(daemon.deliver("/hooks/work", &[], b"0").status, 202);
    site.wait_file("started");
    (site, daemon)
}

/// All that comes until the daemon closes the connection.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    rest
}

#[test]
fn what_comes_before_the_job_in_flight_has_ended_is_run_after_the_next_start() {
    let (site, daemon) = busy();
    let address = daemon.address();
    daemon.signal(Signal::SIGTERM);
    daemon.wait_log("INFO", "stopping");
    let answers: Vec<_> = (1..=3).map(|n: u8| daemon.deliver("/hooks/work", &[], n.to_string().as_bytes())).collect();
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    assert_eq!(daemon.get("/healthz").status, 200);
    site.touch("go");
    daemon.end();
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
    for answer in &answers {
        let job = site.job(&answer.job_id());
        assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(1)), "{job}");
    }

    let daemon = site.start();
    site.wait_job(&answers[2].job_id(), "succeeded");
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_log"), 4, "each once");
}

#[test]
fn open_connections_do_not_keep_the_daemon() {
    let (site, daemon) = busy();
    let whole = post("/hooks/work", &[(SIGNATURE, &sign(SECRET, b"{}"))], b"{}");
    let sent = |bytes: &[u8]| {
        let mut stream = daemon.connect();
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut kept = sent(&whole);
    assert_eq!(read_answer(&mut kept).unwrap().status, 202);
    let mut refused = sent(b"POST /unknown HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx");
    assert_eq!(read_answer(&mut refused).unwrap().status, 404);
    let fresh = daemon.connect();
    let (head, body) = (sent(&whole[..40]), sent(&whole[..whole.len() - 1]));
    daemon.signal(Signal::SIGTERM);
    daemon.wait_log("INFO", "stopping");
    site.touch("go");
    daemon.end();
    for stream in [kept, refused, fresh, head, body] {
        assert_eq!(rest(stream), b"");
    }
}

#[test]
fn a_request_that_has_begun_may_end_after_the_port_is_closed() {
    let (site, daemon) = busy();
    let whole = post("/hooks/work", &[(SIGNATURE, &sign(SECRET, b"{}"))], b"{}");
    let mut stream = daemon.connect();
    stream.write_all(&whole[..whole.len() - 1]).unwrap();
    // Until it is in the daemon's hands: connections are taken in their order.
    assert_eq!(daemon.get("/healthz").status, 200);
    let address = daemon.address();
    daemon.signal(Signal::SIGTERM);
    site.touch("go");
    crate::support::wait_until("the port to be closed", || TcpStream::connect(address).is_err());
    stream.write_all(&whole[whole.len() - 1..]).unwrap();
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!(answer.status, 202);
    daemon.end();
    assert_eq!(site.job(&answer.job_id())["status"], "queued");
}

#[test]
fn a_port_that_is_in_use_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut site = Site::with(Plugin::sh("work", OK));
    site.more(&format!("webhooks: {{listen: \"{address}\"}}"));
    let ran = site.cli(["start"]).expect_code(1).expect_stderr(&address.to_string()).expect_stderr("in use");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(!ran.stdout.contains("ductile started"), "{ran:?}");

    drop(taken);
    let daemon = site.start();
    assert_eq!(daemon.address(), address);
    let second = site.cli(["start"]).expect_code(1);
    assert!(!second.stderr.contains(&address.to_string()), "the lock comes first: {second:?}");
    daemon.stop();
}
