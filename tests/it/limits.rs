//! What a plugin may print, and what happens beyond it.

use serde_json::{Value, json};

use crate::support::{Plugin, Site};

/// The most that a plugin may remember, bytes of JSON.
const STATE_LIMIT: usize = 1_048_576;

/// Runs the plugin `work` once through a daemon; the job, its attempt, and the exit code of `run`.
fn run_once(plugin: Plugin) -> (Site, Value, Value) {
    let site = Site::with(plugin.set("retry: {max_attempts: 1}"));
    let daemon = site.start();
    let ran = site.cli(["run", "work", "--json"]);
    let (job, attempt) = (site.row("SELECT * FROM jobs", ()), site.row("SELECT * FROM job_log", ()));
    assert_eq!(ran.code, Some(i32::from(job["status"] != "succeeded")), "{ran:?}");
    // Whatever it was, the next one is served.
    assert!(site.cli(["status"]).code == Some(0));
    daemon.stop();
    (site, job, attempt)
}

#[track_caller]
fn assert_protocol_error(plugin: Plugin, error: &str) -> Value {
    let (site, job, attempt) = run_once(plugin);
    assert_eq!((&job["status"], &attempt["status"]), (&json!("dead"), &json!("failed")));
    let told = attempt["error"].as_str().unwrap();
    assert!(told.starts_with("protocol error: ") && told.contains(error), "{told}");
    assert_eq!(job["last_error"], attempt["error"]);
    assert_eq!(site.count("SELECT count(*) FROM plugin_state"), 0);
    attempt
}

#[test]
fn twelve_megabytes_of_stdout_fail_and_their_beginning_is_kept() {
    // A whole, valid answer: only its size is wrong.
    let script =
        "sys.stdout.write('{\"status\": \"ok\", \"state_updates\": {\"a\": 1}, \"x\": \"' + 'ü' * (6 << 20) + '\"}')";
    let attempt = assert_protocol_error(Plugin::python("work", script), "stdout exceeded 10 MB");
    let kept = attempt["result"].as_str().unwrap();
    assert!(kept.starts_with("{\"status\": \"ok\"") && kept.contains("[cut: "), "{}", &kept[..80]);
    assert!((65_000..66_000).contains(&kept.len()), "{}", kept.len());
    assert_eq!(attempt["exit_code"], 0, "the rest was read, not refused");
}

#[test]
fn just_under_ten_megabytes_are_an_answer() {
    let script =
        "head = '{\"status\": \"ok\", \"x\": \"'\nsys.stdout.write(head + 'x' * ((10 << 20) - len(head) - 2) + '\"}')";
    let (_site, job, _) = run_once(Plugin::python("work", script));
    assert_eq!(job["status"], "succeeded");
}

#[test]
fn a_plugin_may_print_before_it_reads_and_need_not_read_at_all() {
    let big = format!("\"{}\"", "p".repeat(1 << 20));
    for (script, handled) in [
        (
            "sys.stderr.write('x' * 300_000); sys.stderr.flush()\n\
          sys.stdout.write(' ' * 300_000); sys.stdout.flush()\n\
          n = len(sys.stdin.buffer.read())\nprint(json.dumps({'status': 'ok', 'state_updates': {'n': n}}))",
            true,
        ),
        ("print('{\"status\": \"ok\"}')", false),
    ] {
        let site = Site::with(Plugin::bare_python("work", script));
        let daemon = site.start();
        std::fs::write(site.path("payload"), &big).unwrap();
        site.cli(["run", "work", "--command", "handle", "--payload", "@payload"]).expect_code(0);
        daemon.stop();
        if handled {
            assert!(site.state("work")["n"].as_u64().unwrap() > 1 << 20);
            let stderr = site.row("SELECT stderr FROM job_log", ());
            let stderr = stderr["stderr"].as_str().unwrap();
            assert!(stderr.ends_with("[cut: 65536 of 300000 bytes kept]"), "{}", &stderr[stderr.len() - 60..]);
        }
    }
}

