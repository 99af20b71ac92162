//! What brings the dispatcher to a job.

use rusqlite::Connection;

use crate::support::{OK, Plugin, Site};

#[test]
fn a_job_whose_producer_died_before_it_woke_the_daemon_is_run_at_the_next_tick() {
    let site = Site::with(Plugin::sh("work", OK));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    // All that such a producer leaves: its row.
    let sql = "
        INSERT INTO job_queue (id, plugin, command, status, attempt, max_attempts, submitted_by, hops, created_at)
        SELECT '00000000-0000-7000-8000-000000000001', plugin, command, 'queued', 1, 4, 'cli', 0, created_at
        FROM job_queue";
    let connection = Connection::open(site.database()).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    connection.execute_batch(sql).unwrap();
    site.wait_job("00000000-0000-7000-8000-000000000001", "succeeded");
    daemon.stop();
}
