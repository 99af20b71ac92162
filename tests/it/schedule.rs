//! From a schedule to state, and from an event to the next job.

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site};

const EVENT: &str = r#"echo '{"status": "ok", "state_updates": {"seen": 1}, "events": [
  {"type": "hit", "payload": {"n": 9223372036854775807}, "dedupe_key": "k1"}, {"type": "unrouted"}]}'"#;

#[test]
fn a_scheduled_plugin_runs_and_its_state_and_its_run_are_kept() {
    let site = Site::with(
        Plugin::python(
            "counter",
            "runs = request['state'].get('runs', 0) + 1\n\
             print(json.dumps({'status': 'ok', 'state_updates': {'runs': runs}, 'logs': [{'level': 'info', 'message': 'hi'}]}))",
        )
        .set("schedule: {every: 1s}"),
    );
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM plugin_state WHERE json_extract(state, '$.runs') >= 2");
    daemon.stop();

    let runs = site.rows("SELECT * FROM jobs WHERE status = 'succeeded' ORDER BY seq", ());
    assert!(runs.len() >= 2);
    for run in &runs {
        assert_eq!((&run["submitted_by"], &run["command"]), (&json!("scheduler"), &json!("poll")));
        assert_eq!((&run["attempt"], &run["hops"], &run["parent_job_id"]), (&json!(1), &json!(0), &Value::Null));
    }
    assert_eq!(site.state("counter")["runs"], runs.len());
    let logs = site.cli(["logs", "counter", "--json"]).expect_code(0).json();
    assert_eq!(logs.as_array().unwrap().len(), runs.len());
    assert_eq!(logs[0]["logs"][0]["message"], "hi");
}

#[test]
fn a_restart_does_not_poll_again_before_the_time() {
    let mut site = Site::with(Plugin::sh("a-slow", EVENT).set("schedule: {every: 1h}"));
    // Comes after the other in each tick: once it was polled, the other was looked at.
    site.plugin(Plugin::sh("b-quick", EVENT).set("schedule: {every: 1s}"));
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'a-slow' AND status = 'succeeded'");
    daemon.stop();
    let next_run = site.row("SELECT next_run FROM schedule WHERE plugin = 'a-slow'", ());

    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_queue, service WHERE plugin = 'b-quick' AND created_at > service.started_at");
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'a-slow'"), 1);
    assert_eq!(site.row("SELECT next_run FROM schedule WHERE plugin = 'a-slow'", ()), next_run);
}

#[test]
fn no_poll_is_added_while_one_is_outstanding() {
    let mut site =
        Site::with(Plugin::sh("a-stuck", "exit 1").set("schedule: {every: 1s}").set("retry: {backoff_base: 1h}"));
    site.plugin(Plugin::sh("b-quick", OK).set("schedule: {every: 1s}"));
    let daemon = site.start();
    site.wait_rows("SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE plugin = 'b-quick') >= 3");
    daemon.stop();
    let stuck = site.row("SELECT status, attempt FROM job_queue WHERE plugin = 'a-stuck'", ());
    assert_eq!(stuck, json!({"status": "queued", "attempt": 2}));
}

