//! `ductile init`: from nothing but the binary to a running gateway.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Process, mode};

const BINARY: &str = env!("CARGO_BIN_EXE_ductile");

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(arguments).current_dir(folder).env_clear().env("PATH", path).env("HOME", folder);
    command
}

fn ductile(folder: &Path, arguments: &[&str]) -> crate::support::Ran {
    Process::spawn(&mut command(folder, arguments), "").wait()
}

/// Every file and folder below, with its mode.
fn tree(folder: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            found.push((path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), mode(&path)));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_new_folder_is_ready_to_check_run_and_start() {
    let dir = tempfile::tempdir().unwrap();
    let made = ductile(dir.path(), &["init", "my gateway"]).expect_code(0);
    assert!(made.stdout.ends_with(
        "\nnext:\n  cd 'my gateway' && ductile start\n  cd 'my gateway' && ductile logs --follow      in a second terminal\n"
    ), "{made:?}");
    let folder = dir.path().join("my gateway");
    let checked = ductile(&folder, &["check", "--deep"]).expect_code(0).expect_stdout("plugins enabled: 2, routes: 1");
    assert_eq!(checked.stderr, "", "no warning");
    ductile(&folder, &["run", "echo"]).expect_code(0).expect_stdout("hello from ductile");
    ductile(&folder, &["run", "example"]).expect_code(0).expect_stdout("run.py: changed");
    let daemon = Process::spawn(&mut command(&folder, &["start"]), "");
    crate::support::wait_until("a poll of its schedule", || {
        let logs = ductile(&folder, &["logs", "--json"]).stdout;
        logs.contains("\"scheduler\"") && logs.contains("\"route\"")
    });
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.wait().expect_code(0);
    ductile(&folder, &["queue", "--status", "dead"]).expect_code(0).expect_stderr("no such jobs");
}

/// `umask` is of the whole process, so it is set by a shell in between.
fn init_under(umask: &str, folder: &Path) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("umask {umask} && exec \"$0\" init gateway"), BINARY]).current_dir(folder);
    Process::spawn(&mut shell, "").wait().expect_code(0);
}

#[test]
fn modes_are_right_whatever_the_umask() {
    for (mask, program, file) in [
        ("022", 0o755, 0o644),
        ("000", 0o755, 0o644),
        ("077", 0o700, 0o600),
        ("777", 0o700, 0o600),
        ("133", 0o744, 0o644),
    ] {
        let dir = tempfile::tempdir().unwrap();
        init_under(mask, dir.path());
        for (name, mode) in tree(dir.path()) {
            let is_program = !name.contains('.') || name.ends_with("run.sh") || name.ends_with("run.py");
            assert_eq!(
                format!("{mode:o}"),
                format!("{:o}", if is_program { program } else { file }),
                "{name} under {mask}"
            );
        }
        ductile(&dir.path().join("gateway"), &["check"]).expect_code(0);
    }
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_is_touched() {
    for in_the_way in ["config.yaml", "README.md", "plugins", "schemas", "data"] {
        let dir = tempfile::tempdir().unwrap();
        // Other things are not in the way.
        fs::create_dir(dir.path().join(".git")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join(in_the_way)).unwrap();
        let names = || {
            let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        let refused = ductile(dir.path(), &["init"]).expect_code(1).expect_stderr(&format!("already `{in_the_way}`"));
        assert_eq!((refused.stdout.as_str(), names()), ("", before));
        fs::remove_file(dir.path().join(in_the_way)).unwrap();
        ductile(dir.path(), &["init"]).expect_code(0).expect_stdout("\n  ductile start\n");
        ductile(dir.path(), &["init"])
            .expect_code(1)
            .expect_stderr("`config.yaml`, `README.md`, `plugins`, `schemas`; nothing was made");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    ductile(dir.path(), &["init", "file"]).expect_code(1).expect_stderr("`file` is not a folder");
    ductile(dir.path(), &["init", "file/below"]).expect_code(1).expect_stderr("cannot be made");
}

#[test]
fn what_was_made_before_it_failed_is_gone() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can be somebody who may not write here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    crate::support::set_mode(dir.path(), 0o755);
    let mut command = command(dir.path(), &["init", "a/b"]);
    Process::spawn(command.uid(65534).gid(65534), "").wait().expect_code(1).expect_stderr("`a` cannot be made");
    // A file that cannot grow: the folders before it go again.
    crate::support::set_mode(dir.path(), 0o777);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1 && exec \"$0\" init c/d", BINARY]).current_dir(dir.path());
    Process::spawn(&mut shell, "").wait().expect_code(1).expect_stderr("config.yaml` cannot be made");
    assert_eq!(tree(dir.path()), []);
}
