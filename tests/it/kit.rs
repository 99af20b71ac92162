//! `ductile plugin new` and `ductile plugin test`: from nothing to a plugin that keeps the contract, and what breaks it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Process, Ran, Site, mode, set_mode};

const BINARY: &str = env!("CARGO_BIN_EXE_ductile");

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Runs a program of the site's, which finds ductile.
fn run(site: &Site, program: &Path) -> Ran {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.current_dir(site.path("")).env_clear().env("PATH", path).env("DUCTILE", BINARY);
    Process::spawn(&mut command, "").wait()
}

/// What `plugin test` prints of a plugin in the site, its times left out.
fn tested(site: &Site, name: &str, more: &[&str], code: i32) -> String {
    let dir = format!("plugins/{name}");
    let ran = site.cli(["plugin", "test", &dir].iter().chain(more)).expect_code(code);
    assert_eq!(ran.stderr, "");
    let times = |line: &str| match line.split_once(" time       ") {
        Some((level, took)) => format!("{level} time       TIME of{}", took.split_once(" of").unwrap().1),
        None => line.to_owned(),
    };
    ran.stdout.lines().map(times).collect::<Vec<_>>().join("\n")
}

/// Level and text of each check of this name, of the first command that was run.
fn found(site: &Site, name: &str, more: &[&str], code: i32, check: &str) -> Vec<(String, String)> {
    let dir = format!("plugins/{name}");
    let report = site.cli(["plugin", "test", &dir, "--json"].iter().chain(more)).expect_code(code).json();
    assert_eq!(report["passed"], json!(code == 0));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = report["runs"][0]["checks"].as_array().unwrap().iter().filter(|found| found["check"] == check);
    checks.map(|found| (text(&found["level"]), text(&found["text"]))).collect()
}

fn pair(level: &str, text: &str) -> Vec<(String, String)> {
    vec![(level.to_owned(), text.to_owned())]
}

#[test]
fn a_new_plugin_of_each_language_passes_its_test_and_runs() {
    let mut site = Site::new();
    for (lang, program, needs) in [("python", "run.py", "python3"), ("sh", "run.sh", "awk"), ("node", "run.js", "node")]
    {
        if !in_path(needs) {
            eprintln!("SKIPPED: no {needs}: the template for {lang} is not tested");
            continue;
        }
        let name = format!("feed-{lang}");
        let made = site.cli(["plugin", "new", &name, "--lang", lang]).expect_code(0);
        let expected = format!(
            "made plugins/{name}/manifest.yaml\nmade plugins/{name}/{program}\nmade plugins/{name}/README.md\n\
             made plugins/{name}/test\n\nnext:\n  ./plugins/{name}/test      runs each of its commands once\n  \
             in config.yaml:\n    plugins:\n      {name}:\n        schedule: {{every: 5m}}\n        \
             config: {{greeting: hello}}\n  ductile check\n"
        );
        assert_eq!((made.stdout.as_str(), made.stderr.as_str()), (expected.as_str(), ""));
        let folder = site.path("plugins").join(&name);
        for (file, expected) in [(program, 0o755), ("test", 0o755), ("manifest.yaml", 0o644), ("README.md", 0o644)] {
            assert_eq!(mode(&folder.join(file)) & 0o700, expected & 0o700, "{file}");
            assert_eq!(mode(&folder.join(file)) & 0o002, 0, "{file}");
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            let gaps = ["__NAME__", "__ENTRYPOINT__", "__NEEDS__"];
            assert!(!gaps.iter().any(|gap| text.contains(gap)), "{file} has a gap");
        }
        let passed = run(&site, &folder.join("test")).expect_code(0);
        assert_eq!(passed.stdout.matches("\npassed: 9 checks\n").count(), 4, "{passed:?}");
        assert!(!passed.stdout.contains("warning") && passed.stderr.is_empty(), "{passed:?}");

        // It works wherever it is.
        let elsewhere = site.path("elsewhere");
        std::fs::create_dir_all(&elsewhere).unwrap();
        std::fs::rename(&folder, elsewhere.join(&name)).unwrap();
        run(&site, &elsewhere.join(&name).join("test")).expect_code(0);
        std::fs::rename(elsewhere.join(&name), &folder).unwrap();

        // Any text that it repeats stays what it was.
        let greeting = "a \"b\" \\ \u{1F600} \n\t\u{1} %s $(id) `x`";
        let config = json!({"greeting": greeting}).to_string();
        let dir = folder.to_str().unwrap();
        let all = ["plugin", "test", dir, "--plugin-config", &config, "--event-type", greeting, "--json"];
        let report = site.cli(all).expect_code(0).json();
        let (poll, handle) = (&report["runs"][1], &report["runs"][2]);
        assert_eq!(poll["events"][0]["payload"], json!({"greeting": greeting, "run": 1}), "{lang}");
        assert_eq!(handle["logs"][0]["message"], json!(format!("{greeting}: {greeting} from cli")), "{lang}");
        assert_eq!(handle["state"], json!({"runs": 1, "handled": 1}), "{lang}");

        site.settings(Plugin::sh(&name, OK).set("config: {greeting: hello}"));
        assert_eq!(site.cli(["check"]).expect_code(0).stderr, "");
        site.cli(["run", &name]).expect_code(0).expect_stdout("run 1");
        site.cli(["run", &name]).expect_code(0).expect_stdout("run 2");
    }
}

