//! An operator writes into the database while the daemon runs: at worst the job concerned fails, and says why.

use rusqlite::Connection;

use crate::support::{OK, Plugin, Site};

/// Says that it runs, and goes on until the file `go` is there.
const GATED: &str = r#"echo x >> "$IT/started"
while [ ! -e "$IT/go" ]; do sleep 0.02; done
echo '{"status": "ok", "state_updates": {"x": 1}}'"#;

#[test]
fn an_attempt_whose_row_was_changed_changes_nothing_and_the_daemon_goes_on() {
    let mut site = Site::with(Plugin::sh("work", GATED));
    site.plugin(Plugin::sh("other", OK));
    let daemon = site.start();
    let id = site.detach(["work"]);
    site.wait_file("started");
    let database = Connection::open(site.database()).unwrap();
    let by_hand =
        "UPDATE job_queue SET status = 'dead', last_error = 'by hand', completed_at = created_at WHERE id = ?1";
    assert_eq!(database.execute(by_hand, [&id]).unwrap(), 1);
    site.touch("go");
    let line = daemon.wait_log("ERROR", "attempt not settled: please report this");
    assert!(line["reason"].as_str().unwrap().contains(&id), "{line}");
    site.cli(["run", "other"]).expect_code(0);
    let count = |sql: &str| database.query_row(sql, [&id], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM job_queue WHERE id = ?1 AND last_error = 'by hand'"), 1);
    assert_eq!(count("SELECT count(*) FROM job_log WHERE job_id = ?1"), 0);
    assert_eq!(count("SELECT count(*) FROM plugin_state WHERE ?1 != ''"), 0);
    daemon.stop();
}

#[test]
fn a_stored_state_that_is_no_json_fails_the_job_and_stops_nothing() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.plugin(Plugin::sh("other", OK));
    let daemon = site.start();
    let database = Connection::open(site.database()).unwrap();
    database.execute("INSERT INTO plugin_state VALUES ('work', '{no', '2026-01-01T00:00:00.000Z')", []).unwrap();
    site.cli(["run", "work"]).expect_code(1).expect_stdout("stored state is not JSON");
    site.cli(["run", "other"]).expect_code(0);
    daemon.stop();
}
