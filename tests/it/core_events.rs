//! The gateway's own events: calls for help, each in the transaction of what it tells.

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site};

const EVENTS: [&str; 4] = ["job.dead", "breaker.opened", "breaker.closed", "init.failed"];

/// Fails until there is a file `well`, for good each time.
const SICK: &str = r#"if [ -e "$IT/well" ]; then echo '{"status": "ok"}'; exit; fi
echo '{"status": "error", "error": "no power", "retry": false}'"#;

/// A site that routes every core event to `note`, whose script is this.
fn site(note: &str) -> Site {
    let mut site = Site::with(Plugin::sh("note", note).set("retry: {max_attempts: 2, backoff_base: 10ms}"));
    for event in EVENTS {
        site.route("ductile", event, "note");
    }
    site
}

fn payload(job: &Value) -> Value {
    serde_json::from_str(job["payload"].as_str().unwrap()).unwrap()
}

#[test]
fn a_dead_job_calls_for_help() {
    let mut site = site(OK);
    site.plugin(Plugin::sh("work", SICK));
    let daemon = site.start();
    let id = site.detach(["work"]);
    let told = site.wait_rows("SELECT * FROM jobs WHERE plugin = 'note' AND status = 'succeeded'").remove(0);
    daemon.stop();
    assert_eq!((&told["submitted_by"], &told["command"]), (&json!("route"), &json!("handle")));
    assert_eq!((&told["parent_job_id"], &told["hops"], &told["from_core"]), (&json!(id), &json!(0), &json!(1)));
    let dead = site.job(&id);
    assert_eq!(told["created_at"], dead["completed_at"], "in one transaction");
    let event = payload(&told);
    assert_eq!((&event["type"], &event["source"]), (&json!("job.dead"), &json!("ductile")));
    assert_eq!((&event["event_id"], &event["timestamp"]), (&told["source_event_id"], &dead["completed_at"]));
    let expected = json!({
        "job_id": id, "plugin": "work", "command": "poll", "submitted_by": "cli", "attempt": 1, "max_attempts": 4,
        "error": "no power",
    });
    assert_eq!(event["payload"], expected);
}

#[test]
fn a_messenger_that_fails_starts_no_storm() {
    let mut site = site("exit 1");
    site.plugin(Plugin::sh("work", SICK)).plugin(Plugin::sh("other", OK));
    let daemon = site.start();
    let id = site.detach(["work"]);
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'note' AND status = 'dead'");
    site.cli(["run", "other"]).expect_code(0);
    daemon.stop();
    let notes = site.rows("SELECT parent_job_id, attempt FROM job_queue WHERE plugin = 'note'", ());
    assert_eq!(notes, [json!({"parent_job_id": id, "attempt": 2})]);
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 3);
}

