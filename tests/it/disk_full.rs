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

/// Mounts the disk, runs the rest of its arguments, and puts the database where the test can read it.
const ON_SMALL_DISK: &str = r#"
state=$1; shift
mount -t tmpfs -o size=2m,mode=700 tmpfs "$state" || exit 77
"$@"; code=$?
cp "$state/ductile.db" "$state.db" && umount "$state" && mv "$state.db" "$state/ductile.db" || exit 76
exit $code"#;

/// A plugin that notes its jobs, and holds them while there is a file `hold`.
const NOTING: &str = r#"echo "$DUCTILE_JOB_ID" >> "$IT/ran"
while [ -e "$IT/hold" ]; do sleep 0.01; done
echo '{"status": "ok", "state_updates": {"last": 1}}'"#;

/// A daemon on a small disk.
struct Rig {
    daemon: Daemon,
    pid: Pid,
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
        let mut site = Site::with(Plugin::sh("work", NOTING).set("retry: {max_attempts: 1}"));
        site.webhook(&["work"]);
        let state = site.state_dir();
        fs::create_dir(&state).unwrap();
        let start = site.command(["start"]);
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", ON_SMALL_DISK, "sh"]).arg(&state);
        command.arg(start.get_program()).args(start.get_args()).current_dir(start.get_current_dir().unwrap());
        command.env_clear().envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let daemon = Daemon(Process::spawn(&mut command, ""));
        let started = daemon.wait_log("INFO", "ductile started");
        let pid = Pid::from_raw(started["pid"].as_i64().unwrap().try_into().unwrap());
        let ballast = PathBuf::from(format!("/proc/{pid}/root")).join(state.strip_prefix("/").unwrap()).join("ballast");
        Some(Self { daemon, pid, ballast, site, acknowledged: BTreeSet::new() })
    }

    /// Its job is noted if it was taken.
    fn deliver(&mut self) -> Answer {
        self.deliver_text(0)
    }

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

    fn make_room(&self) {
        fs::remove_file(&self.ballast).unwrap();
    }

    fn ran(&self) -> Vec<String> {
        self.site.read("ran").lines().map(str::to_owned).collect()
    }

    /// All that was acknowledged has run, once each, and nothing else.
    fn end(self) {
        wait_until("all jobs to run", || self.ran().len() >= self.acknowledged.len());
        kill(self.pid, Signal::SIGTERM).unwrap();
        self.daemon.end();
        let ran = self.site.read("ran");
        assert_eq!(ran.lines().count(), self.acknowledged.len(), "once each");
        assert_eq!(ran.lines().map(str::to_owned).collect::<BTreeSet<_>>(), self.acknowledged);
        let site = &self.site;
        assert_eq!(site.rows("PRAGMA integrity_check", ()), [json!({"integrity_check": "ok"})]);
        let jobs = site.rows("SELECT id, status, attempt FROM job_queue", ());
        assert!(jobs.iter().all(|job| job["status"] == "succeeded" && job["attempt"] == 1), "{jobs:#?}");
        let ids: BTreeSet<_> = jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, self.acknowledged);
        assert_eq!(site.count("SELECT count(*) FROM job_log WHERE status = 'succeeded'"), ids.len() as i64);
    }
}

fn may_mount() -> Result<(), String> {
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]);
    let ran = command.output().map_err(|error| format!("unshare: {error}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned()),
    }
}

#[test]
fn deliveries_are_refused_while_the_disk_is_full_and_taken_again_afterwards() {
    let Some(mut rig) = Rig::new() else { return };
    assert_eq!(rig.deliver().status, 202);
    // With jobs on the queue, so that the ticks look after them.
    rig.site.touch("hold");
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
    fs::remove_file(rig.site.path("hold")).unwrap();
    rig.make_room();
    assert_eq!(rig.deliver().status, 202);
    wait_until("health", || rig.daemon.get("/healthz").status == 200);
    rig.end();
}

#[test]
fn a_job_that_ends_while_the_disk_is_full_is_settled_afterwards_and_has_run_once() {
    let Some(mut rig) = Rig::new() else { return };
    rig.site.touch("hold");
    assert_eq!(rig.deliver().status, 202);
    rig.site.wait_file("ran");
    rig.fill();
    fs::remove_file(rig.site.path("hold")).unwrap();
    let kept = rig.daemon.wait_log("ERROR", "write failed, kept in memory to be tried again");
    assert_eq!(kept["write"], "settle");
    assert_eq!(rig.ran().len(), 1, "nothing else runs before it is settled");
    assert_eq!(rig.daemon.get("/healthz").status, 503);
    rig.make_room();
    assert_eq!(rig.deliver().status, 202);
    rig.end();
}
