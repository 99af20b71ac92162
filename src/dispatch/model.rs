//! The life of jobs against a model of section 1 of SPEC.md: random operations on the real statements, the same on plain
//! values, and after each of them every row compared.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rusqlite::Connection;
use uuid::Uuid;

use super::lifecycle::Ended;
use super::recover;
use super::settle::Settlement;
use crate::active::Active;
use crate::clock::Timestamp;
use crate::command::Command;
use crate::config::{Config, LogFormat, LogLevel, PluginConfig, PluginRoot, Retry, Service};
use crate::plugin::{Effects, Registry};
use crate::queue::{self, Attempted, Claimed, Enqueued, NewJob, Retention, SubmittedBy, Transition};
use crate::state::{Error, Text, Tx, in_memory};
use operation::{Operation, Outcome, Wanted, operation};

mod operation;

const PLUGINS: [&str; 3] = ["a", "b", "c"];
const KEYS: [&str; 2] = ["j", "k"];
const MAX_DEPTH: usize = 6;
const DAY: Duration = Duration::from_secs(86_400);
const DEDUPE_TTL: Duration = DAY;
const LOG_RETENTION: Duration = Duration::from_secs(2 * 86_400);
const QUEUE_RETENTION: Duration = Duration::from_secs(3 * 86_400);
/// The default, as the plugins have no settings.
const BACKOFF_BASE: Duration = Duration::from_secs(30);

/// A job as the specification sees it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: Uuid,
    plugin: String,
    key: Option<String>,
    status: &'static str,
    attempt: u32,
    max_attempts: u32,
    parent: Option<Uuid>,
    hops: u32,
    /// When it is due, and when that was chosen.
    retry: Option<(Timestamp, Timestamp)>,
    completed_at: Option<Timestamp>,
    last_error: Option<String>,
}

/// One that has ended.
#[derive(Debug, PartialEq)]
struct Attempt {
    job: Uuid,
    attempt: u32,
    status: &'static str,
    error: Option<String>,
    completed_at: Timestamp,
}

struct World {
    connection: Connection,
    active: Arc<Active>,
    claimed: Option<Claimed>,
    now: Timestamp,
    ids: u128,
    /// In the order of insertion.
    rows: Vec<Row>,
    /// In the order in which they ended.
    log: Vec<Attempt>,
}

