//! What the daemon tells a service manager: sd_notify(3), by a socket of our own.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::support::{Daemon, OK, Plugin, Site, wait_until};

/// Runs until the file `go` is there.
const GATED: &str = r#"env > "$IT/env"
while [ ! -e "$IT/go" ]; do sleep 0.02; done
echo '{"status": "ok"}'"#;

/// Listens where `NOTIFY_SOCKET` points.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// For the site's next processes; with a watchdog of so many milliseconds.
    fn new(site: &mut Site, watchdog_ms: Option<u32>) -> Self {
        let path = site.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        site.env("NOTIFY_SOCKET", path.to_str().unwrap());
        if let Some(watchdog_ms) = watchdog_ms {
            site.env("WATCHDOG_USEC", &(u64::from(watchdog_ms) * 1_000).to_string());
        }
        Self { socket, heard: Vec::new() }
    }

    fn hear(&mut self) -> &[String] {
        let mut buffer = [0; 4_096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        &self.heard
    }

    fn count(&mut self, start: &str) -> usize {
        self.hear().iter().filter(|message| message.starts_with(start)).count()
    }

    /// Waits for a message that contains this. Its place among all.
    #[track_caller]
    fn wait(&mut self, part: &str) -> usize {
        let place = |heard: &[String]| heard.iter().position(|message| message.contains(part));
        wait_until(&format!("`{part}`"), || place(self.hear()).is_some());
        place(&self.heard).unwrap()
    }

    /// Waits for so many signs of life from now on.
    #[track_caller]
    fn wait_alive(&mut self, times: usize) {
        let before = self.count("WATCHDOG=1");
        wait_until("signs of life", || self.count("WATCHDOG=1") >= before + times);
    }
}

#[test]
fn ready_is_said_once_the_daemon_can_be_used() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&["work"]);
    let mut manager = Manager::new(&mut site, None);
    let daemon = Daemon(site.spawn(["start"]));
    assert_eq!(manager.wait("READY=1\n"), 0, "it comes first");
    // No waiting for anything else.
    let ran = site.cli(["run", "work"]).expect_code(0);
    assert!(!ran.stderr.contains("no daemon"), "{ran:?}");
    assert_eq!(daemon.deliver("/hooks/work", &[], b"1").status, 202);
    assert_eq!(daemon.get("/healthz").status, 200);
    manager.wait("STATUS=0 queued, nothing runs\n");
    site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
    daemon.stop();
    let stopping = manager.wait("STOPPING=1\nEXTEND_TIMEOUT_USEC=50000000\n");
    manager.wait("STATUS=stopping; 0 queued, nothing runs\n");
    assert_eq!(manager.count("READY=1"), 1);
    assert_eq!(manager.count("WATCHDOG=1"), 0, "there is no watchdog");
    assert!(manager.heard[stopping + 1..].iter().all(|message| message.starts_with("STATUS=stopping")));
}

#[test]
fn a_daemon_that_cannot_start_is_not_ready() {
    let mut site = Site::with(Plugin::sh("work", OK));
    let daemon = site.start();
    let mut manager = Manager::new(&mut site, None);
    site.cli(["start"]).expect_code(1);
    site.raw("nonsense: 1");
    site.cli(["start"]).expect_code(78);
    assert_eq!(manager.hear(), [""; 0]);
    daemon.stop();
}

#[test]
fn a_child_that_takes_its_time_is_progress_and_sees_nothing_of_the_manager() {
    let mut site = Site::with(Plugin::sh("work", GATED));
    // A twelfth of a second for each sign of life.
    let mut manager = Manager::new(&mut site, Some(333));
    let daemon = site.start();
    let (first, second) = (site.detach(["work"]), site.detach(["work"]));
    manager.wait("running work poll since 20");
    manager.wait("STATUS=1 queued, running work poll since 20");
    // Several times the watchdog's time.
    manager.wait_alive(20);
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE status = 'running'"), 1);
    let env = site.read("env");
    assert!(env.contains("DUCTILE_JOB_ID="), "{env}");
    assert!(!["NOTIFY_SOCKET", "WATCHDOG_"].iter().any(|name| env.contains(name)), "{env}");
    // An end that waits for the child is progress, too.
    daemon.signal(Signal::SIGTERM);
    manager.wait("STOPPING=1");
    manager.wait("STATUS=stopping; 1 queued, running work poll since");
    manager.wait_alive(8);
    site.touch("go");
    daemon.end();
    assert_eq!(site.job(&first)["status"], "succeeded");
    assert_eq!(site.job(&second)["status"], "queued");
}

