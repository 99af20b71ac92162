//! What ductile refuses to work with: clearly, and without touching it.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;

use rusqlite::Connection;

use crate::support::{Daemon, OK, Plugin, Process, Site, mode, set_mode};

const NOBODY: u32 = 65534;

/// The arguments of every command that only looks.
const READS: [&[&str]; 5] = [&["status"], &["queue", "--all"], &["logs"], &["logs", "--since", "1h"], &["plugins"]];
/// Those that write.
const WRITES: [&[&str]; 4] =
    [&["start"], &["run", "work"], &["run", "work", "--detach"], &["queue", "purge", "--dead"]];

/// A site whose daemon has run one job and ended.
fn used() -> Site {
    let site = Site::with(Plugin::sh("work", "echo x >> \"$IT/ran\"; echo '{\"status\": \"ok\"}'"));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
    site
}

fn names_in(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Every command says `message` on one line of stderr, and the database stays as it is.
fn assert_refused(site: &Site, commands: &[&[&str]], message: &str) {
    let before = std::fs::read(site.database()).unwrap();
    for arguments in commands {
        let ran = site.cli(*arguments).expect_code(1).expect_stderr(message);
        assert_eq!((ran.stderr.lines().count(), ran.stdout.as_str()), (1, ""), "{arguments:?}: {ran:?}");
        assert!(!ran.stderr.contains("panic"), "{ran:?}");
    }
    assert!(before == std::fs::read(site.database()).unwrap(), "the database was changed");
    assert_eq!(site.read("ran"), "x", "nothing was run");
}

fn root() -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        eprintln!("skipped: only root can give files to another user");
    }
    root
}

#[test]
fn a_state_dir_that_others_can_write_is_refused_with_the_remedy() {
    let site = used();
    for bits in [0o770, 0o702, 0o777, 0o720] {
        set_mode(&site.state_dir(), bits);
        let remedy = format!("chmod go-w {}", site.state_dir().display());
        assert_refused(&site, &WRITES, &remedy);
        assert_eq!(mode(&site.state_dir()), bits, "it is never changed");
    }
    set_mode(&site.state_dir(), 0o700);
    site.cli(["run", "work"]).expect_code(0);
}

#[test]
fn a_state_dir_that_others_can_read_is_a_warning() {
    let site = used();
    set_mode(&site.state_dir(), 0o755);
    let daemon = site.start();
    let warning = daemon.wait_log("WARN", "the state dir can be read by others");
    assert!(warning["warning"].as_str().unwrap().contains("chmod 700"), "{warning}");
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
    assert_eq!(mode(&site.state_dir()), 0o755);
}

#[test]
fn another_users_state_dir_is_refused_and_its_owner_named() {
    if !root() {
        return;
    }
    let site = used();
    let before = names_in(&site.state_dir());
    for path in before.iter().map(|name| site.state_dir().join(name)).chain([site.state_dir()]) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    assert_refused(&site, &WRITES, "sudo -u nobody ductile");
    assert_eq!(names_in(&site.state_dir()), before, "no file was made");
}

