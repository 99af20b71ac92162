//! Real children, most of them written in sh. Every wait is for a condition; no limit here is a speed the machine must have.

use nix::sys::signal::kill;
use tokio::process::Command;

use super::*;
use crate::plugin::spawn::{Started, spawn};

const FAR: Duration = Duration::from_secs(600);

fn limits() -> Limits {
    Limits { grace: Duration::from_millis(50), drain: Duration::from_millis(50), ..Limits::default() }
}

async fn sh(script: &str) -> Started {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    spawn(command).await.unwrap()
}

async fn run(script: &str, input: Vec<u8>, timeout: Duration, cancel: &Cancel, limits: &Limits) -> Ended {
    supervise(sh(script).await, input, Instant::now() + timeout, cancel, limits, &|_| {}).await.unwrap()
}

async fn finish(script: &str, input: Vec<u8>) -> Ended {
    let ended = run(script, input, FAR, &Cancel::default(), &limits()).await;
    assert_eq!(ended.cause, Cause::Own);
    ended
}

fn leader(started: &Started) -> Pid {
    Pid::from_raw(started.child.id().unwrap().try_into().unwrap())
}

/// Waits until no process of this group is left, be it as a zombie that init has not reaped yet.
async fn group_is_gone(group: Pid) {
    loop {
        let alive = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            fields.len() > 2 && fields[0] != "Z" && fields[2] == group.to_string()
        });
        if !alive {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_goes_in_comes_out() {
    let input = vec![b'x'; 1 << 20];
    let ended = finish("tee /dev/stderr", input.clone()).await;
    assert!(ended.status.success());
    assert!(ended.stdout.bytes == input && ended.stdout.total == 1 << 20 && !ended.stdout.exceeded);
    assert!(ended.stderr.bytes == input);
}

#[tokio::test]
async fn a_child_need_not_read_its_input() {
    let ended = finish("exec <&-; echo done", vec![b'x'; 1 << 20]).await;
    assert!(ended.status.success());
    assert_eq!(ended.stdout.bytes, b"done\n");
}

#[tokio::test]
async fn printing_before_reading_does_not_deadlock() {
    let ended = finish("head -c 300000 /dev/zero; wc -c", vec![b'x'; 1 << 20]).await;
    assert_eq!(ended.stdout.total, 300_000 + "1048576\n".len() as u64);
    assert!(ended.stdout.bytes.ends_with(b"1048576\n"));
}

#[tokio::test]
async fn what_is_over_the_limit_is_drained_and_counted() {
    let ended = finish("head -c 12000000 /dev/zero; head -c 2000000 /dev/zero >&2", Vec::new()).await;
    assert!(ended.status.success());
    for (captured, total) in [(ended.stdout, 12_000_000), (ended.stderr, 2_000_000)] {
        assert_eq!((captured.exceeded, captured.total, captured.bytes.len()), (true, total, 65_536));
        assert!(captured.bytes.capacity() <= (10 << 20) + 1);
    }
}

#[tokio::test]
async fn the_limit_is_inclusive() {
    for (printed, exceeded) in [(100_000, false), (100_001, true)] {
        let limits = Limits { stdout: 100_000, ..limits() };
        let script = format!("head -c {printed} /dev/zero");
        let ended = run(&script, Vec::new(), FAR, &Cancel::default(), &limits).await;
        assert_eq!(ended.stdout.exceeded, exceeded);
    }
}

#[tokio::test]
async fn exit_code_and_signal_are_told() {
    assert_eq!(finish("exit 3", Vec::new()).await.status.code(), Some(3));
    let status = finish("kill -9 $$", Vec::new()).await.status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[tokio::test]
async fn background_children_die_with_their_leader() {
    let started = sh("sleep 600 & echo done").await;
    let group = leader(&started);
    // With a drain this long, only the group's death can end the wait.
    let limits = Limits { drain: FAR, ..limits() };
    let ended =
        supervise(started, Vec::new(), Instant::now() + FAR, &Cancel::default(), &limits, &|_| {}).await.unwrap();
    assert!(ended.status.success() && ended.stdout.bytes == b"done\n");
    group_is_gone(group).await;
}

#[tokio::test]
async fn a_grandchild_in_its_own_session_does_not_delay_the_result() {
    if std::process::Command::new("setsid").arg("true").status().is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    // It keeps printing, too: a pipe that is never quiet must not keep the drain from ending.
    let script =
        format!("setsid sh -c 'echo $$ >{0}; exec yes' & while [ ! -s {0} ]; do sleep 0.01; done", pid.display());
    let ended = finish(&script, Vec::new()).await;
    assert!(ended.status.success());
    let stray: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(stray), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn at_the_deadline_sigterm_then_sigkill() {
    let soon = Duration::from_millis(20);
    for script in
        ["sleep 600", "trap '' TERM; while :; do sleep 600; done", "kill -STOP $$", "while :; do echo flood; done"]
    {
        let started = sh(script).await;
        let group = leader(&started);
        let ended = supervise(started, Vec::new(), Instant::now() + soon, &Cancel::default(), &limits(), &|_| {})
            .await
            .unwrap();
        assert_eq!(ended.cause, Cause::Deadline, "{script}");
        assert!(!ended.status.success());
        group_is_gone(group).await;
    }
}

#[tokio::test]
async fn last_words_after_sigterm_are_read_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let script =
        format!("trap 'echo bye; exit 0' TERM; echo hello; : >{}; while :; do sleep 0.01; done", ready.display());
    let cancel = Cancel::default();
    let patient = Limits { grace: FAR, ..limits() };
    let (ended, ()) = tokio::join!(run(&script, Vec::new(), FAR, &cancel, &patient), async {
        while !ready.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.terminate.cancel();
    });
    assert_eq!((ended.cause, ended.status.code()), (Cause::Cancelled, Some(0)));
    assert_eq!(ended.stdout.bytes, b"hello\nbye\n");
}

#[tokio::test]
async fn an_exit_that_is_there_at_the_deadline_counts() {
    let started = sh("exit 0").await;
    let pid = started.child.id().unwrap();
    // Waits without the runtime, which therefore learns of the exit and of the deadline at once.
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        if stat.contains(") Z ") {
            break;
        }
        std::thread::yield_now();
    }
    let ended = supervise(started, Vec::new(), Instant::now(), &Cancel::default(), &limits(), &|_| {}).await.unwrap();
    assert_eq!(ended.cause, Cause::Own);
}

#[tokio::test]
async fn cancelling_terminates_and_killing_does_not_wait() {
    for kill in [false, true] {
        let cancel = Cancel::default();
        let patient = Limits { grace: FAR, ..limits() };
        // Ignores SIGTERM only in the case that is not about SIGTERM.
        let script = if kill { "trap '' TERM; while :; do sleep 600; done" } else { "sleep 600" };
        let supervised = run(script, Vec::new(), FAR, &cancel, &patient);
        let (ended, ()) = tokio::join!(supervised, async {
            tokio::task::yield_now().await;
            cancel.terminate.cancel();
            if kill {
                tokio::task::yield_now().await;
                cancel.kill.cancel();
            }
        });
        assert_eq!(ended.cause, Cause::Cancelled, "kill: {kill}");
    }
}

#[tokio::test]
async fn dropping_the_future_kills_the_group() {
    let started = sh("sleep 600 & sleep 600").await;
    let group = leader(&started);
    {
        let cancel = Cancel::default();
        let limits = limits();
        let supervised = supervise(started, Vec::new(), Instant::now() + FAR, &cancel, &limits, &|_| {});
        assert!(timeout(Duration::from_millis(20), supervised).await.is_err());
    }
    group_is_gone(group).await;
}

#[tokio::test]
async fn a_leader_that_has_left_its_group_is_stopped_all_the_same() {
    // Moves into our own group, which must not be signalled.
    let script = "exec python3 -c 'import os, time; os.setpgid(0, os.getpgid(os.getppid())); time.sleep(600)'";
    let started = sh(script).await;
    let left = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.child.id().unwrap())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[2] == nix::unistd::getpgrp().to_string()
    };
    while !left() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ended = supervise(started, Vec::new(), Instant::now(), &Cancel::default(), &limits(), &|_| {}).await.unwrap();
    assert_eq!(ended.cause, Cause::Deadline);
}
