//! `schedules`: several for one plugin, each with its command, payload and time.

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site};

/// Writes down each request, one a line.
const NOTE: &str =
    "open(os.environ['IT'] + '/requests', 'a').write(json.dumps(request) + '\\n')\nprint('{\"status\": \"ok\"}')";

fn work() -> Plugin {
    Plugin::python("work", NOTE)
}

#[test]
fn each_schedule_asks_for_its_own_at_its_own_time() {
    let handle = "{id: digest, command: handle, every: 1d, payload: {to: \"${WHO}\", list: [1, true]}}";
    let mut site =
        Site::with(work().set("schedule: {every: 1h}").set(&format!("schedules: [{handle}, {{id: full, every: 1w}}]")));
    site.env("WHO", "me");
    site.cli(["check"]).expect_code(0);
    let daemon = site.start();
    site.wait_rows("SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE status = 'succeeded') = 3");
    let jobs = site.rows("SELECT command, schedule, submitted_by FROM job_queue ORDER BY seq", ());
    let job = |command, id| json!({"command": command, "schedule": id, "submitted_by": "scheduler"});
    assert_eq!(jobs, [job("poll", "default"), job("handle", "digest"), job("poll", "full")]);
    let requests: Vec<Value> = site.read("requests").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = &requests[1]["event"];
    assert_eq!((&event["type"], &event["source"]), (&json!("schedule.digest"), &json!("scheduler")));
    assert_eq!(event["payload"], json!({"to": "me", "list": [1, true]}));
    assert_eq!((requests[0].get("event"), requests[2].get("event")), (None, None));

    // In one line the nearest one, in detail all of them.
    let status = site.cli(["status", "--json"]).expect_code(0).json();
    let schedules = status["plugins"][0]["schedules"].as_array().unwrap();
    let next: Vec<_> = schedules.iter().map(|schedule| schedule["next_run"].as_str().unwrap()).collect();
    assert_eq!(status["plugins"][0]["next_run"], *next.iter().min().unwrap());
    let ids: Vec<_> = schedules.iter().map(|schedule| (&schedule["id"], &schedule["command"])).collect();
    let (poll, handle) = (json!("poll"), json!("handle"));
    assert_eq!(ids, [(&json!("default"), &poll), (&json!("digest"), &handle), (&json!("full"), &poll)]);
    for command in ["status", "plugins"] {
        let shown = site.cli([command, "work"]).expect_code(0).expect_stdout("digest: handle every 1d");
        assert!(
            shown.stdout.contains("default: poll every 1h") && shown.stdout.contains("full: poll every"),
            "{shown:?}"
        );
    }
    let digest = site.row("SELECT id FROM job_queue WHERE schedule = 'digest'", ());
    site.cli(["queue", "show", digest["id"].as_str().unwrap()])
        .expect_code(0)
        .expect_stdout("scheduler, schedule digest");
    daemon.stop();
}

#[test]
fn a_schedule_whose_job_waits_holds_back_itself_alone() {
    let script = "if request['command'] == 'handle':\n    sys.exit(1)\nprint('{\"status\": \"ok\"}')";
    let plugin = Plugin::python("work", script).set("schedule: {every: 1s}").set("retry: {backoff_base: 1h}");
    let site = Site::with(plugin.set("schedules: [{id: stuck, command: handle, every: 1s}]"));
    let daemon = site.start();
    site.wait_rows(
        "SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE schedule = 'default' AND status = 'succeeded') >= 3",
    );
    daemon.stop();
    let stuck = site.rows("SELECT status, attempt FROM job_queue WHERE schedule = 'stuck'", ());
    assert_eq!(stuck, [json!({"status": "queued", "attempt": 2})]);
}

#[test]
fn each_command_has_a_breaker_and_reset_closes_all() {
    let script = "if request['command'] == 'handle':\n    sys.exit(1)\nprint('{\"status\": \"ok\"}')";
    let plugin = Plugin::python("work", script).set("schedule: {every: 1s}").set("retry: {max_attempts: 1}");
    let plugin = plugin.set("circuit_breaker: {threshold: 2, reset_after: 1h}");
    let site = Site::with(plugin.set("schedules: [{id: bad, command: handle, every: 1s}]"));
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM circuit_breaker WHERE command = 'handle' AND opened_at IS NOT NULL");
    let dead = site.count("SELECT count(*) FROM job_queue WHERE status = 'dead'");
    site.wait_rows(
        "SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE schedule = 'default' AND status = 'succeeded') >= 4",
    );
    assert_eq!((dead, site.count("SELECT count(*) FROM job_queue WHERE status = 'dead'")), (2, 2));
    let status = site.cli(["status", "--json"]).expect_code(0).json();
    let breaker = &status["plugins"][0]["breaker"];
    assert_eq!((&breaker["state"], &breaker["command"]), (&json!("open"), &json!("handle")));
    site.cli(["reset", "work"]).expect_code(0).expect_stdout("was open for `handle` since");
    site.wait_rows("SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE status = 'dead') >= 3");
    daemon.stop();
}

#[test]
fn a_reload_adds_changes_and_removes_schedules() {
    let mut site = Site::with(work().set("schedules: [{id: a, every: 1h}, {id: b, every: 1h}]"));
    let daemon = site.start();
    site.wait_rows("SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE status = 'succeeded') = 2");
    let rows = || site_rows(&site);
    let before = rows();
    assert_eq!(before.iter().map(|row| &row["schedule"]).collect::<Vec<_>>(), ["a", "b"]);
    let a = before[0].clone();

    let changed = work()
        .set("schedules: [{id: a, every: 1h, payload: {}}, {id: b, every: 2h}, {id: c, command: handle, every: 1d}]");
    site.plugin(changed);
    site.cli(["reload"]).expect_code(0).expect_stdout("plugin `work`: changed");
    site.wait_rows("SELECT 1 FROM job_queue WHERE schedule = 'c' AND status = 'succeeded'");
    let after = site_rows(&site);
    assert_eq!(after[0], a, "it has not changed");
    assert_eq!(after[1]["anchor"], before[1]["anchor"]);
    assert_ne!(after[1]["next_run"], before[1]["next_run"]);

    site.plugin(work().set("schedules: [{id: b, every: 2h}]"));
    site.cli(["reload"]).expect_code(0);
    assert_eq!(site_rows(&site), [after[1].clone()]);
    site.plugin(work());
    site.cli(["reload"]).expect_code(0);
    assert_eq!(site_rows(&site), [Value::Null; 0]);
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 3);
}

fn site_rows(site: &Site) -> Vec<Value> {
    site.rows("SELECT schedule, anchor, next_run FROM schedule ORDER BY schedule", ())
}

#[test]
fn a_command_that_is_not_declared_is_an_error_at_its_place_and_an_unseen_payload_a_warning() {
    let mut site =
        Site::with(Plugin::sh("work", OK).commands("poll").set("schedules: [{id: a, command: handle, every: 1h}]"));
    let error =
        "plugins.work.schedules[0]: schedule `a` asks plugin `work` for `handle`, which its manifest does not declare";
    site.cli(["check"]).expect_code(78).expect_stderr(error);
    site.cli(["start"]).expect_code(78).expect_stderr(error);
    site.plugin(Plugin::sh("work", OK).set("schedules: [{id: a, every: 1h, payload: {n: 1}}]"));
    let warning = "plugin `work`: it does not see the `payload` of its schedule `a`";
    site.cli(["check"]).expect_code(0).expect_stderr(warning);
}
