//! The power is cut under load: what was acknowledged is there afterwards. With commits that are not synced it is not,
//! which shows that these tests would notice.
//!
//! The state dir is an ext4 file system of its own, in a file on a loop device. The cut is `FS_IOC_SHUTDOWN` without
//! flushing the journal: whatever the kernel had not put on the disk by then is gone. Only root can do this.
//!
//! The cut is not one moment as in nature: while the call runs, ext4 lets some `fdatasync` succeed whose data are lost
//! (so do plain writes, without SQLite). Hence only what was told before the call counts as acknowledged.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::support::{Daemon, Plugin, Site, delivery, exchange, set_mode, wait_until};

const ROUNDS: u64 = 3;
const CLIENTS: usize = 3;

/// Who puts jobs on the queue.
#[derive(Debug, Clone, Copy)]
enum Producer {
    Cli,
    Webhook,
}

/// Started before the cut, which is then only a byte away. 2 is `FS_SHUTDOWN_FLAGS_NOLOGFLUSH`.
const CUT: &str = "
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
if sys.stdin.read(1):
    fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))
";

/// A gateway whose state dir is a disk that can lose its power.
///
/// The fields are dropped in this order: nothing may use the disk when it is unmounted.
struct Rig {
    daemon: Option<Daemon>,
    disk: Disk,
    site: Site,
}

/// An ext4 file system in a file, unmounted when it is dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Why there can be none here is an error of its own.
    fn new(site: &Site) -> Result<Self, String> {
        let (image, at) = (site.path("disk.img"), site.state_dir());
        File::create(&image).and_then(|file| file.set_len(64 << 20)).unwrap();
        tool("mkfs.ext4", ["-q", "-F", "-E", "lazy_itable_init=0"], &image)?;
        fs::create_dir(&at).unwrap();
        let disk = Self { image, at };
        disk.mount()?;
        set_mode(&disk.at, 0o700);
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        let ran = Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at).output();
        succeeded("mount", ran)
    }

    /// The loop device goes with it.
    fn unmount(&self) -> Result<(), String> {
        tool("umount", [], &self.at)
    }

    fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        mounts.lines().any(|line| line.split(' ').nth(1) == self.at.to_str())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for _ in 0..100 {
            if !self.is_mounted() || self.unmount().is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = tool("umount", ["--lazy"], &self.at);
    }
}

fn tool<const N: usize>(name: &str, options: [&str; N], path: &Path) -> Result<(), String> {
    succeeded(name, Command::new(name).args(options).arg(path).output())
}

