//! One owner of a state dir at a time.

use crate::support::{OK, Plugin, Site, mode};

/// Says that it runs, and goes on until the file `go` is there.
const GATED: &str = r#"echo x >> "$IT/started"
while [ ! -e "$IT/go" ]; do sleep 0.02; done
echo '{"status": "ok"}'"#;

#[test]
fn a_second_daemon_is_refused_in_one_line_that_names_the_pid() {
    let site = Site::with(Plugin::sh("work", OK));
    let daemon = site.start();
    let refused = site.cli(["start"]).expect_code(1);
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    assert!(refused.stderr.contains(&format!("PID {}", daemon.0.pid())), "{refused:?}");
    assert!(refused.stderr.contains("ductile start"), "{refused:?}");

    // The first one is not disturbed, and its lock still names it.
    site.cli(["run", "work"]).expect_code(0);
    site.cli(["start"]).expect_code(1).expect_stderr(&format!("PID {}", daemon.0.pid()));
    daemon.stop();
    site.start().stop();
}

#[test]
fn a_run_without_daemon_holds_the_lock_until_its_job_has_ended() {
    let site = Site::with(Plugin::sh("work", GATED));
    let first = site.spawn(["run", "work"]);
    site.wait_file("started");
    for arguments in [&["run", "work"][..], &["run", "work", "--detach"], &["start"]] {
        let refused = site.cli(arguments).expect_code(1);
        assert!(refused.stderr.contains(&format!("`ductile run` (PID {})", first.pid())), "{refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
        assert_eq!(refused.stdout, "");
    }
    let status = site.cli(["status", "--json"]).expect_code(0).json();
    assert_eq!((&status["running"], &status["holder_pid"]), (&false.into(), &first.pid().into()));

    site.touch("go");
    first.wait().expect_code(0);
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 1, "the refused ones have left nothing");
    site.cli(["run", "work"]).expect_code(0);
}

#[test]
fn a_killed_daemon_leaves_no_lock_behind() {
    let site = Site::with(Plugin::sh("work", OK));
    site.start().kill();
    let daemon = site.start();
    assert_eq!(site.row("SELECT pid FROM service", ())["pid"], daemon.0.pid());
    daemon.stop();
}

#[test]
fn everything_in_the_state_dir_is_for_its_owner_only() {
    let site = Site::with(Plugin::sh("work", OK));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    assert_eq!(mode(&site.state_dir()), 0o700);
    let names: Vec<_> = std::fs::read_dir(site.state_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in ["ductile.db", "ductile.db-wal", "ductile.lock"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    for name in names {
        assert_eq!(mode(&site.state_dir().join(&name)), 0o600, "{name:?}");
    }
    daemon.stop();
}

#[test]
fn a_daemon_whose_lock_or_database_was_deleted_ends_and_says_so() {
    for file in ["ductile.lock", "ductile.db"] {
        let site = Site::with(Plugin::sh("work", OK));
        let daemon = site.start();
        let lost = site.state_dir().join(file);
        std::fs::remove_file(&lost).unwrap();
        let ended = daemon.0.wait();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&format!("`{}` was deleted or replaced", lost.display())), "{ended:?}");
        assert!(ended.stdout.contains("was deleted or replaced"), "the log has it too: {ended:?}");
    }
}