#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let mut site = Site::with(Plugin::sh("work", OK));
    let mut manager = Manager::new(&mut site, Some(4));
    site.env("WATCHDOG_PID", "1");
    let daemon = site.start();
    manager.wait("nothing runs");
    site.cli(["run", "work"]).expect_code(0);
    daemon.stop();
    assert_eq!(manager.count("WATCHDOG=1"), 0);
}

#[test]
fn the_status_follows_fast_jobs_at_a_second_s_pace() {
    let mut site = Site::with(Plugin::sh("work", OK));
    let mut manager = Manager::new(&mut site, None);
    let started = Instant::now();
    let daemon = site.start();
    for _ in 0..20 {
        site.detach(["work"]);
    }
    let succeeded = "SELECT count(*) FROM job_queue WHERE status = 'succeeded'";
    wait_until("all jobs", || site.count(succeeded) == 20);
    let most = started.elapsed().as_secs() as usize + 2;
    assert!(manager.count("STATUS=") <= most, "{most}: {:?}", manager.heard);
    // The last one holds.
    wait_until("the end", || manager.hear().last().is_some_and(|last| last == "STATUS=0 queued, nothing runs\n"));
    daemon.stop();
}

#[test]
fn writes_that_fail_are_told_and_are_no_reason_to_be_ended() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&["work"]);
    let mut manager = Manager::new(&mut site, Some(8_000));
    let daemon = site.start();
    manager.wait("nothing runs");
    let other = Connection::open(site.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(daemon.deliver("/hooks/work", &[], b"1").status, 503);
    manager.wait("STATUS=degraded: the last write failed; 0 queued, nothing runs");
    manager.wait_alive(3);
    assert_eq!(daemon.get("/healthz").status, 503, "all the time");
    other.execute_batch("ROLLBACK").unwrap();
    wait_until("health", || manager.hear().last().is_some_and(|last| last == "STATUS=0 queued, nothing runs\n"));
    daemon.stop();
}

#[test]
fn a_reload_is_told_from_beginning_to_end() {
    let mut site = Site::with(Plugin::sh("work", OK));
    let mut manager = Manager::new(&mut site, None);
    let daemon = site.start();
    manager.wait("nothing runs");
    daemon.signal(Signal::SIGHUP);
    let begun = manager.wait("RELOADING=1\nMONOTONIC_USEC=");
    wait_until("the end of the reload", || manager.count("READY=1\n") == 2);
    assert!(manager.heard.iter().rposition(|message| message == "READY=1\n") > Some(begun), "{:?}", manager.heard);
    daemon.stop();
}

#[test]
fn without_a_manager_that_listens_all_goes_on() {
    let mut site = Site::with(Plugin::sh("work", OK));
    let path = site.path("nobody");
    site.env("NOTIFY_SOCKET", path.to_str().unwrap());
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    daemon.wait_log("WARN", "the service manager does not take messages");
    daemon.stop();
}

/// The thread that writes stands still; the one that talks to the manager does not.
#[cfg(feature = "fault-injection")]
#[test]
fn a_daemon_that_stands_still_gives_no_sign_of_life() {
    let mut site = Site::with(Plugin::sh("work", OK).set("schedule: {every: 1h}"));
    let mut manager = Manager::new(&mut site, Some(1_000));
    site.env("DUCTILE_STALL_POINT", "tick.uncommitted");
    let daemon = site.start();
    let refused = |daemon: &Daemon| daemon.log().iter().filter(|line| is_refusal(line)).count();
    wait_until("the watchdog to go unfed", || refused(&daemon) > 0);
    manager.wait("STATUS=degraded: ");
    let before = manager.count("WATCHDOG=1");
    assert!(before > 0, "at first all was well");
    // As long as a service manager would wait, and longer.
    let unfed = refused(&daemon);
    wait_until("the watchdog's time to pass", || refused(&daemon) >= unfed + 8);
    assert_eq!(manager.count("WATCHDOG=1"), before);
    let _ = daemon.kill();
}

#[cfg(feature = "fault-injection")]
fn is_refusal(line: &serde_json::Value) -> bool {
    line["level"] == "ERROR" && line["message"].as_str().unwrap().starts_with("no progress")
}