#[test]
fn a_cycle_of_routes_ends_at_the_hop_limit() {
    let mut site = Site::with(Plugin::sh("loop", r#"echo '{"status": "ok", "events": [{"type": "again"}]}'"#));
    site.route("loop", "again", "loop");
    let daemon = site.start();
    site.cli(["run", "loop"]).expect_code(0);
    let last = site.wait_rows("SELECT * FROM job_queue WHERE status = 'dead'").remove(0);
    daemon.stop();
    assert_eq!(last["hops"], 33);
    assert!(last["last_error"].as_str().unwrap().contains("32"), "{last}");
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE status = 'succeeded'"), 33);
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 34);
}

#[test]
fn a_routed_duplicate_is_dropped_and_its_parent_succeeds() {
    let mut site = Site::with(Plugin::sh("source", EVENT));
    site.plugin(Plugin::sh("sink", OK)).route("source", "hit", "sink");
    let daemon = site.start();
    site.cli(["run", "source"]).expect_code(0);
    let kept = site.wait_rows("SELECT id FROM job_queue WHERE plugin = 'sink' AND status = 'succeeded'").remove(0);
    site.cli(["run", "source"]).expect_code(0);
    let logged = daemon.wait_log("INFO", "duplicate not enqueued");
    daemon.stop();
    assert_eq!((&logged["dedupe_key"], &logged["existing_job_id"]), (&json!("k1"), &kept["id"]));
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'sink'"), 1);
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'source' AND status = 'succeeded'"), 2);
}

#[test]
fn an_event_becomes_a_job_of_the_routed_plugin_with_its_origin() {
    let mut site = Site::with(Plugin::sh("source", EVENT).set("schedule: {every: 1h}"));
    site.plugin(Plugin::sh("sink", "cat > \"$IT/request\"; echo '{\"status\": \"ok\"}'"));
    // The second of two equal routes counts for nothing.
    site.route("source", "hit", "sink").route("source", "hit", "sink");
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'sink' AND status = 'succeeded'");
    daemon.stop();

    let parent = site.row("SELECT * FROM jobs WHERE plugin = 'source'", ());
    let child = site.row("SELECT * FROM jobs WHERE plugin = 'sink'", ());
    assert_eq!(child["parent_job_id"], parent["id"]);
    assert_eq!((&child["submitted_by"], &child["command"]), (&json!("route"), &json!("handle")));
    assert_eq!((&child["hops"], &child["dedupe_key"]), (&json!(1), &json!("k1")));
    // Of the commit in which the parent ended.
    assert_eq!(child["created_at"], parent["completed_at"]);

    let request: Value = serde_json::from_str(&site.read("request")).unwrap();
    let event = &request["event"];
    assert_eq!(event["event_id"], child["source_event_id"]);
    assert_eq!((&event["type"], &event["source"]), (&json!("hit"), &json!("source")));
    assert_eq!(event["payload"]["n"].as_i64(), Some(i64::MAX));
    assert_eq!(event["dedupe_key"], "k1");
    let payload: Value = serde_json::from_str(child["payload"].as_str().unwrap()).unwrap();
    assert_eq!(&payload, event);
}

#[test]
fn every_matching_route_makes_a_job() {
    let mut site = Site::with(Plugin::sh("source", EVENT));
    for sink in ["a", "b", "c"] {
        site.plugin(Plugin::sh(sink, OK));
    }
    site.route("source", "hit", "a").route("source", "hit", "b").route("source", "other", "c");
    let daemon = site.start();
    site.cli(["run", "source"]).expect_code(0);
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'b' AND status = 'succeeded'");
    daemon.stop();
    let jobs = site.rows("SELECT plugin, status FROM job_queue ORDER BY seq", ());
    let jobs: Vec<_> =
        jobs.iter().map(|job| (job["plugin"].as_str().unwrap(), job["status"].as_str().unwrap())).collect();
    assert_eq!(jobs, [("source", "succeeded"), ("a", "succeeded"), ("b", "succeeded")]);
}

#[test]
fn the_bundled_echo_polls_counts_and_handles_its_own_event() {
    let mut site = Site::new();
    site.bundled("echo", &["schedule: {every: 1h}", r#"config: {message: 'say "hi" \ ü', mode: ""}"#]);
    site.route("echo", "echo", "echo");
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_queue WHERE command = 'handle' AND status = 'succeeded'");
    daemon.stop();
    let state = site.state("echo");
    assert_eq!((&state["runs"], &state["handled"]), (&json!(1), &json!(1)));
    let logs = site.cli(["logs", "--json"]).expect_code(0).json();
    assert_eq!(logs[0]["logs"][0]["message"], r#"say "hi" \ ü"#);
    assert_eq!(logs[1]["logs"][0]["message"], r#"say "hi" \ ü: event echo from echo"#);
}

#[test]
fn the_bundled_echo_misbehaves_as_its_mode_says() {
    for (mode, log_status, error) in [
        ("error", "failed", "mode is error: hello"),
        ("protocol_error", "failed", "protocol error: stdout is not JSON"),
        ("hang", "timed_out", "timed out after 300ms"),
        ("nonsense", "failed", "config.mode must be empty, error, hang or protocol_error"),
    ] {
        let mut site = Site::new();
        let config = format!("config: {{mode: {mode}}}");
        // Short only where it has to pass: to start a few programs takes long on a busy machine.
        let timeouts = if mode == "hang" { "timeouts: {poll: 300ms}" } else { "timeouts: {poll: 60s}" };
        site.bundled("echo", &[&config, "retry: {max_attempts: 1}", timeouts]);
        let daemon = site.start();
        site.cli(["run", "echo"]).expect_code(1).expect_stderr(error);
        daemon.stop();
        let attempt = site.row("SELECT status, error FROM job_log", ());
        assert_eq!(attempt["status"], log_status, "{mode}");
        assert!(attempt["error"].as_str().unwrap().starts_with(error), "{mode}: {attempt}");
        site.wait_no_plugin_process();
    }
}

#[test]
fn the_bundled_example_reports_a_changed_file_once() {
    let mut site = Site::new();
    let watched = site.path("watched");
    std::fs::write(&watched, "one").unwrap();
    site.bundled("example", &[&format!("config: {{path: {}}}", watched.display())]);
    site.bundled("echo", &[]);
    site.route("example", "file.changed", "echo");
    let daemon = site.start();
    site.cli(["run", "example"]).expect_code(0).expect_stdout("changed, 3 bytes");
    site.cli(["run", "example"]).expect_code(0).expect_stdout("unchanged");
    std::fs::write(&watched, "three").unwrap();
    site.cli(["run", "example"]).expect_code(0).expect_stdout("changed, 5 bytes");
    site.cli(["status", "example", "--health"]).expect_code(0).expect_stdout("ok, ");
    site.cli(["run", "example", "--command", "handle"]).expect_code(0).expect_stdout("event cli from cli");
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'echo' AND status = 'succeeded'"), 2);
    assert_eq!(site.state("example")["handled"], json!({"cli": 1}));
    assert_eq!(site.state("echo")["handled"], 2);
}
