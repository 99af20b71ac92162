//! The health check while all is not well.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use rusqlite::Connection;

use crate::support::{Daemon, OK, Plugin, Site, read_answer, wait_until};

fn assert_ok(daemon: &Daemon) {
    let answer = daemon.get("/healthz");
    assert_eq!(answer.status, 200, "{answer:?}");
    let health = answer.json();
    assert!(health["status"] == "ok" && health.get("reasons").is_none(), "{health}");
}

#[test]
fn it_is_degraded_while_nothing_can_be_written() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&["work"]);
    let daemon = site.start();
    assert_ok(&daemon);
    let other = Connection::open(site.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = daemon.deliver("/hooks/work", &[], b"1");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")), "{answer:?}");
    let answer = daemon.get("/healthz");
    assert_eq!(answer.status, 503, "{answer:?}");
    let health = answer.json();
    assert_eq!(health["status"], "degraded");
    assert!(!health["reasons"].as_array().unwrap().is_empty(), "{health}");
    other.execute_batch("ROLLBACK").unwrap();
    // Nothing has to be written; it finds out by itself.
    wait_until("a good write", || daemon.get("/healthz").status == 200);
    assert_ok(&daemon);
    site.wait_job(&daemon.deliver("/hooks/work", &[], b"2").job_id(), "succeeded");
    daemon.stop();
}

#[test]
fn others_do_not_find_it() {
    let mut site = Site::with(Plugin::sh("work", OK));
    let listen = if TcpListener::bind("[::]:0").is_ok() { "[::]:0" } else { "0.0.0.0:0" };
    site.more(&format!("webhooks: {{listen: \"{listen}\"}}"));
    let daemon = site.start();
    let port = daemon.address().port();
    let ask = |from: IpAddr| {
        let mut stream = TcpStream::connect((from, port)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        read_answer(&mut stream).unwrap()
    };
    assert_eq!(ask(Ipv4Addr::LOCALHOST.into()).status, 200, "also through an IPv6 socket");
    // No packet is sent: it only tells the address that one would have.
    let probe = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match probe {
        Ok(own) if !own.ip().is_loopback() => {
            let answer = ask(own.ip());
            assert_eq!((answer.status, answer.body.as_str()), (404, r#"{"error":"Not Found"}"#));
        }
        _ => eprintln!("SKIPPED in part: this machine has no address but loopback"),
    }
    daemon.stop();
}

#[test]
fn it_answers_and_deliveries_are_taken_while_a_plugin_runs() {
    let script = format!("echo x > \"$IT/started\"; while [ ! -e \"$IT/go\" ]; do sleep 0.02; done; {OK}");
    let mut site = Site::with(Plugin::sh("work", &script));
    site.webhook(&["work"]);
    let daemon = site.start();
    let answers: Vec<_> = (0..3).map(|_| daemon.deliver("/hooks/work", &[], b"{}")).collect();
    site.wait_file("started");
    assert_ok(&daemon);
    assert_eq!(daemon.get("/healthz?verbose").json()["queue_depth"], 2);
    site.touch("go");
    site.wait_job(&answers[2].job_id(), "succeeded");
    assert_eq!(daemon.get("/healthz").json()["queue_depth"], 0);
    daemon.stop();
}

#[test]
fn a_plugin_that_is_not_loaded_is_not_counted_and_makes_nothing_ill() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.plugin(Plugin::sh("off", OK).set("enabled: false")).plugin(Plugin::sh("broken", OK)).webhook(&["broken"]);
    std::fs::remove_file(site.path("plugins/broken/run")).unwrap();
    let daemon = site.start();
    assert_eq!(daemon.deliver("/hooks/broken", &[], b"{}").status, 202);
    let health = daemon.get("/healthz").json();
    assert_eq!((&health["plugins_loaded"], &health["queue_depth"]), (&1.into(), &1.into()), "{health}");
    assert_ok(&daemon);
    daemon.stop();
}
