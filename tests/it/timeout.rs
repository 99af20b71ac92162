//! Attempts that end badly: what is killed, what is tried again, and what is kept of them.

use serde_json::{Value, json};

use crate::support::{Daemon, OK, Plugin, Site, wait_until};

/// A child and a grandchild that have closed nothing, each noting its PID, before the script goes on.
const FAMILY: &str = r#": > "$IT/pids"
sh -c 'echo $$ >> "$IT/pids"; sleep 600 & echo $! >> "$IT/pids"; wait' &
while [ "$(wc -l < "$IT/pids")" -lt 2 ]; do sleep 0.02; done
echo $$ >> "$IT/pids""#;

const ONCE: &str = "retry: {max_attempts: 1}";
/// Long enough for a script to begin on a busy machine.
const SHORT: &str = "timeouts: {poll: 2s}";

fn gone(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat[stat.rfind(')').unwrap()..].starts_with(") Z"),
        Err(_) => true,
    }
}

fn wait_family_gone(site: &Site) {
    let pids = site.read("pids");
    assert_eq!(pids.lines().count(), 3, "leader, child and grandchild have run: {pids}");
    wait_until("the end of leader, child and grandchild", || pids.lines().all(gone));
    assert_eq!(site.plugin_processes(), [0; 0]);
}

fn run_once(site: &Site, code: i32) -> (Value, Value) {
    let daemon = site.start();
    site.cli(["run", "work", "--wait"]).expect_code(code);
    let found = (site.row("SELECT * FROM jobs", ()), site.row("SELECT * FROM job_log", ()));
    daemon.stop();
    found
}

#[test]
fn a_timeout_kills_leader_child_and_grandchild() {
    // The deadline starts when they all run, or the test would prove nothing: it is generous.
    let script = format!("{FAMILY}\necho partial\necho moan >&2\nwait");
    let site = Site::with(Plugin::sh("work", &script).set(ONCE).set("timeouts: {poll: 3s}"));
    let (job, attempt) = run_once(&site, 1);
    wait_family_gone(&site);
    assert_eq!((&job["status"], &job["last_error"]), (&json!("dead"), &json!("timed out after 3s")));
    assert_eq!((&attempt["status"], &attempt["error"]), (&json!("timed_out"), &json!("timed out after 3s")));
    assert_eq!((&attempt["result"], &attempt["stderr"]), (&json!("partial\n"), &json!("moan\n")));
    assert_eq!(attempt["exit_code"], Value::Null);
}

#[test]
fn a_plugin_that_ignores_sigterm_is_killed() {
    let script = "trap '' TERM\necho x > \"$IT/trapped\"\nwhile :; do sleep 0.05; done";
    let site = Site::with(Plugin::sh("work", script).set(ONCE).set(SHORT));
    let (job, _) = run_once(&site, 1);
    assert_eq!(site.read("trapped"), "x");
    assert_eq!(job["last_error"], "timed out after 2s");
    site.wait_no_plugin_process();
}

#[test]
fn an_answer_after_sigterm_is_a_timeout_all_the_same() {
    let script = format!("trap '{}; exit 0' TERM\nwhile :; do sleep 0.02; done", OK.replace('\'', "'\\''"));
    let site = Site::with(Plugin::sh("work", &script).set(ONCE).set(SHORT));
    let (job, attempt) = run_once(&site, 1);
    assert_eq!((&job["status"], &attempt["status"]), (&json!("dead"), &json!("timed_out")));
    // It did answer, and that is kept; it does not count.
    assert_eq!(attempt["result"], "{\"status\": \"ok\"}\n");
}

#[test]
fn what_a_successful_plugin_leaves_in_its_group_is_killed() {
    let site = Site::with(Plugin::sh("work", &format!("{FAMILY}\n{OK}")));
    let (job, attempt) = run_once(&site, 0);
    wait_family_gone(&site);
    assert_eq!((&job["status"], &job["last_error"]), (&json!("succeeded"), &Value::Null));
    assert_eq!((&attempt["status"], &attempt["exit_code"]), (&json!("succeeded"), &json!(0)));
}

#[test]
fn a_process_that_left_the_group_with_the_pipes_open_does_not_hold_up_the_result() {
    let script = format!(
        "setsid sh -c 'echo $$ > \"$IT/left\"; exec sleep 600' &\nwhile [ ! -s \"$IT/left\" ]; do sleep 0.02; done\n{OK}"
    );
    let site = Site::with(Plugin::sh("work", &script));
    let (job, _) = run_once(&site, 0);
    assert_eq!(job["status"], "succeeded");
    assert!(!gone(&site.read("left")), "it is out of reach, so only not waited for");
}

fn start_failing(script: &str, settings: &[&str]) -> (Site, Daemon, String) {
    let plugin = settings.iter().fold(Plugin::sh("work", script), |plugin, line| plugin.set(line));
    let site = Site::with(plugin);
    let daemon = site.start();
    let id = site.detach(["work"]);
    (site, daemon, id)
}

