//! What comes of a delivery: its event, and the jobs that it causes.

use serde_json::json;

use crate::support::{Daemon, OK, Plugin, SECRET, SIGNATURE, Site};

/// Answers with the events of the payload, as they are.
const RELAY: &str = "print(json.dumps({'status': 'ok', 'events': request['event']['payload']['events']}))";

#[test]
fn githubs_published_delivery_is_taken() {
    let mut site = Site::with(Plugin::sh("work", &format!("cat > request; {OK}")));
    site.webhook(&["work"]);
    assert_eq!(SECRET, "It's a Secret to Everybody");
    let daemon = site.start();
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let answer = daemon.post("/hooks/work", &[(SIGNATURE, signature)], b"Hello, World!");
    assert_eq!(answer.status, 202, "{answer:?}");
    site.wait_job(&answer.job_id(), "succeeded");
    let request: serde_json::Value = serde_json::from_str(&site.read("plugins/work/request")).unwrap();
    let event = &request["event"];
    assert_eq!((&event["payload"], &event["type"]), (&json!({"raw": "Hello, World!"}), &json!("webhook")));
    assert_eq!((&event["source"], event.get("dedupe_key")), (&json!("webhook"), None));
    daemon.stop();
}

/// A relay with three targets.
fn fan() -> Site {
    let mut site = Site::with(Plugin::python("relay", RELAY));
    for target in ["a", "b", "c"] {
        site.plugin(Plugin::sh(target, OK)).route("relay", "e", target);
    }
    site.webhook(&["relay"]);
    site
}

/// Delivers events with these keys, and waits until all that they cause has succeeded. How many jobs each target has.
#[track_caller]
fn deliver(site: &Site, daemon: &Daemon, keys: &[&str]) -> Vec<i64> {
    let events: Vec<_> = keys.iter().map(|key| json!({"type": "e", "dedupe_key": key})).collect();
    let answer = daemon.deliver("/hooks/relay", &[], json!({ "events": events }).to_string().as_bytes());
    assert_eq!(answer.status, 202);
    site.wait_job(&answer.job_id(), "succeeded");
    site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE status <> 'succeeded')");
    let count = |target| site.count(&format!("SELECT count(*) FROM job_queue WHERE plugin = '{target}'"));
    ["a", "b", "c"].map(count).into()
}

#[test]
fn a_key_that_has_succeeded_is_routed_no_more_and_its_parent_still_succeeds() {
    let site = fan();
    let daemon = site.start();
    assert_eq!(deliver(&site, &daemon, &["old"]), [1, 1, 1]);
    assert_eq!(deliver(&site, &daemon, &["old"]), [1, 1, 1], "nothing is new");
    assert_eq!(deliver(&site, &daemon, &["old", "new"]), [2, 2, 2], "the new one only");
    assert_eq!(deliver(&site, &daemon, &["new", "old"]), [2, 2, 2]);
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'relay'"), 4);
    assert_eq!(site.count("SELECT count(*) FROM job_log WHERE status <> 'succeeded'"), 0);
    daemon.wait_log("INFO", "duplicate not enqueued");
    daemon.stop();
}

#[test]
fn a_key_holds_for_each_target_of_its_own() {
    let mut site = fan();
    let daemon = site.start();
    assert_eq!(deliver(&site, &daemon, &["k"]), [1, 1, 1]);
    daemon.stop();
    site.plugin(Plugin::sh("d", OK)).route("relay", "e", "d");
    let daemon = site.start();
    assert_eq!(deliver(&site, &daemon, &["k"]), [1, 1, 1]);
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'd'"), 1, "it has not seen it");
    daemon.stop();
}

#[test]
fn equal_deliveries_that_wait_together_all_run() {
    let mut site = Site::with(Plugin::sh("work", &format!("while [ ! -e \"$IT/go\" ]; do sleep 0.02; done; {OK}")));
    site.webhook_with(&["work"], ", dedupe_header: X-Delivery");
    let daemon = site.start();
    let deliver = || daemon.deliver("/hooks/work", &[("X-Delivery", "k")], b"{}");
    let (first, second) = (deliver(), deliver());
    assert_eq!((first.status, second.status), (202, 202));
    assert_ne!(first.job_id(), second.job_id());
    site.touch("go");
    site.wait_job(&second.job_id(), "succeeded");
    assert_eq!(deliver().status, 200);
    daemon.stop();
}

#[test]
fn each_job_of_a_chain_knows_where_it_came_from() {
    let forward =
        "print(json.dumps({'status': 'ok', 'events': [{'type': 'x'}, {'type': 'e', 'payload': request['event']}]}))";
    let mut site = Site::with(Plugin::python("one", forward));
    site.plugin(Plugin::python("two", forward)).plugin(Plugin::python("three", forward));
    site.plugin(Plugin::sh("four", OK));
    site.route("one", "e", "two").route("two", "e", "three").route("three", "e", "four").webhook(&["one"]);
    let daemon = site.start();
    let id = daemon.deliver("/hooks/one", &[], b"{}").job_id();
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'four' AND status = 'succeeded'");
    daemon.stop();
    let jobs = site.rows("SELECT * FROM jobs ORDER BY seq", ());
    assert_eq!(
        jobs.iter().map(|job| job["plugin"].as_str().unwrap()).collect::<Vec<_>>(),
        ["one", "two", "three", "four"]
    );
    assert_eq!((&jobs[0]["id"], &jobs[0]["hops"], &jobs[0]["parent_job_id"]), (&json!(id), &json!(0), &json!(null)));
    for (hops, pair) in jobs.windows(2).enumerate() {
        let [parent, child] = pair else { unreachable!() };
        assert_eq!(child["parent_job_id"], parent["id"]);
        assert_eq!((&child["hops"], &child["submitted_by"]), (&json!(hops + 1), &json!("route")));
        let event: serde_json::Value = serde_json::from_str(child["payload"].as_str().unwrap()).unwrap();
        assert_eq!((&event["event_id"], &event["source"]), (&child["source_event_id"], &parent["plugin"]));
        let parent_id = uuid::Uuid::parse_str(parent["id"].as_str().unwrap()).unwrap();
        let expected = uuid::Uuid::new_v5(&parent_id, b"1");
        assert_eq!(child["source_event_id"], expected.to_string(), "of the job and the event's place");
        let inner: serde_json::Value = serde_json::from_str(parent["payload"].as_str().unwrap()).unwrap();
        assert_eq!(event["payload"], inner, "the whole event went on");
    }
}
