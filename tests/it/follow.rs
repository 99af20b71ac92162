//! `ductile logs`: since when, and what comes next.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{OK, Plugin, Site, wait_until};

fn two() -> Site {
    let mut site = Site::with(Plugin::sh("good", OK));
    site.plugin(Plugin::sh("bad", "exit 78"));
    site
}

#[test]
fn since_shows_what_ended_within_that_time() {
    let site = two();
    for plugin in ["good", "bad"] {
        site.cli(["run", plugin]);
    }
    let long_ago = "UPDATE job_log SET completed_at = '2001-01-01T00:00:00.000Z' WHERE plugin = 'good'";
    Connection::open(site.database()).unwrap().execute_batch(long_ago).unwrap();
    let plugins = |arguments: &[&str]| -> Vec<String> {
        let ran = site.cli(["logs", "--json"].iter().chain(arguments)).expect_code(0).json();
        ran.as_array().unwrap().iter().map(|attempt| attempt["plugin"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(plugins(&[]), ["good", "bad"]);
    assert_eq!(plugins(&["--since", "1h"]), ["bad"]);
    assert_eq!(plugins(&["--since", "1h", "--failed"]), ["bad"]);
    assert_eq!(plugins(&["--since", "1h", "good"]), [""; 0]);
    assert_eq!(plugins(&["--since", "0s"]), [""; 0]);
    let none = site.cli(["logs", "good", "--since", "90m"]).expect_code(0);
    assert_eq!(none.stderr, "no attempts within 1h 30m of plugin `good`\n");
    site.cli(["run", "bad"]);
    let cut = site.cli(["logs", "--since", "1h", "--limit", "1"]).expect_code(0);
    assert!(cut.stderr.contains("there were more; `--limit` shows more than the newest 1"), "{cut:?}");
}

#[test]
fn follow_prints_each_attempt_as_it_ends_until_it_is_told_to_end() {
    let site = two();
    let daemon = site.start();
    site.cli(["run", "good"]).expect_code(0);
    let all = site.spawn(["logs", "--follow"]);
    let failed = site.spawn(["logs", "-f", "--failed", "--limit", "0", "--json"]);
    wait_until("the old one", || all.stdout().contains("good poll  succeeded"));
    site.cli(["run", "bad"]).expect_code(1);
    wait_until("the new one", || all.stdout().contains("bad poll  failed"));
    wait_until("the new one", || failed.stdout().ends_with('\n'));
    // The one does not show what the other does, and nothing is shown twice.
    site.cli(["run", "good"]).expect_code(0);
    wait_until("the second success", || all.stdout().matches("good poll  succeeded").count() == 2);
    assert_eq!(all.stdout().matches("  job ").count(), 3);
    for following in [all, failed] {
        // Not SIGINT: a process that is started in the background may have inherited that it is ignored.
        following.signal(Signal::SIGTERM);
        let ran = following.wait();
        assert_eq!(ran.stderr, "", "{ran:?}");
        if ran.stdout.starts_with('{') {
            let attempt: Value = serde_json::from_str(ran.stdout.trim_end()).unwrap();
            assert_eq!(attempt["plugin"], "bad", "one line: {ran:?}");
        }
    }
    daemon.stop();
}

#[test]
fn follow_outlives_daemons_and_a_log_that_begins_again() {
    let site = two();
    site.start().stop();
    let following = site.spawn(["logs", "--follow"]);
    wait_until("it says so", || following.stderr().contains("no daemon is running"));
    let daemon = site.start();
    site.cli(["run", "good"]).expect_code(0);
    wait_until("the first", || following.stdout().matches("good poll").count() == 1);
    // All of it has expired; numbers begin again.
    Connection::open(site.database()).unwrap().execute_batch("DELETE FROM job_log").unwrap();
    site.cli(["run", "bad"]).expect_code(1);
    site.cli(["run", "good"]).expect_code(0);
    wait_until("the second", || following.stdout().matches("good poll").count() == 2);
    daemon.stop();
}

#[test]
fn follow_ends_when_its_reader_does_even_if_nothing_happens() {
    let site = two();
    let daemon = site.start();
    site.cli(["run", "good"]).expect_code(0);
    let mut command = site.command(["logs", "--follow"]);
    let mut following = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(following.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("good poll"), "{line}");
    drop(stdout);
    wait_until("its end", || following.try_wait().unwrap().is_some());
    let output = following.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    daemon.stop();
}

#[test]
fn follow_says_when_the_database_was_replaced() {
    let site = two();
    site.cli(["run", "good"]).expect_code(0);
    let following = site.spawn(["logs", "--follow"]);
    wait_until("it runs", || following.stdout().contains("good poll"));
    let copy = site.path("copy.db");
    site.cli(["backup", "copy.db"]).expect_code(0);
    std::fs::rename(copy, site.database()).unwrap();
    following.wait().expect_code(1).expect_stderr("was replaced");
}
