//! kill -9 of the daemon, and what the next start makes of it.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{OK, Plugin, Site, find_line, log_lines, wait_until};

/// Runs until the file `go` is there; with a second process in its group and one that has left it.
const GATED: &str = r#"echo $$ >> "$IT/started"
if [ ! -e "$IT/go" ]; then
  sleep 600 &
  setsid sh -c 'echo $$ > "$IT/left"; exec sleep 600' &
  while [ ! -s "$IT/left" ]; do sleep 0.02; done
  echo x >> "$IT/ready"
  while [ ! -e "$IT/go" ]; do sleep 0.02; done
fi
echo '{"status": "ok"}'"#;

#[test]
fn a_job_in_flight_is_recovered_and_its_stray_processes_are_killed() {
    let site = Site::with(Plugin::sh("work", GATED));
    let daemon = site.start();
    let id = site.detach(["work"]);
    site.wait_file("ready");
    daemon.kill();
    let strays = site.plugin_processes();
    assert!(strays.len() >= 3, "leader, child and the one that left the group are still there: {strays:?}");
    assert!(strays.contains(&site.read("left").parse().unwrap()));
    assert_eq!(site.job(&id)["status"], "running");
    let status = site.cli(["status", "--json"]).expect_code(0).json();
    assert_eq!((&status["running"], &status["queue"]["running"]), (&json!(false), &json!(1)));

    site.touch("go");
    let daemon = site.start();
    // They ended before anything was recovered, so before `ductile started` was logged.
    let left: Vec<_> = site.plugin_processes().into_iter().filter(|pid| strays.contains(pid)).collect();
    assert_eq!(left, [0; 0]);
    daemon.wait_log("WARN", "killed plugin processes");
    let warned = daemon.wait_log("WARN", "job was interrupted, back on the queue");
    assert_eq!((&warned["job_id"], &warned["attempt"], &warned["plugin"]), (&json!(id), &json!(1), &json!("work")));
    let job = site.wait_job(&id, "succeeded");
    daemon.stop();

    assert_eq!((&job["attempt"], &job["last_error"]), (&json!(2), &json!("interrupted")));
    let attempts = site.attempts(&id);
    assert_eq!(attempts.len(), 2);
    assert_eq!((&attempts[0]["status"], &attempts[0]["error"]), (&json!("failed"), &json!("interrupted")));
    assert_eq!((&attempts[1]["attempt"], &attempts[1]["status"]), (&json!(2), &json!("succeeded")));
    assert_eq!(site.read("started").lines().count(), 2);
}

#[test]
fn a_job_with_one_attempt_that_is_interrupted_is_dead() {
    let site = Site::with(Plugin::sh("work", GATED).set("retry: {max_attempts: 1}"));
    let daemon = site.start();
    let id = site.detach(["work"]);
    site.wait_file("ready");
    daemon.kill();
    site.touch("go");
    let daemon = site.start();
    let job = site.wait_job(&id, "dead");
    let warned = daemon.wait_log("WARN", "job was interrupted and is dead");
    // The queue goes on.
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
    assert_eq!((&job["attempt"], &job["last_error"]), (&json!(1), &json!("interrupted")));
    assert_eq!(warned["job_id"], json!(id));
    assert_eq!(site.attempts(&id).len(), 1);
    assert_eq!(site.read("started").lines().count(), 2, "the dead one was not run again");
}

#[test]
fn a_scheduled_job_that_was_interrupted_does_not_stop_its_schedule() {
    let site = Site::with(Plugin::sh("work", GATED).set("schedule: {every: 1s}").set("retry: {max_attempts: 1}"));
    let daemon = site.start();
    site.wait_file("ready");
    daemon.kill();
    site.touch("go");
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_queue WHERE status = 'succeeded' AND submitted_by = 'scheduler'");
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE status = 'dead'"), 1);
}

#[test]
fn the_job_of_a_killed_run_is_recovered_too() {
    let site = Site::with(Plugin::sh("work", GATED));
    let mut run = site.spawn(["run", "work"]);
    site.wait_file("ready");
    run.kill();
    site.touch("go");
    let daemon = site.start();
    let job = site.wait_rows("SELECT * FROM job_queue WHERE status = 'succeeded'").remove(0);
    daemon.wait_log("WARN", "job was interrupted, back on the queue");
    daemon.stop();
    assert_eq!((&job["attempt"], &job["submitted_by"]), (&json!(2), &json!("cli")));
}

#[test]
fn another_sites_plugins_are_not_strays() {
    let (first, second) = (Site::with(Plugin::sh("work", GATED)), Site::with(Plugin::sh("work", OK)));
    let daemon = first.start();
    let id = first.detach(["work"]);
    first.wait_file("ready");
    second.start().kill();
    second.start().stop();
    assert_eq!(first.job(&id)["status"], "running");
    first.touch("go");
    assert_eq!(first.wait_job(&id, "succeeded")["attempt"], 1);
    daemon.stop();
}

#[test]
fn no_acknowledged_job_is_lost_however_often_the_daemon_is_killed() {
    const JOBS: usize = 40;
    let note =
        r#"echo "$DUCTILE_JOB_ID" >> "$IT/ran"; sleep 0.03; echo '{"status": "ok", "events": [{"type": "hit"}]}'"#;
    let mut site = Site::with(Plugin::sh("work", note).set("retry: {max_attempts: 100}"));
    site.plugin(Plugin::sh("sink", OK).set("retry: {max_attempts: 100}")).route("work", "hit", "sink");
    let mut acknowledged = Vec::new();
    let mut kills = 0;
    loop {
        let daemon = site.start();
        for _ in 0..(JOBS - acknowledged.len()).min(8) {
            acknowledged.push(site.detach(["work"]));
        }
        // Progress first, so that this comes to an end; then at whatever point it happens to be.
        let done = site.count("SELECT count(*) FROM job_queue WHERE status = 'succeeded'");
        wait_until("progress", || {
            let now = "SELECT count(*) FROM job_queue WHERE status = 'succeeded'";
            site.count(now) > done + 6 || site.count("SELECT count(*) FROM job_queue WHERE completed_at IS NULL") == 0
        });
        if acknowledged.len() == JOBS && kills >= 6 {
            site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
            daemon.stop();
            break;
        }
        daemon.kill();
        kills += 1;
    }
    let mut runs = BTreeMap::<String, usize>::new();
    for id in site.read("ran").lines() {
        *runs.entry(id.to_owned()).or_default() += 1;
    }
    for id in &acknowledged {
        let job = site.job(id);
        assert_eq!(job["status"], "succeeded");
        assert!(runs.contains_key(id), "{id} has never run");
        let attempts = site.attempts(id);
        assert_eq!(attempts.len() as i64, job["attempt"].as_i64().unwrap(), "a row for each attempt of {id}");
        let children = site.rows("SELECT status FROM job_queue WHERE parent_job_id = ?1", [id]);
        assert_eq!(children, [json!({"status": "succeeded"})], "one settled attempt, one child");
    }
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 2 * JOBS as i64);
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE status != 'succeeded'"), 0);
}

#[test]
fn a_daemon_killed_while_idle_comes_back_without_a_warning() {
    let site = Site::with(Plugin::sh("work", OK));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    daemon.kill();
    let log = log_lines(&site.start().stop().stdout);
    assert!(find_line(&log, "INFO", "ductile started").is_some());
    assert_eq!(find_line(&log, "WARN", ""), None);
}
