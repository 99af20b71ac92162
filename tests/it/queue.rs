//! `ductile queue`: one job, its tree, and changing it, with a daemon and without.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site};

/// Says that it runs, and goes on until the file `go` is there.
const GATED: &str = r#"echo x >> "$IT/started"
while [ ! -e "$IT/go" ]; do sleep 0.02; done
echo '{"status": "ok"}'"#;

/// A chain of three: `source` makes two events, for `sink` and for `broken`, which fails for good and says so colourfully.
fn chain() -> Site {
    let events = r#"echo '{"status": "ok", "events": [{"type": "good"}, {"type": "bad", "payload": {"n": 1.50}, "dedupe_key": "k"}]}'"#;
    let mut site = Site::with(Plugin::sh("source", events));
    site.plugin(Plugin::sh("sink", OK));
    site.plugin(Plugin::sh("broken", r#"printf 'red \033[31m' >&2; echo "{}"; [ -e "$IT/mended" ] || exit 78"#));
    site.route("source", "good", "sink").route("source", "bad", "broken");
    site
}

fn id_of(site: &Site, plugin: &str) -> String {
    let row = site.row("SELECT id FROM job_queue WHERE plugin = ?1", [plugin]);
    row["id"].as_str().unwrap().to_owned()
}

/// Runs the chain to its end; the daemon has ended then.
fn ran() -> Site {
    let site = chain();
    let daemon = site.start();
    site.cli(["run", "source"]).expect_code(0);
    site.wait_rows("SELECT 1 WHERE (SELECT count(completed_at) FROM job_queue) = 3");
    daemon.stop();
    site
}

/// Changes the database as an operator would.
fn by_hand(site: &Site, sql: &str) {
    Connection::open(site.database()).unwrap().execute_batch(sql).unwrap();
}

/// Compares what was printed, with ids, times and durations replaced by what they are, and columns drawn together.
macro_rules! assert_shape {
    ($text:expr, @$shape:literal) => {
        insta::with_settings!({filters => vec![
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
            (r"\b\d+m?s\b", "TOOK"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME"),
            // The widths of columns are those of times; what begins a line stays.
            (r"(\S) {2,}", "$1  "),
        ]}, { insta::assert_snapshot!($text, @$shape) });
    };
}

#[test]
fn show_has_the_job_with_its_attempts_and_payload_and_nothing_a_terminal_would_obey() {
    let site = ran();
    let id = id_of(&site, "broken");
    let shown = site.cli(["queue", "show", &id]).expect_code(0);
    assert_eq!(shown.stderr, "");
    assert_shape!(shown.stdout, @r#"
    job  ID
    does  broken handle
    status  dead
    attempt  1 of 4
    by  route
    parent  ID
    event  ID
    dedupe key  k
    hops  1
    created  TIME
    started  TIME
    ended  TIME
    reason  exit code 78 (EX_CONFIG)

    TIME  broken handle  failed  attempt 1  TOOK  job ID
        error  exit code 78 (EX_CONFIG)
        stderr  red \u{1b}[31m
        stdout  {}

    payload
        {
          "type": "bad",
          "payload": {
            "n": 1.50
          },
          "dedupe_key": "k",
          "source": "source",
          "timestamp": "TIME",
          "event_id": "ID"
        }
    "#);
    assert!(shown.stdout.starts_with(&format!("job         {id}\ndoes        broken handle\n")), "{shown:?}");
    let shown = site.cli(["queue", "show", &id, "--json"]).expect_code(0);
    assert!(shown.stdout.contains("1.50"), "numbers pass as they are: {shown:?}");
    let shown = shown.json();
    assert_eq!((&shown["job"]["id"], &shown["job"]["status"]), (&json!(id), &json!("dead")));
    assert_eq!((&shown["payload"]["type"], &shown["payload"]["payload"]["n"]), (&json!("bad"), &json!(1.5)));
    assert_eq!((&shown["attempts"][0]["stderr"], &shown["children"]), (&json!("red \u{1b}[31m"), &json!(0)));
    let source = site.cli(["queue", "show", &id_of(&site, "source")]).expect_code(0);
    assert!(source.stdout.contains("caused      2 jobs") && !source.stdout.contains("\npayload"), "{source:?}");
}

#[test]
fn trace_shows_the_whole_tree_from_any_of_its_jobs() {
    let site = ran();
    let ids = ["source", "sink", "broken"].map(|plugin| id_of(&site, plugin));
    for id in &ids {
        let traced = site.cli(["queue", "trace", id, "--json"]).expect_code(0).json();
        let jobs = traced["jobs"].as_array().unwrap();
        let seen: Vec<_> =
            jobs.iter().map(|job| (job["id"].as_str().unwrap(), job["depth"].as_u64().unwrap())).collect();
        assert_eq!(seen, [(ids[0].as_str(), 0), (&ids[1], 1), (&ids[2], 1)]);
        assert_eq!((&traced["pruned_root"], &traced["cut"]), (&Value::Null, &json!(false)));
        assert_eq!((&jobs[0]["event_type"], &jobs[1]["event_type"]), (&Value::Null, &json!("good")));
        assert!(jobs.iter().all(|job| job["took_ms"].is_u64()), "{traced}");
    }
    let text = site.cli(["queue", "trace", &ids[2]]).expect_code(0);
    assert_eq!(text.stderr, "");
    assert_shape!(text.stdout, @r"
      JOB  STATUS  ATTEMPT  BY  CREATED  TOOK  AFTER  EVENT  ID  LAST ERROR
      source poll  succeeded  1/4  cli  TIME  TOOK  TOOK  -  ID  -
        sink handle  succeeded  1/4  route  TIME  TOOK  TOOK  good  ID  -
    *  broken handle  dead  1/4  route  TIME  TOOK  TOOK  bad  ID  exit code 78 (EX_CONFIG)
    ");
    let column = |line: &str, word: &str| line.find(word).unwrap();
    let lines: Vec<_> = text.stdout.lines().collect();
    assert_eq!(column(lines[0], "STATUS"), column(lines[1], "succeeded"), "aligned");
    assert_eq!(column(lines[0], "STATUS"), column(lines[3], "dead"), "aligned");
    let cut = site.cli(["queue", "trace", &ids[2], "--limit", "2"]).expect_code(0);
    assert_eq!(
        (cut.stdout.lines().count(), cut.stderr.as_str()),
        (3, "there are more than 2 jobs; `--limit` shows more of them\n")
    );
}

#[test]
fn trace_says_what_has_been_deleted_and_shows_the_rest() {
    let site = ran();
    let [source, sink] = ["source", "sink"].map(|plugin| id_of(&site, plugin));
    by_hand(&site, "DELETE FROM job_queue WHERE plugin = 'source'");
    let traced = site.cli(["queue", "trace", &sink, "--json"]).expect_code(0).json();
    assert_eq!((&traced["pruned_root"], traced["jobs"].as_array().unwrap().len()), (&json!(source), 2));
    let text = site.cli(["queue", "trace", &sink]).expect_code(0);
    assert_eq!(text.stderr, format!("job {source}, which caused these, was deleted when its time was over\n"));
    // The attempts of a deleted job are still in the log.
    let text = site.cli(["queue", "show", &source]).expect_code(0).expect_stdout("which was deleted");
    assert!(text.stdout.contains("source poll  succeeded"), "{text:?}");
    assert_eq!(site.cli(["queue", "show", &source, "--json"]).expect_code(0).json()["job"], Value::Null);
    site.cli(["queue", "trace", &source]).expect_code(1).expect_stderr(&format!("job {source} was deleted"));
}

#[test]
fn rows_that_go_round_in_circles_end() {
    let site = ran();
    let sink = id_of(&site, "sink");
    by_hand(&site, &format!("UPDATE job_queue SET parent_job_id = '{sink}' WHERE plugin = 'source'"));
    let traced = site.cli(["queue", "trace", &sink, "--json"]).expect_code(0).json();
    assert_eq!(traced["jobs"].as_array().unwrap().len(), 3);
}

#[test]
fn a_job_is_named_by_the_beginning_of_its_id() {
    let site = ran();
    by_hand(
        &site,
        "UPDATE job_queue SET id = 'aaaa0000-0000-7000-8000-000000000000' WHERE plugin = 'source';
         UPDATE job_queue SET id = 'aaaa0001-0000-7000-8000-000000000000' WHERE plugin = 'sink'",
    );
    let shown = site.cli(["queue", "show", "AAAA0001", "--json"]).expect_code(0).json();
    assert_eq!(shown["job"]["plugin"], "sink");
    for arguments in
        [&["show"][..], &["trace"], &["cancel"], &["cancel", "--dry-run"], &["retry"], &["retry", "--dry-run"]]
    {
        let queue = |id| site.cli(["queue"].iter().chain(arguments).chain(&[id]));
        let ambiguous = queue("aaaa").expect_code(1);
        assert_eq!((ambiguous.stdout.as_str(), ambiguous.stderr.lines().count()), ("", 3), "{ambiguous:?}");
        assert!(ambiguous.stderr.contains("begins with `aaaa`"), "{ambiguous:?}");
        for candidate in
            ["aaaa0000-0000-7000-8000-000000000000  source poll", "aaaa0001-0000-7000-8000-000000000000  sink handle"]
        {
            assert!(ambiguous.stderr.contains(candidate), "{ambiguous:?}");
        }
        queue("bbbb").expect_code(1).expect_stderr("there is no job whose id begins with `bbbb`");
        let whole = "bbbb0000-0000-7000-8000-000000000000";
        queue(whole).expect_code(1).expect_stderr(&format!("there is no job `{whole}`"));
        queue("aaa").expect_code(2).expect_stderr("at least 4 characters");
        queue("not-an-id").expect_code(2).expect_stderr("an id has 36 characters");
    }
}

#[test]
fn a_dead_job_is_retried_as_a_new_one_below_it() {
    let site = ran();
    let dead = id_of(&site, "broken");
    let before = site.job(&dead);
    let what = format!("would be retried, with up to 4 attempts: {dead}  broken handle  dead");
    site.cli(["queue", "retry", &dead, "--dry-run"]).expect_code(0).expect_stdout(&what);
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 3, "nothing was done");
    site.touch("mended");

    let retried = site.cli(["queue", "retry", &dead]).expect_code(0).expect_stderr("no daemon is running");
    let id = retried.stdout.trim();
    let job = site.job(id);
    for field in ["plugin", "command", "payload", "dedupe_key", "source_event_id", "hops"] {
        assert_eq!(job[field], before[field], "{field}");
    }
    assert_eq!((&job["status"], &job["attempt"], &job["max_attempts"]), (&json!("queued"), &json!(1), &json!(4)));
    assert_eq!((&job["parent_job_id"], &job["submitted_by"]), (&json!(dead), &json!("cli")));
    assert_eq!(site.job(&dead), before, "the dead one stays as it is");
    site.cli(["queue", "trace", &dead]).expect_code(0).expect_stdout("cli (retry)");
    site.cli(["pause", "broken"]).expect_code(0);
    site.cli(["queue", "retry", &dead]).expect_code(0).expect_stderr("it waits: plugin `broken` is paused since");
    site.cli(["resume", "broken"]).expect_code(0);

    let daemon = site.start();
    site.wait_rows(&format!("SELECT 1 FROM job_log WHERE job_id = '{id}'"));
    daemon.stop();
}

/// The next tick is an hour away, so the daemon has to be told.
#[test]
fn a_retry_and_its_daemon_meet_at_once() {
    let mut site = Site::with(Plugin::sh("work", r#"[ -e "$IT/mended" ] || exit 78; echo '{"status": "ok"}'"#));
    site.service("tick_interval", "1h");
    let daemon = site.start();
    site.cli(["run", "work", "--dedupe-key", "k"]).expect_code(1);
    let dead = id_of(&site, "work");
    site.touch("mended");
    let retried = site.cli(["queue", "retry", &dead]).expect_code(0);
    assert!(!retried.stderr.contains("no daemon"), "{retried:?}");
    let id = retried.stdout.trim();
    site.wait_job(id, "succeeded");
    // Now the key has succeeded.
    let again = site.cli(["queue", "retry", &dead]).expect_code(0).expect_stderr("nothing to do");
    assert_eq!(again.stdout.trim(), id);
    daemon.stop();
}

#[test]
fn what_cannot_be_retried_is_refused_with_the_reason() {
    let mut site = Site::with(Plugin::sh("work", "exit 78"));
    site.plugin(Plugin::sh("gone", "exit 78")).plugin(Plugin::sh("off", "exit 78")).plugin(Plugin::sh("good", OK));
    site.plugin(Plugin::sh("waits", "exit 1").set("retry: {backoff_base: 1h}")).service("max_queue_depth", "1");
    let daemon = site.start();
    for plugin in ["work", "gone", "off", "good", "waits"] {
        site.cli(["run", plugin]);
    }
    daemon.stop();
    site.remove("gone").plugin(Plugin::sh("off", OK).set("enabled: false"));
    site.start().stop();
    let before = site.rows("SELECT * FROM jobs ORDER BY seq", ());
    for (plugin, code, message) in [
        ("good", 1, "has succeeded; only a dead job can be retried"),
        ("waits", 1, "is queued already"),
        ("gone", 2, "plugin `gone` is not configured"),
        ("off", 2, "plugin `off` is disabled"),
        ("work", 1, "the queue is full (1 jobs"),
    ] {
        let refused = site.cli(["queue", "retry", &id_of(&site, plugin)]).expect_code(code).expect_stderr(message);
        assert_eq!(refused.stdout, "");
    }
    assert_eq!(site.rows("SELECT * FROM jobs ORDER BY seq", ()), before);
}

#[test]
fn a_queued_job_is_cancelled_beside_a_daemon_and_a_running_one_is_not() {
    let site = Site::with(Plugin::sh("work", GATED));
    let daemon = site.start();
    let running = site.detach(["work"]);
    site.wait_file("started");
    let queued = site.detach(["work"]);
    site.cli(["queue", "cancel", &queued, "--dry-run"]).expect_code(0).expect_stdout("would be cancelled");
    assert_eq!(site.job(&queued)["status"], "queued");
    site.cli(["queue", "cancel", &queued])
        .expect_code(0)
        .expect_stdout(&format!("cancelled: {queued}  work poll  dead"));
    let job = site.job(&queued);
    assert_eq!(job["status"], "dead");
    let reason = job["last_error"].as_str().unwrap();
    assert!(reason.starts_with("cancelled by ") && reason.ends_with(" with `ductile queue cancel`"), "{reason}");
    for dry in [None, Some("--dry-run")] {
        let cancel = |id: &str| site.cli(["queue", "cancel", id].into_iter().chain(dry)).expect_code(1);
        assert!(cancel(&running).stderr.contains("is running, and only a queued job can be cancelled"));
        assert!(cancel(&queued).stderr.contains("is dead already"));
    }
    site.touch("go");
    site.wait_job(&running, "succeeded");
    site.cli(["queue", "cancel", &running]).expect_code(1).expect_stderr("has succeeded");
    daemon.stop();
    assert_eq!(site.read("started").lines().count(), 1, "the cancelled one was never run");
}

#[test]
fn without_a_daemon_jobs_are_cancelled_also_those_that_wait_and_nothing_is_recovered() {
    let mut site = Site::with(Plugin::sh("work", GATED));
    site.plugin(Plugin::sh("waits", "exit 1").set("retry: {backoff_base: 1h}")).env("SECRET", "s");
    let daemon = site.start();
    site.cli(["run", "waits"]).expect_code(1);
    let running = site.detach(["work"]);
    site.wait_file("started");
    daemon.kill();
    let waiting = id_of(&site, "waits");
    site.cli(["queue", "cancel", &waiting]).expect_code(0);
    let job = site.job(&waiting);
    assert_eq!((&job["status"], &job["next_retry_at"]), (&json!("dead"), &Value::Null));
    site.cli(["queue", "cancel", &running]).expect_code(1).expect_stderr("is running");
    assert_eq!(site.job(&running)["attempt"], 1, "it was not recovered");
    assert!(!site.plugin_processes().is_empty(), "nothing was killed");
}

#[test]
fn a_job_is_cancelled_beside_a_run_that_holds_the_state_dir() {
    let site = Site::with(Plugin::sh("work", GATED));
    let waiting = site.detach(["work"]);
    let run = site.spawn(["run", "work"]);
    site.wait_file("started");
    site.cli(["queue", "cancel", &waiting]).expect_code(0);
    site.touch("go");
    run.wait().expect_code(0);
    assert_eq!((site.job(&waiting)["status"].as_str(), site.read("started").lines().count()), (Some("dead"), 1));
}

#[test]
fn changes_that_are_made_at_the_same_time_are_all_made() {
    let site = Site::with(Plugin::sh("work", OK));
    let ids: Vec<_> = (0..6).map(|_| site.detach(["work"])).collect();
    let changes: Vec<_> = ids.iter().map(|id| site.spawn(["queue", "cancel", id])).collect();
    for change in changes {
        change.wait().expect_code(0);
    }
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE status = 'dead'"), 6);
}

#[test]
fn purge_deletes_the_dead_that_were_asked_for_and_keeps_the_log() {
    let mut site = Site::with(Plugin::sh("work", "exit 78"));
    site.plugin(Plugin::sh("other", "exit 78")).plugin(Plugin::sh("good", OK));
    let daemon = site.start();
    for plugin in ["work", "work", "other", "good"] {
        site.cli(["run", plugin]);
    }
    let purge =
        |arguments: &[&str]| site.cli(["queue", "purge", "--dead"].iter().chain(arguments)).expect_code(0).stdout;
    let dead = || site.count("SELECT count(*) FROM job_queue WHERE status = 'dead'");
    site.cli(["queue", "purge"]).expect_code(2).expect_stderr("--dead");
    site.cli(["queue", "purge", "--dead", "--older-than", "soon"]).expect_code(2).expect_stderr("is not a duration");
    assert_eq!(purge(&["--older-than", "1h"]), "deleted: 0 dead jobs\n");
    assert_eq!(purge(&["--plugin", "none"]), "deleted: 0 dead jobs of `none`; there is no plugin of that name\n");
    assert_eq!(purge(&["--plugin", "work", "--dry-run"]), "would be deleted: 2 dead jobs of plugin `work`\n");
    assert_eq!(dead(), 3);
    assert_eq!(purge(&["--plugin", "work"]), "deleted: 2 dead jobs of plugin `work`\n");
    assert_eq!(dead(), 1);
    daemon.stop();
    assert_eq!(purge(&[]), "deleted: 1 dead job\n");
    assert_eq!(
        (dead(), site.count("SELECT count(*) FROM job_queue"), site.count("SELECT count(*) FROM job_log")),
        (0, 1, 4)
    );
}

#[test]
fn thousands_of_dead_jobs_are_purged_in_pieces() {
    let site = Site::with(Plugin::sh("work", "exit 78"));
    site.cli(["run", "work"]).expect_code(1);
    by_hand(
        &site,
        "INSERT INTO job_queue (id, plugin, command, status, attempt, max_attempts, submitted_by, hops, created_at, completed_at, last_error)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         SELECT printf('%08x-0000-7000-8000-000000000000', i), plugin, command, status, 1, 4, 'cli', 0, created_at, completed_at, 'no'
         FROM n, job_queue",
    );
    let daemon = site.start();
    site.cli(["queue", "purge", "--dead"]).expect_code(0).expect_stdout("deleted: 2001 dead jobs");
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 0);
    site.cli(["run", "work"]).expect_code(1);
    daemon.stop();
}

#[test]
fn no_daemon_is_told_apart_from_nothing_there() {
    let site = Site::with(Plugin::sh("work", OK));
    let daemon = site.start();
    let nothing = site.cli(["queue"]).expect_code(0);
    assert_eq!(
        (nothing.stdout.as_str(), nothing.stderr.as_str()),
        ("", "no queued or running jobs; `--all` shows those that are over\n")
    );
    daemon.stop();
    let nothing = site.cli(["queue"]).expect_code(0);
    assert!(
        nothing.stderr.contains("no queued or running jobs") && nothing.stderr.contains("no daemon is running"),
        "{nothing:?}"
    );
    site.detach(["work"]);
    let waiting = site.cli(["queue"]).expect_code(0);
    assert_eq!(
        (waiting.stdout.lines().count(), waiting.stderr.as_str()),
        (2, "no daemon is running: nothing is run until `ductile start`\n")
    );
    assert_eq!(site.cli(["queue", "--status", "dead"]).expect_code(0).stderr, "no such jobs\n");
}

#[test]
fn a_change_without_a_database_makes_none() {
    let site = Site::with(Plugin::sh("work", OK));
    for arguments in [&["purge", "--dead"][..], &["cancel", "0199f3c2"], &["retry", "0199f3c2"]] {
        site.cli(["queue"].iter().chain(arguments)).expect_code(1).expect_stderr("no database at ");
        assert!(!site.state_dir().exists());
    }
    std::fs::create_dir(site.state_dir()).unwrap();
    crate::support::set_mode(&site.state_dir(), 0o700);
    site.cli(["queue", "purge", "--dead"]).expect_code(1).expect_stderr("no database at ");
    assert!(!site.database().exists());
}
