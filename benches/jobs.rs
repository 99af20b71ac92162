//! Whole jobs against what they cannot do without: `cargo bench --bench jobs`.
//!
//! Each round measures, one after the other on the same machine: a bare spawn-and-wait of the no-op plugin, a bare
//! commit of one row with `synchronous=FULL`, the two in turn (which is what a job cannot do without: each leaves the
//! other's caches cold), and durable no-op jobs through the dispatcher. The ratios are taken within a round, and the
//! median of the rounds is what is printed.

mod support;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use ductile::clock::Clock;
use ductile::plugin::{self, Call, Cancel, Outcome};
use ductile::queue::{self, Attempted, Transition};
use ductile::state::Tx;
use nix::time::{ClockId, clock_gettime};
use rusqlite::Connection;
use serde_json::value::RawValue;
use support::{Gateway, job, quantile, runtime};
use uuid::Uuid;

const ROUNDS: usize = 15;
const PER_ROUND: usize = 400;

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    let (rounds, per_round) = if std::env::args().any(|arg| arg == "--bench") { (ROUNDS, PER_ROUND) } else { (1, 5) };
    println!("{rounds} rounds of {per_round}; medians; microseconds");
    for payload in [300, 10_000] {
        throughput(rounds, per_round, payload);
    }
    parts(rounds, per_round);
    latency(rounds * per_round / 10);
}

/// What a job is made of, each part by itself.
fn parts(rounds: usize, per_round: usize) {
    let runtime = runtime();
    let gateway = Gateway::new();
    let plugin = gateway.active.registry.runnable("noop").expect("it is loaded").clone();
    runtime.block_on(gateway.fill(rounds * per_round + 3_000, "noop", 300));
    let db = &gateway.db;
    let step = |tx: &Tx<'_>| {
        let now = Clock::System.now();
        if let Some(claimed) = queue::adopt(tx)? {
            queue::finish(tx, &claimed, &Transition::Succeeded, &Attempted::default(), now)?;
        }
        let claimed = queue::claim(tx, now, |_| true)?.expect("enough jobs");
        Ok(claimed.job().attempt)
    };
    let call = || Call {
        job_id: Uuid::now_v7(),
        instance: Uuid::nil(),
        command: ductile::command::Command::Handle,
        state: RawValue::from_string("{}".to_owned()).expect("an object"),
        payload: job("noop", 300).payload.map(|payload| (*payload).to_owned()),
        now: Clock::System.now(),
    };
    runtime.block_on(async {
        for _ in 0..2_000 {
            db.write_in_place(step).await.expect("a step");
        }
    });
    let (mut spawns, mut attempts, mut empty, mut steps) = (vec![], vec![], vec![], vec![]);
    let request = "x".repeat(600);
    for _ in 0..rounds {
        spawns.push(timed(per_round, || (0..per_round).for_each(|_| bare_spawn(&gateway.noop(), &request))));
        attempts.push(timed(per_round, || {
            runtime.block_on(async {
                for _ in 0..per_round {
                    let attempt = plugin::run(Arc::clone(&plugin), call(), Cancel::default()).await;
                    assert!(matches!(attempt.outcome, Outcome::Succeeded(_)));
                }
            });
        }));
        empty.push(timed(per_round, || {
            runtime.block_on(async {
                for _ in 0..per_round {
                    db.write(|_| Ok(())).await.expect("nothing");
                }
            });
        }));
        let before = db.commits();
        steps.push(timed(per_round, || {
            runtime.block_on(async {
                for _ in 0..per_round {
                    db.write_in_place(step).await.expect("a step");
                }
            });
        }));
        assert_eq!(db.commits() - before, per_round as u64);
    }
    let [spawn, attempt, empty, step] = [spawns, attempts, empty, steps].map(|mut values| quantile(&mut values, 0.5));
    println!("parts: bare spawn {spawn:.0}, attempt {attempt:.0}; empty write {empty:.0}, settle and claim {step:.0}");
}

