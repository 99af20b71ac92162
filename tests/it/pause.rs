//! `pause` and `resume`: nothing of what is paused is claimed; all else goes on.

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site};

fn site() -> Site {
    let mut site = Site::with(Plugin::sh("a", OK));
    site.plugin(Plugin::sh("b", OK)).webhook(&["a"]);
    site
}

fn status(site: &Site) -> Value {
    site.cli(["status", "--json"]).expect_code(0).json()
}

#[test]
fn a_paused_plugin_is_passed_over_and_keeps_its_place() {
    let site = site();
    let daemon = site.start();
    site.cli(["pause", "a"]).expect_code(0).expect_stdout("plugin `a` is paused");
    site.cli(["pause", "a"]).expect_code(0).expect_stdout("was paused already");
    let waiting = site.detach(["a"]);
    assert_eq!(daemon.deliver("/hooks/a", &[], b"{}").status, 202, "webhooks are accepted");
    site.cli(["run", "b"]).expect_code(0);
    assert_eq!(site.job(&waiting)["status"], "queued");
    let health = daemon.get("/healthz").json();
    assert_eq!(health["status"], "ok", "it is meant to wait");
    let before = status(&site);
    assert!(before["plugins"][0]["paused_since"].is_string() && before["plugins"][1]["paused_since"].is_null());
    daemon.stop();

    let daemon = site.start();
    site.cli(["run", "b"]).expect_code(0);
    assert_eq!(site.job(&waiting)["status"], "queued", "it outlives a restart");
    site.cli(["resume", "a"]).expect_code(0).expect_stdout("plugin `a` goes on");
    site.wait_job(&waiting, "succeeded");
    site.cli(["resume", "a"]).expect_code(0).expect_stdout("was not paused");
    daemon.stop();
}

#[test]
fn a_paused_queue_starts_nothing_but_ends_what_runs() {
    let mut site = site();
    let slow = "read -r input; echo >> \"$IT/started\"; while [ ! -e \"$IT/go\" ]; do sleep 0.01; done; echo '{\"status\": \"ok\"}'";
    site.plugin(Plugin::sh("slow", slow));
    let daemon = site.start();
    let running = site.detach(["slow"]);
    site.wait_file("started");
    site.cli(["pause"]).expect_code(0).expect_stdout("the queue is paused");
    let waiting = site.detach(["b"]);
    site.touch("go");
    site.wait_job(&running, "succeeded");
    // One more look of the dispatcher at the queue.
    let later = site.cli(["run", "b", "--detach"]).expect_code(0).expect_stderr("the queue is paused since");
    assert_eq!((&site.job(&waiting)["status"], later.code), (&json!("queued"), Some(0)));
    assert!(status(&site)["queue"]["paused_since"].is_string());
    site.cli(["status"]).expect_code(0).expect_stdout("`ductile resume` goes on");
    site.cli(["queue"]).expect_code(0).expect_stderr("the queue is paused");
    site.cli(["pause", "a"]).expect_code(0);
    site.cli(["resume"]).expect_code(0).expect_stdout("the queue goes on").expect_stderr("paused: a");
    site.wait_job(&waiting, "succeeded");
    daemon.stop();
}

#[test]
fn without_a_daemon_the_next_start_keeps_to_it_and_a_run_by_hand_is_refused() {
    let site = site();
    site.cli(["pause", "a"]).expect_code(1).expect_stderr("no database");
    site.cli(["run", "a"]).expect_code(0);
    let daemon = site.start();
    daemon.stop();
    site.cli(["pause", "a"]).expect_code(0);
    site.cli(["run", "a"]).expect_code(1).expect_stderr("ductile resume a");
    site.cli(["pause", "c"]).expect_code(2).expect_stderr("configured are: a, b");
    let waiting = site.detach(["a"]);
    let daemon = site.start();
    site.cli(["run", "b"]).expect_code(0);
    assert_eq!(site.job(&waiting)["status"], "queued");
    daemon.stop();
    site.cli(["resume", "a"]).expect_code(0);
    let daemon = site.start();
    site.wait_job(&waiting, "succeeded");
    daemon.stop();
}

#[test]
fn retries_that_are_due_while_all_is_paused_cost_no_time_and_are_not_lost() {
    let mut site = site();
    let flaky = "if [ -e \"$IT/well\" ]; then echo '{\"status\": \"ok\"}'; else exit 1; fi";
    site.plugin(Plugin::sh("flaky", flaky).set("retry: {backoff_base: 10ms}"));
    site.touch("well");
    let daemon = site.start();
    site.cli(["pause", "flaky"]).expect_code(0);
    std::fs::remove_file(site.path("well")).unwrap();
    let id = site.detach(["flaky"]);
    site.cli(["resume", "flaky"]).expect_code(0);
    site.wait_rows(&format!("SELECT 1 FROM job_log WHERE job_id = '{id}'"));
    site.cli(["pause"]).expect_code(0);
    site.touch("well");
    site.cli(["resume"]).expect_code(0);
    site.wait_job(&id, "succeeded");
    daemon.stop();
}
