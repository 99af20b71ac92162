//! Every crash point is walked: a process aborts there, and whatever runs next makes good what it left.

mod alarm;
mod chain;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Mutex;

use ductile::fault::POINTS;
use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Daemon, Plugin, Process, Site, delivery, exchange, wait_until};

const CRASH_POINT: &str = "DUCTILE_CRASH_POINT";

/// At once, on two cores: they wait most of the time.
const WALKERS: usize = 4;

/// Notes that it runs, counts its runs in its state, and emits `$EVENTS`. While there is no file `go` it never ends.
const COUNTING: &str = r#"read -r input
echo "$NAME $DUCTILE_JOB_ID" >> "$IT/journal"
if [ ! -e "$IT/go" ]; then
  echo x > "$IT/started"
  exec sleep 600
fi
if [ -n "$FAILS" ] && [ ! -e "$IT/failed.$DUCTILE_JOB_ID" ]; then
  : > "$IT/failed.$DUCTILE_JOB_ID"
  exit 1
fi
n=${input##*'"state":{"n":'}
n=${n%%\}*}
case $n in *[!0-9]*) n=0 ;; esac
echo "{\"status\": \"ok\", \"state_updates\": {\"n\": $((n + 1))}, \"events\": [$EVENTS]}""#;

const HIT: &str = r#"'{"type": "hit"}'"#;
const TWO_HITS: &str = r#"'{"type": "hit"}, {"type": "hit"}'"#;

/// Which process comes to the point.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Daemon,
    /// `run` while there is a daemon.
    Beside,
    /// `run` without one.
    Alone,
    /// The daemon, while it takes a webhook.
    Receiver,
}

fn who_reaches(point: &str) -> &'static [Who] {
    match point.split_once('.').expect("`STEP.WHERE`").0 {
        "migrate" | "recovery" | "spawn" | "group" | "response" | "settle" => &[Who::Daemon, Who::Alone],
        "start" | "tick" | "retention" | "claim" | "reload" | "stop" => &[Who::Daemon],
        "enqueue" => &[Who::Beside, Who::Alone],
        "claim_one" => &[Who::Alone],
        "webhook" => &[Who::Receiver],
        _ => panic!("nobody walks to `{point}`"),
    }
}

/// `poll` and `a`, which has a webhook, route two events to `b`, each of these one to `c`, whose first attempts fail.
fn gateway() -> Site {
    let mut site = Site::new();
    let plugin = |name: &str, events: &str| {
        let plugin = Plugin::sh(name, COUNTING).env("NAME", name).set("retry: {max_attempts: 10, backoff_base: 10ms}");
        plugin.env("EVENTS", events)
    };
    site.plugin(plugin("poll", TWO_HITS).set("schedule: {every: 1h}"));
    site.plugin(plugin("a", TWO_HITS)).plugin(plugin("b", HIT)).plugin(plugin("c", "''").env("FAILS", "'yes'"));
    site.route("poll", "hit", "b").route("a", "hit", "b").route("b", "hit", "c");
    site.webhook(&["a"]);
    site
}

#[test]
fn every_crash_point_is_survived() {
    let walks = POINTS.iter().flat_map(|point| who_reaches(point).iter().map(move |who| (*point, *who)));
    let walks: Vec<_> = walks.rev().collect();
    let walked = walks.iter().map(|(point, _)| *point).collect::<BTreeSet<_>>();
    assert_eq!(walked, POINTS.iter().copied().collect());
    each_at_once(walks, |(point, who)| walk(point, who));
}

