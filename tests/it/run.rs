//! `ductile run`, with a daemon and without.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site, wait_until};

/// Runs until the file `go` is there.
const GATED: &str = r#"echo $$ >> "$IT/started"
while [ ! -e "$IT/go" ]; do sleep 0.02; done
echo '{"status": "ok"}'"#;

const EVENT: &str = r#"echo '{"status": "ok", "events": [{"type": "hit"}]}'"#;

/// Keeps the event that it was given.
const KEEP: &str = "json.dump(request['event'], open(os.environ['IT'] + '/event', 'w'))\nprint('{\"status\": \"ok\"}')";

fn statuses(site: &Site) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = site.rows("SELECT plugin, status FROM job_queue ORDER BY seq", ());
    rows.iter().map(|row| (text(&row["plugin"]), text(&row["status"]))).collect()
}

#[test]
fn without_daemon_one_attempt_of_just_this_job_is_run_and_its_children_wait() {
    let mut site = Site::with(Plugin::sh("source", EVENT));
    site.plugin(Plugin::sh("sink", OK)).route("source", "hit", "sink");
    let waiting = site.cli(["run", "sink", "--detach"]).expect_code(0).expect_stderr("until `ductile start`");
    assert_eq!(waiting.stdout.trim().len(), 36);

    site.cli(["run", "source"])
        .expect_code(0)
        .expect_stdout("source poll  succeeded")
        .expect_stderr("1 routed job waits");
    let queued = [("sink", "queued"), ("source", "succeeded"), ("sink", "queued")];
    assert_eq!(statuses(&site), queued.map(|(plugin, status)| (plugin.to_owned(), status.to_owned())));

    let daemon = site.start();
    site.wait_rows("SELECT 1 WHERE (SELECT count(completed_at) FROM job_queue) = 3");
    daemon.stop();
}

#[test]
fn without_daemon_a_failing_job_is_tried_once_and_says_when_again() {
    for wait in [None, Some("--wait")] {
        let site = Site::with(Plugin::sh("work", "echo x >> \"$IT/runs\"; exit 3").set("retry: {backoff_base: 1h}"));
        let ran = site.cli(["run", "work"].into_iter().chain(wait)).expect_code(1);
        assert!(ran.stderr.contains("is tried again once ") && ran.stderr.contains("attempt 2 of 4"), "{ran:?}");
        assert!(ran.stderr.contains("ductile start"), "it says who will try again: {ran:?}");
        assert!(ran.stdout.contains("exit code 3"), "{ran:?}");
        assert_eq!(site.read("runs"), "x");
        assert_eq!(statuses(&site), [("work".to_owned(), "queued".to_owned())]);
    }
}

#[test]
fn with_a_daemon_the_first_attempt_is_shown() {
    let mut site = Site::with(Plugin::sh("good", OK));
    site.plugin(Plugin::sh("bad", "echo oops >&2; exit 3").set("retry: {backoff_base: 1h}"));
    let daemon = site.start();
    let pid = daemon.0.pid();
    site.cli(["run", "good"]).expect_code(0).expect_stdout("good poll  succeeded");
    let bad = site.cli(["run", "bad"]).expect_code(1).expect_stderr("is tried again at ");
    assert!(bad.stdout.contains("exit code 3") && bad.stdout.contains("oops"), "{bad:?}");
    let status = site.cli(["status", "--json"]).expect_code(0).json();
    assert_eq!((&status["running"], &status["holder_pid"]), (&json!(true), &json!(pid)));
    let submitted = site.rows("SELECT DISTINCT submitted_by FROM job_queue", ());
    assert_eq!(submitted, [json!({"submitted_by": "cli"})]);
    daemon.stop();
}

