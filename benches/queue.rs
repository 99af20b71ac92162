//! The queue's own operations, each durable: `cargo bench --bench queue`.
//!
//! Every scenario is the same work on another database: nothing but the work itself, a million finished jobs, and
//! a hundred thousand queued ones of three kinds. Read the medians as ratios to `Bare`.

mod support;

use std::fmt;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::time::Duration;

use divan::Bencher;
use ductile::clock::{Clock, Timestamp};
use ductile::queue::{self, Attempted, JobLogStatus, Retention, Transition};
use ductile::scheduler::{self, Plans};
use ductile::state::{Error, Tx};
use rand::SeedableRng;
use rand::rngs::StdRng;
use support::{Gateway, job, runtime};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// What is in the database beside the jobs that are worked on.
#[derive(Clone, Copy, Debug)]
enum Scenario {
    Bare,
    /// A million finished jobs with their logs and payloads.
    Finished,
    /// A hundred thousand queued behind.
    Queued,
    /// A hundred thousand ahead that wait for their retry.
    Waiting,
    /// A hundred thousand ahead whose plugin is not loaded.
    Held,
}

const ALL: [Scenario; 5] = [Scenario::Bare, Scenario::Finished, Scenario::Queued, Scenario::Waiting, Scenario::Held];

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

struct World {
    runtime: Runtime,
    gateway: Gateway,
}

/// One world at a time: the million rows of one must not slow down the disk of another.
static WORLDS: LazyLock<Mutex<Vec<(String, &'static World)>>> = LazyLock::new(Mutex::default);

fn world(scenario: Scenario) -> &'static World {
    let mut worlds = WORLDS.lock().expect("no panic");
    if let Some((_, world)) = worlds.iter().find(|(name, _)| *name == scenario.to_string()) {
        return world;
    }
    let world: &'static World = Box::leak(Box::new(make(scenario)));
    worlds.push((scenario.to_string(), world));
    world
}

fn make(scenario: Scenario) -> World {
    let (runtime, gateway) = (runtime(), Gateway::new());
    // `cargo test --benches` only wants to see that it runs.
    let scale = if std::env::args().any(|arg| arg == "--bench") { 1 } else { 1_000 };
    let many = 100_000 / scale;
    runtime.block_on(async {
        match scenario {
            Scenario::Bare => {}
            Scenario::Finished => gateway.finished(1_000_000 / scale).await,
            Scenario::Queued => {}
            Scenario::Waiting => {
                gateway.fill(many, "noop", 300).await;
                let far = Timestamp::from_millis(4_000_000_000_000);
                let wait = move |tx: &Tx<'_>| {
                    for _ in 0..many {
                        let now = Clock::System.now();
                        let claimed = queue::claim(tx, now, |_| true)?.expect("a queued job");
                        let transition =
                            Transition::Retry { status: JobLogStatus::Failed, error: "e".to_owned(), at: Some(far) };
                        queue::finish(tx, &claimed, &transition, &Attempted::default(), now)?;
                    }
                    Ok(())
                };
                gateway.db.write(wait).await.expect("retries wait");
            }
            Scenario::Held => gateway.fill(many, "held", 300).await,
        }
        let work = if matches!(scenario, Scenario::Queued) { many } else { 0 };
        gateway.fill(work + 5_000, "noop", 300).await;
    });
    World { runtime, gateway }
}

/// One job on the queue, on disk.
#[divan::bench(args = ALL, sample_count = 500, sample_size = 1)]
fn enqueue(bencher: Bencher<'_, '_>, scenario: Scenario) {
    let world = world(scenario);
    bencher
        .with_inputs(|| job("noop", 300))
        .bench_local_values(|job| world.runtime.block_on(world.gateway.enqueue(job)));
}

/// Thirty-two producers at once, all of them on disk.
#[divan::bench(args = ALL, sample_count = 100, sample_size = 1)]
fn enqueue_32_at_once(bencher: Bencher<'_, '_>, scenario: Scenario) {
    let world = world(scenario);
    bencher.with_inputs(|| (0..32).map(|_| job("noop", 300)).collect::<Vec<_>>()).bench_local_values(|jobs| {
        world.runtime.block_on(async {
            let mut writes = tokio::task::JoinSet::new();
            for job in jobs {
                let (db, limits) = (world.gateway.db.clone(), world.gateway.active.limits);
                writes.spawn(
                    async move { db.write(move |tx| queue::enqueue(tx, &job, limits, Clock::System.now())).await },
                );
            }
            writes.join_all().await
        })
    });
}

/// What one job costs the database: its end and the next one's claim, in one commit.
#[divan::bench(args = ALL, sample_count = 1000, sample_size = 1)]
fn settle_and_claim(bencher: Bencher<'_, '_>, scenario: Scenario) {
    let world = world(scenario);
    bencher.bench_local(|| world.runtime.block_on(world.gateway.db.write(step)).expect("a step"));
}

fn step(tx: &Tx<'_>) -> Result<u32, Error> {
    let now = Clock::System.now();
    if let Some(claimed) = queue::adopt(tx)? {
        queue::finish(tx, &claimed, &Transition::Succeeded, &Attempted::default(), now)?;
    }
    let claimed = queue::claim(tx, now, |plugin| plugin == "noop")?.expect("enough jobs");
    Ok(claimed.job().attempt)
}

/// A heartbeat that finds nothing due.
#[divan::bench(args = ALL, sample_count = 200, sample_size = 1)]
fn idle_tick(bencher: Bencher<'_, '_>, scenario: Scenario) {
    let world = world(scenario);
    let limits = world.gateway.active.limits;
    let tick = move |tx: &Tx<'_>| {
        let mut rng = StdRng::seed_from_u64(1);
        scheduler::tick(tx, &Plans::default(), limits, &chrono::Utc, Clock::System.now(), &mut rng)
    };
    bencher.bench_local(|| world.runtime.block_on(world.gateway.db.write(tick)).expect("a tick"));
}

/// As `settle_and_claim`, while a million expired jobs are being deleted; the slowest is how long a claim is kept waiting.
#[divan::bench(args = [Scenario::Finished], sample_count = 2000, sample_size = 1)]
fn claim_beside_retention(bencher: Bencher<'_, '_>, scenario: Scenario) {
    let world = world(scenario);
    let retention = Retention { job_log: Duration::ZERO, job_queue: Duration::ZERO, facts: Duration::ZERO };
    let now = Clock::System.now().before(Duration::from_secs(60));
    let db = world.gateway.db.clone();
    let deleting = world.runtime.spawn(async move {
        let delete = move |tx: &Tx<'_>| queue::delete_expired(tx, retention, now);
        while db.write(delete).await.expect("a piece is deleted") {}
    });
    bencher.bench_local(|| world.runtime.block_on(world.gateway.db.write_in_place(step)).expect("a step"));
    deleting.abort();
}

/// One piece of retention: 250 jobs and 250 log rows.
#[divan::bench(args = [Scenario::Finished], sample_count = 50, sample_size = 1)]
fn retention(bencher: Bencher<'_, '_>, scenario: Scenario) {
    let world = world(scenario);
    let retention = Retention { job_log: Duration::ZERO, job_queue: Duration::ZERO, facts: Duration::ZERO };
    let now = Clock::System.now().before(Duration::from_secs(60));
    bencher.bench_local(|| {
        world.runtime.block_on(world.gateway.db.write(move |tx| queue::delete_expired(tx, retention, now)))
    });
}
