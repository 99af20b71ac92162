//! What work and idleness cost, counted instead of timed.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ductile::active::Active;
use ductile::clock::Clock;
use ductile::command::Command;
use ductile::config::{self, Variables};
use ductile::dispatch::{Dispatcher, Stop};
use ductile::plugin::Registry;
use ductile::queue::{self, Enqueued, NewJob, SubmittedBy};
use ductile::state::{Db, Tx, publish};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};

use crate::support::{OK, Plugin, Site, wait_until};

/// The commits of a dispatcher that finds this many jobs waiting and runs them all.
fn commits_of_a_backlog(jobs: u64) -> u64 {
    let site = Site::with(Plugin::sh("noop", OK));
    site.write_config();
    fs::create_dir(site.state_dir()).unwrap();
    let config = config::load(&site.path("config.yaml"), &Variables::process()).unwrap().config;
    let active = Arc::new(Active::new(Registry::discover(Arc::new(config))));
    let db = Db::open(&site.database()).unwrap();
    let limits = active.limits;
    let fill = move |tx: &Tx<'_>| {
        for _ in 0..jobs {
            assert_eq!(queue::enqueue(tx, &poll(), limits, Clock::System.now())?, Enqueued::Inserted);
        }
        Ok(())
    };
    let (_sender, receiver) = watch::channel(active);
    let stop = Stop::default();
    let dispatcher = Dispatcher {
        db: db.clone(),
        active: receiver,
        clock: Clock::System,
        rng: StdRng::seed_from_u64(1),
        wake: Arc::new(Notify::new()),
        instance: publish::service(&db.reader().unwrap()).unwrap().instance,
        stop: stop.clone(),
        vitals: Arc::default(),
        counters: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let commits = runtime.block_on(async {
        db.write(fill).await.unwrap();
        let before = db.commits();
        let stopped = stop.claiming.clone();
        let reader = db.reader().unwrap();
        // From beside, as the dispatcher's own thread must not be held up. Over is the last job; over is also the look
        // at the empty queue behind it, which is the one write more.
        let watched = db.clone();
        let watching = std::thread::spawn(move || {
            let left = "SELECT count(*) FROM job_queue WHERE completed_at IS NULL";
            wait_until("the end of the backlog", || {
                let left: u64 = reader.query_row(left, [], |row| row.get(0)).unwrap();
                left == 0 && watched.commits() >= before + jobs + LOOKS
            });
            stopped.cancel();
        });
        dispatcher.run().await.unwrap();
        watching.join().unwrap();
        db.commits() - before
    });
    runtime.block_on(db.close());
    assert_eq!(site.count("SELECT count(*) FROM job_log WHERE status = 'succeeded'"), i64::try_from(jobs).unwrap());
    commits
}

/// The first claim, and the look that finds the queue empty.
const LOOKS: u64 = 2;

fn poll() -> NewJob {
    NewJob::new("noop", Command::Poll, SubmittedBy::Cli, 4)
}

#[test]
fn a_job_of_a_backlog_costs_exactly_one_commit() {
    for jobs in [1, 50] {
        assert_eq!(commits_of_a_backlog(jobs), jobs + LOOKS, "{jobs} jobs");
    }
}

const TICKS: u32 = 10;
const MOST_SWITCHES_PER_TICK: f64 = 5.0;

#[test]
fn an_idle_daemon_wakes_only_for_its_tick() {
    let site = Site::with(Plugin::sh("work", OK));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    let switches = || context_switches(daemon.0.pid());
    let mut measured = Vec::new();
    // On a busy machine it is also interrupted, so the quietest of a few stretches counts.
    while measured.len() < 4 {
        let before = switches();
        std::thread::sleep(Duration::from_secs(TICKS.into()));
        measured.push((switches() - before) as f64 / f64::from(TICKS));
        if measured.last() <= Some(&MOST_SWITCHES_PER_TICK) {
            break;
        }
    }
    eprintln!("context switches per tick: {measured:?}");
    assert!(measured.last() <= Some(&MOST_SWITCHES_PER_TICK), "context switches per tick: {measured:?}");
    daemon.stop();
}

/// Of all threads, voluntary or not.
fn context_switches(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_task = |task: fs::DirEntry| -> u64 {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let counters = status.lines().filter(|line| line.contains("voluntary_ctxt_switches:"));
        counters.map(|line| line.rsplit_once('\t').unwrap().1.trim().parse::<u64>().unwrap()).sum()
    };
    tasks.map(|task| of_task(task.unwrap())).sum()
}
