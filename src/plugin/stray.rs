//! Plugin processes that outlived a killed daemon: found by the instance in their environment, and killed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, Uid, getpgid, getpgrp};
use uuid::Uuid;

use super::environment::INSTANCE_VARIABLE;

/// A process can start another one while we look, but not for ever once its group is killed.
const MAX_ROUNDS: u32 = 100;

/// Kills every process of our user that carries `instance` in its environment, with its group, except ourselves and our
/// ancestors, until none is left. How many it were.
///
/// A process that has cleared its environment is not found; under systemd the unit's control group catches it. Without
/// `/proc` nothing is found.
pub fn kill_all(instance: Uuid) -> usize {
    let spared = ancestors();
    let mark = format!("{INSTANCE_VARIABLE}={instance}");
    let mut killed = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let strays: Vec<Pid> = marked(&mark).filter(|pid| !spared.contains(pid)).collect();
        if strays.is_empty() {
            break;
        }
        for pid in strays {
            // ESRCH, the only likely error, means that it has ended by itself.
            match getpgid(Some(pid)) {
                Ok(group) if group != getpgrp() && !spared.contains(&group) => drop(killpg(group, Signal::SIGKILL)),
                _ => drop(kill(pid, Signal::SIGKILL)),
            }
            killed.insert(pid);
        }
        std::thread::yield_now();
    }
    killed.len()
}

/// The processes of our user, not yet dead, whose environment has `mark`.
fn marked(mark: &str) -> impl Iterator<Item = Pid> {
    let user = Uid::effective().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        if entry.metadata().ok()?.uid() != user {
            return None;
        }
        // A zombie's environment is empty: what was killed is not found again.
        let environment = fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()).then(|| Pid::from_raw(pid))
    })
}

/// Ourselves, our parent, its parent and so on.
fn ancestors() -> BTreeSet<Pid> {
    let mut found = BTreeSet::new();
    let mut pid = Pid::this();
    while pid.as_raw() > 0 && found.insert(pid) {
        match parent(pid) {
            Some(parent) => pid = parent,
            None => break,
        }
    }
    found
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in brackets: state, parent.
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}
