//! Deliveries that cannot be run, or not now.

use serde_json::json;

use crate::support::{OK, Plugin, Site, set_mode};

#[test]
fn a_disabled_plugin_has_no_endpoint() {
    let mut site = Site::with(Plugin::sh("off", OK).set("enabled: false"));
    site.plugin(Plugin::sh("on", OK)).webhook(&["off", "on"]);
    let daemon = site.start();
    assert_eq!(daemon.deliver("/hooks/off", &[], b"{}").status, 404);
    assert_eq!(daemon.deliver("/hooks/on", &[], b"{}").status, 202);
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'off'"), 0);
}

#[test]
fn a_plugin_that_is_not_loaded_finds_its_deliveries_waiting() {
    let mut site = Site::with(Plugin::sh("work", OK).set("retry: {max_attempts: 3}"));
    site.plugin(Plugin::sh("other", OK)).webhook(&["work", "other"]);
    let entrypoint = site.path("plugins/work/run");
    set_mode(&entrypoint, 0o644);
    let daemon = site.start();
    daemon.wait_log("ERROR", "plugin is not loaded");
    let answer = daemon.deliver("/hooks/work", &[], b"{}");
    assert_eq!(answer.status, 202, "{answer:?}");
    // One behind it is not held up.
    site.wait_job(&daemon.deliver("/hooks/other", &[], b"{}").job_id(), "succeeded");
    daemon.stop();
    let job = site.job(&answer.job_id());
    assert_eq!((&job["status"], &job["attempt"], &job["max_attempts"]), (&json!("queued"), &json!(1), &json!(3)));

    set_mode(&entrypoint, 0o755);
    let daemon = site.start();
    site.wait_job(&answer.job_id(), "succeeded");
    daemon.stop();
}

#[test]
fn a_full_queue_asks_to_come_back_and_then_takes_the_same_delivery() {
    let script = format!("echo x >> \"$IT/started\"; while [ ! -e \"$IT/go\" ]; do sleep 0.02; done; {OK}");
    let mut site = Site::with(Plugin::sh("work", &script));
    site.service("max_queue_depth", "2").webhook_with(&["work"], ", dedupe_header: X-Delivery");
    let daemon = site.start();
    let deliver = |key| daemon.deliver("/hooks/work", &[("X-Delivery", key)], b"{}");
    assert_eq!(deliver("1").status, 202);
    // It counts no more once it runs.
    site.wait_file("started");
    assert_eq!((deliver("2").status, deliver("3").status), (202, 202));
    let full = deliver("4");
    assert_eq!((full.status, full.body.as_str()), (503, r#"{"error":"Service Unavailable"}"#));
    assert_eq!(full.header("retry-after"), Some("30"));
    daemon.wait_log("ERROR", "the queue is full");
    site.touch("go");
    site.wait_rows("SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE status = 'succeeded') = 3");
    let again = deliver("4");
    assert_eq!(again.status, 202, "{again:?}");
    site.wait_job(&again.job_id(), "succeeded");
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 4);
}

#[test]
fn bodies_take_no_more_memory_than_all_may_and_give_it_back() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook_with(&["work"], ", max_body_size: 100MB");
    let daemon = site.start();
    let body = vec![b'x'; (64 << 20) + 1];
    for _ in 0..2 {
        let refused = daemon.post("/hooks/work", &[], &body);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("30")), "{refused:?}");
        daemon.wait_log("ERROR", "webhook refused: too many bodies are in memory");
        assert_eq!(
            daemon.post("/hooks/work", &[], &body[1..]).status,
            403,
            "there is room for it, but it is not signed"
        );
    }
    assert_eq!(daemon.deliver("/hooks/work", &[], b"{}").status, 202);
    daemon.stop();
}