#[test]
fn a_failing_job_is_retried_with_growing_delays_and_then_dead() {
    let script = r#"echo x >> "$IT/runs"; echo "no luck" >&2; echo '{"status": "error", "error": "cannot",
      "state_updates": {"a": 1}, "events": [{"type": "e"}], "logs": [{"level": "warn", "message": "hm"}]}'"#;
    let (site, daemon, id) = start_failing(script, &["retry: {max_attempts: 3, backoff_base: 50ms}"]);
    let job = site.wait_job(&id, "dead");
    let logged = daemon.wait_log("ERROR", "job is dead");
    let warned = daemon.wait_log("WARN", "job will be retried");
    daemon.stop();
    assert_eq!((&job["attempt"], &job["max_attempts"], &job["last_error"]), (&json!(3), &json!(3), &json!("cannot")));
    assert_eq!(site.read("runs"), "x\nx\nx");
    assert_eq!((&logged["job_id"], &logged["error"], &logged["attempt"]), (&json!(id), &json!("cannot"), &json!(3)));
    assert!(warned["next_retry_at"].is_string(), "{warned}");

    let attempts = site.attempts(&id);
    assert_eq!(attempts.len(), 3);
    for (number, attempt) in (1..).zip(&attempts) {
        assert_eq!((&attempt["attempt"], &attempt["status"]), (&json!(number), &json!("failed")));
        assert_eq!((&attempt["error"], &attempt["stderr"]), (&json!("cannot"), &json!("no luck\n")));
        assert_eq!(attempt["logs"], r#"[{"level":"warn","message":"hm"}]"#);
        assert_eq!((&attempt["exit_code"], &attempt["submitted_by"]), (&json!(0), &json!("cli")));
    }
    let ended =
        |attempt: &Value| chrono::DateTime::parse_from_rfc3339(attempt["completed_at"].as_str().unwrap()).unwrap();
    let started =
        |attempt: &Value| chrono::DateTime::parse_from_rfc3339(attempt["started_at"].as_str().unwrap()).unwrap();
    for (pair, least_ms) in attempts.windows(2).zip([50, 100]) {
        let waited = started(&pair[1]) - ended(&pair[0]);
        assert!(waited.num_milliseconds() >= least_ms, "{waited}");
    }
    assert_eq!(site.count("SELECT count(*) FROM plugin_state"), 0, "a failure changes no state");
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 1, "a failure routes nothing");
}

#[test]
fn a_retry_that_waits_does_not_block_the_others() {
    let mut site = Site::with(Plugin::sh("fails", "exit 1").set("retry: {max_attempts: 2, backoff_base: 1h}"));
    site.plugin(Plugin::sh("works", OK));
    let daemon = site.start();
    let waiting = site.cli(["run", "fails"]).expect_code(1).expect_stderr("is tried again at ");
    assert!(waiting.stderr.contains("attempt 2 of 2"), "{waiting:?}");
    site.cli(["run", "works"]).expect_code(0);
    daemon.stop();
    let job = site.row("SELECT status, attempt, last_error FROM job_queue WHERE plugin = 'fails'", ());
    assert_eq!(job, json!({"status": "queued", "attempt": 2, "last_error": "exit code 1"}));
}

#[test]
fn what_may_not_be_retried_is_dead_at_once() {
    for (script, error) in [
        (format!("{OK}; exit 78"), "exit code 78 (EX_CONFIG)"),
        (r#"echo '{"status": "error", "error": "no key", "retry": false}'"#.to_owned(), "no key"),
        (r#"echo '{"status": "error", "error": "no key", "retry": false}'; exit 3"#.to_owned(), "exit code 3: no key"),
    ] {
        let (site, daemon, id) = start_failing(&script, &["retry: {max_attempts: 4, backoff_base: 1h}"]);
        let job = site.wait_job(&id, "dead");
        daemon.stop();
        assert_eq!((&job["attempt"], &job["last_error"]), (&json!(1), &json!(error)));
        assert_eq!(site.attempts(&id).len(), 1);
    }
}

#[test]
fn a_death_by_signal_and_a_missing_interpreter_are_retried() {
    for (script, error) in [("kill -KILL $$", "killed by SIGKILL"), ("", "cannot start `")] {
        let (mut site, mut daemon, mut id) = start_failing(script, &["retry: {max_attempts: 2, backoff_base: 1ms}"]);
        if script.is_empty() {
            daemon.stop();
            std::fs::write(site.path("plugins/work/run"), "#!/no/such/interpreter\n").unwrap();
            site.env("ANYTHING", "1");
            daemon = site.start();
            id = site.detach(["work"]);
        }
        let job = site.wait_job(&id, "dead");
        daemon.stop();
        assert_eq!(job["attempt"], 2);
        assert!(job["last_error"].as_str().unwrap().starts_with(error), "{job}");
        if script.is_empty() {
            assert!(job["last_error"].as_str().unwrap().contains("/no/such/interpreter"), "{job}");
        }
    }
}
