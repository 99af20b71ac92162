//! `init`: once for each manifest and configuration, before anything else of its plugin.

use serde_json::{Value, json};

use crate::support::{Plugin, Site};

/// Writes what it was asked for to `journal`; its init ends once there is a file `go`, with an error if there is `sick`.
const SCRIPT: &str = r#"read -r input
command=${input#*'"command":"'}
command=${command%%\"*}
echo "$command" >> "$IT/journal"
if [ "$command" = init ]; then
  while [ ! -e "$IT/go" ]; do sleep 0.01; done
  if [ -e "$IT/sick" ]; then echo '{"status": "error", "error": "no key"}'; exit; fi
fi
echo '{"status": "ok"}'"#;

fn work() -> Plugin {
    Plugin::sh("work", SCRIPT).commands("poll, handle, init")
}

fn inits(site: &Site) -> Vec<Value> {
    site.rows("SELECT status, attempt, submitted_by FROM job_queue WHERE command = 'init' ORDER BY seq", ())
}

#[test]
fn it_runs_before_what_was_queued_and_not_again_until_something_changes() {
    let mut site = Site::with(work());
    site.touch("go");
    site.detach(["work"]);
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_queue WHERE command = 'poll' AND status = 'succeeded'");
    daemon.stop();
    assert_eq!(site.read("journal"), "init\npoll");

    let restart = |site: &Site| {
        let daemon = site.start();
        site.cli(["run", "work"]).expect_code(0);
        daemon.stop();
        inits(site).len()
    };
    assert_eq!(restart(&site), 1);
    site.plugin(work().set("config: {room: 7}"));
    assert_eq!(restart(&site), 2, "another configuration");
    site.plugin(work().set("config: {room: 7}").commands("poll, init"));
    assert_eq!(restart(&site), 3, "another manifest");
    assert_eq!(restart(&site), 3);
    assert!(inits(&site).iter().all(|init| init["submitted_by"] == "scheduler" && init["status"] == "succeeded"));
}

#[test]
fn it_survives_shutdown_and_crash() {
    let site = Site::with(work());
    let running = "SELECT 1 FROM job_queue WHERE command = 'init' AND status = 'running'";
    let mut daemon = site.start();
    for _ in 0..2 {
        site.wait_rows(running);
        daemon.kill();
        daemon = site.start();
    }
    site.wait_rows("SELECT 1 FROM job_queue WHERE status = 'running' AND attempt = 3");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.end();
    assert_eq!(inits(&site), [json!({"status": "queued", "attempt": 3, "submitted_by": "scheduler"})]);
    assert_eq!(site.count("SELECT count(*) FROM job_log WHERE error = 'interrupted'"), 2);
    assert_eq!(site.cli(["status", "--json"]).expect_code(0).json()["plugins"][0]["unhealthy"], Value::Null);

    site.touch("go");
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_queue WHERE command = 'init' AND status = 'succeeded'");
    daemon.stop();
    assert_eq!(inits(&site).len(), 1);
}

#[test]
fn a_failed_one_stops_the_polls_alone_and_is_tried_again_by_the_next_start_or_by_hand() {
    let mut site = Site::with(work().set("schedule: {every: 1s}"));
    site.plugin(Plugin::sh("other", SCRIPT).set("schedule: {every: 1s}"));
    site.touch("go");
    site.touch("sick");
    let daemon = site.start();
    daemon.wait_log("ERROR", "init failed");
    // Ticks pass: what was queued before the init failed is all.
    site.wait_rows(
        "SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE plugin = 'other' AND status = 'succeeded') >= 3",
    );
    let polls = "SELECT count(*) FROM job_queue WHERE plugin = 'work' AND command = 'poll'";
    assert!(site.count(polls) <= 1);
    site.cli(["run", "work", "--command", "handle"]).expect_code(0);
    let status = site.cli(["status", "work", "--json"]).expect_code(0).json()["plugins"][0].clone();
    assert_eq!(status["unhealthy"]["error"], "no key", "{status:#}");
    site.cli(["status"]).expect_stdout("unhealthy").expect_stdout("init failed: no key");
    daemon.stop();

    let daemon = site.start();
    daemon.wait_log("ERROR", "init failed");
    assert_eq!(inits(&site).len(), 2, "each start tries again");
    site.cli(["run", "work", "--command", "init"]).expect_code(1).expect_stdout("no key");
    std::fs::remove_file(site.path("sick")).unwrap();
    let before = site.count(polls);
    site.cli(["run", "work", "--command", "init"]).expect_code(0);
    site.wait_rows(&format!("SELECT 1 WHERE ({polls}) > {before}"));
    daemon.stop();
    assert_eq!(inits(&site)[3], json!({"status": "succeeded", "attempt": 1, "submitted_by": "cli"}));
}

#[test]
fn a_run_without_a_daemon_asks_for_it_first() {
    let site = Site::with(work());
    site.touch("go");
    site.cli(["run", "work"]).expect_code(1).expect_stderr("ductile run work --command init");
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 0);
    site.cli(["run", "work", "--command", "init"]).expect_code(0);
    site.cli(["run", "work"]).expect_code(0);
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
    assert_eq!(inits(&site).len(), 1, "that one counts for the daemon, too");
}