/// Some of them at a time, the last one first.
fn each_at_once<W: Debug + Copy + Send>(walks: Vec<W>, walk: impl Fn(W) + Sync) {
    let (left, failed) = (Mutex::new(walks), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WALKERS {
            scope.spawn(|| {
                loop {
                    let Some(next) = left.lock().unwrap().pop() else { return };
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk(next))).is_err() {
                        failed.lock().unwrap().push(next);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "not survived, see above: {failed:?}");
}

#[test]
fn the_list_has_each_crash_point_of_the_source_once() {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("crash_point!(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
            found.extend(names);
        }
    }
    found.sort();
    let mut listed = POINTS.to_vec();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

/// One walk: who died, who was told what, and what the database makes of it afterwards.
fn walk(point: &str, who: Who) {
    let site = gateway();
    let mut acknowledged = Vec::new();
    let on_nothing = point.starts_with("migrate.");
    if on_nothing {
        crash(&site, point, who, &mut acknowledged);
    }
    acknowledged.push(site.detach(["a"]));
    expired_history(&site);
    interrupted_run(&site);
    site.touch("go");
    if who == Who::Beside {
        return beside(&site, point, acknowledged);
    }
    if who == Who::Receiver {
        refused_delivery(&site, point);
    } else if !on_nothing {
        crash(&site, point, who, &mut acknowledged);
    }
    let daemon = site.start();
    acknowledged.push(site.detach(["a"]));
    acknowledged.push(daemon.deliver("/hooks/a", &[], b"{}").job_id());
    wait_all_done(&site);
    stop(daemon);
    assert_sound(&site, &acknowledged);
}

/// The daemon goes on, and must come to a job whose producer died before it could wake it.
fn beside(site: &Site, point: &str, acknowledged: Vec<String>) {
    let daemon = site.start();
    wait_all_done(site);
    let jobs = || site.count("SELECT count(*) FROM job_queue WHERE plugin = 'a'");
    let before = jobs();
    let mut command = site.command(["run", "--detach", "a"]);
    let client = Process::spawn(command.env(CRASH_POINT, point), "");
    assert_eq!(aborted(client), "", "no id before the end");
    assert_eq!(jobs() - before, i64::from(point == "enqueue.committed"));
    wait_all_done(site);
    stop(daemon);
    assert_sound(site, &acknowledged);
}

/// A sender that gets no answer, since the daemon dies there.
fn refused_delivery(site: &Site, point: &str) {
    let daemon = Daemon(Process::spawn(site.command(["start"]).env(CRASH_POINT, point), ""));
    let answer = exchange(daemon.address(), &delivery("/hooks/a", &[], b"{}"));
    aborted(daemon.0);
    assert!(answer.is_none(), "{answer:?}");
    let jobs = site.count("SELECT count(*) FROM job_queue WHERE submitted_by = 'webhook'");
    assert_eq!(jobs, i64::from(point == "webhook.committed"));
}

/// Starts the process that dies there, and adds the ids that were printed meanwhile.
fn crash(site: &Site, point: &str, who: Who, acknowledged: &mut Vec<String>) {
    if who == Who::Alone {
        let client = Process::spawn(site.command(["run", "a"]).env(CRASH_POINT, point), "");
        aborted(client);
        return;
    }
    let mut daemon = Process::spawn(site.command(["start"]).env(CRASH_POINT, point), "");
    if point.starts_with("stop.") {
        wait_all_done(site);
        daemon.signal(Signal::SIGTERM);
    } else if point.starts_with("reload.") {
        wait_until("the start", || daemon.stdout().contains("ductile started"));
        daemon.signal(Signal::SIGHUP);
    } else if !point.starts_with("migrate.") {
        // Not earlier: a client that finds no daemon takes the lock itself.
        wait_until("the start or its end", || daemon.stdout().contains("ductile started") || daemon.ended().is_some());
        for _ in 0..2 {
            if daemon.ended().is_none() {
                let client = site.cli(["run", "--detach", "a"]);
                acknowledged.extend(client.stdout.lines().map(str::to_owned));
            }
        }
    }
    aborted(daemon);
}

/// Waits for its end by SIGABRT. What it had printed, if it is not a daemon with its log.
fn aborted(mut process: Process) -> String {
    wait_until("SIGABRT", || process.ended().is_some());
    let status = process.ended().unwrap();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{status}\nstdout: {stdout}\nstderr: {stderr}");
    assert!(!stdout.contains("panic") && !stderr.contains("panic"), "stdout: {stdout}\nstderr: {stderr}");
    stdout
}

fn stop(daemon: Daemon) {
    let log = daemon.stop().stdout;
    assert!(!log.contains(r#""level":"ERROR""#), "{log}");
}

/// A job that runs while its process, a `run` without daemon, is killed; its plugin's process stays behind.
fn interrupted_run(site: &Site) {
    let mut client = site.spawn(["run", "a"]);
    site.wait_file("started");
    client.kill();
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE status = 'running'"), 1);
}

/// A job that retention deletes.
fn expired_history(site: &Site) {
    let sql = "
        INSERT INTO job_queue (id, plugin, command, status, attempt, max_attempts, submitted_by, hops, created_at,
                               started_at, completed_at)
        VALUES ('00000000-0000-7000-8000-000000000000', 'a', 'handle', 'succeeded', 1, 4, 'cli', 0,
                '2020-01-01T00:00:00.000Z', '2020-01-01T00:00:00.000Z', '2020-01-01T00:00:00.000Z');
        INSERT INTO job_payload SELECT seq, '{}' FROM job_queue WHERE completed_at IS NOT NULL;
        INSERT INTO job_log (job_id, attempt, plugin, command, submitted_by, status, started_at, completed_at,
                             duration_ms)
        SELECT id, 1, plugin, command, submitted_by, status, started_at, completed_at, 0
        FROM job_queue WHERE completed_at IS NOT NULL;";
    Connection::open(site.database()).unwrap().execute_batch(sql).unwrap();
}

fn wait_all_done(site: &Site) {
    site.wait_rows(
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)
         AND EXISTS (SELECT 1 FROM job_queue WHERE submitted_by = 'scheduler')
         AND NOT EXISTS (SELECT 1 FROM job_log WHERE completed_at < '2021')",
    );
}

fn assert_sound(site: &Site, acknowledged: &[String]) {
    assert_settled_once(site, acknowledged);
    let polls = site.count("SELECT count(*) FROM job_queue WHERE submitted_by = 'scheduler'");
    assert_eq!(polls, 1, "neither lost nor doubled");
    let schedule = site.row(
        "SELECT plugin, anchor = (SELECT completed_at FROM job_queue WHERE submitted_by = 'scheduler') AS settled,
                unixepoch(next_run) - unixepoch(anchor) AS every FROM schedule",
        (),
    );
    assert_eq!(schedule, json!({"plugin": "poll", "settled": 1, "every": 3600}));
}

/// All jobs have succeeded, each was settled once an attempt, with all that belongs to it.
fn assert_settled_once(site: &Site, acknowledged: &[String]) {
    assert_eq!(site.plugin_processes(), [0; 0]);
    assert_eq!(site.rows("PRAGMA integrity_check", ()), [json!({"integrity_check": "ok"})]);
    let jobs = site.rows("SELECT * FROM jobs ORDER BY seq", ());
    let by_id: BTreeMap<&str, &Value> = jobs.iter().map(|job| (text(job, "id"), job)).collect();
    for id in acknowledged {
        assert!(by_id.contains_key(id.as_str()), "acknowledged job {id} is lost");
    }
    let mut runs = BTreeMap::<&str, usize>::new();
    for job in &jobs {
        assert_eq!(job["status"], "succeeded", "{job:#}");
        assert_attempts(site, job);
        assert_children(site, job);
        let parent = job["parent_job_id"].as_str();
        assert_eq!(job["hops"], parent.map_or(0, |parent| by_id[parent]["hops"].as_i64().unwrap() + 1), "{job:#}");
        *runs.entry(text(job, "plugin")).or_default() += 1;
    }
    for (plugin, runs) in runs {
        assert_eq!(site.state(plugin), json!({"n": runs}), "the state of `{plugin}` is that of its settled attempts");
    }
    assert_eq!(site.count("SELECT count(*) FROM job_log WHERE job_id NOT IN (SELECT id FROM job_queue)"), 0);
    assert_eq!(site.count("SELECT count(*) FROM job_payload WHERE seq NOT IN (SELECT seq FROM job_queue)"), 0);
}

/// Each attempt has one row, none was left out, only the last one succeeded; and each success has run.
fn assert_attempts(site: &Site, job: &Value) {
    let attempts = site.attempts(text(job, "id"));
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["attempt"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=job["attempt"].as_u64().unwrap()).collect::<Vec<_>>(), "{attempts:#?}");
    let (last, failed) = attempts.split_last().unwrap();
    assert_eq!(last["status"], "succeeded");
    assert!(failed.iter().all(|attempt| attempt["status"] == "failed"), "{attempts:#?}");
    let interrupted = failed.iter().filter(|attempt| attempt["error"] == "interrupted").count();
    assert!(interrupted <= 2 && failed.len() - interrupted <= 1, "{attempts:#?}");
    let entry = format!("{} {}", text(job, "plugin"), text(job, "id"));
    let runs = site.read("journal").lines().filter(|line| *line == entry).count();
    assert!(runs >= 1 + failed.len() - interrupted && runs <= attempts.len(), "{runs} runs of {attempts:#?}");
}

/// Each event of the settled attempt was routed exactly once.
fn assert_children(site: &Site, job: &Value) {
    let children = site.rows(
        "SELECT plugin, source_event_id, payload, count(*) AS times FROM jobs WHERE parent_job_id = ?1
         GROUP BY plugin, source_event_id",
        [text(job, "id")],
    );
    let (count, to) = match text(job, "plugin") {
        "poll" | "a" => (2, "b"),
        "b" => (1, "c"),
        _ => (0, ""),
    };
    assert_eq!(children.len(), count, "{children:#?}");
    for child in children {
        assert_eq!((&child["plugin"], &child["times"]), (&json!(to), &json!(1)));
        let event: Value = serde_json::from_str(text(&child, "payload")).unwrap();
        assert_eq!(event["event_id"], child["source_event_id"]);
    }
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap()
}

#[test]
fn at_most_one_attempt_means_that_a_crash_leaves_the_job_dead() {
    for point in ["claim.committed", "spawn.before", "group.before_kill", "settle.uncommitted"] {
        let note = r#"echo x >> "$IT/journal"; echo '{"status": "ok", "events": [{"type": "hit"}]}'"#;
        let mut site = Site::with(Plugin::sh("once", note).set("retry: {max_attempts: 1}"));
        site.plugin(Plugin::sh("sink", note)).route("once", "hit", "sink");
        let id = site.detach(["once"]);
        aborted(Process::spawn(site.command(["start"]).env(CRASH_POINT, point), ""));
        let runs = site.read("journal").lines().count();
        assert_eq!(runs, usize::from(["group.before_kill", "settle.uncommitted"].contains(&point)), "{point}");
        let daemon = site.start();
        let job = site.wait_job(&id, "dead");
        stop(daemon);
        assert_eq!((&job["attempt"], &job["last_error"]), (&json!(1), &json!("interrupted")));
        assert_eq!(site.attempts(&id).len(), 1);
        assert_eq!(site.read("journal").lines().count(), runs, "not run again");
        assert_eq!(site.count("SELECT count(*) FROM job_queue"), 1, "what was not settled is not routed");
    }
}
