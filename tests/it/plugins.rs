//! Which plugins run, with what around them, and what becomes of the jobs of those that do not.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site, find_line, log_lines, mode, set_mode};

/// Notes its own name and the job.
const NOTE: &str = r#"echo "${PWD##*/}" >> "$IT/ran"; echo '{"status": "ok"}'"#;

#[test]
fn a_plugin_that_may_not_load_is_named_with_its_reason_wherever_one_looks() {
    let mut site = Site::with(Plugin::sh("good", OK));
    site.plugin(Plugin::sh("bad", OK));
    let entrypoint = site.path("plugins/bad/run");
    set_mode(&entrypoint, 0o644);
    let reason = format!("`{}` is not executable", entrypoint.display());

    site.cli(["check"]).expect_code(1).expect_stderr("plugin `bad` is not loaded").expect_stderr(&reason);
    let daemon = site.start();
    let logged = find_line(&daemon.log(), "ERROR", "plugin is not loaded").unwrap();
    assert_eq!((&logged["plugin"], &logged["reason"]), (&json!("bad"), &json!(reason)));
    let status = site.cli(["status", "--json"]).expect_code(0).json();
    let plugin = |name| status["plugins"].as_array().unwrap().iter().find(|plugin| plugin["name"] == name).unwrap();
    assert_eq!((&plugin("bad")["loaded"], &plugin("bad")["error"]), (&json!(false), &json!(reason)));
    assert_eq!((&plugin("good")["loaded"], &plugin("good")["error"]), (&json!(true), &Value::Null));
    site.cli(["status"]).expect_code(0).expect_stdout("not loaded").expect_stdout(&reason);
    site.cli(["run", "bad"]).expect_code(1).expect_stderr(&reason);
    site.cli(["run", "good"]).expect_code(0);
    daemon.stop();
}

/// How to break a plugin, and what is then said.
type Breakage = (&'static str, fn(&Site), &'static str);

#[test]
fn every_reason_not_to_load_is_found_and_stops_neither_service_nor_others() {
    let cases: &[Breakage] = &[
        ("folder missing", |site| std::fs::remove_dir_all(site.path("plugins/bad")).unwrap(), "folder missing"),
        (
            "manifest missing",
            |site| std::fs::remove_file(site.path("plugins/bad/manifest.yaml")).unwrap(),
            "is missing",
        ),
        ("manifest invalid", |site| edit(site, |_| "name: [".to_owned()), "invalid manifest"),
        ("other name", |site| edit(site, |text| text.replace("name: bad", "name: worse")), "not that of its folder"),
        (
            "protocol",
            |site| edit(site, |text| text.replace("protocol: 1", "protocol: 3")),
            "protocol `3` is not supported",
        ),
        ("absolute", |site| edit(site, |text| text.replace("entrypoint: run", "entrypoint: /bin/sh")), "is absolute"),
        (
            "parent",
            |site| edit(site, |text| text.replace("entrypoint: run", "entrypoint: ../good/run")),
            "contains `..`",
        ),
        ("not there", |site| edit(site, |text| text.replace("entrypoint: run", "entrypoint: walk")), "is missing"),
        (
            "a folder",
            |site| {
                std::fs::create_dir(site.path("plugins/bad/walk")).unwrap();
                edit(site, |text| text.replace("entrypoint: run", "entrypoint: walk"));
            },
            "is not a regular file",
        ),
        ("config key", |site| edit(site, |text| format!("{text}config_keys: {{required: [token]}}\n")), "`token`"),
        ("writable entrypoint", |site| set_mode(&site.path("plugins/bad/run"), 0o777), "may be written by every user"),
        (
            "writable manifest",
            |site| set_mode(&site.path("plugins/bad/manifest.yaml"), 0o666),
            "may be written by every user",
        ),
        ("writable folder", |site| set_mode(&site.path("plugins/bad"), 0o777), "may be written by every user"),
        (
            "leads outside",
            |site| {
                std::fs::create_dir(site.path("plugins-evil")).unwrap();
                std::fs::rename(site.path("plugins/bad/run"), site.path("plugins-evil/run")).unwrap();
                symlink(site.path("plugins-evil/run"), site.path("plugins/bad/run")).unwrap();
            },
            "outside of the plugin root",
        ),
    ];
    for (what, breakage, reason) in cases {
        let mut site = Site::with(Plugin::sh("good", OK));
        site.plugin(Plugin::sh("bad", NOTE));
        site.cli(["check"]).expect_code(0);
        breakage(&site);
        let checked = site.cli(["check"]).expect_code(1);
        assert!(
            checked.stderr.contains("plugin `bad` is not loaded") && checked.stderr.contains(reason),
            "{what}: {checked:?}"
        );
        let daemon = site.start();
        site.cli(["run", "good"]).expect_code(0);
        site.cli(["run", "bad"]).expect_code(1).expect_stderr(reason);
        daemon.stop();
        assert_eq!(site.read("ran"), "", "{what}");
    }
}

