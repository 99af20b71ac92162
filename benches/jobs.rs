//! Whole jobs against what they cannot do without: `cargo bench --bench jobs`.
//!
//! Each round measures, one after the other on the same machine: a bare spawn-and-wait of the no-op plugin, a bare
//! commit of one row with `synchronous=FULL`, the two in turn (which is what a job cannot do without: each leaves the
//! other's caches cold), and durable no-op jobs through the dispatcher. The ratios are taken within a round, and the
//! median of the rounds is what is printed. `cargo bench --bench jobs -- breakdown` runs one part; the others are
//! `throughput`, `parts`, `latency` and `bare`.

mod support;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ductile::clock::Clock;
use ductile::plugin::{self, Call, Cancel, Outcome};
use ductile::queue::{self, Attempted, Transition};
use ductile::state::Tx;
use nix::time::{ClockId, clock_gettime};
use rusqlite::Connection;
use serde_json::value::RawValue;
use support::spans::Spans;
use support::{Gateway, job, quantile, runtime};
use tracing::trace_span;
use tracing_subscriber::layer::SubscriberExt;
use uuid::Uuid;

const ROUNDS: usize = 15;
const PER_ROUND: usize = 400;

fn main() {
    let (options, names): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    // `cargo test --benches` only wants to see that it runs.
    let (rounds, per_round) =
        if options.iter().any(|option| option == "--bench") { (ROUNDS, PER_ROUND) } else { (1, 5) };
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    println!("{rounds} rounds of {per_round}; medians; microseconds");
    if wanted("throughput") {
        for payload in [300, 10_000] {
            throughput(rounds, per_round, payload);
        }
    }
    if wanted("breakdown") {
        breakdown(rounds, per_round);
    }
    if wanted("parts") {
        parts(rounds, per_round);
    }
    if wanted("latency") {
        latency((rounds * per_round / 10).max(1));
    }
    if wanted("bare") {
        bare(rounds.min(3), per_round);
    }
}

/// What no durable job can do without, for comparisons from outside.
fn bare(rounds: usize, per_round: usize) {
    let gateway = Gateway::new();
    let bare = BareCommit::new(&gateway.dir.path().join("bare.db"));
    bare.commit(3_000);
    let (noop, request) = (gateway.noop(), "x".repeat(600));
    let (mut spawns, mut commits, mut boths) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        spawns.push(timed(per_round, || (0..per_round).for_each(|_| _ = bare_spawn(&noop, &request))));
        commits.push(timed(per_round, || bare.commit(per_round)));
        boths.push(timed(per_round, || {
            for _ in 0..per_round {
                bare_spawn(&noop, &request);
                bare.commit(1);
            }
        }));
    }
    let [spawn, commit, both] = [spawns, commits, boths].map(|mut values| quantile(&mut values, 0.5));
    println!("bare: spawn {spawn:.0}, commit {commit:.0}, in turn {both:.0}");
}

/// What a job is made of, by the spans of the product, beside a bare spawn and a bare commit in turn.
fn breakdown(rounds: usize, per_round: usize) {
    let runtime = runtime();
    let mut gateway = Gateway::new();
    let bare = BareCommit::new(&gateway.dir.path().join("bare.db"));
    let (noop, request) = (gateway.noop(), "x".repeat(600));
    bare.commit(3_000);
    runtime.block_on(gateway.fill(rounds * per_round * 2 + 3_000, "noop", 300));
    runtime.block_on(run_jobs(&mut gateway, 1_500.min(rounds * per_round)));
    let mut columns: [Vec<[f64; PARTS.len()]>; 2] = [vec![], vec![]];
    let (mut untimed, mut timed_jobs) = (vec![], vec![]);
    for _ in 0..rounds {
        let (mut starting, mut rest, mut commit) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for _ in 0..per_round {
            let begun = Instant::now();
            let started = bare_spawn(&noop, &request);
            starting += started;
            rest += begun.elapsed() - started;
            let begun = Instant::now();
            bare.commit(1);
            commit += begun.elapsed();
        }
        let mean = |sum: Duration| sum.as_secs_f64() * 1e6 / per_round as f64;
        let (starting, rest, commit) = (mean(starting), mean(rest), mean(commit));
        columns[0].push([0.0, starting, rest, 0.0, 0.0, 0.0, commit, 0.0, 0.0, starting + rest + commit]);
        untimed.push(runtime.block_on(run_jobs(&mut gateway, per_round)).0);
        let spans = Spans::default();
        let subscriber = tracing_subscriber::registry().with(spans.clone());
        let (job, done) =
            tracing::subscriber::with_default(subscriber, || runtime.block_on(run_jobs(&mut gateway, per_round)));
        let sums = spans.take();
        let of = |name: &str| sums[name].as_secs_f64() * 1e6 / done as f64;
        let (attempt, settle) = (of("attempt"), of("settle"));
        let [prepare, spawn, pipes, parse] = ["prepare", "spawn", "pipes", "parse"].map(of);
        let (statements, commit) = (of("statements"), of("commit"));
        columns[1].push([
            prepare,
            spawn,
            pipes,
            parse,
            attempt - prepare - spawn - pipes - parse,
            statements,
            commit,
            settle - statements - commit,
            job - attempt - settle,
            job,
        ]);
        timed_jobs.push(job);
    }
    println!("| part of a job, µs | bare | ductile | above |\n|---|---|---|---|");
    for (at, part) in PARTS.iter().enumerate() {
        let [bare, ductile] = [0, 1].map(|column| {
            let mut values: Vec<_> = columns[column].iter().map(|parts: &[f64; PARTS.len()]| parts[at]).collect();
            quantile(&mut values, 0.5)
        });
        println!("| {part} | {bare:.0} | {ductile:.0} | {:+.0} |", ductile - bare);
    }
    let off = timed(1_000_000, || (0..1_000_000).for_each(|_| drop(std::hint::black_box(trace_span!("off"))))) * 1e3;
    let [untimed, timed_jobs] = [untimed, timed_jobs].map(|mut values| quantile(&mut values, 0.5));
    println!(
        "spans: a job {untimed:.0} µs without them being watched, {timed_jobs:.0} with; one that nobody watches {off:.1} ns"
    );
}

