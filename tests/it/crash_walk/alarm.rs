//! The walk along a job that ends dead and calls for help: whoever is dead was told of, once, in the same commit.

use serde_json::json;

use super::chain::{CRASH_AFTER, STEPS};
use super::{CRASH_POINT, aborted, each_at_once};
use crate::support::{Daemon, OK, Plugin, Process, Site, delivery, exchange};

const DEAD: &str = "SELECT count(*) FROM job_queue WHERE plugin = 'work' AND status = 'dead'";
const TOLD: &str = "SELECT count(*) FROM job_queue WHERE plugin = 'note'";

#[test]
fn every_dead_job_is_told_of_once_whatever_the_step() {
    let walks: Vec<_> = STEPS.iter().flat_map(|step| [(*step, 0), (*step, 1)]).rev().collect();
    each_at_once(walks, |(step, job)| walk(step, job));
}

/// The daemon dies at this step of the job that fails, or of the one that tells of it.
fn walk(step: &str, job: usize) {
    let mut site = Site::with(Plugin::sh("work", "exit 78").set("retry: {max_attempts: 10, backoff_base: 10ms}"));
    site.plugin(Plugin::sh("note", OK).set("retry: {max_attempts: 10, backoff_base: 10ms}"));
    site.route("ductile", "job.dead", "note").webhook(&["work"]);
    let mut command = site.command(["start"]);
    let daemon = Daemon(Process::spawn(command.env(CRASH_POINT, step).env(CRASH_AFTER, job.to_string()), ""));
    let answer = exchange(daemon.address(), &delivery("/hooks/work", &[], b"{}"));
    aborted(daemon.0);
    let dead = i64::from(job == 1 || step == "settle.committed");
    assert_eq!((site.count(DEAD), site.count(TOLD)), (dead, dead));

    let daemon = site.start();
    site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
    daemon.stop();
    let work = site.row("SELECT id, status FROM job_queue WHERE plugin = 'work'", ());
    let note = site.row("SELECT parent_job_id, status FROM job_queue WHERE plugin = 'note'", ());
    assert_eq!(
        (&work["status"], &note),
        (&json!("dead"), &json!({"parent_job_id": work["id"], "status": "succeeded"}))
    );
    assert!(answer.is_none_or(|answer| answer.job_id() == work["id"]));
}