#[test]
fn wait_stays_until_the_job_has_succeeded_or_is_dead() {
    let second = r#"echo x >> "$IT/runs"; [ "$(wc -l < "$IT/runs")" = 2 ] || exit 1; echo '{"status": "ok"}'"#;
    let mut site = Site::with(Plugin::sh("second", second).set("retry: {backoff_base: 1ms}"));
    site.plugin(Plugin::sh("never", "exit 4").set("retry: {max_attempts: 2, backoff_base: 1ms}"));
    let daemon = site.start();
    let ran = site.cli(["run", "second", "--wait", "--json"]).expect_code(0).json();
    assert_eq!((&ran["job"]["status"], &ran["job"]["attempt"]), (&json!("succeeded"), &json!(2)));
    assert_eq!(ran["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(ran["attempts"][0]["error"], "exit code 1");
    site.cli(["run", "never", "--wait"]).expect_code(1).expect_stderr("is dead after attempt 2 of 2: exit code 4");
    daemon.stop();
}

#[test]
fn detach_prints_only_the_id_and_does_not_wait() {
    let site = Site::with(Plugin::sh("work", GATED));
    let daemon = site.start();
    let id = site.detach(["work"]);
    site.wait_file("started");
    assert_eq!(site.job(&id)["status"], "running");
    site.touch("go");
    site.wait_job(&id, "succeeded");
    daemon.stop();
}

#[test]
fn a_payload_comes_from_the_argument_a_file_or_stdin() {
    let site = Site::with(Plugin::python("work", KEEP));
    let daemon = site.start();
    let payload = r#"{"n": 12345678901234567890123456789.5, "t": "ü \" \u0000"}"#;
    std::fs::write(site.path("payload.json"), format!("{payload}\n")).unwrap();
    let event = |arguments: &[&str], stdin: &str| {
        let mut all = vec!["run", "work", "--command", "handle"];
        all.extend(arguments);
        site.cli_with_stdin(all, stdin).expect_code(0);
        let kept =
            site.job(site.rows("SELECT id FROM job_queue ORDER BY seq DESC LIMIT 1", ())[0]["id"].as_str().unwrap());
        (serde_json::from_str::<Value>(&site.read("event")).unwrap(), kept["payload"].as_str().unwrap().to_owned())
    };
    for (arguments, stdin) in
        [(["--payload", payload], ""), (["--payload", "@payload.json"], ""), (["--payload", "-"], payload)]
    {
        let (event, stored) = event(&arguments, stdin);
        assert_eq!((&event["type"], &event["source"]), (&json!("cli"), &json!("cli")));
        assert_eq!(event["payload"]["t"], "ü \" \0");
        assert!(stored.contains("12345678901234567890123456789.5"), "numbers pass as they are: {stored}");
        assert!(event["event_id"].is_string() && event["timestamp"].is_string(), "{event}");
    }
    let (event, _) = event(&["--event-type", "greeting", "--dedupe-key", "k"], "");
    assert_eq!(
        (&event["type"], &event["payload"], &event["dedupe_key"]),
        (&json!("greeting"), &json!({}), &json!("k"))
    );
    daemon.stop();
}

#[test]
fn a_bad_payload_is_refused_before_anything_is_queued() {
    let site = Site::with(Plugin::sh("work", OK));
    site.cli(["run", "work"]).expect_code(0);
    for (arguments, code, message) in [
        (["--command=handle", "--payload={"], 2, "`--payload` is not JSON"),
        (["--command=handle", "--payload=-"], 2, "standard input is not JSON"),
        (["--command=handle", "--payload=@none"], 1, "`none` cannot be read"),
        (["--command=poll", "--payload={}"], 2, "for `--command handle` only"),
        (["--command=poll", "--event-type=x"], 2, "for `--command handle` only"),
    ] {
        let ran = site.cli(["run", "work"].into_iter().chain(arguments)).expect_code(code).expect_stderr(message);
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 1);
}

#[test]
fn what_cannot_be_run_is_refused_with_the_reason() {
    let mut site = Site::with(Plugin::sh("work", OK).commands("poll"));
    site.plugin(Plugin::sh("off", OK).set("enabled: false"));
    let check = |site: &Site| {
        for (arguments, code, message) in [
            (&["none"][..], 2, "plugin `none` is not configured; configured are: off, work"),
            (&["off"], 2, "plugin `off` is disabled"),
            (&["work", "--command", "handle"], 2, "plugin `work` has no command `handle`; its manifest declares: poll"),
            (&["work", "--command", "dance"], 2, "dance"),
            (&["work", "--wait", "--detach"], 2, "--detach"),
        ] {
            let ran = site.cli(["run"].iter().chain(arguments)).expect_code(code).expect_stderr(message);
            assert_eq!(ran.stdout, "");
        }
    };
    check(&site);
    let daemon = site.start();
    check(&site);
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 0);
    daemon.stop();
}

#[test]
fn a_dedupe_key_keeps_a_second_job_away_once_the_first_has_succeeded() {
    let site = Site::with(
        Plugin::sh("work", "echo x >> \"$IT/runs\"; [ -e \"$IT/go\" ] || exit 1; echo '{\"status\": \"ok\"}'")
            .set("retry: {max_attempts: 1}"),
    );
    let keyed = ["run", "work", "--dedupe-key", "k"];
    site.cli(keyed).expect_code(1);
    site.touch("go");
    let first = site.cli(keyed.into_iter().chain(["--json"])).expect_code(0).json();
    let id = first["job"]["id"].as_str().unwrap();
    assert_eq!(site.cli(keyed).expect_code(0).stdout.trim(), id);
    let daemon = site.start();
    assert_eq!(site.cli(keyed).expect_code(0).stdout.trim(), id);
    assert_eq!(site.detach(["work", "--dedupe-key", "k"]), id);
    site.cli(["run", "work", "--dedupe-key", "other"]).expect_code(0);
    site.cli(["run", "work", "--command", "handle", "--dedupe-key", "k"]).expect_code(0);
    daemon.stop();
    assert_eq!(site.read("runs").lines().count(), 4);
}

#[test]
fn a_full_queue_refuses_and_leaves_nothing() {
    let mut site = Site::with(Plugin::sh("work", GATED));
    site.service("max_queue_depth", "2");
    let daemon = site.start();
    site.detach(["work"]);
    site.wait_file("started");
    // One runs, two wait.
    let ids = [site.detach(["work"]), site.detach(["work"])];
    for arguments in [&["run", "work"][..], &["run", "work", "--detach"]] {
        let refused = site.cli(arguments).expect_code(1).expect_stderr("the queue is full");
        assert_eq!(refused.stdout, "");
    }
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 3);
    site.touch("go");
    for id in ids {
        site.wait_job(&id, "succeeded");
    }
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
}

