//! The disk is full for a while: deliveries are refused, what was acknowledged stays, and nothing needs a restart.
//!
//! The state dir is a small tmpfs in a mount namespace of the daemon's own, which any user may make where the system
//! allows user namespaces. The test sees it as `/proc/PID/root`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Answer, Daemon, Plugin, Process, Site, wait_until};

/// Mounts the disk, runs the rest of its arguments (again as long as there is a file `again`), and puts the database
/// where the test can read it.
const ON_SMALL_DISK: &str = r#"
state=$1; shift
mount -t tmpfs -o size=2m,mode=700 tmpfs "$state" || exit 77
while :; do
  "$@"; code=$?
  [ -e "$IT/again" ] || break
done
cp "$state/ductile.db" "$state.db" && umount "$state" && mv "$state.db" "$state/ductile.db" || exit 76
exit $code"#;

/// A plugin that notes its jobs, and holds them while there is a file `hold`.
const NOTING: &str = r#"echo "$DUCTILE_JOB_ID" >> "$IT/ran"
while [ -e "$IT/hold" ]; do sleep 0.01; done
echo '{"status": "ok", "state_updates": {"last": 1}}'"#;

/// A daemon on a small disk.
struct Rig {
    /// The shell that has mounted it and runs the daemon.
    daemon: Daemon,
    ballast: PathBuf,
    site: Site,
    acknowledged: BTreeSet<String>,
}

impl Rig {
    /// `None`, said on stderr, where there are no such namespaces.
    fn new() -> Option<Self> {
        if let Err(reason) = may_mount() {
            // Past the test runner, which shows what `eprintln!` says for failures only.
            let _ = writeln!(io::stderr(), "disk_full: SKIPPED, this needs user namespaces: {reason}");
            return None;
        }
        let mut site = Site::with(Plugin::sh("work", NOTING).set("retry: {max_attempts: 4}"));
        site.webhook(&["work"]);
        let state = site.state_dir();
        fs::create_dir(&state).unwrap();
        let start = site.command(["start"]);
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", ON_SMALL_DISK, "sh"]).arg(&state);
        command.arg(start.get_program()).args(start.get_args()).current_dir(start.get_current_dir().unwrap());
        command.env_clear().envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let daemon = Daemon(Process::spawn(&mut command, ""));
        daemon.wait_log("INFO", "ductile started");
        let root = PathBuf::from(format!("/proc/{}/root", daemon.0.pid()));
        let ballast = root.join(state.strip_prefix("/").unwrap()).join("ballast");
        Some(Self { daemon, ballast, site, acknowledged: BTreeSet::new() })
    }

    /// Some jobs, the first of which runs until it may end.
    fn deliver_held(&mut self) {
        self.site.touch("hold");
        for _ in 0..5 {
            assert_eq!(self.deliver().status, 202);
        }
        self.site.wait_file("ran");
    }

    fn release(&self) {
        fs::remove_file(self.site.path("hold")).unwrap();
    }

    fn deliver(&mut self) -> Answer {
        self.deliver_text(0)
    }

    /// Its job is noted if it was taken.
    fn deliver_text(&mut self, bytes: usize) -> Answer {
        let body = json!({"n": self.acknowledged.len(), "text": "x".repeat(bytes)}).to_string();
        let answer = self.daemon.deliver("/hooks/work", &[], body.as_bytes());
        match answer.status {
            202 => assert!(self.acknowledged.insert(answer.job_id())),
            503 => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
        answer
    }

    /// To the last byte; then delivers until one is refused: there may be space left within the log.
    fn fill(&mut self) {
        let mut file = File::create(&self.ballast).unwrap();
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        // Large ones first, then what still fits behind them.
        for bytes in [10_000, 0] {
            let refused = (0..1_000).any(|_| self.deliver_text(bytes).status == 503);
            assert!(refused, "the disk is full, and yet all was stored");
        }
    }

    fn signal(&self, signal: Signal) {
        let log = self.daemon.log();
        let started = log.iter().rfind(|line| line["message"] == "ductile started").expect("it has started");
        let pid = started["pid"].as_i64().unwrap();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(&self.ballast).unwrap();
    }

    fn ran(&self) -> Vec<String> {
        self.site.read("ran").lines().map(str::to_owned).collect()
    }

    /// There is room for a daemon that is started again and again: all that was acknowledged has run, perhaps more than
    /// once. The jobs, as they ran.
    fn end_after_restart(self) -> Vec<String> {
        self.make_room();
        let started = || self.daemon.log().iter().filter(|line| line["message"] == "ductile started").count();
        wait_until("the start", || started() == 2);
        fs::remove_file(self.site.path("again")).unwrap();
        let distinct = || self.ran().into_iter().collect::<BTreeSet<_>>().len();
        wait_until("all jobs to run", || distinct() == self.acknowledged.len());
        self.signal(Signal::SIGTERM);
        let ended = self.daemon.0.wait().expect_code(0);
        assert!(!ended.stdout.contains("panic") && !ended.stderr.contains("panic"), "{ended:?}");
        assert_sound(&self.site, &self.acknowledged);
        self.site.read("ran").lines().map(str::to_owned).collect()
    }

    /// All that was acknowledged has run, once each, and nothing else.
    fn end(self) {
        wait_until("all jobs to run", || self.ran().len() >= self.acknowledged.len());
        self.signal(Signal::SIGTERM);
        self.daemon.end();
        assert_eq!(self.site.read("ran").lines().count(), self.acknowledged.len(), "once each");
        assert_eq!(self.site.count("SELECT count(*) FROM job_queue WHERE attempt > 1"), 0);
        assert_sound(&self.site, &self.acknowledged);
    }
}

/// Exactly what was acknowledged is in the database, and has run.
fn assert_sound(site: &Site, acknowledged: &BTreeSet<String>) {
    assert_eq!(site.rows("PRAGMA integrity_check", ()), [json!({"integrity_check": "ok"})]);
    let jobs = site.rows("SELECT id, status FROM job_queue", ());
    assert!(jobs.iter().all(|job| job["status"] == "succeeded"), "{jobs:#?}");
    let ids: BTreeSet<_> = jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, *acknowledged);
    let ran: BTreeSet<_> = site.read("ran").lines().map(str::to_owned).collect();
    assert_eq!(ran, *acknowledged);
    assert_eq!(site.count("SELECT count(*) FROM job_log WHERE status = 'succeeded'"), ids.len() as i64);
}

