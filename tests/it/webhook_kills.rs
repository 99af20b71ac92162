//! Webhooks under load while the daemon is killed hard, again and again: what was answered with a 2xx is there and runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::{Plugin, Site, delivery, exchange, wait_until};

const SENDERS: usize = 4;
const KILLS: usize = 16;

/// What senders and the test tell each other.
#[derive(Default)]
struct Line {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    /// Where the daemon is, and the how-manieth it is.
    address: Option<(usize, SocketAddr)>,
    over: bool,
    sent: usize,
    /// The body of each job that was acknowledged, by id.
    accepted: BTreeMap<String, String>,
}

impl Line {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now());
        self.changed.notify_all();
    }

    /// The address of a later daemon than this one; `None` when it is over.
    fn next_daemon(&self, than: usize) -> Option<(usize, SocketAddr)> {
        let waits = |now: &mut Now| !now.over && now.address.is_none_or(|(number, _)| number <= than);
        let now = self.changed.wait_while(self.now(), waits).unwrap();
        now.address.filter(|_| !now.over)
    }

    /// Sends one distinct body after the other, each until it is accepted, as senders do.
    fn send(&self, sender: usize) {
        let Some((mut number, mut address)) = self.next_daemon(0) else { return };
        for n in 0.. {
            let body = json!({"sender": sender, "n": n}).to_string();
            let request = delivery("/hooks/work", &[], body.as_bytes());
            let answer = loop {
                if self.now().over {
                    return;
                }
                self.now().sent += 1;
                if let Some(answer) = exchange(address, &request) {
                    break answer;
                }
                let Some(next) = self.next_daemon(number) else { return };
                (number, address) = next;
            };
            assert_eq!(answer.status, 202, "{answer:?}");
            assert_eq!(self.now().accepted.insert(answer.job_id(), body), None, "an id of its own");
        }
    }
}

/// Ends the senders, also when the test fails.
struct Over<'a>(&'a Line);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.change(|now| now.over = true);
    }
}

#[test]
fn no_acknowledged_webhook_is_lost_however_often_the_daemon_is_killed() {
    let note = r#"echo "$DUCTILE_JOB_ID" >> "$IT/ran"; echo '{"status": "ok", "events": [{"type": "hit"}]}'"#;
    let plugin = |name| Plugin::sh(name, note).set("retry: {max_attempts: 100, backoff_base: 10ms}");
    let mut site = Site::with(plugin("work"));
    site.plugin(plugin("sink")).route("work", "hit", "sink").webhook(&["work"]);
    let (line, mut rng) = (Line::default(), StdRng::seed_from_u64(5));
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let line = &line;
            scope.spawn(move || line.send(sender));
        }
        let _over = Over(&line);
        for number in 1..=KILLS {
            let daemon = site.start();
            let address = daemon.address();
            let enough = line.now().accepted.len() + rng.random_range(1..40);
            line.change(|now| now.address = Some((number, address)));
            wait_until("accepted webhooks", || line.now().accepted.len() >= enough);
            daemon.kill();
        }
    });
    let Now { sent, accepted, .. } = line.now.into_inner().unwrap();
    let daemon = site.start();
    site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
    daemon.stop();

    let ran = site.read("ran");
    let ran: BTreeSet<&str> = ran.lines().collect();
    let jobs = site.rows(
        "SELECT *, (SELECT count(*) FROM job_log WHERE job_id = jobs.id) AS attempts,
                (SELECT count(*) FROM job_queue child WHERE child.parent_job_id = jobs.id) AS children FROM jobs",
        (),
    );
    let roots = jobs.iter().filter(|job| job["submitted_by"] == "webhook").count();
    assert!(roots <= sent, "{roots} jobs of {sent} requests");
    let jobs: BTreeMap<&str, &Value> = jobs.iter().map(|job| (job["id"].as_str().unwrap(), job)).collect();
    for (id, body) in &accepted {
        let job = jobs.get(id.as_str()).unwrap_or_else(|| panic!("acknowledged job {id} is lost"));
        assert!(job["payload"].as_str().unwrap().contains(&format!(r#""payload":{body},"#)), "{job:#}");
    }
    for (id, job) in jobs {
        assert_eq!((&job["status"], &job["attempts"]), (&json!("succeeded"), &job["attempt"]), "{job:#}");
        assert_eq!(job["children"], i64::from(job["plugin"] == "work"), "{job:#}");
        assert!(ran.contains(id), "{id} has never run");
    }
}
