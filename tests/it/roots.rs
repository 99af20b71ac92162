//! `plugin_roots`: several folders with plugins, the first that has one counts.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::{Plugin, Site, set_mode};

/// Notes a word.
fn saying(name: &str, word: &str) -> Plugin {
    Plugin::sh(name, &format!("echo {word} >> \"$IT/said\"; echo '{{\"status\": \"ok\"}}'"))
}

/// A site with the roots `plugins`, `more` and `most`, and a plugin `work` that is configured and nowhere.
fn site() -> Site {
    let mut site = Site::new();
    for root in ["more", "most"] {
        fs::create_dir(site.path(root)).unwrap();
    }
    site.settings(saying("work", "")).more("plugin_roots: [more, ./most]");
    site
}

#[test]
fn the_first_root_that_has_a_plugin_wins_and_the_others_are_named() {
    let site = site();
    let missing = site.cli(["check"]).expect_code(1);
    for root in ["plugins", "more", "most"] {
        let path = format!("`{}`", site.path(root).display());
        assert!(missing.stderr.contains("is in none of") && missing.stderr.contains(&path), "{missing:?}");
    }
    site.files("most", &saying("work", "most"));
    site.cli(["check"]).expect_code(0);
    site.cli(["run", "work"]).expect_code(0);

    site.files("more", &saying("work", "more"));
    let shadowed = format!("`{}` is not used", site.path("most/work").display());
    let checked = site.cli(["check"]).expect_code(0).expect_stderr(&shadowed);
    assert_eq!(checked.stderr.lines().count(), 1, "{checked:?}");
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    site.cli(["plugins"]).expect_code(0).expect_stderr(&shadowed);
    site.cli(["plugins", "work"]).expect_code(0).expect_stdout(&shadowed).expect_stdout("more/work");
    assert_eq!(site.cli(["plugins", "work", "--json"]).json()["folder"], json!(site.path("more/work")));

    // The same manifest at another place is a change.
    site.files("plugins", &saying("work", "plugins"));
    site.cli(["run", "work"]).expect_code(0);
    site.cli(["reload"]).expect_code(0).expect_stdout("plugin `work`: changed");
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
    assert_eq!(site.read("said"), "most\nmore\nmore\nplugins");
}

#[test]
fn a_reload_picks_up_other_roots() {
    let mut site = Site::new();
    fs::create_dir(site.path("more")).unwrap();
    site.files("more", &saying("work", "more"));
    site.settings(saying("work", ""));
    let daemon = site.start();
    let waiting = site.cli(["run", "work"]).expect_code(1);
    assert!(waiting.stderr.contains("folder missing"), "{waiting:?}");
    site.more("plugin_roots: [more]");
    let said = site.cli(["reload"]).expect_code(0).stdout;
    assert_eq!(said, "reloaded\n  plugin `work`: changed\n  plugin roots: changed\n");
    site.cli(["run", "work"]).expect_code(0);
    site.more("");
    site.cli(["reload"]).expect_code(0).expect_stdout("plugin `work`: changed, not loaded: folder missing");
    daemon.stop();
    assert_eq!(site.read("said"), "more");
}

#[test]
fn what_a_root_holds_may_not_lead_out_of_it() {
    let site = site();
    site.files("most", &saying("work", "most"));
    // Another root is outside, too.
    symlink(site.path("most/work"), site.path("more/work")).unwrap();
    let outside = format!("outside of the plugin root `{}`", site.path("more").display());
    site.cli(["check"]).expect_code(1).expect_stderr(&outside);
    site.cli(["run", "work"]).expect_code(1).expect_stderr(&outside);

    fs::remove_file(site.path("more/work")).unwrap();
    fs::rename(site.path("most/work/run"), site.path("run")).unwrap();
    symlink(site.path("run"), site.path("most/work/run")).unwrap();
    let outside = format!("outside of the plugin root `{}`", site.path("most").display());
    site.cli(["check"]).expect_code(1).expect_stderr(&outside);
    assert_eq!(site.read("said"), "");
}

#[test]
fn a_root_that_everybody_may_write_loads_nothing_also_at_the_next_spawn() {
    let mut site = site();
    site.files("most", &saying("work", "most"));
    site.settings(saying("work", "").set("retry: {max_attempts: 1}"));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    set_mode(&site.path("most"), 0o777);
    site.cli(["run", "work"]).expect_code(1).expect_stdout("may be written by every user");
    daemon.stop();
    site.cli(["check"]).expect_code(1).expect_stderr("may be written by every user");
    assert_eq!(site.read("said"), "most");
}

#[test]
fn a_root_that_is_missing_is_named_and_nothing_behind_it_takes_its_place() {
    let site = site();
    site.files("most", &saying("work", "most"));
    fs::remove_dir(site.path("more")).unwrap();
    let unreadable = format!("plugin root `{}` cannot be read: No such file", site.path("more").display());
    site.cli(["check"]).expect_code(1).expect_stderr(&format!("plugin `work` is not loaded: {unreadable}"));
    site.cli(["run", "work"]).expect_code(1).expect_stderr(&unreadable);
    assert_eq!(site.read("said"), "");

    site.files("plugins", &saying("work", "plugins"));
    site.cli(["check"]).expect_code(0).expect_stderr(&format!("warning: {unreadable}"));
    site.cli(["run", "work"]).expect_code(0);
    assert_eq!(site.read("said"), "plugins");
}

#[test]
fn the_default_folder_need_not_be_there_beside_others() {
    let mut site = Site::new();
    fs::remove_dir(site.path("plugins")).unwrap();
    fs::create_dir(site.path("more")).unwrap();
    site.files("more", &saying("work", "more"));
    site.raw("state: {path: state/ductile.db}\nplugin_roots: [more]\nplugins: {work: {env: {IT: \"${IT}\"}}}\n");
    site.cli(["check"]).expect_code(0);
    site.cli(["run", "work"]).expect_code(0);
    site.files("plugins", &saying("work", "plugins"));
    site.cli(["run", "work"]).expect_code(0);
    assert_eq!(site.read("said"), "more\nplugins");

    fs::remove_dir_all(site.path("plugins")).unwrap();
    site.raw("state: {path: state/ductile.db}\nplugins_dir: plugins\nplugin_roots: [more]\nplugins: {work: }\n");
    site.cli(["check"]).expect_code(1).expect_stderr("plugins` cannot be read");
}
