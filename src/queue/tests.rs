use std::time::Duration;

use rusqlite::Connection;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::*;
use crate::clock::Timestamp;
use crate::command::Command;
use crate::state::{Error, Tx, in_memory};

const LIMITS: Limits = Limits { dedupe_ttl: Duration::from_secs(3600), max_queue_depth: 1_000 };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
}

fn job(plugin: &str) -> NewJob {
    let payload = RawValue::from_string(r#"{"n":1}"#.to_owned()).unwrap();
    NewJob { payload: Some(payload.into()), ..NewJob::new(plugin, Command::Handle, SubmittedBy::Cli, 4) }
}

fn keyed(plugin: &str, key: &str) -> NewJob {
    NewJob { dedupe_key: Some(key.to_owned()), ..job(plugin) }
}

/// A queue in memory, without policy: every plugin may run unless it is held.
struct Queue {
    connection: Connection,
}

impl Queue {
    fn new() -> Self {
        Self { connection: in_memory() }
    }

    fn tx(&self) -> Tx<'_> {
        Tx::over(&self.connection)
    }

    fn add(&self, plugin: &str) -> Uuid {
        let job = job(plugin);
        assert_eq!(enqueue(&self.tx(), &job, LIMITS, at(0)).unwrap(), Enqueued::Inserted);
        job.id
    }

    fn claim(&self, now: Timestamp) -> Option<Claimed> {
        self.claim_but(now, "")
    }

    fn claim_but(&self, now: Timestamp, held: &str) -> Option<Claimed> {
        claim(&self.tx(), now, |plugin| plugin != held).unwrap()
    }

    fn finish(&self, claimed: &Claimed, transition: &Transition, now: Timestamp) -> Result<(), Error> {
        finish(&self.tx(), claimed, transition, &Attempted::default(), now)
    }

    fn succeed(&self, now: Timestamp) -> Uuid {
        let claimed = self.claim(now).unwrap();
        self.finish(&claimed, &Transition::Succeeded, now).unwrap();
        claimed.job().id
    }

    fn row(&self, id: Uuid) -> Job {
        list::job(&self.connection, id).unwrap().unwrap()
    }

    fn count(&self, table: &str) -> u64 {
        self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

fn retry_at(at: Option<Timestamp>) -> Transition {
    Transition::Retry { status: JobLogStatus::Failed, error: "no".to_owned(), at }
}

fn dead() -> Transition {
    Transition::Dead { status: JobLogStatus::Failed, error: "no".to_owned() }
}

#[test]
fn a_job_that_waits_for_its_retry_blocks_nobody_and_keeps_its_place() {
    let queue = Queue::new();
    let [first, second, third] = ["a", "b", "c"].map(|plugin| queue.add(plugin));
    let claimed = queue.claim(at(0)).unwrap();
    assert_eq!(claimed.job().id, first);
    queue.finish(&claimed, &retry_at(Some(at(10))), at(0)).unwrap();
    assert_eq!(next_retry(&queue.tx()).unwrap(), Some(at(10)));
    assert_eq!(queue.succeed(at(9)), second);
    assert_eq!(queue.row(first).next_retry_at, Some(at(10)));
    // Due again, it is before the third, which was there all the time.
    let claimed = queue.claim(at(10)).unwrap();
    assert_eq!((claimed.job().id, claimed.job().attempt), (first, 2));
    queue.finish(&claimed, &Transition::Succeeded, at(11)).unwrap();
    assert_eq!(queue.succeed(at(12)), third);
    assert!(queue.claim(at(13)).is_none());
    let row = queue.row(first);
    assert_eq!(
        (row.status, row.completed_at, row.last_error.as_deref()),
        (Status::Succeeded, Some(at(11)), Some("no"))
    );
}

#[test]
fn plugins_that_may_not_run_are_passed_over_however_many_jobs_they_have() {
    let queue = Queue::new();
    let held: Vec<_> = (0..100).map(|_| queue.add("held")).collect();
    let [first, second] = ["z", "a"].map(|plugin| queue.add(plugin));
    for expected in [first, second] {
        let claimed = queue.claim_but(at(0), "held").unwrap();
        assert_eq!(claimed.job().id, expected, "in the order of the queue, not of the plugins' names");
        queue.finish(&claimed, &Transition::Succeeded, at(0)).unwrap();
    }
    assert!(queue.claim_but(at(0), "held").is_none());
    assert_eq!(queue.succeed(at(0)), held[0]);
}

#[test]
fn an_attempt_is_finished_once() {
    let queue = Queue::new();
    let id = queue.add("a");
    let mut claimed = queue.claim(at(0)).unwrap();
    assert_eq!(claimed.take_payload().as_deref(), Some(r#"{"n":1}"#));
    queue.finish(&claimed, &retry_at(None), at(1)).unwrap();
    for transition in [Transition::Succeeded, dead(), retry_at(None), Transition::Requeued] {
        assert!(matches!(queue.finish(&claimed, &transition, at(2)), Err(Error::Conflict(_))));
    }
    // The same job, running again, is not ended by the token of its first attempt.
    let again = queue.claim(at(3)).unwrap();
    assert!(matches!(queue.finish(&claimed, &Transition::Succeeded, at(4)), Err(Error::Conflict(_))));
    assert_eq!(queue.row(id).status, Status::Running);
    queue.finish(&again, &dead(), at(5)).unwrap();
    assert_eq!(queue.count("job_log"), 2);
    assert_eq!(queue.row(id).attempt, 2);
}

#[test]
fn an_interrupted_attempt_is_neither_charged_nor_logged() {
    let queue = Queue::new();
    let id = queue.add("a");
    let claimed = queue.claim(at(0)).unwrap();
    queue.finish(&claimed, &Transition::Requeued, at(1)).unwrap();
    assert_eq!((queue.row(id).status, queue.row(id).attempt, queue.count("job_log")), (Status::Queued, 1, 0));
}

#[test]
fn one_job_runs_at_a_time() {
    let queue = Queue::new();
    queue.add("a");
    queue.add("b");
    let _running = queue.claim(at(0)).unwrap();
    assert!(matches!(claim(&queue.tx(), at(0), |_| true), Err(Error::Refused(_))));
    assert_eq!(adopt(&queue.tx()).unwrap().unwrap().job().plugin, "a");
}

#[test]
fn only_a_recent_success_keeps_equal_jobs_away() {
    let queue = Queue::new();
    let tx = queue.tx();
    let add = |job: NewJob, now| enqueue(&tx, &job, LIMITS, now).unwrap();
    // Equal jobs queued together all run.
    for _ in 0..2 {
        assert_eq!(add(keyed("a", "k"), at(0)), Enqueued::Inserted);
    }
    let claimed = queue.claim(at(0)).unwrap();
    queue.finish(&claimed, &dead(), at(0)).unwrap();
    assert_eq!(add(keyed("a", "k"), at(1)), Enqueued::Inserted, "a dead job keeps nobody away");
    let done = queue.succeed(at(10));
    assert_eq!(add(keyed("a", "k"), at(11)), Enqueued::Duplicate(done));
    assert_eq!(add(keyed("b", "k"), at(11)), Enqueued::Inserted, "another plugin");
    assert_eq!(
        add(NewJob { command: Command::Poll, ..keyed("a", "k") }, at(11)),
        Enqueued::Inserted,
        "another command"
    );
    assert_eq!(add(keyed("a", "other"), at(11)), Enqueued::Inserted);
    assert_eq!(add(keyed("a", "k"), at(10 + 3599)), Enqueued::Duplicate(done));
    assert_eq!(add(keyed("a", "k"), at(10 + 3600)), Enqueued::Inserted, "the time is over");
}

#[test]
fn a_full_queue_takes_nothing_and_counts_only_what_is_queued() {
    let queue = Queue::new();
    let limits = Limits { max_queue_depth: 3, ..LIMITS };
    let add = || enqueue(&queue.tx(), &job("a"), limits, at(0)).unwrap();
    // One that stays at the head makes the cheap bound useless, so that the jobs are really counted.
    let head = queue.add("a");
    let claimed = queue.claim(at(0)).unwrap();
    queue.finish(&claimed, &retry_at(Some(at(1_000_000))), at(0)).unwrap();
    for _ in 0..5 {
        assert_eq!(add(), Enqueued::Inserted);
        queue.succeed(at(1));
    }
    assert_eq!([add(), add(), add()], [Enqueued::Inserted, Enqueued::Inserted, Enqueued::QueueFull]);
    assert_eq!(depth(&queue.connection).unwrap(), 3);
    assert_eq!(queue.row(head).status, Status::Queued);
}

#[test]
fn children_enter_together_or_not_at_all() {
    let queue = Queue::new();
    let limits = Limits { max_queue_depth: 3, ..LIMITS };
    let child = |key: &str| NewJob { submitted_by: SubmittedBy::Route, hops: 1, ..keyed("a", key) };
    let enter = |children: &[NewJob]| match enqueue_children(&queue.tx(), children, limits, at(20)).unwrap() {
        Children::Inserted(new) => Some(new.len()),
        Children::QueueFull => None,
    };

    assert_eq!(enqueue(&queue.tx(), &keyed("a", "done"), limits, at(0)).unwrap(), Enqueued::Inserted);
    queue.succeed(at(1));
    let stillborn = NewJob { stillborn: Some("too many hops".to_owned()), ..child("s") };
    assert_eq!(enter(&[child("x"), child("y"), child("z"), stillborn.clone()]), None, "each may be told of");
    assert_eq!(queue.count("job_queue"), 1);
    // The duplicate needs no room.
    assert_eq!(enter(&[child("x"), child("done"), stillborn.clone(), child("y")]), Some(3));
    let dead = queue.row(stillborn.id);
    assert_eq!((dead.status, dead.last_error.as_deref()), (Status::Dead, Some("too many hops")));
    assert_eq!(enter(&[]), Some(0));
}

#[test]
fn jobs_of_a_plugin_that_is_gone_are_buried_also_those_that_wait() {
    let queue = Queue::new();
    let waiting = queue.add("gone");
    let claimed = queue.claim(at(0)).unwrap();
    queue.finish(&claimed, &retry_at(Some(at(100))), at(0)).unwrap();
    let (queued, other) = (queue.add("gone"), queue.add("stays"));
    assert_eq!(queued_plugins(&queue.connection).unwrap(), ["gone", "stays"]);
    assert_eq!(bury(&queue.tx(), "gone", "plugin `gone` is disabled", at(1)).unwrap(), 2);
    for id in [waiting, queued] {
        let row = queue.row(id);
        assert_eq!((row.status, row.last_error.as_deref()), (Status::Dead, Some("plugin `gone` is disabled")));
    }
    assert_eq!(queue.row(other).status, Status::Queued);
}

#[test]
fn after_a_step_back_of_the_clock_a_retry_waits_its_own_delay() {
    let queue = Queue::new();
    let id = queue.add("a");
    let claimed = queue.claim(at(1_000_000)).unwrap();
    queue.finish(&claimed, &retry_at(Some(at(1_000_045))), at(1_000_000)).unwrap();
    assert_eq!(pull_back_retries(&queue.tx(), at(1_000_001), 10).unwrap(), 0);
    assert_eq!(pull_back_retries(&queue.tx(), at(500), 10).unwrap(), 1);
    assert_eq!(queue.row(id).next_retry_at, Some(at(545)));
    assert_eq!(pull_back_retries(&queue.tx(), at(501), 10).unwrap(), 0);
}

#[test]
fn a_job_deleted_by_hand_leaves_nothing_to_the_next_one() {
    let queue = Queue::new();
    let deleted = queue.add("a");
    queue.connection.execute("DELETE FROM job_queue WHERE id = ?1", [deleted.to_string()]).unwrap();
    let poll = NewJob::new("a", Command::Poll, SubmittedBy::Scheduler, 1);
    assert_eq!(enqueue(&queue.tx(), &poll, LIMITS, at(0)).unwrap(), Enqueued::Inserted);
    assert_eq!(queue.claim(at(0)).unwrap().take_payload(), None, "it has the same number");
    queue.add("a");
}

#[test]
fn retention_deletes_what_is_old_and_over_and_nothing_else() {
    let queue = Queue::new();
    let old = queue.add("a");
    queue.succeed(at(0));
    let recent = queue.add("a");
    queue.succeed(at(100));
    let waiting = queue.add("a");
    let day = Duration::from_secs(86_400);
    let retention = Retention { job_log: day, job_queue: day * 2, facts: day };
    let sweep = |now| while delete_expired(&queue.tx(), retention, now).unwrap() {};

    sweep(at(86_400 + 50));
    assert_eq!((queue.count("job_log"), queue.count("job_queue")), (1, 3));
    sweep(at(86_400 * 2 + 50));
    assert_eq!((queue.count("job_log"), queue.count("job_queue"), queue.count("job_payload")), (0, 2, 2));
    assert!(list::job(&queue.connection, old).unwrap().is_none());
    assert!(list::job(&queue.connection, recent).unwrap().is_some());
    sweep(at(86_400 * 1_000));
    assert_eq!(queue.row(waiting).status, Status::Queued);
    assert_eq!(queue.count("job_payload"), 1);
}

#[test]
fn a_clock_that_was_wrong_neither_stops_retention_nor_empties_the_log() {
    let queue = Queue::new();
    let ended = |seconds| {
        queue.add("a");
        queue.succeed(at(seconds));
    };
    let hour = Duration::from_secs(3_600);
    let retention = Retention { job_log: hour, job_queue: hour, facts: hour };
    let times = || -> Vec<i64> {
        let log = list::log(&queue.connection, None, false, 10).unwrap();
        log.iter().map(|attempt| attempt.completed_at.since(at(0)).as_secs() as i64).collect()
    };
    let sweep = |now| while delete_expired(&queue.tx(), retention, now).unwrap() {};
    // For two attempts it was ahead, then for one behind.
    [10, 900_000, 900_001, 20, 5_000, 0, 5_010].into_iter().for_each(ended);
    sweep(at(5_020));
    assert_eq!(times(), [900_000, 900_001, 5_000, 0, 5_010], "those of the future hide nobody, and are kept");
    assert!(!any_expired(&queue.connection, retention, at(5_020)).unwrap());
    sweep(at(8_605));
    assert_eq!(times(), [900_000, 900_001, 5_010], "what ended behind one to be kept goes with it");
    sweep(at(903_602));
    assert_eq!(times(), [0; 0]);
}

#[test]
fn attempts_since_a_time_are_found_by_halving() {
    let queue = Queue::new();
    let since = |seconds| {
        let filter = list::LogFilter { since: Some(at(seconds)), ..list::LogFilter::default() };
        list::log_newest(&queue.connection, &filter, 100).unwrap().len()
    };
    assert_eq!(since(0), 0);
    for n in 0..20 {
        queue.add("a");
        queue.succeed(at(10 * n));
    }
    queue.connection.execute("DELETE FROM job_log WHERE id IN (1, 2, 11)", []).unwrap();
    for (seconds, expected) in [(0, 17), (20, 17), (21, 16), (90, 10), (91, 9), (100, 9), (110, 9), (190, 1), (191, 0)]
    {
        assert_eq!(since(seconds), expected, "{seconds}");
    }
}

#[test]
fn what_was_over_last_is_shown_whatever_its_plugin_and_its_place() {
    let queue = Queue::new();
    let end = |plugin: &str, transition: &Transition, now| {
        queue.add(plugin);
        let claimed = queue.claim(now).unwrap();
        queue.finish(&claimed, transition, now).unwrap();
    };
    for n in 0..4 {
        end("b", &Transition::Succeeded, at(10 * n));
        end("a", &Transition::Succeeded, at(100 - n));
        end("c", &dead(), at(10 * n + 5));
    }
    let times = |limit| -> Vec<i64> {
        let jobs = ended(&queue.connection, limit).unwrap();
        jobs.iter().map(|job| job.completed_at.unwrap().since(at(0)).as_secs() as i64).collect()
    };
    assert_eq!(times(100), [100, 99, 98, 97, 35, 30, 25, 20, 15, 10, 5, 0]);
    assert_eq!(times(5), [100, 99, 98, 97, 35]);
    let last = |plugin, now| last_success(&queue.connection, plugin, now).unwrap();
    assert_eq!(last("a", at(100)), Some(at(100)), "not the last on the queue");
    assert_eq!(last("a", at(99)), Some(at(99)), "the clock was ahead");
    assert_eq!(last("c", at(100)), None);
    let hour = Duration::from_secs(3_600);
    let retention = Retention { job_log: hour, job_queue: hour, facts: hour };
    while delete_expired(&queue.tx(), retention, at(3_600 + 30)).unwrap() {}
    assert_eq!(times(100), [100, 99, 98, 97, 35, 30]);
}

#[test]
fn a_sweep_is_bounded() {
    let queue = Queue::new();
    for _ in 0..600 {
        queue.add("a");
        queue.succeed(at(0));
    }
    let retention = Retention { job_log: Duration::ZERO, job_queue: Duration::ZERO, facts: Duration::ZERO };
    let mut left = vec![queue.count("job_queue")];
    while delete_expired(&queue.tx(), retention, at(1)).unwrap() {
        left.push(queue.count("job_queue"));
    }
    assert_eq!(left, [600, 350, 100]);
    assert_eq!(queue.count("job_queue"), 0);
}

#[test]
fn the_database_refuses_what_the_state_machine_does_not_know() {
    let queue = Queue::new();
    let id = queue.add("a").to_string();
    let refused = |sql: &str| {
        let error = queue.connection.execute(sql, [&id]).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation), "{sql}: {error}");
    };
    refused("UPDATE job_queue SET status = 'failed' WHERE id = ?1");
    refused("UPDATE job_queue SET status = 'running' WHERE id = ?1");
    refused("UPDATE job_queue SET status = 'succeeded', started_at = 'x' WHERE id = ?1");
    refused("UPDATE job_queue SET status = 'dead', completed_at = 'x' WHERE id = ?1");
    refused("UPDATE job_queue SET completed_at = 'x' WHERE id = ?1");
    refused("UPDATE job_queue SET attempt = 5 WHERE id = ?1");
    refused("UPDATE job_queue SET attempt = 0 WHERE id = ?1");
    refused("UPDATE job_queue SET next_retry_at = 'x' WHERE id = ?1");
    refused("UPDATE job_queue SET submitted_by = 'me' WHERE id = ?1");
    refused(
        "INSERT INTO job_log (job_id, attempt, plugin, command, submitted_by, status, started_at, completed_at, duration_ms) VALUES (?1, 1, 'a', 'poll', 'cli', 'failed', 'x', 'x', 1)",
    );
}

#[test]
fn every_hot_statement_finds_its_rows_by_an_index() {
    let queue = Queue::new();
    let mut lists = log_statements();
    lists.extend(job_statements());
    let hot = store::HOT
        .iter()
        .chain(log::HOT)
        .chain(hold::HOT)
        .chain(over::HOT)
        .chain(&[stats::RECENT])
        .chain(BY_PEOPLE)
        .copied();
    let hot = hot.chain(lists.iter().map(String::as_str));
    for sql in hot {
        let plan = explain(&queue, &format!("EXPLAIN QUERY PLAN {sql}"), 3);
        for step in &plan {
            assert!(!step.starts_with("SCAN") || store::SCANS_A_PARTIAL_INDEX.contains(&sql), "{sql}\n{plan:#?}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}\n{plan:#?}");
            assert!(!step.contains("AUTOMATIC"), "{sql}\n{plan:#?}");
        }
    }
}

/// A temporary table costs more than half of what else a statement does: RETURNING makes one, an IN with more than two in a
/// CHECK, and an update of what it looks for.
#[test]
fn no_hot_statement_makes_a_temporary_table() {
    let queue = Queue::new();
    let hot = store::HOT.iter().chain(over::HOT).chain(log::HOT).chain(hold::HOT);
    for sql in hot.filter(|sql| **sql != store::RELEASE_DUE) {
        let opcodes = explain(&queue, &format!("EXPLAIN {sql}"), 1);
        assert!(opcodes.iter().any(|opcode| opcode == "Transaction"), "{sql}\n{opcodes:?}");
        assert!(!opcodes.iter().any(|opcode| opcode == "OpenEphemeral"), "{sql}\n{opcodes:?}");
    }
}

/// One column of what SQLite says of a statement.
fn explain(queue: &Queue, sql: &str, column: usize) -> Vec<String> {
    let mut statement = queue.connection.prepare(sql).unwrap();
    let nulls = rusqlite::params_from_iter(vec![rusqlite::types::Null; statement.parameter_count()]);
    let rows = statement.query_map(nulls, |row| row.get(column)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// What people look for.
const BY_PEOPLE: &[&str] =
    &[list::BY_ID_RANGE, tree::CHILDREN, by_hand::DEAD_BEFORE, by_hand::DEAD_OF_PLUGIN_BEFORE, by_hand::DELETE_DEAD];

/// Every way to ask for jobs, but for the newest of all that succeeded or are dead: those are the ends of a table and of an index.
fn job_statements() -> Vec<String> {
    let asked = [
        (Status::Queued, false),
        (Status::Queued, true),
        (Status::Running, false),
        (Status::Running, true),
        (Status::Succeeded, true),
        (Status::Dead, true),
    ];
    asked.into_iter().flat_map(|(status, of_plugin)| list::jobs_sql(status, of_plugin)).collect()
}

/// Every way to ask for attempts.
fn log_statements() -> Vec<String> {
    let mut statements = Vec::new();
    for (plugin, failed, since) in [false, true].into_iter().flat_map(|plugin| {
        let pairs = [(false, false), (false, true), (true, false), (true, true)];
        pairs.map(|(failed, since)| (plugin, failed, since))
    }) {
        let filter =
            list::LogFilter { plugin: plugin.then(|| "a".to_owned()), failed, since: since.then(|| at(0)), after: 0 };
        statements.extend(["ASC", "DESC"].map(|order| list::log_sql(&filter, order)));
    }
    statements
}
