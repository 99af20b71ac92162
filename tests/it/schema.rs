//! What a daemon of each released schema has left behind is carried on by this one.

use std::fs;
use std::path::Path;

use chrono::{TimeDelta, Utc};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Plugin, Site};

/// Keeps what it was asked, in a file of the job's name.
const KEEP: &str = r#"cat > "$IT/$DUCTILE_JOB_ID"
echo '{"status": "ok"}'"#;

/// The plugins of `tests/schema/make.py`, all well by now.
const PLUGINS: [&str; 7] = ["work", "sink", "later", "resting", "sick", "watch", "slow"];

/// The day on which everything in a dump has happened.
const MADE: &str = "2000-01-01T";

fn job_of(site: &Site, plugin: &str, status: &str) -> String {
    let sql = "SELECT id FROM job_queue WHERE plugin = ?1 AND status = ?2";
    site.row(sql, [plugin, status])["id"].as_str().unwrap().to_owned()
}

/// Jobs that are over, attempts, facts and states.
fn finished(site: &Site) -> Vec<Value> {
    let tables = ["jobs WHERE completed_at IS NOT NULL", "job_log", "plugin_facts", "plugin_state"];
    tables.iter().flat_map(|table| site.rows(&format!("SELECT * FROM {table}"), ())).collect()
}

#[test]
fn what_was_queued_or_running_runs_and_what_was_finished_stays() {
    // Else retention would delete it.
    let yesterday = (Utc::now() - TimeDelta::days(1)).format("%Y-%m-%dT").to_string();
    let dumps = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema");
    let dumps = fs::read_dir(dumps).unwrap().map(|entry| entry.unwrap().path());
    for dump in dumps.filter(|path| path.extension().is_some_and(|extension| extension == "sql")) {
        let mut site = Site::new();
        for plugin in PLUGINS {
            site.plugin(Plugin::sh(plugin, KEEP));
        }
        fs::create_dir(site.state_dir()).unwrap();
        let dump = fs::read_to_string(dump).unwrap().replace(MADE, &yesterday);
        Connection::open(site.database()).unwrap().execute_batch(&dump).unwrap();
        let before = finished(&site);
        assert!(before.len() >= 18, "{before:#?}");
        let (work, slow, resting) =
            (job_of(&site, "work", "queued"), job_of(&site, "slow", "running"), job_of(&site, "resting", "queued"));

        let daemon = site.start();
        assert_eq!(site.wait_job(&work, "succeeded")["attempt"], 1);
        assert_eq!(site.wait_job(&slow, "succeeded")["attempt"], 2, "it was interrupted");
        assert_eq!(site.job(&resting)["status"], "queued", "still paused");
        site.cli(["resume", "resting"]).expect_code(0);
        site.wait_job(&resting, "succeeded");
        for id in [work, slow, resting] {
            let request: Value = serde_json::from_str(&site.read(&id)).unwrap();
            assert_eq!(request["event"]["payload"]["text"], "Grüße\n");
            assert!(site.read(&id).contains("12345678901234567890.25"), "{request}");
        }
        let after = finished(&site);
        for row in before {
            assert!(after.contains(&row), "{row:#} is not in {after:#?}");
        }
        daemon.stop();
    }
}
