//! Far more connections than the daemon may have open.

use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{Daemon, OK, Plugin, SECRET, SIGNATURE, Site, post, sign};

const CROWD: usize = 2_000;

/// What a connection of the crowd sends before it falls silent.
fn sent(number: usize) -> Vec<u8> {
    let whole = post("/hooks/work", &[(SIGNATURE, &sign(SECRET, b"{}"))], b"{}");
    match number % 4 {
        0 => whole[..whole.len() / 2].to_vec(),
        1 => whole[..whole.len() - 1].to_vec(),
        _ => Vec::new(),
    }
}

#[test]
fn idle_and_half_sent_requests_do_not_keep_deliveries_out() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = CROWD as u64 + 1_000;
    if hard < needed {
        eprintln!("SKIPPED: {needed} open files are needed, {hard} are allowed");
        return;
    }
    // More than before is no harm to the other tests.
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard).unwrap();
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&["work"]);
    let daemon = Daemon::start_under(&site, "ulimit -n 1024");
    let mut crowd: Vec<TcpStream> = (0..CROWD)
        .map(|number| {
            let mut stream = daemon.connect();
            // Some are closed again already: they have given way.
            let _ = stream.write_all(&sent(number));
            stream
        })
        .collect();
    let ids: Vec<_> = (0..20u8)
        .map(|number| {
            let answer = daemon.deliver("/hooks/work", &[], number.to_string().as_bytes());
            assert_eq!(answer.status, 202, "{answer:?}");
            answer.job_id()
        })
        .collect();
    for id in &ids {
        site.wait_job(id, "succeeded");
    }
    assert_eq!(daemon.get("/healthz").status, 200);
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 20);
    for stream in &mut crowd {
        // The end, or a reset.
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
}
