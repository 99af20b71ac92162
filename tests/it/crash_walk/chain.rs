//! The walk along a chain that a webhook begins: every step of every job's life, at each hop.

use super::{COUNTING, CRASH_POINT, HIT, TWO_HITS, aborted, assert_settled_once, each_at_once, stop};
use crate::support::{Daemon, Plugin, Process, Site, delivery, exchange};

pub(super) const CRASH_AFTER: &str = "DUCTILE_CRASH_AFTER";

/// The plugins of the jobs, in the order in which they run: `a` has two children, each of which has one.
const ORDER: [&str; 5] = ["a", "b", "b", "c", "c"];

/// What every job passes. The first one is claimed by itself, each other one as its predecessor is settled.
pub(super) const STEPS: [&str; 8] = [
    "spawn.before",
    "spawn.after",
    "group.before_kill",
    "group.killed",
    "response.before_read",
    "response.read",
    "settle.uncommitted",
    "settle.committed",
];

const FIRST_STEPS: [&str; 4] = ["webhook.uncommitted", "webhook.committed", "claim.uncommitted", "claim.committed"];

fn chain() -> Site {
    let mut site = Site::new();
    for (name, events) in [("a", TWO_HITS), ("b", HIT), ("c", "''")] {
        let plugin = Plugin::sh(name, COUNTING).env("NAME", name).env("EVENTS", events);
        site.plugin(plugin.set("retry: {max_attempts: 10, backoff_base: 10ms}"));
    }
    site.route("a", "hit", "b").route("b", "hit", "c").webhook(&["a"]);
    site.touch("go");
    site
}

#[test]
fn every_step_of_every_hop_is_survived() {
    let later = STEPS.iter().flat_map(|step| (0..ORDER.len()).map(move |job| (*step, job)));
    let walks: Vec<_> = FIRST_STEPS.iter().map(|step| (*step, 0)).chain(later).rev().collect();
    each_at_once(walks, |(step, job)| walk(step, job));
}

/// The daemon dies at this step of the job of this number, and the next one brings all to its end.
fn walk(step: &str, job: usize) {
    let site = chain();
    let mut command = site.command(["start"]);
    let daemon = Daemon(Process::spawn(command.env(CRASH_POINT, step).env(CRASH_AFTER, job.to_string()), ""));
    let request = delivery("/hooks/a", &[], br#"{"n": 1}"#);
    let answer = exchange(daemon.address(), &request);
    aborted(daemon.0);
    let on_disk = site.rows("SELECT plugin FROM job_queue WHERE submitted_by = 'webhook'", ());
    // An idle dispatcher claims the job in the commit that stores it.
    match step {
        "webhook.uncommitted" => assert!(on_disk.is_empty()),
        "claim.uncommitted" => assert!(on_disk.len() == 1 || answer.is_none(), "{answer:?}"),
        _ => assert_eq!(on_disk.len(), 1),
    }
    assert!(answer.is_none() || !step.starts_with("webhook."), "no answer before the end: {answer:?}");
    let running = match step {
        "webhook.uncommitted" | "claim.uncommitted" => None,
        // Claimed already, or not yet.
        "webhook.committed" if site.count("SELECT count(*) FROM job_queue WHERE status = 'queued'") == 1 => None,
        "settle.committed" => ORDER.get(job + 1),
        _ => Some(&ORDER[job]),
    };
    let found = site.rows("SELECT plugin FROM job_queue WHERE status = 'running'", ());
    let found: Vec<_> = found.iter().map(|row| row["plugin"].as_str().unwrap()).collect();
    assert_eq!(found, running.copied().into_iter().collect::<Vec<_>>(), "it died at the wrong place");

    let daemon = site.start();
    let sent_again = answer.is_none();
    // As senders do.
    let answer = answer.unwrap_or_else(|| exchange(daemon.address(), &request).expect("an answer"));
    assert_eq!(answer.status, 202, "{answer:?}");
    let chains = on_disk.len() + usize::from(sent_again);
    site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
    stop(daemon);
    assert_settled_once(&site, &[answer.job_id()]);
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), (chains * ORDER.len()) as i64);
}
