//! Events that cause ever more events: they end by themselves, with a reason, while other work goes on.

use crate::support::{OK, Plugin, Site};

#[test]
fn a_cycle_with_two_events_a_hop_ends_and_others_are_served_meanwhile() {
    let two = r#"echo '{"status": "ok", "events": [{"type": "again"}, {"type": "again"}]}'"#;
    let mut site = Site::with(Plugin::sh("storm", two).set("retry: {max_attempts: 2, backoff_base: 10ms}"));
    site.plugin(Plugin::sh("calm", OK)).plugin(Plugin::sh("note", OK));
    site.route("storm", "again", "storm").route("ductile", "job.dead", "note").service("max_queue_depth", "20");
    let daemon = site.start();
    site.detach(["storm"]);
    site.wait_rows("SELECT 1 FROM job_log WHERE error LIKE '%service.max_queue_depth%'");
    // As soon as there is a place for it, it has its turn like any other.
    let served = (0..1_000).any(|_| site.cli(["run", "calm"]).code == Some(0));
    assert!(served, "no place was ever free");
    site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
    daemon.stop();

    let dead = site.rows("SELECT last_error, hops FROM job_queue WHERE plugin = 'storm' AND status = 'dead'", ());
    assert!(!dead.is_empty());
    for job in &dead {
        let reason = job["last_error"].as_str().unwrap();
        let depth = reason.contains("do not fit on the queue (`service.max_queue_depth` is 20)");
        assert!(depth || (reason.contains("32 hops") && job["hops"] == 33), "{job}");
    }
    let told = site.count("SELECT count(*) FROM job_queue WHERE plugin = 'note' AND status = 'succeeded'");
    assert_eq!(told, dead.len() as i64, "each of them was told of");
}

#[test]
fn what_is_dead_for_its_many_hops_does_not_flood_the_queue_with_calls_for_help() {
    // One event a hop, and at the last hop ten.
    let script = r#"read -r input
n=$(grep -c . "$IT/hops" 2>/dev/null)
echo x >> "$IT/hops"
[ "$n" = 32 ] || { echo '{"status": "ok", "events": [{"type": "again"}]}'; exit; }
echo '{"status": "ok", "events": [{"type": "again"}, {"type": "again"}, {"type": "again"}, {"type": "again"}, {"type": "again"}, {"type": "again"}]}'"#;
    let mut site = Site::with(Plugin::sh("storm", script).set("retry: {max_attempts: 1}"));
    site.plugin(Plugin::sh("note", OK)).route("storm", "again", "storm").route("ductile", "job.dead", "note");
    site.service("max_queue_depth", "4");
    let daemon = site.start();
    site.detach(["storm"]);
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'note' AND status = 'succeeded'");
    daemon.stop();
    let dead = site.row("SELECT hops, last_error FROM job_queue WHERE status = 'dead'", ());
    assert!(dead["last_error"].as_str().unwrap().contains("its 6 routed jobs do not fit"), "{dead}");
    assert_eq!((&dead["hops"], site.count("SELECT count(*) FROM job_queue WHERE plugin = 'note'")), (&32.into(), 1));
}