#[test]
fn a_broken_plugin_fails_its_test() {
    let site = Site::new();
    site.cli(["plugin", "new", "feed", "--lang", "sh"]).expect_code(0);
    let program = site.path("plugins/feed/run.sh");
    std::fs::write(&program, "#!/bin/sh\necho 'no JSON'\n").unwrap();
    run(&site, &site.path("plugins/feed/test")).expect_code(1).expect_stdout("FAILED   answer");
}

#[test]
fn names_and_places_that_cannot_be_are_refused_and_nothing_is_made() {
    let site = Site::new();
    let longest = "x".repeat(65);
    for name in ["", "..", "a/b", "a.b", "_a", "a b", "é", "ductile", "webhook", "cli", "scheduler", &longest] {
        let refused = site.cli(["plugin", "new", name]).expect_code(2);
        let is_told =
            refused.stderr.contains("cannot be the name of a plugin") || refused.stderr.contains("is reserved");
        assert!(is_told && refused.stdout.is_empty(), "{refused:?}");
    }
    site.cli(["plugin", "new", "a", "--lang", "cobol"]).expect_code(2).expect_stderr("cobol");
    site.touch("plugins/taken");
    let message = "there is already `plugins/taken`; nothing was made";
    site.cli(["plugin", "new", "taken"]).expect_code(1).expect_stderr(message);
    site.touch("file");
    site.cli(["plugin", "new", "a", "--dir", "file"]).expect_code(1).expect_stderr("`file/a` cannot be made");
    let left: Vec<_> =
        std::fs::read_dir(site.path("plugins")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["taken"]);
}

/// What YAML would take for a number is a name like any other; the schema is named where it is.
#[test]
fn odd_names_work_and_the_schema_is_named_where_it_is() {
    let site = Site::new();
    for name in ["1", "true"] {
        let made = site.cli(["plugin", "new", name, "--lang", "sh"]).expect_code(0);
        assert!(made.stdout.contains(&format!("      \"{name}\":\n")), "{made:?}");
        run(&site, &site.path("plugins").join(name).join("test")).expect_code(0);
    }
    let manifest = |name: &str| site.read(&format!("{name}/manifest.yaml"));
    assert!(manifest("plugins/1").starts_with("# What ductile knows"));
    site.cli(["init", "gateway"]).expect_code(0);
    site.cli(["plugin", "new", "feed", "--dir", "gateway/plugins"]).expect_code(0);
    assert!(manifest("gateway/plugins/feed").starts_with("# yaml-language-server: $schema=../../schemas/manifest"));
    for (file, schema) in [("config.yaml", ""), ("plugins/feed/manifest.yaml", "plugins/feed")] {
        let text = site.read(&format!("gateway/{file}"));
        let line = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
        assert!(site.path("gateway").join(schema).join(line).is_file(), "{file}: {line}");
    }
}

#[test]
fn a_passing_plugin_is_shown_with_all_that_it_says() {
    let script = r#"print(json.dumps({"status": "ok", "result": "looked", "state_updates": {"n": request["state"].get("n", 0) + 1},
        "events": [{"type": "a.b", "payload": request["payload"], "dedupe_key": "k"}], "logs": [{"message": "\x1b[2J"}]}))