const PARTS: [&str; 10] = [
    "prepare: trust checks, environment",
    "spawn",
    "pipes: write, read, wait, end the group",
    "parse: response, outcome, what is stored",
    "around them: the call, the request, its outcome",
    "statements: settle this job, claim the next",
    "commit",
    "begin, answer, retries of the write",
    "log, counters, routing, the loop",
    "**the whole job**",
];

/// Runs about `count` jobs; microseconds for each, and how many they were.
async fn run_jobs(gateway: &mut Gateway, count: usize) -> (f64, u64) {
    gateway.stop = ductile::dispatch::Stop::default();
    let dispatcher = gateway.dispatcher();
    let commits = gateway.db.commits();
    let started = Instant::now();
    let dispatching = tokio::spawn(dispatcher.run());
    while gateway.db.commits() < commits + count as u64 {
        // Seldom: each look wakes the dispatcher's thread.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.stop.claiming.cancel();
    dispatching.await.expect("no panic").expect("no error");
    // The first commit is the claim of the first job; each other one settles a job.
    let (done, elapsed) = (gateway.db.commits() - commits - 1, started.elapsed());
    (elapsed.as_secs_f64() * 1e6 / done as f64, done)
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
        spawns.push(timed(per_round, || (0..per_round).for_each(|_| _ = bare_spawn(&gateway.noop(), &request))));
        attempts.push(timed(per_round, || {
            runtime.block_on(async {
                for _ in 0..per_round {
                    let attempt = plugin::run(&plugin, call(), &Cancel::default()).await;
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
    let mut gateway = Gateway::new();
    let bare = BareCommit::new(&gateway.dir.path().join("bare.db"));
    let noop = gateway.noop();
    let request = "x".repeat(payload + 300);
    // Grows both write-ahead logs to the size at which they are reused.
    bare.commit(3_000);
    runtime.block_on(gateway.fill(20_000, "noop", payload));
    runtime.block_on(run_jobs(&mut gateway, 1_500));
    let (mut spawns, mut commits, mut boths, mut jobs, mut ratios) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..rounds {
        let spawn = timed(per_round, || (0..per_round).for_each(|_| _ = bare_spawn(&noop, &request)));
        let commit = timed(per_round, || bare.commit(per_round));
        let both = timed(per_round, || {
            for _ in 0..per_round {
                bare_spawn(&noop, &request);
                bare.commit(1);
            }
        });
        let (job, _) = runtime.block_on(run_jobs(&mut gateway, per_round));
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
    let gateway = Gateway::with_clock();
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
                tokio::time::sleep(Duration::from_millis(1)).await;
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

/// What no job can do without: a process of its own, its request, its answer, its end. How long the start of it took.
fn bare_spawn(program: &Path, request: &str) -> Duration {
    let begun = Instant::now();
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the plugin starts");
    let started = begun.elapsed();
    child.stdin.take().expect("piped").write_all(request.as_bytes()).expect("the plugin reads");
    let mut answer = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut answer).expect("the plugin answers");
    assert!(child.wait().expect("it is ours").success() && !answer.is_empty());
    started
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
