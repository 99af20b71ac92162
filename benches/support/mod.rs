//! What the benchmarks share: a gateway in a temporary folder whose plugin is `noop.c`, and its parts without a daemon.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its own share")]

pub mod spans;

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

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
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

/// A gateway's files and its parts.
pub struct Gateway {
    pub dir: TempDir,
    pub active: Arc<Active>,
    pub db: Db,
    pub wake: Arc<Notify>,
    pub stop: Stop,
}

impl Gateway {
    pub fn new() -> Self {
        Self::with_plugin("")
    }

    /// One whose plugin logs when it was started, which a bare start does not.
    pub fn with_clock() -> Self {
        Self::with_plugin("env: {NOOP_CLOCK: '1'}")
    }

    fn with_plugin(settings: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let plugin = dir.path().join("plugins/noop");
        fs::create_dir_all(&plugin).expect("a plugin folder");
        let manifest = "name: noop\nprotocol: 1\nentrypoint: noop\ncommands: [poll, handle]\n";
        fs::write(plugin.join("manifest.yaml"), manifest).expect("a manifest");
        compile(&plugin.join("noop"));
        let held = "  held: {}\n";
        let config = format!(
            "service: {{max_queue_depth: 10000000}}\nstate: {{path: ./state/ductile.db}}\nplugins:\n  noop: {{{settings}}}\n{held}"
        );
        let path = dir.path().join("config.yaml");
        fs::write(&path, config).expect("a configuration");
        let config = config::load(&path, &Variables::process()).expect("a valid configuration").config;
        fs::create_dir(dir.path().join("state")).expect("a state dir");
        let db = Db::open(&config.state_path).expect("a database");
        let active = Arc::new(Active::new(Registry::discover(Arc::new(config))));
        Self { dir, active, db, wake: Arc::new(Notify::new()), stop: Stop::default() }
    }

    pub fn noop(&self) -> PathBuf {
        self.dir.path().join("plugins/noop/noop")
    }

    pub fn state_path(&self) -> &Path {
        &self.active.registry.config().state_path
    }

    /// A dispatcher over this gateway; it ends when `self.stop.claiming` is cancelled.
    pub fn dispatcher(&self) -> Dispatcher {
        let (sender, active) = watch::channel(Arc::clone(&self.active));
        // The dispatcher watches for a new configuration: keep the other end for the rest of the program.
        std::mem::forget(sender);
        Dispatcher {
            db: self.db.clone(),
            active,
            clock: Clock::System,
            rng: StdRng::seed_from_u64(1),
            wake: Arc::clone(&self.wake),
            instance: publish::service(&self.db.reader().expect("a reader")).expect("an instance").instance,
            stop: self.stop.clone(),
            vitals: Arc::default(),
            counters: Arc::default(),
        }
    }

    pub async fn enqueue(&self, job: NewJob) {
        let limits = self.active.limits;
        let work = move |tx: &Tx<'_>| queue::enqueue(tx, &job, limits, Clock::System.now());
        assert_eq!(self.db.write(work).await.expect("a job is enqueued"), Enqueued::Inserted);
    }

    /// `count` jobs in a few transactions.
    pub async fn fill(&self, count: usize, plugin: &'static str, payload_bytes: usize) {
        let limits = self.active.limits;
        for start in (0..count).step_by(10_000) {
            let piece = 10_000.min(count - start);
            let work = move |tx: &Tx<'_>| {
                for _ in 0..piece {
                    let job = job(plugin, payload_bytes);
                    assert_eq!(queue::enqueue(tx, &job, limits, Clock::System.now())?, Enqueued::Inserted);
                }
                Ok(())
            };
            self.db.write(work).await.expect("jobs are enqueued");
        }
    }

    /// Fills the tables with `count` jobs that have succeeded.
    pub async fn finished(&self, count: usize) {
        let sql = "
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            INSERT INTO job_queue (id, plugin, command, status, attempt, max_attempts, submitted_by, hops, created_at,
                                   started_at, completed_at)
            SELECT printf('00000000-0000-7000-8000-%012x', i), 'noop', 'handle', 'succeeded', 1, 4, 'cli', 0,
                   strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('-%d seconds', ?1 - i)),
                   strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('-%d seconds', ?1 - i)),
                   strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('-%d seconds', ?1 - i))
            FROM n";
        let log = "
            INSERT INTO job_log (job_id, attempt, plugin, command, submitted_by, status, started_at, completed_at,
                                 duration_ms, exit_code, result)
            SELECT id, 1, plugin, command, submitted_by, 'succeeded', started_at, completed_at, 1, 0,
                   '{\"status\":\"ok\"}'
            FROM job_queue WHERE status = 'succeeded'";
        let payload = "
            INSERT INTO job_payload (seq, payload)
            SELECT seq, printf('{\"x\":\"%0300d\"}', 1) FROM job_queue WHERE status = 'succeeded'";
        let work = move |tx: &Tx<'_>| {
            tx.execute(sql, [count])?;
            tx.execute(log, [])?;
            tx.execute(payload, [])?;
            Ok(())
        };
        self.db.write(work).await.expect("a history is written");
    }

    pub async fn depth(&self) -> u64 {
        self.db.write(|tx| queue::depth(tx)).await.expect("the depth is read")
    }
}

pub fn job(plugin: &str, payload_bytes: usize) -> NewJob {
    let text = "x".repeat(payload_bytes.saturating_sub(r#"{"type":"bench","payload":""}"#.len()));
    let payload = format!(r#"{{"type":"bench","payload":"{text}"}}"#);
    let payload = RawValue::from_string(payload).expect("it is JSON");
    NewJob { payload: Some(payload.into()), ..NewJob::new(plugin, Command::Handle, SubmittedBy::Cli, 4) }
}

/// `noop.c`, static where the C library allows it.
pub fn compile(to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/noop.c");
    let compile = |options: &[&str]| {
        let status = process::Command::new("cc").args(options).arg("-o").arg(to).arg(&source).status();
        status.expect("a C compiler, `cc`").success()
    };
    assert!(compile(&["-O2", "-static"]) || compile(&["-O2"]), "noop.c compiles");
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The value below which `share` of the sorted values are.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}
