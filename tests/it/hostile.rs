//! Plugins that do everything wrong, one table for one daemon: how each job ends, what is stored of it, how long it may
//! take, and how much memory the daemon needs for all of them.

use serde_json::Value;

use crate::support::{Daemon, Plugin, Site};

mod answers;
mod endings;
mod floods;
mod starts;

/// No attempt takes longer: its timeout, the time from SIGTERM to SIGKILL, about a second for pipes that are held open;
/// and what a busy machine needs to start a process and to read 10 MB.
const GRACE_MS: i64 = 5_000;
const DRAIN_MS: i64 = 1_000;
const SLACK_MS: i64 = 20_000;

/// For the whole table: 64 MB in a release build. One with debug assertions is itself larger.
const MEMORY_KB: u64 = if cfg!(debug_assertions) { 80 << 10 } else { 64 << 10 };

/// For what the table leaves out, ten megabytes that go to five plugins at once and come back: SQLite has up to three
/// copies of a payload while it stores it, and the allocator keeps as much as was freed. It must not grow with the targets.
const FAN_OUT_KB: u64 = 112 << 10;

/// A job, and what must become of it.
pub(crate) struct Case {
    name: &'static str,
    plugin: Option<Plugin>,
    arguments: Vec<String>,
    max_attempts: u32,
    timeout_ms: i64,
    status: &'static str,
    attempts: usize,
    error: Expected,
    check: Vec<Check>,
}

type Check = Box<dyn Fn(&Site, &Value, &[Value])>;

enum Expected {
    None,
    Exactly(String),
    /// These parts, in this order.
    Parts(Vec<String>),
}

impl Case {
    /// A poll of this plugin, which is named after the case, with two attempts and a generous timeout.
    fn new(name: &'static str, plugin: impl FnOnce(&str) -> Plugin) -> Self {
        Self { plugin: Some(plugin(name)), ..Self::again(name, name) }
    }

    /// One more job of a plugin that is there.
    fn again(name: &'static str, plugin: &str) -> Self {
        let arguments = vec![plugin.to_owned()];
        let (status, error) = ("succeeded", Expected::None);
        Self {
            name,
            plugin: None,
            arguments,
            max_attempts: 2,
            timeout_ms: 60_000,
            status,
            attempts: 1,
            error,
            check: Vec::new(),
        }
    }

    fn set(mut self, line: &str) -> Self {
        self.plugin = self.plugin.map(|plugin| plugin.set(line));
        self
    }

    /// One attempt only.
    fn once(mut self) -> Self {
        self.max_attempts = 1;
        self
    }

    /// `handle` instead of `poll`.
    fn handle(mut self, payload: &str) -> Self {
        self.arguments.extend(["--command", "handle", "--payload", payload].map(str::to_owned));
        self
    }

    fn timeout_ms(mut self, timeout_ms: i64) -> Self {
        self.timeout_ms = timeout_ms;
        self.set(&format!("timeouts: {{poll: {timeout_ms}ms}}"))
    }

    fn dead(mut self, attempts: usize, error: &str) -> Self {
        (self.status, self.attempts, self.error) = ("dead", attempts, Expected::Exactly(error.to_owned()));
        self
    }

    fn dead_with(mut self, attempts: usize, parts: &[&str]) -> Self {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        (self.status, self.attempts, self.error) = ("dead", attempts, Expected::Parts(parts));
        self
    }

    /// More to be looked at: the site, the job, its attempts.
    fn also(mut self, check: impl Fn(&Site, &Value, &[Value]) + 'static) -> Self {
        self.check.push(Box::new(check));
        self
    }