#[test]
fn whatever_descends_from_a_core_event_causes_none() {
    let mut site = site(r#"echo '{"status": "ok", "events": [{"type": "noted"}]}'"#);
    site.plugin(Plugin::sh("work", SICK)).plugin(Plugin::sh("archive", SICK)).route("note", "noted", "archive");
    let daemon = site.start();
    site.detach(["work"]);
    let archive = site.wait_rows("SELECT * FROM jobs WHERE plugin = 'archive' AND status = 'dead'").remove(0);
    daemon.stop();
    assert_eq!((&archive["from_core"], &archive["hops"]), (&json!(1), &json!(1)));
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'note'"), 1);
}

#[test]
fn a_job_that_is_dead_for_its_many_hops_is_told_of() {
    let mut site = site(OK);
    site.plugin(Plugin::sh("loop", r#"echo '{"status": "ok", "events": [{"type": "again"}]}'"#));
    site.route("loop", "again", "loop");
    let daemon = site.start();
    site.detach(["loop"]);
    let told = site.wait_rows("SELECT * FROM jobs WHERE plugin = 'note' AND status = 'succeeded'");
    daemon.stop();
    let dead = site.row("SELECT * FROM job_queue WHERE status = 'dead'", ());
    assert_eq!((told.len(), &told[0]["parent_job_id"]), (1, &dead["id"]));
    assert_eq!(payload(&told[0])["payload"]["error"], dead["last_error"]);
}

#[test]
fn they_are_not_dropped_when_the_queue_is_full() {
    let mut site = site(OK);
    site.service("max_queue_depth", "1");
    site.plugin(Plugin::sh("work", "read -r input; while [ ! -e \"$IT/go\" ]; do sleep 0.01; done; exit 78"));
    let daemon = site.start();
    let id = site.detach(["work"]);
    site.wait_job(&id, "running");
    site.detach(["work"]);
    site.cli(["run", "work"]).expect_code(1).expect_stderr("full");
    site.touch("go");
    site.wait_rows(
        "SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE plugin = 'note' AND status = 'succeeded') = 2",
    );
    daemon.stop();
}

#[test]
fn a_breaker_opens_and_closes_with_an_event_each_and_the_health_check_counts_it() {
    let mut site = site(OK);
    let polled = Plugin::sh("work", SICK).set("schedule: {every: 1s}");
    site.plugin(polled.set("circuit_breaker: {threshold: 2, reset_after: 1s}")).webhook(&["note"]);
    let daemon = site.start();
    let health = || daemon.get("/healthz").json();
    site.wait_rows("SELECT 1 FROM circuit_breaker WHERE opened_at IS NOT NULL");
    assert_eq!(health()["plugins_circuit_open"], 1);
    let plugin = || site.cli(["status", "work", "--json"]).expect_code(0).json()["plugins"][0].clone();
    assert_ne!(plugin()["breaker"]["state"], "closed");
    site.touch("well");
    site.wait_rows("SELECT 1 FROM circuit_breaker WHERE opened_at IS NULL");
    assert_eq!((&health()["plugins_circuit_open"], &plugin()["breaker"]["state"]), (&json!(0), &json!("closed")));
    let closed = "SELECT payload FROM jobs WHERE json_extract(payload, '$.type') = 'breaker.closed'";
    let closed = payload(&site.wait_rows(closed)[0]);
    assert_eq!(closed["payload"], json!({"plugin": "work", "command": "poll"}));
    daemon.wait_log("ERROR", "circuit breaker opened");
    daemon.wait_log("INFO", "circuit breaker closed");
    daemon.stop();
    let opened = "SELECT payload FROM jobs WHERE json_extract(payload, '$.type') = 'breaker.opened' ORDER BY seq";
    let opened = payload(&site.rows(opened, ())[0])["payload"].clone();
    assert_eq!(
        (&opened["failures"], &opened["error"], &opened["plugin"]),
        (&json!(2), &json!("no power"), &json!("work"))
    );
}

#[test]
fn a_breaker_that_is_open_is_reset_by_hand_while_the_daemon_runs_and_without_it() {
    let polled = Plugin::sh("work", SICK).set("schedule: {every: 1s}");
    let site = Site::with(polled.set("circuit_breaker: {threshold: 1, reset_after: 1d}"));
    let opened = "SELECT 1 FROM circuit_breaker WHERE opened_at IS NOT NULL";
    let daemon = site.start();
    site.wait_rows(opened);
    daemon.stop();
    let polls = || site.count("SELECT count(*) FROM job_queue");
    assert_eq!(polls(), 1);

    site.cli(["reset", "work"]).expect_code(0).expect_stdout("was open for `poll` since");
    site.cli(["reset", "work"]).expect_code(0).expect_stdout("was closed already");
    site.cli(["reset", "wrok"]).expect_code(2).expect_stderr("configured are: work");
    let daemon = site.start();
    site.wait_rows(opened);
    assert_eq!(polls(), 2);
    site.touch("well");
    site.cli(["reset", "work"]).expect_code(0).expect_stdout("is closed");
    site.wait_rows("SELECT 1 FROM job_queue WHERE status = 'succeeded'");
    daemon.stop();
}