impl World {
    fn new(active: &Arc<Active>) -> Self {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let active = Arc::clone(active);
        Self { connection: in_memory(), active, claimed: None, now, ids: 0, rows: Vec::new(), log: Vec::new() }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Enqueue(wanted) => self.enqueue(wanted),
            Operation::Claim { held } => self.claim(*held),
            Operation::End { outcome, draw } => self.end(outcome, f64::from(*draw) / 1_000.0),
            Operation::Restart => self.restart(),
            Operation::Bury(plugin) => self.bury(PLUGINS[*plugin]),
            Operation::Retention => self.retention(),
            Operation::Clock(seconds) => self.clock(*seconds),
        }
        self.compare();
    }

    fn new_job(&mut self, wanted: &Wanted, parent: Option<(Uuid, u32)>) -> NewJob {
        self.ids += 1;
        let submitted_by = if parent.is_some() { SubmittedBy::Route } else { SubmittedBy::Cli };
        NewJob {
            id: Uuid::from_u128(self.ids),
            dedupe_key: wanted.key.map(|key| KEYS[key].to_owned()),
            parent_job_id: parent.map(|parent| parent.0),
            hops: parent.map_or(0, |parent| parent.1 + 1),
            ..NewJob::new(PLUGINS[wanted.plugin], Command::Handle, submitted_by, wanted.max_attempts)
        }
    }

    fn insert(&mut self, job: &NewJob) {
        self.rows.push(Row {
            id: job.id,
            plugin: job.plugin.clone(),
            key: job.dedupe_key.clone(),
            status: "queued",
            attempt: 1,
            max_attempts: job.max_attempts,
            parent: job.parent_job_id,
            hops: job.hops,
            retry: None,
            completed_at: None,
            last_error: None,
        });
    }

    /// Those which keep an equal job away.
    fn duplicates(&self, job: &NewJob) -> Vec<Uuid> {
        let since = self.now.before(DEDUPE_TTL);
        let equal = |row: &&Row| {
            row.key.is_some()
                && row.key == job.dedupe_key
                && row.plugin == job.plugin
                && row.status == "succeeded"
                && row.completed_at > Some(since)
        };
        self.rows.iter().filter(equal).map(|row| row.id).collect()
    }

    fn depth(&self) -> usize {
        self.rows.iter().filter(|row| row.status == "queued").count()
    }

    fn enqueue(&mut self, wanted: &Wanted) {
        let job = self.new_job(wanted, None);
        let result = queue::enqueue(&Tx::over(&self.connection), &job, self.active.limits, self.now).unwrap();
        let duplicates = self.duplicates(&job);
        if !duplicates.is_empty() {
            assert!(matches!(result, Enqueued::Duplicate(id) if duplicates.contains(&id)), "{result:?}");
        } else if self.depth() >= MAX_DEPTH {
            assert_eq!(result, Enqueued::QueueFull);
        } else {
            assert_eq!(result, Enqueued::Inserted);
            self.insert(&job);
        }
    }

    fn claim(&mut self, held: u8) {
        if self.claimed.is_some() {
            return;
        }
        let may_run =
            |plugin: &str| PLUGINS.iter().position(|name| *name == plugin).is_some_and(|n| held >> n & 1 == 0);
        self.claimed = queue::claim(&Tx::over(&self.connection), self.now, may_run).unwrap();
        let now = self.now;
        for row in &mut self.rows {
            row.retry = row.retry.filter(|(at, _)| *at > now);
        }
        let first =
            self.rows.iter_mut().find(|row| row.status == "queued" && row.retry.is_none() && may_run(&row.plugin));
        let claimed = self.claimed.as_ref().map(|claimed| (claimed.job().id, claimed.job().attempt));
        assert_eq!(claimed, first.as_ref().map(|row| (row.id, row.attempt)), "the first that is due and may run");
        if let Some(row) = first {
            row.status = "running";
        }
    }

    fn end(&mut self, outcome: &Outcome, draw: f64) {
        let Some(claimed) = self.claimed.take() else { return };
        let parent = (claimed.job().id, claimed.job().hops);
        let children: Vec<_> = match outcome {
            Outcome::Success(children) => children.iter().map(|child| self.new_job(child, Some(parent))).collect(),
            _ => Vec::new(),
        };
        let error = || "no".to_owned();
        let ended = match outcome {
            Outcome::Success(_) => Ended::Succeeded,
            Outcome::Failure { retryable } => Ended::Failed { error: error(), retryable: *retryable },
            Outcome::Timeout => Ended::TimedOut { error: error() },
            Outcome::Interruption => Ended::Interrupted,
        };
        let settlement = Settlement {
            claimed,
            active: Arc::clone(&self.active),
            effects: (ended == Ended::Succeeded).then(Effects::default),
            ended,
            children: children.clone(),
            attempted: Attempted::default(),
            now: self.now,
            seed: 0,
            draw,
        };
        let tx = Tx::over(&self.connection);
        settlement.write(&tx, &self.active).unwrap();
        let again = queue::finish(&tx, &settlement.claimed, &Transition::Succeeded, &Attempted::default(), self.now);
        assert!(matches!(again, Err(Error::Conflict(_))), "an attempt is ended once");
        match outcome {
            Outcome::Success(_) => self.expect_success(&children),
            Outcome::Failure { retryable } => self.expect_failure("failed", "no", *retryable, true),
            Outcome::Timeout => self.expect_failure("timed_out", "no", true, true),
            Outcome::Interruption => self.running().status = "queued",
        }
    }

    fn running(&mut self) -> &mut Row {
        self.rows.iter_mut().find(|row| row.status == "running").unwrap()
    }

    fn expect_success(&mut self, children: &[NewJob]) {
        let new: Vec<_> = children.iter().filter(|child| self.duplicates(child).is_empty()).collect();
        if !new.is_empty() && self.depth() + new.len() > MAX_DEPTH {
            let count = children.len();
            let error =
                format!("its {count} routed jobs do not fit on the queue (`service.max_queue_depth` is {MAX_DEPTH})");
            return self.expect_failure("failed", &error, true, true);
        }
        new.into_iter().for_each(|child| self.insert(child));
        let now = self.now;
        let row = self.running();
        (row.status, row.completed_at) = ("succeeded", Some(now));
        let (job, attempt) = (row.id, row.attempt);
        self.log.push(Attempt { job, attempt, status: "succeeded", error: None, completed_at: now });
    }

    /// `delayed`: it waits between 2^(attempt-1) and one more backoff bases.
    fn expect_failure(&mut self, status: &'static str, error: &str, retryable: bool, delayed: bool) {
        let (now, connection) = (self.now, &self.connection);
        let row = self.rows.iter_mut().find(|row| row.status == "running").unwrap();
        let ended =
            Attempt { job: row.id, attempt: row.attempt, status, error: Some(error.to_owned()), completed_at: now };
        row.last_error = Some(error.to_owned());
        if retryable && row.attempt < row.max_attempts {
            if delayed {
                let sql = "SELECT next_retry_at FROM job_queue WHERE id = ?1";
                let at: Text<Timestamp> = connection.query_row(sql, [Text(row.id)], |row| row.get(0)).unwrap();
                let least = now.after(BACKOFF_BASE * 2_u32.pow(row.attempt - 1));
                assert!((least..=least.after(BACKOFF_BASE)).contains(&at.0), "{} after attempt {}", at.0, row.attempt);
                row.retry = Some((at.0, now));
            }
            (row.status, row.attempt) = ("queued", row.attempt + 1);
        } else {
            (row.status, row.completed_at) = ("dead", Some(now));
        }
        self.log.push(ended);
    }

    fn restart(&mut self) {
        let orphan = self.claimed.take().is_some();
        let mut rng = StdRng::seed_from_u64(0);
        let count = recover(&Tx::over(&self.connection), &self.active, self.now, &mut rng).unwrap();
        assert_eq!(count, usize::from(orphan));
        if orphan {
            self.expect_failure("failed", "interrupted", true, false);
        }
    }

    fn bury(&mut self, plugin: &str) {
        let count = queue::bury(&Tx::over(&self.connection), plugin, "gone", self.now).unwrap();
        let now = self.now;
        let mut expected = 0;
        for row in self.rows.iter_mut().filter(|row| row.status == "queued" && row.plugin == plugin) {
            (row.status, row.retry, row.completed_at) = ("dead", None, Some(now));
            row.last_error = Some("gone".to_owned());
            expected += 1;
        }
        assert_eq!(count, expected);
    }

    fn retention(&mut self) {
        let retention = Retention { job_log: LOG_RETENTION, job_queue: QUEUE_RETENTION, facts: LOG_RETENTION };
        while queue::delete_expired(&Tx::over(&self.connection), retention, self.now).unwrap() {}
        let (log, jobs) = (self.now.before(LOG_RETENTION), self.now.before(QUEUE_RETENTION));
        let to_be_kept = |attempt: &Attempt| attempt.completed_at >= log && attempt.completed_at <= self.now;
        let kept = self.log.iter().position(to_be_kept).map_or_else(Vec::new, |first| self.log.split_off(first));
        self.log.retain(|attempt| attempt.completed_at >= log);
        self.log.extend(kept);
        self.rows.retain(|row| row.completed_at.is_none_or(|at| at >= jobs));
    }

    fn clock(&mut self, seconds: i64) {
        self.now = Timestamp::from_millis(self.now.as_millis() + seconds * 1_000);
        let now = self.now;
        queue::pull_back_retries(&Tx::over(&self.connection), now, 1_000).unwrap();
        for (at, set_at) in self.rows.iter_mut().filter_map(|row| row.retry.as_mut()) {
            if *set_at > now {
                (*at, *set_at) = (now.after(at.since(*set_at)), now);
            }
        }
        let longest = BACKOFF_BASE * 5;
        assert!(self.rows.iter().filter_map(|row| row.retry).all(|(at, _)| at <= now.after(longest)));
    }

    fn compare(&self) {
        let status = |word: String| ["queued", "running", "succeeded", "dead"].into_iter().find(|known| *known == word);
        let time = |text: Option<Text<Timestamp>>| text.map(|text| text.0);
        let sql = "SELECT id, plugin, dedupe_key, status, attempt, max_attempts, parent_job_id, hops, next_retry_at, \
                   retry_set_at, completed_at, last_error FROM job_queue ORDER BY seq";
        let mut statement = self.connection.prepare_cached(sql).unwrap();
        let rows = statement.query_map([], |row| {
            Ok(Row {
                id: row.get::<_, Text<_>>(0)?.0,
                plugin: row.get(1)?,
                key: row.get(2)?,
                status: status(row.get(3)?).unwrap(),
                attempt: row.get(4)?,
                max_attempts: row.get(5)?,
                parent: row.get::<_, Option<Text<_>>>(6)?.map(|id| id.0),
                hops: row.get(7)?,
                retry: time(row.get(8)?).zip(time(row.get(9)?)),
                completed_at: time(row.get(10)?),
                last_error: row.get(11)?,
            })
        });
        let rows: Vec<_> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows, self.rows, "job_queue, the model's on the right");

        let status = |word: String| ["succeeded", "failed", "timed_out"].into_iter().find(|known| *known == word);
        let sql = "SELECT job_id, attempt, status, error, completed_at FROM job_log ORDER BY id";
        let mut statement = self.connection.prepare_cached(sql).unwrap();
        let log = statement.query_map([], |row| {
            Ok(Attempt {
                job: row.get::<_, Text<_>>(0)?.0,
                attempt: row.get(1)?,
                status: status(row.get(2)?).unwrap(),
                error: row.get(3)?,
                completed_at: row.get::<_, Text<_>>(4)?.0,
            })
        });
        let log: Vec<_> = log.unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(log, self.log, "job_log, the model's on the right");

        assert_eq!(queue::depth(&self.connection).unwrap(), self.depth() as u64);
        let next_retry = self.rows.iter().filter_map(|row| row.retry).map(|(at, _)| at).min();
        assert_eq!(queue::next_retry(&Tx::over(&self.connection)).unwrap(), next_retry);
    }

    /// Whatever has happened, all that is left can be run to its end.
    fn drain(&mut self) {
        while self.rows.iter().any(|row| row.completed_at.is_none()) {
            if self.claimed.is_none() {
                self.apply(&Operation::Claim { held: 0 });
            }
            if self.claimed.is_some() {
                self.apply(&Operation::End { outcome: Outcome::Success(Vec::new()), draw: 0 });
            } else {
                self.apply(&Operation::Clock(30));
            }
        }
    }
}