#[test]
fn another_users_new_state_dir_gets_no_files() {
    if !root() {
        return;
    }
    let site = Site::with(Plugin::sh("work", OK));
    std::fs::create_dir(site.state_dir()).unwrap();
    chown(site.state_dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    for arguments in WRITES {
        site.cli(arguments).expect_code(1).expect_stderr("sudo -u nobody ductile");
    }
    assert_eq!(names_in(&site.state_dir()), [""; 0]);
}

#[test]
fn a_user_without_access_to_the_state_dir_is_told_whose_it_is() {
    if !root() {
        return;
    }
    let site = used();
    set_mode(&site.path(""), 0o755);
    let daemon = site.start();
    for arguments in WRITES.iter().chain(&READS) {
        let mut command = site.command(*arguments);
        let ran = Process::spawn(command.uid(NOBODY).gid(NOBODY), "").wait().expect_code(1);
        assert!(ran.stderr.contains("sudo -u root ductile"), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {ran:?}");
    }
    daemon.stop();
    assert_eq!(site.read("ran"), "x");
}

#[test]
fn a_newer_database_is_refused() {
    let site = used();
    let connection = Connection::open(site.database()).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    let all: Vec<_> = WRITES.into_iter().chain(READS).collect();
    assert_refused(&site, &all, "has schema 999, newer than this program's");
}

#[test]
fn a_damaged_database_is_refused() {
    let all: Vec<_> = WRITES.into_iter().chain(READS).collect();
    let site = used();
    let good = std::fs::read(site.database()).unwrap();
    assert!(good.len() > 8192);
    let mut no_schema = good.clone();
    no_schema[100..4096].fill(0xff);
    for bad in [&good[..good.len() / 2], &no_schema[..], b"this was a database once, it really was\n"] {
        std::fs::write(site.database(), bad).unwrap();
        assert_refused(&site, &all, "is damaged");
    }
    std::fs::write(site.database(), good).unwrap();
    site.cli(["run", "work"]).expect_code(0);
}

#[test]
fn a_database_of_something_else_is_refused() {
    let site = used();
    for name in names_in(&site.state_dir()) {
        std::fs::remove_file(site.state_dir().join(name)).unwrap();
    }
    Connection::open(site.database()).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let all: Vec<_> = WRITES.into_iter().chain(READS).collect();
    assert_refused(&site, &all, "is not a ductile database");
}

#[test]
fn commands_that_look_say_that_there_is_no_database_and_make_none() {
    let site = Site::with(Plugin::sh("work", OK));
    for arguments in READS {
        let ran = site.cli(arguments).expect_code(1).expect_stderr("no database at ").expect_stderr("ductile start");
        assert_eq!(ran.stdout, "");
    }
    assert!(!site.state_dir().exists());
    site.cli(["check"]).expect_code(0);
    assert!(!site.state_dir().exists());
}

#[test]
fn all_problems_of_a_configuration_are_told_at_once_with_their_places() {
    let mut site = Site::new();
    site.raw(
        "service:\n  tick_intervall: 5s\n  log_level: loud\nplugins:\n  work:\n    config: {a: \"${UNSET_ONE}\"}\n\
         \x20   env: {B: \"${UNSET_TWO}\"}\nroutes:\n  - {from: work, event_type: x, to: nobody}\n",
    );
    for arguments in [&["start"][..], &["check"], &["run", "work"]] {
        let ran = site.cli(arguments).expect_code(78);
        for part in [
            "config.yaml:2:3: service.tick_intervall: unknown key `tick_intervall`; did you mean `tick_interval`?",
            "config.yaml:3:14: service.log_level:",
            "config.yaml:6:17: plugins.work.config.a: `${UNSET_ONE}` is not set",
            "config.yaml:7:14: plugins.work.env.B: `${UNSET_TWO}` is not set",
            "config.yaml:9:37: routes[0].to:",
        ] {
            assert!(ran.stderr.contains(part), "{arguments:?} lacks {part}:\n{}", ran.stderr);
        }
        assert_eq!((ran.stderr.lines().count(), ran.stdout.as_str()), (5, ""), "{ran:?}");
    }
    assert!(!site.state_dir().exists());
}

#[test]
fn bad_files_are_configuration_errors() {
    let mut site = Site::new();
    for (yaml, message) in [
        ("plugins: {a: {}, a: {}}", "config.yaml:1:18:"),
        ("service: [", "config.yaml:"),
        ("plugins:\n  a:\n\tb: c\n", "config.yaml:3:"),
        ("- a\n", "config.yaml:1:1:"),
        ("service: {name: \"${\"}", "never closed"),
        ("a: &a [*a]\n", "config.yaml:"),
    ] {
        let ran = site.raw(yaml).cli(["check"]).expect_code(78).expect_stderr(message);
        assert!(!ran.stderr.contains("panic"), "{ran:?}");
    }
    std::fs::write(site.path("config.yaml"), "").unwrap();
    site.cli(["check", "--config", "none.yaml"]).expect_code(78).expect_stderr("none.yaml");
    site.cli(["check", "--config", "."]).expect_code(78);
}

#[test]
fn manifests_that_contradict_the_configuration_are_configuration_errors() {
    let mut site = Site::with(Plugin::sh("work", OK).commands("health").set("schedule: {every: 5m}"));
    site.route("work", "x", "work");
    for arguments in [&["start"][..], &["check"]] {
        let ran = site.cli(arguments).expect_code(78);
        assert!(ran.stderr.contains("does not declare `poll`"), "{ran:?}");
        assert!(ran.stderr.contains("does not declare `handle`"), "{ran:?}");
        assert!(ran.stderr.lines().all(|line| line.starts_with("config.yaml:")), "{ran:?}");
    }
}

#[test]
fn commands_that_look_need_none_of_the_variables() {
    let mut site = Site::with(
        Plugin::python("work", "print(json.dumps({'status': 'ok', 'state_updates': {'t': os.environ['TOKEN']}}))")
            .env("TOKEN", "\"${SECRET_TOKEN}\""),
    );
    site.env("SECRET_TOKEN", "a # b: \"c\"\n- d");
    let daemon = site.start();
    site.clear_env();
    // With a daemon, `run` is one of them.
    site.cli(["run", "work"]).expect_code(0);
    assert_reads_work(&site, &daemon);
    daemon.stop();
    for arguments in READS {
        site.cli(arguments).expect_code(0);
    }
    assert_eq!(site.state("work")["t"], "a # b: \"c\"\n- d");
    for arguments in [&["start"][..], &["check"], &["run", "work"]] {
        site.cli(arguments).expect_code(78).expect_stderr("`${SECRET_TOKEN}` is not set");
    }
}

fn assert_reads_work(site: &Site, daemon: &Daemon) {
    for arguments in READS {
        let ran = site.cli(arguments).expect_code(0);
        assert_eq!(ran.stderr, "", "{arguments:?}");
    }
    assert!(site.cli(["status"]).stdout.contains(&daemon.0.pid().to_string()));
}
