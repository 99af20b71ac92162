//! A copy of the database while it is in use, and going on from it.

use std::fs;

use crate::support::{Plugin, Site, mode, wait_until};

/// Makes one child each time, and remembers something.
const BUSY: &str = r#"echo '{"status": "ok", "state_updates": {"x": 1}, "events": [{"type": "again"}]}'"#;

#[test]
fn a_copy_of_a_busy_daemons_database_is_whole_and_a_daemon_starts_from_it() {
    let mut site = Site::with(Plugin::sh("busy", BUSY));
    site.route("busy", "again", "busy");
    let daemon = site.start();
    // Each job makes the next one, so that the daemon never rests.
    for _ in 0..20 {
        site.detach(["busy"]);
    }
    let done = |site: &Site| site.count("SELECT count(*) FROM job_queue WHERE status = 'succeeded'");
    wait_until("a few jobs", || done(&site) > 20);
    let before = done(&site);
    let said = site.cli(["backup", "copy.db"]).expect_code(0).expect_stdout("copy.db: ").expect_stdout("checked");
    assert_eq!(said.stderr, "");
    assert_eq!(mode(&site.path("copy.db")), 0o600);
    let left: Vec<_> = fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.iter().filter(|name| name.to_str().unwrap().starts_with("copy.db")).count(), 1, "{left:?}");
    wait_until("it goes on", || done(&site) > before);
    daemon.stop();

    // As `ductile backup --help` says.
    let old = site.state_dir().join("old");
    fs::create_dir(&old).unwrap();
    for name in ["ductile.db", "ductile.db-wal", "ductile.db-shm"] {
        if site.state_dir().join(name).exists() {
            fs::rename(site.state_dir().join(name), old.join(name)).unwrap();
        }
    }
    fs::copy(site.path("copy.db"), site.database()).unwrap();
    let copied = done(&site);
    assert!(copied >= before, "{copied} of {before}");
    assert_eq!(site.state("busy")["x"], 1);
    let orphans =
        "SELECT count(*) FROM job_queue WHERE status = 'succeeded' AND id NOT IN (SELECT job_id FROM job_log)";
    assert_eq!(site.count(orphans), 0, "of one moment");
    let daemon = site.start();
    wait_until("it goes on from there", || done(&site) > copied);
    daemon.stop();
}

#[test]
fn a_backup_overwrites_nothing_and_needs_no_daemon_and_no_secrets() {
    let mut site = Site::with(Plugin::sh("busy", BUSY).env("TOKEN", "\"${SECRET_TOKEN}\""));
    site.cli(["backup", "copy.db"]).expect_code(1).expect_stderr("no database at ");
    site.env("SECRET_TOKEN", "x").start().stop();
    site.clear_env();
    fs::write(site.path("there"), "mine").unwrap();
    site.cli(["backup", "there"]).expect_code(1).expect_stderr("`there` exists already");
    assert_eq!(site.read("there"), "mine");
    site.cli(["backup", "none/copy.db"]).expect_code(1).expect_stderr("cannot be written");
    site.cli(["backup", "copy.db"]).expect_code(0);
    site.cli(["backup", "copy.db"]).expect_code(1).expect_stderr("exists already");
}