fn active() -> Arc<Active> {
    let service = Service {
        name: "model".to_owned(),
        tick_interval: Duration::from_secs(60),
        log_level: LogLevel::Info,
        log_format: LogFormat::Json,
        dedupe_ttl: DEDUPE_TTL,
        job_log_retention: LOG_RETENTION,
        job_queue_retention: QUEUE_RETENTION,
        fact_retention: LOG_RETENTION,
        max_queue_depth: MAX_DEPTH as u64,
        shutdown_grace: DAY,
    };
    let none = PathBuf::from("/nonexistent");
    let config = Config {
        path: none.join("config.yaml"),
        hash: String::new(),
        service,
        state_path: none.join("ductile.db"),
        plugin_roots: vec![PluginRoot { path: none, may_be_missing: false }],
        plugins: PLUGINS.map(|name| (name.to_owned(), PluginConfig::default())).into(),
        webhooks: None,
        metrics: None,
        routes: Vec::new(),
    };
    assert_eq!(Retry::default().backoff_base, BACKOFF_BASE);
    Arc::new(Active::new(Registry::discover(Arc::new(config))))
}

#[test]
fn jobs_live_as_the_specification_says_whatever_happens() {
    let active = active();
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(operations in prop::collection::vec(operation(), 1..60))| {
        let mut world = World::new(&active);
        operations.iter().for_each(|operation| world.apply(operation));
        world.drain();
    });
}