fn edit(site: &Site, change: fn(&str) -> String) {
    let path = site.path("plugins/bad/manifest.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, change(&text)).unwrap();
}

#[test]
fn a_plugins_dir_that_everybody_may_write_loads_nothing() {
    let site = Site::with(Plugin::sh("work", NOTE));
    set_mode(&site.path("plugins"), 0o777);
    site.cli(["check"]).expect_code(1).expect_stderr("may be written by every user");
    site.cli(["run", "work"]).expect_code(1).expect_stderr("may be written by every user");
    assert_eq!(site.read("ran"), "");
}

#[test]
fn jobs_of_a_plugin_that_is_not_loaded_wait_until_it_is_mended() {
    let mut site = Site::with(Plugin::sh("bad", NOTE));
    site.plugin(Plugin::sh("good", NOTE));
    let waiting = site.detach(["bad"]);
    set_mode(&site.path("plugins/bad/run"), 0o644);
    let daemon = site.start();
    site.cli(["run", "good"]).expect_code(0);
    daemon.stop();
    let job = site.job(&waiting);
    assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(1)));
    assert_eq!(site.read("ran"), "good");

    set_mode(&site.path("plugins/bad/run"), 0o755);
    let daemon = site.start();
    site.wait_job(&waiting, "succeeded");
    daemon.stop();
}

#[test]
fn queued_jobs_of_removed_and_disabled_plugins_are_dead_with_the_reason() {
    let mut site = Site::with(Plugin::sh("gone", NOTE));
    site.plugin(Plugin::sh("off", NOTE)).plugin(Plugin::sh("kept", NOTE));
    let ids = ["gone", "off", "kept"].map(|plugin| site.detach([plugin]));
    site.remove("gone").plugin(Plugin::sh("off", NOTE).set("enabled: false"));
    let daemon = site.start();
    site.wait_job(&ids[2], "succeeded");
    let log = log_lines(&daemon.stop().stdout);
    for (id, reason) in [(&ids[0], "plugin `gone` is not configured any more"), (&ids[1], "plugin `off` is disabled")] {
        let job = site.job(id);
        assert_eq!((&job["status"], &job["last_error"]), (&json!("dead"), &json!(reason)));
        assert_eq!(site.attempts(id).len(), 0);
        assert!(log.iter().any(|line| line["level"] == "WARN" && line["reason"] == reason), "{log:#?}");
    }
    assert_eq!(site.read("ran"), "kept");
}

#[test]
fn a_disabled_plugin_gets_no_routed_jobs_and_no_polls_and_its_variables_may_be_unset() {
    let event = r#"echo '{"status": "ok", "events": [{"type": "hit"}]}'"#;
    let mut site = Site::with(Plugin::sh("source", event));
    site.plugin(
        Plugin::sh("off", NOTE).set("enabled: false").set("schedule: {every: 1s}").set("config: {a: \"${UNSET}\"}"),
    );
    site.route("source", "hit", "off");
    let daemon = site.start();
    site.cli(["run", "source"]).expect_code(0);
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 1);
}

