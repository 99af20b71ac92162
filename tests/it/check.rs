//! `ductile check --deep`, and what `check` prints for programs.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site, set_mode};

/// The level and the text of what was found about something.
fn found(report: &Value, about: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["about"] == about);
    findings.map(|finding| (text(&finding["level"]), text(&finding["text"]))).collect()
}

#[track_caller]
fn assert_found(site: &Site, code: i32, about: &str, level: &str, part: &str) {
    let report = site.cli(["check", "--deep", "--json"]).expect_code(code).json();
    let found = found(&report, about);
    assert!(found.iter().any(|(found, text)| found == level && text.contains(part)), "{found:?}");
}

#[test]
fn a_new_site_is_ready_and_stays_untouched() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&["work"]);
    let checked = site.cli(["check", "--deep"]).expect_code(0);
    assert_eq!(checked.stderr, "");
    for line in [
        "ok       state dir   ",
        "ok       disk        ",
        "ok       database    none yet",
        "ok       plugin      work",
        "ok       listen      127.0.0.1:",
    ] {
        assert!(checked.stdout.lines().any(|found| found.starts_with(line)), "{line} in {}", checked.stdout);
    }
    assert!(checked.stdout.lines().last().unwrap().ends_with("is valid; plugins enabled: 1, routes: 0"), "{checked:?}");
    assert!(!site.state_dir().exists());
}

#[test]
fn a_running_daemon_and_its_address_are_known() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&["work"]);
    let daemon = site.start();
    assert_found(&site, 0, "daemon", "ok", &format!("running, PID {}", daemon.0.pid()));
    assert_found(&site, 0, "listen", "ok", "held by the daemon");
    assert_found(&site, 0, "database", "ok", "no damage");
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
    assert_found(&site, 0, "daemon", "ok", "none is running");
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut site = Site::with(Plugin::sh("work", OK));
    site.more(&format!("webhooks: {{listen: \"{}\"}}", taken.local_addr().unwrap()));
    assert_found(&site, 1, "listen", "error", "cannot listen on 127.0.0.1:");
    drop(taken);
    assert_found(&site, 0, "listen", "ok", "is free");
}

#[test]
fn an_interpreter_that_is_missing_is_an_error_of_its_plugin() {
    let mut site = Site::with(Plugin::sh("good", OK));
    site.plugin(Plugin::sh("bad", OK)).plugin(Plugin::sh("off", OK).set("enabled: false"));
    for plugin in ["bad", "off"] {
        std::fs::write(site.path("plugins").join(plugin).join("run"), "#!/usr/bin/env none-such\n").unwrap();
    }
    site.cli(["check"]).expect_code(0);
    let report = site.cli(["check", "--deep", "--json"]).expect_code(1).json();
    let plugins = found(&report, "plugin");
    assert_eq!(plugins.len(), 2, "{plugins:?}");
    assert_eq!(plugins[1], ("ok".to_owned(), "good".to_owned()));
    assert!(plugins[0].0 == "error" && plugins[0].1.contains("asks for `none-such`"), "{plugins:?}");
}

#[test]
fn a_state_dir_or_database_that_start_would_refuse_is_an_error() {
    let site = Site::with(Plugin::sh("work", OK));
    site.cli(["run", "work"]).expect_code(0);
    set_mode(&site.state_dir(), 0o770);
    assert_found(&site, 1, "state dir", "error", "chmod go-w");
    set_mode(&site.state_dir(), 0o755);
    assert_found(&site, 0, "state dir", "warning", "can be read by other users");
    set_mode(&site.state_dir(), 0o700);

    set_mode(&site.path("config.yaml"), 0o644);
    let good = std::fs::read(site.database()).unwrap();
    let mut damaged = good.clone();
    // A page of a table or an index, which no start would look at.
    let end = damaged.len();
    damaged[end - 4096..].fill(0xff);
    std::fs::write(site.database(), damaged).unwrap();
    assert_found(&site, 1, "database", "error", "damage");
    std::fs::write(site.database(), good).unwrap();
    assert_found(&site, 0, "database", "ok", "no damage");
    Connection::open(site.database()).unwrap().pragma_update(None, "user_version", 999).unwrap();
    assert_found(&site, 1, "database", "error", "newer than this program's");
}

#[test]
fn problems_are_told_to_programs_too() {
    let mut site = Site::with(Plugin::sh("work", OK));
    let valid = site.cli(["check", "--json"]).expect_code(0).json();
    assert_eq!((&valid["valid"], &valid["problems"], &valid["findings"]), (&json!(true), &json!([]), &json!([])));
    std::fs::remove_file(site.path("plugins/work/run")).unwrap();
    let broken = site.cli(["check", "--json"]).expect_code(1).json();
    assert_eq!((&broken["valid"], &broken["not_loaded"][0]["plugin"]), (&json!(true), &json!("work")));
    site.raw("service: {tick: 5s}\n");
    let invalid = site.cli(["check", "--json"]).expect_code(78);
    assert_eq!(invalid.stderr, "");
    let invalid = invalid.json();
    let problem = &invalid["problems"][0];
    assert_eq!(
        (&invalid["valid"], &problem["line"], &problem["key"]),
        (&json!(false), &json!(1), &json!("service.tick"))
    );
    let none = site.cli(["check", "--json", "--config", "none.yaml"]).expect_code(78).json();
    assert!(none["problems"][0]["message"].as_str().unwrap().contains("none.yaml"), "{none}");
}

/// Each file says in its first lines what is wrong with it, as `check` says it behind the file's name.
#[test]
fn each_of_the_broken_configurations_is_told_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/broken");
    let site = Site::new();
    let files: BTreeSet<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 30, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let expected: Vec<_> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let checked = site.cli(["check".as_ref(), "--config".as_ref(), file.as_os_str()]).expect_code(78);
        let name = format!("{}:", file.display());
        let told: Vec<_> = checked.stderr.lines().map(|line| line.strip_prefix(&name).unwrap_or(line)).collect();
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn the_example_of_each_connector_is_valid() {
    let site = Site::new();
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins")).unwrap();
    let examples: Vec<_> =
        folders.map(|entry| entry.unwrap().path().join("example.yaml")).filter(|file| file.exists()).collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for file in examples {
        let checked = site.cli(["check".as_ref(), "--config".as_ref(), file.as_os_str()]).expect_code(0);
        assert_eq!(checked.stderr, "", "{}", file.display());
    }
}