    fn verify(&self, site: &Site, id: &str) {
        let (job, attempts) = (site.job(id), site.attempts(id));
        let context = || format!("case `{}`: {}", self.name, brief(&job, &attempts));
        assert_eq!(job["status"], self.status, "{}", context());
        assert_eq!(attempts.len(), self.attempts, "{}", context());
        assert_eq!(job["attempt"], self.attempts, "{}", context());
        let error = &job["last_error"];
        match &self.error {
            Expected::None => assert!(error.is_null(), "{}", context()),
            Expected::Exactly(expected) => assert_eq!(error, expected, "{}", context()),
            Expected::Parts(parts) => assert!(in_order(error.as_str().unwrap(), parts), "{parts:?} {}", context()),
        }
        for (number, attempt) in (1..).zip(&attempts) {
            assert_eq!(attempt["attempt"], number, "{}", context());
            let duration_ms = attempt["duration_ms"].as_i64().unwrap();
            assert!(duration_ms <= self.timeout_ms + GRACE_MS + DRAIN_MS + SLACK_MS, "{}", context());
            if self.status == "dead" {
                assert_eq!(&attempt["error"], error, "{}", context());
                assert_ne!(attempt["status"], "succeeded", "{}", context());
            }
            for column in ["result", "logs", "stderr"] {
                let stored = attempt[column].as_str().map_or(0, str::len);
                assert!(stored <= (64 << 10) + 128, "{column} has {stored} bytes, {}", context());
            }
        }
        self.check.iter().for_each(|check| check(site, &job, &attempts));
    }
}

fn in_order(text: &str, parts: &[String]) -> bool {
    parts.iter().try_fold(text, |rest, part| rest.split_once(part.as_str()).map(|(_, rest)| rest)).is_some()
}

/// The job without what may be megabytes.
fn brief(job: &Value, attempts: &[Value]) -> String {
    let keys = ["status", "exit_code", "duration_ms", "error"];
    let attempt = |attempt: &Value| keys.map(|key| format!("{key}={}", attempt[key])).join(" ");
    let attempts: Vec<_> = attempts.iter().map(attempt).collect();
    format!("{} {} {attempts:#?}", job["status"], job["last_error"])
}

/// The beginning and the end of a text, with how much of it there is.
fn ends(text: &str) -> String {
    let short = |text: String| text.chars().take(100).collect::<String>();
    let tail: String = text.chars().rev().take(100).collect();
    format!("{} bytes: {:?} ... {:?}", text.len(), short(text.to_owned()), tail.chars().rev().collect::<String>())
}

/// A figure of `/proc/PID/status`, in KB.
fn memory_kb(daemon: &Daemon, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.0.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn hostile_plugins_end_as_specified_within_bounded_time_and_memory() {
    let mut site = Site::new();
    let mut cases = Vec::new();
    for area in [endings::cases, answers::cases, floods::cases] {
        cases.extend(area(&mut site));
    }
    let mut fan_out = floods::fan_out(&mut site);
    for case in cases.iter_mut().chain(&mut fan_out) {
        if let Some(plugin) = case.plugin.take() {
            site.plugin(plugin.set(&format!("retry: {{max_attempts: {}, backoff_base: 1ms}}", case.max_attempts)));
        }
    }
    let starts = starts::prepare(&mut site);
    let daemon = site.start();
    starts::check(&site, starts);
    run(&site, &daemon, &cases);
    let peak_kb = memory_kb(&daemon, "VmHWM");
    println!("{} cases, {peak_kb} KB at most", cases.len());
    assert!(peak_kb < MEMORY_KB, "the daemon took {peak_kb} KB");

    run(&site, &daemon, &fan_out);
    let peak_kb = memory_kb(&daemon, "VmHWM");
    println!("with ten megabytes for five plugins {peak_kb} KB at most");
    assert!(peak_kb < FAN_OUT_KB, "the daemon took {peak_kb} KB");
    daemon.stop();
}

fn run(site: &Site, daemon: &Daemon, cases: &[Case]) {
    let ids: Vec<_> = cases.iter().map(|case| site.detach(&case.arguments)).collect();
    for (case, id) in cases.iter().zip(&ids) {
        site.wait_rows(&format!("SELECT 1 FROM job_queue WHERE id = '{id}' AND completed_at IS NOT NULL"));
        println!(
            "{} {}: {} KB at most",
            case.name,
            brief(&site.job(id), &site.attempts(id)),
            memory_kb(daemon, "VmHWM")
        );
    }
    site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
    for (case, id) in cases.iter().zip(&ids) {
        case.verify(site, id);
    }
}
