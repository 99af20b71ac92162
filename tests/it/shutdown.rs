//! How the daemon ends when it is asked to.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Daemon, OK, Plugin, Site};

/// Runs until the file `go` is there; SIGTERM ends it at once.
const GATED: &str = r#"echo $$ >> "$IT/started"
while [ ! -e "$IT/go" ]; do sleep 0.02; done
echo '{"status": "ok"}'"#;

/// The same, and deaf to SIGTERM.
const DEAF: &str = r#"trap '' TERM
echo $$ >> "$IT/started"
while [ ! -e "$IT/go" ]; do sleep 0.02; done
echo '{"status": "ok"}'"#;

/// A daemon with one job in flight and one behind it.
fn busy(script: &str, grace: &str) -> (Site, Daemon, [String; 2]) {
    let mut site = Site::with(Plugin::sh("work", script));
    site.service("shutdown_grace", grace);
    let daemon = site.start();
    let ids = [site.detach(["work"]), site.detach(["work"])];
    site.wait_file("started");
    (site, daemon, ids)
}

fn assert_clean(site: &Site) {
    let wal = std::fs::metadata(site.path("state/ductile.db-wal")).map_or(0, |file| file.len());
    assert_eq!(wal, 0, "the write-ahead log is in the database");
    let service = site.row("SELECT pid, stopped_at FROM service", ());
    assert!(service["pid"].is_null() && service["stopped_at"].is_string(), "{service}");
    assert_eq!(site.plugin_processes(), [0; 0]);
}

fn assert_requeued(site: &Site, id: &str) {
    let job = site.job(id);
    assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(1)), "{job}");
    assert!(job["next_retry_at"].is_null() && job["last_error"].is_null(), "{job}");
    assert_eq!(site.attempts(id), [json!(null); 0]);
}

#[test]
fn the_job_in_flight_may_end_and_no_other_is_claimed() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (site, daemon, [first, second]) = busy(GATED, "20s");
        daemon.signal(signal);
        daemon.wait_log("INFO", "stopping");
        site.touch("go");
        let ran = daemon.end();
        assert!(ran.stdout.contains("ductile stopped"), "{ran:?}");
        assert_clean(&site);
        assert_eq!(site.job(&first)["status"], "succeeded");
        assert_requeued(&site, &second);
        assert_eq!(site.read("started").lines().count(), 1);

        let daemon = site.start();
        site.wait_job(&second, "succeeded");
        daemon.stop();
        assert_eq!(site.attempts(&second).len(), 1);
    }
}

#[test]
fn after_the_grace_the_job_is_stopped_and_back_on_the_queue_uncharged() {
    let (site, daemon, [first, second]) = busy(GATED, "100ms");
    daemon.signal(Signal::SIGTERM);
    daemon.wait_log("WARN", "did not end within");
    daemon.end();
    assert_clean(&site);
    assert_requeued(&site, &first);
    assert_requeued(&site, &second);

    site.touch("go");
    let daemon = site.start();
    site.wait_job(&second, "succeeded");
    daemon.stop();
    // It kept its place, and its first attempt is still the first.
    let order = site.rows("SELECT job_id, attempt FROM job_log ORDER BY id", ());
    assert_eq!(order, [json!({"job_id": first, "attempt": 1}), json!({"job_id": second, "attempt": 1})]);
}

#[test]
fn a_second_signal_kills_at_once_even_a_plugin_that_is_deaf_to_sigterm() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // Within an hour of grace only the second signal can end it.
        let (site, daemon, [first, _]) = busy(DEAF, "1h");
        daemon.signal(signal);
        daemon.wait_log("INFO", "stopping");
        daemon.signal(signal);
        daemon.wait_log("WARN", "second signal");
        daemon.end();
        assert_clean(&site);
        assert_requeued(&site, &first);
    }
}

#[test]
fn an_idle_daemon_ends_at_once_and_cleanly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut site = Site::with(Plugin::sh("work", OK));
        // Not the time out of anything: an idle daemon waits for nothing.
        site.service("shutdown_grace", "1h");
        let daemon = site.start();
        site.cli(["run", "work"]).expect_code(0);
        daemon.signal(signal);
        daemon.end();
        assert_clean(&site);
    }
}

#[test]
fn sighup_neither_ends_the_daemon_nor_reruns_the_job() {
    let (site, daemon, [first, second]) = busy(GATED, "20s");
    for _ in 0..10 {
        daemon.signal(Signal::SIGHUP);
    }
    daemon.wait_log("INFO", "configuration reloaded: nothing has changed");
    site.touch("go");
    site.wait_job(&second, "succeeded");
    assert_eq!(site.attempts(&first).len(), 1);
    assert_eq!(site.read("started").lines().count(), 2);
    daemon.stop();
}

#[test]
fn a_retry_that_waits_does_not_keep_the_daemon() {
    let site = Site::with(Plugin::sh("work", "exit 1").set("retry: {backoff_base: 1h}"));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(1);
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE next_retry_at IS NOT NULL"), 1);
}

#[test]
fn a_run_that_waits_is_told_the_result_by_a_daemon_that_stops() {
    let site = Site::with(Plugin::sh("work", GATED));
    let daemon = site.start();
    let run = site.spawn(["run", "work", "--wait"]);
    site.wait_file("started");
    daemon.signal(Signal::SIGTERM);
    daemon.wait_log("INFO", "stopping");
    site.touch("go");
    daemon.end();
    run.wait().expect_code(0).expect_stdout("work poll  succeeded");
}
