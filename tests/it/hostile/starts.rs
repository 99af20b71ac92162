//! Entrypoints that cannot be started, or only later.

use std::fs::{self, File, OpenOptions};

use serde_json::json;

use crate::support::{OK, Plugin, Site, set_mode};

const ONCE_MORE: &str = "retry: {max_attempts: 2, backoff_base: 1ms}";
/// The delays have to outlast the test's look at the first attempt, not more.
const PATIENT: &str = "retry: {max_attempts: 9, backoff_base: 500ms}";

/// Held open for writing, so that it cannot be started.
pub(super) struct Busy {
    at_first: File,
    for_ever: File,
}

/// Puts the plugins there, as they may be loaded.
pub(super) fn prepare(site: &mut Site) -> Busy {
    for name in ["no_interpreter", "crlf_interpreter", "no_format", "busy_for_ever", "exchanged", "removed"] {
        site.plugin(Plugin::sh(name, OK).set(ONCE_MORE));
    }
    site.plugin(Plugin::sh("busy_at_first", OK).set(PATIENT)).plugin(Plugin::sh("busy_for_a_moment", OK).set(PATIENT));
    let replace = |name: &str, text: &str| fs::write(site.path(format!("plugins/{name}/run")), text).unwrap();
    replace("no_interpreter", &format!("#!/no/such/interpreter -x\n{OK}\n"));
    replace("crlf_interpreter", &format!("#!/bin/sh\r\n{OK}\r\n"));
    replace("no_format", "");
    Busy { at_first: open(site, "busy_at_first"), for_ever: open(site, "busy_for_ever") }
}

fn open(site: &Site, name: &str) -> File {
    OpenOptions::new().append(true).open(site.path(format!("plugins/{name}/run"))).unwrap()
}

fn busy_error(site: &Site, name: &str) -> String {
    let path = site.path(format!("plugins/{name}/run"));
    format!("cannot start `{}`: Text file busy (os error 26)", path.canonicalize().unwrap().display())
}

/// Runs them one by one, as each needs its own preparation.
pub(super) fn check(site: &Site, busy: Busy) {
    cannot_start(site);
    changed_since_it_was_loaded(site);
    is_busy(site, busy);
}

fn cannot_start(site: &Site) {
    let cases = [
        (
            "no_interpreter",
            "No such file or directory (os error 2); the interpreter `/no/such/interpreter` of its `#!` line is probably missing",
        ),
        (
            "crlf_interpreter",
            r"No such file or directory (os error 2); the interpreter `/bin/sh\r` of its `#!` line is probably missing",
        ),
        ("no_format", "Exec format error (os error 8); a script needs a `#!` line"),
    ];
    for (name, reason) in cases {
        let path = site.path(format!("plugins/{name}/run")).canonicalize().unwrap();
        dead(site, name, &format!("cannot start `{}`: {reason}", path.display()));
    }
}

fn changed_since_it_was_loaded(site: &Site) {
    let path = site.path("plugins/exchanged/run");
    let resolved = path.canonicalize().unwrap();
    let new = site.path("plugins/exchanged/run.new");
    fs::write(&new, format!("#!/bin/sh\ntouch \"$IT/taken\"\n{OK}\n")).unwrap();
    set_mode(&new, 0o777);
    fs::rename(new, path).unwrap();
    dead(site, "exchanged", &format!("`{}` may be written by every user", resolved.display()));
    assert!(!site.path("taken").exists(), "it was not run");

    let path = site.path("plugins/removed/run");
    let resolved = path.canonicalize().unwrap();
    fs::remove_file(path).unwrap();
    dead(site, "removed", &format!("`{}` is missing", resolved.display()));
}

fn is_busy(site: &Site, busy: Busy) {
    dead(site, "busy_for_ever", &busy_error(site, "busy_for_ever"));
    drop(busy.for_ever);

    let id = site.detach(["busy_at_first"]);
    site.wait_rows(&format!("SELECT 1 FROM job_log WHERE job_id = '{id}'"));
    drop(busy.at_first);
    let job = site.wait_job(&id, "succeeded");
    assert_eq!(job["last_error"], busy_error(site, "busy_at_first"));
    assert!(job["attempt"].as_i64() >= Some(2), "{job}");

    // Nine pauses, half a second in all, are enough as a rule. What matters is that it runs.
    let held = open(site, "busy_for_a_moment");
    let id = site.detach(["busy_for_a_moment"]);
    site.wait_rows(&format!("SELECT 1 FROM job_queue WHERE id = '{id}' AND started_at IS NOT NULL"));
    drop(held);
    site.wait_job(&id, "succeeded");
    let (last, before) = {
        let mut all = site.attempts(&id);
        (all.pop().unwrap(), all)
    };
    assert_eq!((&last["status"], &last["error"]), (&json!("succeeded"), &json!(null)));
    assert!(before.iter().all(|attempt| attempt["error"] == busy_error(site, "busy_for_a_moment")), "{before:?}");
}

fn dead(site: &Site, name: &str, error: &str) {
    let id = site.detach([name]);
    let job = site.wait_job(&id, "dead");
    assert_eq!((&job["attempt"], &job["last_error"]), (&json!(2), &json!(error)), "{name}");
    for attempt in site.attempts(&id) {
        assert_eq!((&attempt["status"], &attempt["exit_code"]), (&json!("failed"), &json!(null)), "{name}");
        assert_eq!(&attempt["error"], error, "{name}");
    }
}