fn throughput(rounds: usize, per_round: usize, payload: usize) {
    let runtime = runtime();
    let gateway = Gateway::new();
    let bare = BareCommit::new(&gateway.dir.path().join("bare.db"));
    let noop = gateway.noop();
    let request = "x".repeat(payload + 300);
    // Grows both write-ahead logs to the size at which they are reused.
    bare.commit(3_000);
    runtime.block_on(gateway.fill(20_000, "noop", payload));
    let mut dispatching = runtime.spawn(gateway.dispatcher().run());
    runtime.block_on(async {
        while gateway.depth().await > 20_000 - 1_500 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        gateway.stop.claiming.cancel();
        (&mut dispatching).await.expect("no panic").expect("no error");
    });
    let (mut spawns, mut commits, mut boths, mut jobs, mut ratios) = (vec![], vec![], vec![], vec![], vec![]);
    let mut gateway = gateway;
    for _ in 0..rounds {
        let spawn = timed(per_round, || (0..per_round).for_each(|_| bare_spawn(&noop, &request)));
        let commit = timed(per_round, || bare.commit(per_round));
        let both = timed(per_round, || {
            for _ in 0..per_round {
                bare_spawn(&noop, &request);
                bare.commit(1);
            }
        });
        gateway.stop = ductile::dispatch::Stop::default();
        let dispatcher = gateway.dispatcher();
        let job = runtime.block_on(async {
            let commits = gateway.db.commits();
            let started = Instant::now();
            let dispatching = tokio::spawn(dispatcher.run());
            while gateway.db.commits() < commits + per_round as u64 {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            let done = gateway.db.commits() - commits;
            let elapsed = started.elapsed();
            gateway.stop.claiming.cancel();
            dispatching.await.expect("no panic").expect("no error");
            elapsed.as_secs_f64() * 1e6 / done as f64
        });
        spawns.push(spawn);
        commits.push(commit);
        boths.push(both);
        jobs.push(job);
        ratios.push(job / both);
    }
    let [spawn, commit, both, job, ratio] =
        [spawns, commits, boths, jobs, ratios].map(|mut values| quantile(&mut values, 0.5));
    println!(
        "payload {payload:>6} B: spawn {spawn:.0}, commit {commit:.0}, in turn {both:.0}, job {job:.0} ({:.0}/s); \
         job / in turn {ratio:.2}",
        1e6 / job
    );
}

/// From the return of the commit that enqueues to the plugin's main(), with an idle dispatcher.
fn latency(count: usize) {
    let runtime = runtime();
    let gateway = Gateway::new();
    let dispatching = runtime.spawn(gateway.dispatcher().run());
    let mut waits = Vec::new();
    runtime.block_on(async {
        for _ in 0..count {
            let job = job("noop", 300);
            let id = job.id;
            gateway.enqueue(job).await;
            let committed = monotonic_ns();
            gateway.wake.notify_one();
            let reader = gateway.db.reader().expect("a reader");
            let attempt = loop {
                if let Some(attempt) = queue::list::attempts(&reader, id).expect("a log").pop() {
                    break attempt;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            };
            waits.push((started_ns(&attempt) - committed) as f64 / 1e3);
        }
        gateway.stop.claiming.cancel();
        dispatching.await.expect("no panic").expect("no error");
    });
    let [p50, p99] = [0.5, 0.99].map(|share| quantile(&mut waits, share));
    println!("commit returned -> plugin's main(), idle: p50 {p50:.0}, p99 {p99:.0}");
}

fn started_ns(attempt: &queue::list::Attempt) -> i64 {
    let logs = attempt.logs.as_ref().expect("the plugin logs its time").get();
    let digits: String = logs.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a time")
}

fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a monotonic clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// Microseconds for each of `count`.
fn timed(count: usize, work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e6 / count as f64
}

/// What no job can do without: a process of its own, its request, its answer, its end.
fn bare_spawn(program: &Path, request: &str) {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the plugin starts");
    child.stdin.take().expect("piped").write_all(request.as_bytes()).expect("the plugin reads");
    let mut answer = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut answer).expect("the plugin answers");
    assert!(child.wait().expect("it is ours").success() && !answer.is_empty());
}

/// What no durable job can do without: one row on the disk.
struct BareCommit(Connection);

impl BareCommit {
    fn new(path: &Path) -> Self {
        let connection = Connection::open(path).expect("a database");
        connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
        connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT NOT NULL)").expect("a table");
        Self(connection)
    }

    fn commit(&self, count: usize) {
        let row = "x".repeat(200);
        let mut insert = self.0.prepare_cached("INSERT INTO t (x) VALUES (?1)").expect("a statement");
        for _ in 0..count {
            insert.execute([&row]).expect("a row");
        }
    }
}