fn succeeded(name: &str, ran: io::Result<std::process::Output>) -> Result<(), String> {
    let ran = ran.map_err(|error| format!("{name}: {error}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&ran.stderr).trim())),
    }
}

/// The hand on the plug.
struct Plug {
    helper: Child,
    stdin: ChildStdin,
}

impl Plug {
    fn new(disk: &Disk) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", CUT]).arg(&disk.at).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut helper = command.spawn().unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(helper.stdout.take().unwrap()), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { stdin: helper.stdin.take().unwrap(), helper }
    }

    fn pull(mut self) {
        self.stdin.write_all(b"x").unwrap();
        assert!(self.helper.wait().unwrap().success(), "FS_IOC_SHUTDOWN");
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}

impl Rig {
    /// `None`, said on stderr, where no disk can be made.
    fn new() -> Option<Self> {
        let note = r#"echo "$DUCTILE_JOB_ID" >> "$IT/journal"; echo '{"status": "ok", "events": [{"type": "hit"}]}'"#;
        let mut site = Site::with(Plugin::sh("work", note).set("retry: {max_attempts: 100}"));
        site.plugin(Plugin::sh("sink", note)).route("work", "hit", "sink").webhook(&["work"]);
        match Disk::new(&site) {
            Ok(disk) => Some(Self { daemon: None, disk, site }),
            Err(reason) => {
                // Past the test runner, which shows what `eprintln!` says for failures only.
                let _ = writeln!(io::stderr(), "power_loss: SKIPPED, this needs root and loop devices: {reason}");
                None
            }
        }
    }

    /// Runs until the power is cut, and starts again. The acknowledged jobs that are lost.
    fn lose_power(&mut self, producer: Producer, synchronous: &str, rng: &mut StdRng) -> Vec<String> {
        // What is on the disk before: an empty log, the files' names.
        self.site.clear_env().start().stop();
        self.site.env("DUCTILE_SYNCHRONOUS", synchronous);
        self.daemon = Some(self.site.start());
        let acknowledged = self.work_until_the_cut(producer, rng);
        self.site.clear_env();
        self.site.wait_no_plugin_process();
        self.disk.unmount().unwrap();
        self.disk.mount().unwrap();

        self.daemon = Some(self.site.start());
        self.site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
        self.daemon.take().expect("it runs").stop();
        assert_eq!(self.site.rows("PRAGMA integrity_check", ()), [json!({"integrity_check": "ok"})]);
        assert_eq!(self.site.count("SELECT count(*) FROM job_queue WHERE status != 'succeeded'"), 0);
        let known = self.site.rows("SELECT id FROM job_queue", ());
        acknowledged.into_iter().filter(|id| !known.iter().any(|row| row["id"] == **id)).collect()
    }

    /// Clients put jobs on the queue while others run; at some moment the power is cut. The ids that were told by then.
    fn work_until_the_cut(&mut self, producer: Producer, rng: &mut StdRng) -> Vec<String> {
        let daemon = self.daemon.take().expect("it runs");
        let (acknowledged, turn, over) = (Mutex::new(Vec::new()), Mutex::new(()), AtomicBool::new(false));
        let plug = Plug::new(&self.disk);
        let at_least = rng.random_range(5..30);
        let site = &self.site;
        let address = daemon.address();
        let by_cli = || {
            let mut command = {
                // One at a time: each writes the configuration.
                let _turn = turn.lock().unwrap();
                site.command(["run", "--detach", "work"])
            };
            let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
            printed.lines().next().map(str::to_owned)
        };
        let by_webhook = || {
            let answer = exchange(address, &delivery("/hooks/work", &[], b"{}"))?;
            (answer.status == 202).then(|| answer.job_id())
        };
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let told = match producer {
                            Producer::Cli => by_cli(),
                            Producer::Webhook => by_webhook(),
                        };
                        acknowledged.lock().unwrap().extend(told);
                    }
                });
            }
            wait_until("acknowledged jobs", || acknowledged.lock().unwrap().len() >= at_least);
            // Anywhere between two commits, or within one.
            std::thread::sleep(std::time::Duration::from_micros(rng.random_range(0..5_000)));
            let before = acknowledged.lock().unwrap().clone();
            plug.pull();
            over.store(true, Ordering::Relaxed);
            daemon.kill();
            before
        })
    }
}

fn assert_nothing_is_lost(producer: Producer) {
    let Some(mut rig) = Rig::new() else { return };
    for seed in 0..ROUNDS {
        let lost = rig.lose_power(producer, "FULL", &mut StdRng::seed_from_u64(seed));
        assert_eq!(lost, [""; 0], "acknowledged, then lost; seed {seed}");
    }
    let run = "SELECT count(*) FROM job_queue child JOIN job_queue parent ON parent.id = child.parent_job_id";
    let jobs = rig.site.count("SELECT count(*) FROM job_queue WHERE plugin = 'work'");
    assert_eq!(rig.site.count(run), jobs, "one routed child each");
}

fn assert_loss_is_noticed(producer: Producer) {
    let Some(mut rig) = Rig::new() else { return };
    let mut lost = |seed| rig.lose_power(producer, "NORMAL", &mut StdRng::seed_from_u64(seed));
    let noticed = (0..ROUNDS).any(|seed| !lost(seed).is_empty());
    assert!(noticed, "commits were not synced, and yet no round has lost an acknowledged job");
}

#[test]
fn no_acknowledged_job_is_lost() {
    assert_nothing_is_lost(Producer::Cli);
}

#[test]
fn no_acknowledged_webhook_is_lost() {
    assert_nothing_is_lost(Producer::Webhook);
}

#[test]
fn without_synced_commits_the_loss_is_noticed() {
    assert_loss_is_noticed(Producer::Cli);
}

#[test]
fn without_synced_commits_the_loss_of_webhooks_is_noticed() {
    assert_loss_is_noticed(Producer::Webhook);
}