#[test]
fn what_is_not_one_object_is_a_protocol_error_with_its_beginning_kept() {
    for (printed, error, kept) in [
        (r"b'\xff\xfe{}'", "not valid UTF-8", "\u{fffd}\u{fffd}{}"),
        (r#"b'{"status": "ok"}{"status": "ok"}'"#, "more than one", r#"{"status": "ok"}{"status": "ok"}"#),
        (r#"b'{"status": "ok"} x'"#, "", r#"{"status": "ok"} x"#),
        ("b'[]'", "must be a JSON object", "[]"),
        ("b'null'", "must be a JSON object", "null"),
        ("b'no JSON'", "not JSON", "no JSON"),
        (r#"b'{"status": "ok", "events": [{"type": 1}]}'"#, "events", r#"{"status": "ok", "events": [{"type": 1}]}"#),
        (r#"b'{"status": "fine"}'"#, "status", r#"{"status": "fine"}"#),
        (r#"b'{}'"#, "status", "{}"),
    ] {
        let script = format!("sys.stdout.buffer.write({printed})\nsys.stderr.write('why')");
        let attempt = assert_protocol_error(Plugin::python("work", &script), error);
        assert_eq!((&attempt["result"], &attempt["stderr"]), (&json!(kept), &json!("why")));
    }
    let attempt = assert_protocol_error(Plugin::sh("work", "exit 0"), "stdout is empty");
    assert_eq!(attempt["result"], Value::Null);
}

#[test]
fn more_events_than_a_response_may_carry_are_a_protocol_error() {
    let events = |count: u32| format!("print(json.dumps({{'status': 'ok', 'events': [{{'type': 'e'}}] * {count}}}))");
    assert_protocol_error(Plugin::python("work", &events(1_001)), "1000");
    let mut site = Site::with(Plugin::python("work", &events(1_000)));
    site.plugin(Plugin::sh("sink", "exit 78")).route("work", "e", "sink");
    site.cli(["run", "work"]).expect_code(0).expect_stderr("1000 routed jobs wait");
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'sink' AND status = 'queued'"), 1_000);
}

#[test]
fn state_may_be_exactly_at_the_limit_and_not_one_byte_over() {
    let script = |bytes: usize| {
        // {"a":"..."}
        let text = bytes - 8;
        format!(
            "print(json.dumps({{'status': 'ok', 'state_updates': {{'a': 'x' * {text}}}, 'events': [{{'type': 'e'}}]}}))"
        )
    };
    let (site, job, _) = run_once(Plugin::python("work", &script(STATE_LIMIT)));
    assert_eq!(job["status"], "succeeded");
    assert_eq!(site.count("SELECT length(CAST(state AS BLOB)) FROM plugin_state") as usize, STATE_LIMIT);

    let mut site = Site::with(Plugin::python("work", &script(STATE_LIMIT + 1)).set("retry: {backoff_base: 1h}"));
    site.plugin(Plugin::sh("sink", "exit 78")).route("work", "e", "sink");
    site.cli(["run", "work"]).expect_code(1).expect_stdout("the plugin's state would be larger than 1048576 bytes");
    let jobs = site.rows("SELECT status, attempt FROM job_queue", ());
    assert_eq!(jobs, [json!({"status": "queued", "attempt": 2})], "retryable, and nothing was routed");
    assert_eq!(site.count("SELECT count(*) FROM plugin_state"), 0);
}

#[test]
fn state_merges_by_top_level_key_and_numbers_stay_as_they_are() {
    let script = r#"n=$(cat "$IT/n" 2>/dev/null || echo 0); echo $((n + 1)) > "$IT/n"
if [ "$n" = 0 ]; then echo '{"status": "ok", "state_updates": {"a": {"x": 1}, "keep": 9223372036854775807}}'
else echo '{"status": "ok", "state_updates": {"a": {"y": null}, "long": 0.1000000000000000000000000000000000000001, "none": null}, "events": null, "logs": null, "error": null, "retry": null}'
fi"#;
    let site = Site::with(Plugin::sh("work", script));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
    let state = site.row("SELECT state FROM plugin_state", ());
    assert_eq!(
        state["state"].as_str().unwrap(),
        r#"{"a":{"y": null},"keep":9223372036854775807,"long":0.1000000000000000000000000000000000000001,"none":null}"#
    );
}