#[test]
fn children_that_do_not_fit_fail_their_parent_and_are_not_dropped() {
    let three = r#"echo '{"status": "ok", "state_updates": {"a": 1}, "events": [{"type": "hit"}, {"type": "hit"}, {"type": "hit"}]}'"#;
    let mut site = Site::with(Plugin::sh("source", three).set("retry: {max_attempts: 2, backoff_base: 1h}"));
    site.plugin(Plugin::sh("sink", OK)).route("source", "hit", "sink").service("max_queue_depth", "2");
    site.cli(["run", "source"]).expect_code(1).expect_stdout("its 3 routed jobs do not fit on the queue");
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'sink'"), 0);
    assert_eq!(site.count("SELECT count(*) FROM plugin_state"), 0, "no state ahead of its events");
    let job = site.row("SELECT status, attempt FROM job_queue", ());
    assert_eq!(job, json!({"status": "queued", "attempt": 2}));
}

#[test]
fn ctrl_c_leaves_the_job_with_the_daemon_and_prints_its_id() {
    let site = Site::with(Plugin::sh("work", GATED));
    let daemon = site.start();
    let run = site.spawn(["run", "work"]);
    site.wait_file("started");
    run.signal(Signal::SIGINT);
    let ran = run.wait().expect_code(1);
    let id = site.row("SELECT id FROM job_queue", ())["id"].as_str().unwrap().to_owned();
    assert!(ran.stderr.contains(&id), "{ran:?}");
    site.touch("go");
    site.wait_job(&id, "succeeded");
    assert_eq!(site.read("started").lines().count(), 1);
    daemon.stop();
}

#[test]
fn ctrl_c_without_daemon_puts_the_job_back_uncharged_and_prints_its_id() {
    let site = Site::with(Plugin::sh("work", GATED));
    let run = site.spawn(["run", "work"]);
    site.wait_file("started");
    run.signal(Signal::SIGINT);
    let ran = run.wait().expect_code(1);
    let job = site.row("SELECT * FROM jobs", ());
    assert!(ran.stderr.contains(job["id"].as_str().unwrap()), "{ran:?}");
    assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(1)));
    assert_eq!(site.count("SELECT count(*) FROM job_log"), 0);
    site.wait_no_plugin_process();
}

#[test]
fn a_run_whose_daemon_is_killed_says_so() {
    let site = Site::with(Plugin::sh("work", GATED));
    let daemon = site.start();
    let run = site.spawn(["run", "work"]);
    site.wait_file("started");
    daemon.kill();
    let ran = run.wait().expect_code(1);
    let id = site.row("SELECT id FROM job_queue", ())["id"].as_str().unwrap().to_owned();
    assert!(ran.stderr.contains(&id) && ran.stderr.contains("daemon has ended"), "{ran:?}");
    wait_until("the plugin is still there", || !site.plugin_processes().is_empty());
}

#[test]
fn a_run_without_daemon_recovers_what_a_killed_one_left() {
    let site = Site::with(Plugin::sh("work", GATED));
    let daemon = site.start();
    let id = site.detach(["work"]);
    site.wait_file("started");
    daemon.kill();
    site.touch("go");
    site.cli(["run", "work"]).expect_code(0);
    let job = site.job(&id);
    assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(2)));
    assert_eq!(site.attempts(&id)[0]["error"], "interrupted");
}
