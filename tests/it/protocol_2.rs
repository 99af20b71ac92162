//! Protocol 2 beside protocol 1: commands of any name, what they are given and what they say, and what manifests declare.

mod chain;
mod facts;
mod field;
mod languages;

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site, exchange};

/// Says what it was asked: the whole request is its event's payload, the command its result.
const TELL: &str = r#"print(json.dumps({"status": "ok", "result": "asked: " + request["command"], "state_updates": {"request": request}}))"#;

#[test]
fn a_request_has_payload_and_context_and_the_result_is_shown_wherever_attempts_are() {
    let mut site = Site::with(Plugin::python("tell", TELL).protocol_2().commands("poll, handle, token_refresh"));
    site.plugin(Plugin::python("old", TELL));
    let daemon = site.start();
    let asked = |plugin: &str, arguments: &[&str]| {
        site.cli(["run", plugin].iter().chain(arguments)).expect_code(0);
        let mut request = site.state(plugin)["request"].take();
        let fields = request.as_object_mut().unwrap();
        for (field, is) in [("job_id", Value::is_string as fn(&Value) -> bool), ("deadline_at", Value::is_string)] {
            assert!(fields.remove(field).is_some_and(|value| is(&value)), "{field}");
        }
        fields.remove("state").unwrap();
        request
    };
    let expected = |command: &str, payload: Value| json!({"protocol": 2, "command": command, "config": {}, "context": {}, "payload": payload});
    assert_eq!(asked("tell", &[]), expected("poll", json!({})));
    assert_eq!(asked("tell", &["--payload", r#"{"a": [1]}"#]), expected("poll", json!({"a": [1]})));
    let refresh = ["--command", "token_refresh"];
    assert_eq!(asked("tell", &refresh), expected("token_refresh", json!({})));
    let with_text = [&refresh[..], &["--payload", "\"soon\""]].concat();
    assert_eq!(asked("tell", &with_text), expected("token_refresh", json!("soon")));

    let mut handle = asked("tell", &["--command", "handle", "--payload", r#"{"a": 1}"#, "--event-type", "t"]);
    let event = handle.as_object_mut().unwrap().remove("event").unwrap();
    assert_eq!((&event["type"], &event["payload"], &event["source"]), (&json!("t"), &json!({"a": 1}), &json!("cli")));
    assert_eq!(handle, expected("handle", json!({"a": 1})));
    let old = asked("old", &[]);
    assert_eq!(old, json!({"protocol": 1, "command": "poll", "config": {}}), "protocol 1 is what it was");

    let attempt = site.row("SELECT * FROM job_log WHERE command = 'token_refresh' ORDER BY id LIMIT 1", ());
    assert_eq!(attempt["result"], "asked: token_refresh");
    assert!(attempt["response"].as_str().unwrap().starts_with(r#"{"status": "ok""#), "{attempt}");
    let id = attempt["job_id"].as_str().unwrap();
    for shown in [&["logs", "tell"][..], &["logs", "old"], &["queue", "show", id], &["run", "tell"]] {
        site.cli(shown).expect_code(0).expect_stdout("    result  asked: ");
    }
    site.cli(["queue", "show", id]).expect_code(0).expect_stdout("    stdout  {\"status\"");
    let shown = site.cli(["queue", "show", id, "--json"]).expect_code(0).json();
    assert_eq!(shown["attempts"][0]["result"], "asked: token_refresh");
    let ran = site.cli(["run", "old", "--json"]).expect_code(0).json();
    assert_eq!(ran["attempts"][0]["result"], "asked: poll");
    daemon.stop();
}

#[test]
fn a_job_whose_command_is_gone_is_dead_when_its_turn_comes() {
    let plugin = || Plugin::python("tell", TELL).protocol_2();
    let mut site = Site::with(plugin().commands("poll, sync"));
    let daemon = site.start();
    site.cli(["pause", "tell"]).expect_code(0);
    let id = site.detach(["tell", "--command", "sync", "--payload", r#"{"keep": 1}"#]);
    site.plugin(plugin().commands("poll"));
    site.cli(["reload"]).expect_code(0);
    site.cli(["resume", "tell"]).expect_code(0);
    let job = site.wait_job(&id, "dead");
    assert_eq!(job["last_error"], "its manifest does not declare `sync` any more");
    assert_eq!(site.count("SELECT count(*) FROM plugin_state"), 0, "it has not run");
    site.cli(["queue", "retry", &id]).expect_code(2).expect_stderr("has no command `sync`");
    site.plugin(plugin().commands("poll, sync"));
    site.cli(["reload"]).expect_code(0);
    site.cli(["queue", "retry", &id]).expect_code(0);
    site.wait_rows("SELECT 1 FROM plugin_state");
    assert_eq!(site.state("tell")["request"]["payload"], json!({"keep": 1}));
    daemon.stop();
}

#[test]
fn a_success_without_a_result_is_a_protocol_error_and_nothing_of_it_counts() {
    let mut site = Site::new();
    for (name, answer, reason) in ANSWERS {
        let plugin = Plugin::python(name, &format!("print(r'{answer}')")).protocol_2();
        site.plugin(plugin.set("retry: {max_attempts: 1}"));
        let ran = site.cli(["run", name]);
        let attempt = site.row("SELECT * FROM job_log WHERE plugin = ?1", [name]);
        match reason {
            Some(reason) => {
                ran.expect_code(1).expect_stderr(reason);
                assert_eq!(attempt["error"], json!(format!("protocol error: {reason}")));
                assert_eq!((&attempt["result"], &attempt["response"]), (&json!(format!("{answer}\n")), &Value::Null));
            }
            None => {
                ran.expect_code(0);
                assert_eq!(attempt["response"], json!(format!("{answer}\n")));
            }
        }
    }
    assert_eq!(site.count("SELECT count(*) FROM plugin_state"), 0);
    let printed = site.cli(["logs", "escapes"]).expect_code(0).expect_stdout("\\u{1b}[2Jgone");
    assert!(!printed.stdout.contains('\u{1b}'));
}

const MISSING: &str = "`result` is missing: protocol 2 wants a short text with every success";
const ANSWERS: [(&str, &str, Option<&str>); 6] = [
    ("absent", r#"{"status": "ok", "state_updates": {"a": 1}}"#, Some(MISSING)),
    ("blank", r#"{"status": "ok", "result": " ", "state_updates": {"a": 1}}"#, Some(MISSING)),
    ("number", r#"{"status": "ok", "result": 1}"#, Some("`result` must be a string, not a number")),
    ("object", r#"{"status": "error", "result": {}}"#, Some("`result` must be a string, not an object")),
    ("escapes", r#"{"status": "ok", "result": "\u001b[2Jgone"}"#, None),
    ("more", r#"{"status": "ok", "result": "r", "ductile_stopwatch_subs": [], "of_the_future": 1}"#, None),
];

#[test]
fn only_declared_commands_run_with_daemon_and_without() {
    let mut site = Site::with(Plugin::python("tell", TELL).protocol_2().commands("poll, token_refresh"));
    site.plugin(Plugin::sh("old", OK).commands("poll, token_refresh"));
    let refusals = || {
        let undeclared = "plugin `tell` has no command `sync`; its manifest declares: poll, token_refresh";
        site.cli(["run", "tell", "--command", "sync"]).expect_code(2).expect_stderr(undeclared);
        // Protocol 1 has but the four.
        site.cli(["run", "old", "--command", "token_refresh"])
            .expect_code(2)
            .expect_stderr("its manifest declares: poll");
        site.cli(["run", "tell", "--command", "a b"]).expect_code(2).expect_stderr("cannot be the name of a command");
        let ran = site.cli(["run", "old", "--payload", "{}"]);
        ran.expect_code(2)
            .expect_stderr("plugin `old` speaks protocol 1, in which --payload is for `--command handle`");
        let ran = site.cli(["run", "tell", "--command", "token_refresh", "--event-type", "x"]);
        ran.expect_code(2).expect_stderr("--event-type is for `--command handle` only");
        site.cli(["run", "tell", "--payload", "{"]).expect_code(2).expect_stderr("`--payload` is not JSON");
    };
    site.cli(["check"]).expect_code(0).expect_stderr("`token_refresh` is not a command of protocol 1");
    refusals();
    let daemon = site.start();
    refusals();
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 0);
    daemon.stop();
}

#[test]
fn a_named_command_is_retried_deduplicated_and_timed_like_others() {
    let script = r#"import pathlib
if request["command"] == "hang": time.sleep(600)
if pathlib.Path(os.environ["IT"], "bad").exists(): sys.exit(78)
print(json.dumps({"status": "ok", "result": json.dumps(request["payload"])}))"#;
    let plugin = Plugin::python("sync", script).protocol_2().commands("poll, sync-all, hang");
    let site = Site::with(plugin.set("timeouts: {hang: 300ms}").set("retry: {max_attempts: 1}"));
    let daemon = site.start();
    site.cli(["run", "sync", "--command", "hang"]).expect_code(1).expect_stderr("timed out after 300ms");
    site.touch("bad");
    site.cli(["run", "sync", "--command", "sync-all", "--payload", r#"{"n": 1.50}"#]).expect_code(1);
    std::fs::remove_file(site.path("bad")).unwrap();
    let dead = site.row("SELECT id FROM job_queue WHERE last_error LIKE 'exit code 78%'", ());
    let again = site.cli(["queue", "retry", dead["id"].as_str().unwrap()]).expect_code(0).stdout;
    site.wait_job(again.trim(), "succeeded");
    assert_eq!(site.attempts(again.trim())[0]["result"], r#"{"n": 1.5}"#, "the same payload");

    let key = ["run", "sync", "--command", "sync-all", "--dedupe-key", "k"];
    site.cli(key).expect_code(0);
    site.cli(key).expect_code(0).expect_stderr("already succeeded");
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE command = 'sync-all'"), 3);
    daemon.stop();
}

#[test]
fn a_timeout_for_a_command_that_is_not_declared_is_an_error_of_the_configuration() {
    let mut site = Site::with(Plugin::sh("work", OK).protocol_2().set("timeouts: {pol: 1s, handle: 1s}"));
    let ran = site.cli(["check"]).expect_code(78).expect_stderr("plugins.work.timeouts.pol");
    ran.expect_stderr("a timeout for `pol`, but its manifest does not declare that command; did you mean `poll`?");
    site.plugin(Plugin::sh("work", OK).protocol_2().set("timeouts: {refresh: 1s}"));
    site.cli(["check"]).expect_code(78).expect_stderr("that command; it declares `poll` and `handle`");
    site.plugin(Plugin::sh("work", OK).protocol_2().set("timeouts: {health: 1s}"));
    site.cli(["check"]).expect_code(0);
}

#[test]
fn named_commands_are_counted_by_their_names() {
    let mut site = Site::with(Plugin::python("tell", TELL).protocol_2().commands("health, token_refresh, handle"));
    site.more("metrics: {listen: \"127.0.0.1:0\"}");
    let daemon = site.start();
    site.cli(["run", "tell", "--command", "token_refresh"]).expect_code(0);
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(daemon.metrics_address(), request).unwrap();
    let text = answer.body;
    let line = r#"ductile_jobs_ended_total{plugin="tell",command="token_refresh",outcome="succeeded"} 1"#;
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains(r#"command="handle",outcome="succeeded"} 0"#) && !text.contains(r#"command="health""#),
        "{text}"
    );
    let status = site.cli(["status", "tell", "--health", "--json"]).expect_code(0).json();
    assert_eq!(status["plugins"][0]["health"]["result"], "asked: health");
    site.cli(["status", "tell", "--health"]).expect_code(0).expect_stdout(": asked: health");
    daemon.stop();
}