#[test]
fn a_plugin_sees_only_the_environment_it_is_meant_to() {
    let script = "json.dump({'env': dict(os.environ), 'cwd': os.getcwd(), 'request': request}, \
                  open(os.environ['IT'] + '/seen', 'w'))\nprint('{\"status\": \"ok\"}')";
    let mut site = Site::with(
        Plugin::python("work", script)
            .set("config: {token: \"${SECRET_ONE}\", n: 12}")
            .env("OWN", "\"x ${SECRET_TWO}\"")
            .env("LANG", "de_DE.UTF-8"),
    );
    for (name, value) in [
        ("SECRET_ONE", "one"),
        ("SECRET_TWO", "two"),
        ("LC_ALL", "C.UTF-8"),
        ("LANG", "C"),
        ("TZ", "UTC"),
        ("https_proxy", "http://proxy"),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("DUCTILE_INSTANCE", "forged"),
        ("DUCTILE_JOB_ID", "forged"),
    ] {
        site.env(name, value);
    }
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();

    let seen: Value = serde_json::from_str(&site.read("seen")).unwrap();
    let mut env: BTreeMap<String, String> = serde_json::from_value(seen["env"].clone()).unwrap();
    let job = site.row("SELECT * FROM jobs", ());
    let instance = site.row("SELECT instance FROM service", ());
    let dir = site.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    for (name, value) in [
        ("DUCTILE_JOB_ID", job["id"].as_str().unwrap()),
        ("DUCTILE_INSTANCE", instance["instance"].as_str().unwrap()),
        ("OWN", "x two"),
        ("LANG", "de_DE.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("https_proxy", "http://proxy"),
        ("HOME", &dir),
        ("IT", &dir),
    ] {
        assert_eq!(env.remove(name).as_deref(), Some(value), "{name}");
    }
    assert!(env.remove("PATH").is_some());
    // A wrapper of python may add its own; nothing of the daemon's may be among the rest.
    for (name, value) in &env {
        assert!(!name.starts_with("SECRET") && !name.starts_with("LD_") && !value.contains("one"), "{name}={value}");
    }
    assert!(seen["cwd"].as_str().unwrap().ends_with("/plugins/work"));

    let request = &seen["request"];
    let keys: Vec<_> = request.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["command", "config", "deadline_at", "job_id", "protocol", "state"]);
    assert_eq!(request["config"], json!({"token": "one", "n": 12}));
    assert_eq!((&request["protocol"], &request["state"]), (&json!(1), &json!({})));
}

#[test]
fn secrets_are_neither_logged_nor_stored() {
    let mut site = Site::with(Plugin::sh("work", OK).set("config: {token: \"${TOKEN}\"}").env("T", "\"${TOKEN}\""));
    site.service("log_level", "trace").env("TOKEN", "hunter2-hunter2");
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    let log = daemon.stop().stdout;
    assert!(log.contains("job succeeded") && !log.contains("hunter2"), "{log}");
    let database = std::fs::read(site.database()).unwrap();
    assert!(!database.windows(7).any(|bytes| bytes == b"hunter2"));
}

#[test]
fn an_entrypoint_made_world_writable_after_loading_is_not_run() {
    let site = Site::with(Plugin::sh("work", NOTE).set("retry: {backoff_base: 1h}"));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    let entrypoint = site.path("plugins/work/run");
    set_mode(&entrypoint, 0o757);
    assert_eq!(mode(&entrypoint), 0o757);
    site.cli(["run", "work"]).expect_code(1).expect_stdout("may be written by every user");
    daemon.stop();
    assert_eq!(site.read("ran"), "work", "it has run once, before");
    let job = site.row("SELECT status, attempt FROM job_queue WHERE last_error IS NOT NULL", ());
    assert_eq!(job, json!({"status": "queued", "attempt": 2}));
}

#[test]
fn folders_that_are_no_plugin_or_not_configured_are_left_alone() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.plugin(Plugin::sh("spare", NOTE)).remove("spare");
    std::fs::create_dir(site.path("plugins/lib")).unwrap();
    site.cli(["check"]).expect_code(0).expect_stdout("plugins enabled: 1");
    let daemon = site.start();
    site.cli(["run", "spare"]).expect_code(2).expect_stderr("is not configured");
    daemon.stop();
}
