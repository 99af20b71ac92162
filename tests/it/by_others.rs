//! What other programs may do with the database while the daemon runs.

use std::process::Command;

use crate::support::{OK, Plugin, Site};

#[test]
fn another_program_that_closes_the_database_takes_nothing_away() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&["work"]);
    let daemon = site.start();
    let first = daemon.deliver("/hooks/work", &[], b"1").job_id();
    site.wait_job(&first, "succeeded");
    // In a process of its own, as POSIX locks are a process's: whoever closes the database last folds the log and deletes it.
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nprint(*c.execute('SELECT count(*) FROM job_queue').fetchone())\nc.close()";
    let output = Command::new("python3").args(["-c", script]).arg(site.database()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{output:?}");
    assert!(site.state_dir().join("ductile.db-wal").exists(), "the daemon still writes to it");
    let second = daemon.deliver("/hooks/work", &[], b"2").job_id();
    site.wait_job(&second, "succeeded");
    daemon.kill();
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE status = 'succeeded'"), 2, "acknowledged and stored");
}