fn may_mount() -> Result<(), String> {
    let mut command = Command::new("unshare");
    command.args(["-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(std::env::temp_dir());
    let ran = command.output().map_err(|error| format!("unshare: {error}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned()),
    }
}

#[test]
fn deliveries_are_refused_while_the_disk_is_full_and_taken_again_afterwards() {
    let Some(mut rig) = Rig::new() else { return };
    // With jobs on the queue, so that the ticks look after them.
    rig.deliver_held();
    rig.fill();
    let uptime = |health: &Value| health["uptime_seconds"].as_u64().unwrap();
    let first = uptime(&rig.daemon.get("/healthz").json());
    loop {
        let health = rig.daemon.get("/healthz");
        assert_eq!((health.status, &health.json()["status"]), (503, &json!("degraded")), "{health:?}");
        assert_eq!(health.json()["reasons"], json!(["the last write failed"]));
        // Some ticks: that a look at the queue works says nothing of the disk.
        if uptime(&health.json()) >= first + 3 {
            break;
        }
    }
    assert_eq!(rig.deliver().status, 503);
    rig.release();
    rig.make_room();
    assert_eq!(rig.deliver().status, 202);
    wait_until("health", || rig.daemon.get("/healthz").status == 200);
    rig.end();
}

#[test]
fn a_job_that_ends_while_the_disk_is_full_is_settled_afterwards_and_has_run_once() {
    let Some(mut rig) = Rig::new() else { return };
    rig.deliver_held();
    rig.fill();
    rig.release();
    let kept = rig.daemon.wait_log("ERROR", "write failed, kept in memory to be tried again");
    assert_eq!(kept["write"], "settle");
    assert_eq!(rig.ran().len(), 1, "nothing else runs before it is settled");
    assert_eq!(rig.daemon.get("/healthz").status, 503);
    rig.make_room();
    assert_eq!(rig.deliver().status, 202);
    rig.end();
}

#[test]
fn a_daemon_that_is_killed_on_a_full_disk_starts_once_there_is_room() {
    let Some(mut rig) = Rig::new() else { return };
    rig.deliver_held();
    rig.fill();
    rig.site.touch("again");
    let fails = |rig: &Rig| rig.daemon.0.stderr().lines().count();
    rig.signal(Signal::SIGKILL);
    wait_until("some starts that fail", || fails(&rig) >= 3);
    rig.release();
    rig.end_after_restart();
}

#[test]
fn a_second_sigterm_ends_a_daemon_that_waits_for_room_and_its_job_runs_again() {
    let Some(mut rig) = Rig::new() else { return };
    rig.deliver_held();
    rig.fill();
    rig.release();
    rig.daemon.wait_log("ERROR", "write failed, kept in memory to be tried again");
    rig.site.touch("again");
    rig.signal(Signal::SIGTERM);
    rig.daemon.wait_log("INFO", "stopping; a job in flight may end first");
    assert_eq!(rig.ran().len(), 1, "its result is still kept, and nothing else is claimed");
    rig.signal(Signal::SIGTERM);
    wait_until("some starts that fail", || rig.daemon.0.stderr().lines().count() >= 3);
    let first = rig.ran().remove(0);
    assert_eq!(rig.end_after_restart().iter().filter(|id| **id == first).count(), 2);
}
