//! Snapshots that become facts, and the state that mirrors the newest of them.

use serde_json::{Value, json};

use crate::support::{Plugin, Site, wait_until};

const RULE: &str = "fact_outputs:
  - {when: {command: poll}, from: state_updates, fact_type: watch.snapshot, compatibility_view: mirror_object}";

/// `poll` says how often it was asked; `handle` returns what its payload holds as state updates.
const WATCH: &str = r#"state = request["state"]
updates = request["payload"] if request["command"] == "handle" else {"n": state.get("n", 0) + 1}
print(json.dumps({"status": "ok", "result": "looked", "state_updates": updates}))"#;

fn watch() -> Plugin {
    Plugin::python("watch", WATCH).protocol_2().declare(RULE)
}

fn facts(site: &Site) -> Vec<Value> {
    site.rows("SELECT * FROM plugin_facts ORDER BY seq", ())
}

#[test]
fn each_snapshot_is_a_fact_and_all_of_the_state() {
    let site = Site::with(watch());
    let daemon = site.start();
    let handle = |payload: &str| site.cli(["run", "watch", "--command", "handle", "--payload", payload]).expect_code(0);
    site.cli(["run", "watch"]).expect_code(0);
    handle(r#"{"extra": [1.50]}"#);
    assert_eq!(site.state("watch"), json!({"n": 1, "extra": [1.5]}), "no fact: merged");
    // Nothing to tell is no snapshot.
    handle("{}");
    site.cli(["run", "watch"]).expect_code(0);
    assert_eq!(site.state("watch"), json!({"n": 2}), "a fact: replaced");

    let found = facts(&site);
    let told =
        |fact: &Value| json!([fact["seq"], fact["plugin_name"], fact["fact_type"], fact["command"], fact["fact_json"]]);
    let expected = [
        json!([1, "watch", "watch.snapshot", "poll", "{\"n\":1}"]),
        json!([2, "watch", "watch.snapshot", "poll", "{\"n\":2}"]),
    ];
    assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected);
    let polls = site.rows("SELECT id, completed_at FROM job_queue WHERE command = 'poll' ORDER BY seq", ());
    for (fact, poll) in found.iter().zip(&polls) {
        assert_eq!((&fact["job_id"], &fact["created_at"]), (&poll["id"], &poll["completed_at"]));
    }
    let shown = site.cli(["plugins", "watch", "--facts", "--json"]).expect_code(0).json();
    let expected = json!({
        "seq": 2, "plugin_name": "watch", "fact_type": "watch.snapshot", "job_id": polls[1]["id"], "command": "poll",
        "fact_json": {"n": 2}, "created_at": polls[1]["completed_at"],
    });
    assert_eq!((shown.as_array().unwrap().len(), &shown[1]), (2, &expected));
    let shown = site.cli(["plugins", "watch", "--facts", "--limit", "1"]).expect_code(0);
    assert!(
        shown.stdout.contains("watch.snapshot  2  by poll") && !shown.stdout.contains("\"n\":1"),
        "{}",
        shown.stdout
    );
    site.cli(["plugins", "--facts"]).expect_code(2);
    site.cli(["plugins", "none", "--facts"]).expect_code(2).expect_stderr("plugin `none` is not configured");
    daemon.stop();
}

#[test]
fn facts_and_state_are_one_whenever_the_daemon_is_killed() {
    const POLLS: i64 = 25;
    let site = Site::with(watch().set("retry: {max_attempts: 100}"));
    let polls: Vec<_> = (0..POLLS).map(|_| site.detach(["watch"])).collect();
    for _ in 0..4 {
        let known = facts(&site).len();
        let daemon = site.start();
        wait_until("progress", || facts(&site).len() > known + 2 || facts(&site).len() == polls.len());
        daemon.kill();
        let found = facts(&site);
        assert_eq!(site.state("watch").to_string(), found.last().unwrap()["fact_json"].as_str().unwrap());
    }
    let daemon = site.start();
    polls.iter().for_each(|poll| drop(site.wait_job(poll, "succeeded")));
    daemon.stop();
    // Each snapshot was made from the one before it: none is missing, none was stated twice.
    let told: Vec<_> = facts(&site).iter().map(|fact| fact["fact_json"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, (1..=POLLS).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>());
    assert_eq!(site.count("SELECT count(DISTINCT job_id) FROM plugin_facts"), POLLS);
    assert_eq!(site.state("watch"), json!({"n": POLLS}));
}

#[test]
fn a_snapshot_that_is_too_large_is_no_fact_and_one_that_fits_exactly_is() {
    let script = r#"size = int(os.environ["SIZE"])
print(json.dumps({"status": "ok", "result": "r", "state_updates": {"a": "x" * (size - 8)}}))"#;
    let sized = |size: usize| {
        let plugin = Plugin::python("watch", script).protocol_2().declare(RULE).set("retry: {max_attempts: 1}");
        plugin.env("SIZE", &format!("\"{size}\""))
    };
    let mut site = Site::with(sized(1_048_576));
    site.cli(["run", "watch"]).expect_code(0);
    site.plugin(sized(1_048_577));
    site.cli(["run", "watch"]).expect_code(1).expect_stderr("the plugin's state would be larger than 1048576 bytes");
    assert_eq!(site.count("SELECT length(fact_json) FROM plugin_facts"), 1_048_576);
    assert_eq!(site.count("SELECT length(state) FROM plugin_state"), 1_048_576);
    let shown = site.cli(["plugins", "watch", "--facts"]).expect_code(0).stdout;
    assert!(shown.len() < 1_000 && shown.trim_end().ends_with(" ..."), "{}", shown.len());
}

#[test]
fn facts_expire_but_for_the_newest_of_each_type() {
    let two = "fact_outputs:
  - {when: {command: poll}, from: state_updates, fact_type: watch.snapshot}
  - {when: {command: poll}, from: state_updates, fact_type: watch.other}";
    let mut site = Site::with(watch().declare(two));
    let daemon = site.start();
    for _ in 0..3 {
        site.cli(["run", "watch"]).expect_code(0);
    }
    assert_eq!(facts(&site).len(), 6);
    site.service("fact_retention", "0s").write_config();
    site.cli(["reload"]).expect_code(0);
    site.wait_rows("SELECT 1 WHERE (SELECT count(*) FROM plugin_facts) = 2");
    let left = facts(&site);
    assert_eq!((&left[0]["fact_type"], &left[1]["fact_type"]), (&json!("watch.snapshot"), &json!("watch.other")));
    assert!(left.iter().all(|fact| fact["fact_json"] == "{\"n\":3}"), "{left:?}");
    assert_eq!(site.count("SELECT count(*) FROM job_log"), 3, "that is kept for longer");
    daemon.stop();
}

#[test]
fn what_a_killed_daemon_had_not_settled_is_no_fact() {
    let script = r#"open(os.path.join(os.environ["IT"], "ready"), "a").write("x\n")
while not os.path.exists(os.path.join(os.environ["IT"], "go")): time.sleep(0.01)
print(json.dumps({"status": "ok", "result": "r", "state_updates": {"n": 1}}))"#;
    let site = Site::with(Plugin::python("watch", script).protocol_2().declare(RULE));
    let daemon = site.start();
    let poll = site.detach(["watch"]);
    site.wait_file("ready");
    daemon.kill();
    site.touch("go");
    let daemon = site.start();
    site.wait_job(&poll, "succeeded");
    daemon.stop();
    let found = facts(&site);
    assert_eq!((found.len(), &found[0]["job_id"]), (1, &json!(poll)));
}