print("careful", file=sys.stderr)"#;
    let site = Site::with(Plugin::python("work", script).protocol_2().commands("poll, scan"));
    let arguments = ["--command", "scan", "--payload", r#"{"x": 1.10}"#, "--state", r#"{"n": 41}"#, "--timeout", "30m"];
    assert_eq!(
        tested(&site, "work", &arguments, 0),
        r"work, protocol 2, in plugins/work
  ok       manifest   the plugin loads

scan
  ok       process    exit code 0
  ok       time       TIME of 30m
  ok       answer     one JSON object, 172 bytes
  ok       output     stdout 172 bytes of 10.0 MB, stderr 8 bytes of 1.0 MB
  ok       processes  none left
  ok       status     ok
  ok       events     1 of at most 1000
  ok       state      8 of 1048576 bytes
  result   looked
  event    a.b {'x': 1.1}, dedupe_key k
  state    {'n':42}
  log      info: \u{1b}[2J
  stderr   careful

passed: 9 checks"
            .replace('\'', "\"")
    );
}

#[test]
fn what_breaks_the_contract_fails_with_its_reason() {
    let mut site = Site::new();
    let left_by = |sleep: &str| {
        let begun = "until [ \"$(cat /proc/$!/comm)\" = sleep ]; do :; done; echo $! >> ../../left";
        format!("{sleep} <&- >&- 2>&- & {begun}; echo '{{\"status\": \"ok\"}}'")
    };
    for (name, script, check, text) in [
        ("two", "echo '{\"status\": \"ok\"} {}'", "answer", {
            "protocol error: stdout has more than one JSON object: trailing characters at line 1 column 18"
        }),
        ("silent", "true", "answer", "protocol error: stdout is empty"),
        ("untyped", r#"echo '{"status": "ok", "events": [{"payload": 1}]}'"#, "answer", {
            "protocol error: `events[0].type` is missing"
        }),
        ("keyed", r#"echo '{"status": "ok", "events": [{"type": "a", "dedupe_key": 7}]}'"#, "answer", {
            "protocol error: `events[0].dedupe_key` must be a string, not a number"
        }),
        ("crash", "echo why >&2; exit 3", "process", "exit code 3"),
        ("misconfigured", "exit 78", "process", "exit code 78 (EX_CONFIG)"),
        ("killed", "kill -9 $$", "process", "killed by SIGKILL"),
        ("refuses", r#"echo '{"status": "error", "error": "no way", "retry": false}'"#, "status", {
            "error, never tried again: no way"
        }),
        ("leaves", &left_by("sleep 1000"), "processes", {
            "still running when it had ended, and killed, as everything in its process group is: `sleep`"
        }),
    ] {
        site.plugin(Plugin::sh(name, script));
        assert_eq!(found(&site, name, &["--command", "poll"], 1, check), pair("failed", text), "{name}");
    }
    site.plugin(Plugin::sh("one", OK).protocol_2());
    assert_eq!(found(&site, "one", &["--command", "poll"], 1, "answer"), {
        pair("failed", "protocol error: `result` is missing: protocol 2 wants a short text with every success")
    });
    site.plugin(Plugin::sh("slow", "exec sleep 1000"));
    assert_eq!(found(&site, "slow", &["--command", "poll", "--timeout", "50ms"], 1, "process"), {
        pair("failed", "timed out after 50ms")
    });
    let print = r#"print(json.dumps({"status": "ok", "state_updates": {"a": "x" * request["config"]["size"]}}))"#;
    site.plugin(Plugin::python("large", print));
    let config = |size: usize| format!("{{\"size\": {size}}}");
    for (size, code, level, text) in [
        (100, 0, "ok", "108 of 1048576 bytes"),
        (600_000, 0, "warning", "600008 of 1048576 bytes: more than half"),
        ((1 << 20) - 7, 1, "failed", "it would be larger than 1048576 bytes"),
    ] {
        let arguments = ["--command", "poll", "--plugin-config", &config(size)];
        assert_eq!(found(&site, "large", &arguments, code, "state"), pair(level, text));
    }
    site.plugin(Plugin::sh("escapes", &left_by("setsid sleep 1000")));
    assert_eq!(found(&site, "escapes", &["--command", "poll"], 0, "processes"), {
        pair(
            "warning",
            "still running outside of its process group, where a daemon lets them be until it starts anew: `sleep`",
        )
    });
    // Nothing of a test is left behind, neither in a group nor beside it.
    let left = site.read("left");
    assert_eq!(left.lines().count(), 2);
    let state = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_over = |pid: &str| state(pid).is_empty() || state(pid).contains(") Z ");
    crate::support::wait_until("the end of what was left", || left.lines().all(is_over));
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let mut site = Site::new();
    let twice =
        r#"echo '{"status": "ok", "events": [{"type": "a", "dedupe_key": "k"}, {"type": "a", "dedupe_key": "k"}]}'"#;
    for (name, script, check, text) in [
        ("typo", r#"echo '{"status": "ok", "state_update": {"a": 1}}'"#, "fields", {
            "ignored: unknown field `state_update`; did you mean `state_updates`?"
        }),
        ("loud", "head -c 700000 /dev/zero | tr '\\0' x >&2; echo '{\"status\": \"ok\"}'", "output", {
            "stdout 17 bytes of 10.0 MB, stderr 683.6 KB of 1.0 MB: more than half"
        }),
    ] {
        site.plugin(Plugin::sh(name, script));
        assert_eq!(found(&site, name, &["--command", "poll"], 0, check)[..1], pair("warning", text), "{name}");
    }
    site.plugin(Plugin::sh("twice", twice).commands("poll, health"));
    let told = found(&site, "twice", &["--command", "poll"], 0, "events");
    assert!(told[0].1.starts_with("events[0] and events[1] have the type and `dedupe_key` `k` in common"), "{told:?}");
    let told = found(&site, "twice", &["--command", "health"], 0, "events");
    assert_eq!(told[1], ("warning".to_owned(), "2, dropped: `health` changes nothing".to_owned()));
    assert_eq!(found(&site, "twice", &["--command", "poll", "--timeout", "1h"], 0, "time").len(), 1);

    // Its manifest and its settings.
    site.plugin(Plugin::sh("odd", OK).declare("colour: red\nconfig_keys: {required: [url], optional: [n]}"));
    let text = tested(&site, "odd", &["--command", "poll", "--plugin-config", r#"{"url": 1, "m": 2}"#], 0);
    assert!(text.contains("  warning  manifest   unknown key `colour`\n"), "{text}");
    assert!(text.contains("  warning  manifest   config key `m` is not one the manifest declares\n"), "{text}");
    assert!(text.ends_with("\npassed: 10 checks, 2 warnings"), "{text}");
}

#[test]
fn an_error_passes_where_one_is_expected() {
    let mut site = Site::with(Plugin::sh("refuses", r#"echo '{"status": "error", "error": "no"}'"#));
    site.plugin(Plugin::sh("exits", "exit 78")).plugin(Plugin::sh("works", OK));
    for (name, code) in [("refuses", 0), ("exits", 0), ("works", 1)] {
        site.cli(["plugin", "test", &format!("plugins/{name}"), "--expect", "error"]).expect_code(code);
    }
    assert_eq!(
        found(&site, "works", &["--expect", "error"], 1, "status"),
        pair("failed", "ok, and `error` was expected")
    );
}

#[test]
fn what_would_not_load_is_the_only_failure() {
    let mut site = Site::with(Plugin::sh("needs", OK).declare("config_keys: {required: [url]}"));
    let text = tested(&site, "needs", &[], 1);
    assert!(text.starts_with("plugins/needs\n  FAILED   manifest   manifest `"), "{text}");
    assert!(text.ends_with("requires what `plugins.needs.config` lacks: `url`\n\nfailed: 1 of 1 checks"), "{text}");
    site.plugin(Plugin::sh("open", OK));
    set_mode(&site.path("plugins/open/run"), 0o777);
    site.cli(["plugin", "test", "plugins/open"]).expect_code(1).expect_stdout("may be written by every user");
    site.cli(["plugin", "test", "nowhere"])
        .expect_code(1)
        .expect_stdout("FAILED   manifest   folder missing: `nowhere`");
    let report = site.cli(["plugin", "test", "nowhere", "--json"]).expect_code(1).json();
    assert_eq!((&report["plugin"], &report["runs"]), (&Value::Null, &json!([])));
}

/// The environment is the allow-list with what is given; state goes from command to command, a snapshot whole.
#[test]
fn it_is_run_as_by_a_daemon() {
    let script = r#"
env = {name: os.environ.get(name) for name in ("PATH", "TOKEN", "IT")}
print(json.dumps({"status": "ok", "result": "x", "state_updates": {request["command"]: [sorted(request), request["state"], env]}}))"#;
    let facts = "fact_outputs: [{when: {command: handle}, from: state_updates, fact_type: work.seen}]";
    let site =
        Site::with(Plugin::python("work", script).protocol_2().commands("handle, poll, init, health").declare(facts));
    let ran = site.cli(["plugin", "test", "plugins/work", "--json", "--env", "TOKEN=a=b", "--payload", "{\"a\": 1}"]);
    let report = ran.expect_code(0).json();
    let commands: Vec<_> = report["runs"].as_array().unwrap().iter().map(|run| &run["command"]).collect();
    assert_eq!(commands, ["init", "health", "poll", "handle"]);
    let states = |index: usize| report["runs"][index]["state"].as_object().unwrap();
    assert_eq!(states(2).keys().collect::<Vec<_>>(), ["init", "poll"], "not that of health");
    assert_eq!(states(3).keys().collect::<Vec<_>>(), ["handle"], "a snapshot");
    let handle = &states(3)["handle"];
    let fields = ["command", "config", "context", "deadline_at", "event", "job_id", "payload", "protocol", "state"];
    assert_eq!(handle[0], json!(fields));
    assert_eq!((&handle[1], &handle[2]["TOKEN"], &handle[2]["IT"]), (&json!(states(2)), &json!("a=b"), &Value::Null));
    assert!(found(&site, "work", &["--command", "handle"], 0, "state")[0].1.ends_with("stated as `work.seen`"));
    assert!(!site.state_dir().exists(), "no database is made");
}

#[test]
fn arguments_that_cannot_be_are_usage_errors() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.plugin(Plugin::sh("named", OK).protocol_2().commands("scan"));
    for (arguments, message) in [
        (
            &["work", "--command", "scan"][..],
            "plugin `work` has no command `scan`; its manifest declares: poll, handle",
        ),
        (&["named"], "declares none of poll, handle, health and init, but: scan; name one with --command"),
        (&["named", "--payload", "{}"], "has no command `handle`"),
        (&["work", "--command", "poll", "--payload", "{}"], "speaks protocol 1, in which --payload is for"),
        (&["work", "--command", "poll", "--event-type", "a"], "--event-type is for `--command handle` only"),
        (&["work", "--state", "[]"], "`--state` must be a JSON object"),
        (&["work", "--plugin-config", "{"], "`--plugin-config` is not JSON"),
        (&["work", "--payload", "{"], "`--payload` is not JSON"),
        (&["work", "--env", "TOKEN"], "`TOKEN` is not NAME=VALUE"),
        (&["work", "--env", "DUCTILE_X=1"], "`DUCTILE_X` may not be set"),
        (&["work", "--timeout", "0s"], "--timeout must be more than nothing"),
        (&["work", "--timeout", "5"], "is not a duration"),
        (&["work", "--state", "-", "--payload", "-"], "only one option can read standard input"),
    ] {
        let dir = format!("plugins/{}", arguments[0]);
        let ran =
            site.cli(["plugin", "test", &dir].iter().chain(&arguments[1..])).expect_code(2).expect_stderr(message);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    site.cli(["plugin", "test", "plugins/work", "--state", "@none.json"]).expect_code(1).expect_stderr("`none.json`");
    let with_stdin = ["plugin", "test", "plugins/work", "--command", "handle", "--payload", "-"];
    site.cli_with_stdin(with_stdin, "[1]\n").expect_code(0);
}

/// The first Ctrl-C ends the plugin and its group, and is told.
#[test]
fn an_interrupted_test_leaves_no_process() {
    let site =
        Site::with(Plugin::sh("waits", "echo started > ../../started; exec sleep 1000").commands("poll, health"));
    let process = site.spawn(["plugin", "test", "plugins/waits", "--timeout", "1h"]);
    site.wait_file("started");
    process.signal(nix::sys::signal::Signal::SIGINT);
    let ran = process.wait().expect_code(1).expect_stdout("FAILED   process    interrupted");
    assert!(!ran.stdout.contains("\npoll\n"), "{ran:?}");
}
