//! What the running parts have counted since the start, in memory; for the metrics. What it is called there is not known here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::command::Command;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// How long attempts take: from a shell script to the longest usual timeout.
const ATTEMPT: &[Duration] = &[
    ms(10),
    ms(25),
    ms(50),
    ms(100),
    ms(250),
    ms(500),
    ms(1_000),
    ms(2_500),
    ms(5_000),
    ms(10_000),
    ms(30_000),
    ms(60_000),
    ms(120_000),
    ms(300_000),
];

/// How long jobs wait for their turn.
const WAIT: &[Duration] = &[
    ms(10),
    ms(50),
    ms(100),
    ms(500),
    ms(1_000),
    ms(5_000),
    ms(10_000),
    ms(30_000),
    ms(60_000),
    ms(300_000),
    ms(900_000),
    ms(3_600_000),
];

/// How many durations were how long.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One more than bounds: the last is for what is longer than all of them.
    counts: Vec<u64>,
    sum: Duration,
}

impl Histogram {
    /// With upper bounds, each included, in ascending order.
    pub fn new(bounds: &'static [Duration]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: Duration::ZERO }
    }

    pub fn observe(&mut self, duration: Duration) {
        let at = self.bounds.partition_point(|bound| *bound < duration);
        self.counts[at] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// Each bound with how many were not longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut total = 0;
        self.bounds.iter().zip(&self.counts).map(move |(bound, count)| {
            total += count;
            (*bound, total)
        })
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// How an attempt ended; one that a shutdown interrupted is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    Succeeded,
    Failed,
    TimedOut,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    Succeeded,
    Dead,
}

/// Where the parts count. On a job's way nothing is allocated but for the first of its plugin and command.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

/// All that was counted.
#[derive(Debug, Default)]
pub struct Counts {
    pub plugins: BTreeMap<String, PluginCounts>,
    /// By the endpoint's path and status code.
    pub answers: BTreeMap<String, BTreeMap<u16, u64>>,
    /// To what is no endpoint, by status code.
    pub other_answers: BTreeMap<u16, u64>,
}

/// Of one plugin.
#[derive(Debug)]
pub struct PluginCounts {
    pub commands: BTreeMap<Command, CommandCounts>,
    /// From being enqueued to the first attempt.
    pub wait: Histogram,
}

/// Of one plugin's command.
#[derive(Debug)]
pub struct CommandCounts {
    attempts: [u64; 3],
    jobs: [u64; 2],
    pub duration: Histogram,
}

impl Default for PluginCounts {
    fn default() -> Self {
        Self { commands: BTreeMap::new(), wait: Histogram::new(WAIT) }
    }
}

impl Default for CommandCounts {
    fn default() -> Self {
        Self { attempts: [0; 3], jobs: [0; 2], duration: Histogram::new(ATTEMPT) }
    }
}

impl PluginCounts {
    fn of(&mut self, command: &Command) -> &mut CommandCounts {
        if !self.commands.contains_key(command) {
            self.commands.insert(command.clone(), CommandCounts::default());
        }
        self.commands.get_mut(command).expect("it was just there or put there")
    }
}

impl CommandCounts {
    pub fn attempts(&self, end: AttemptEnd) -> u64 {
        self.attempts[end as usize]
    }

    pub fn jobs(&self, end: JobEnd) -> u64 {
        self.jobs[end as usize]
    }
}

impl Counters {
    /// A job's first attempt has begun, so long after it was enqueued.
    pub fn waited(&self, plugin: &str, duration: Duration) {
        self.with(plugin, |counts| counts.wait.observe(duration));
    }

    pub fn attempt_ended(&self, plugin: &str, command: &Command, end: AttemptEnd, duration: Duration) {
        self.with(plugin, |counts| {
            let counts = counts.of(command);
            counts.attempts[end as usize] += 1;
            counts.duration.observe(duration);
        });
    }

    pub fn job_ended(&self, plugin: &str, command: &Command, end: JobEnd) {
        self.with(plugin, |counts| counts.of(command).jobs[end as usize] += 1);
    }

    /// A request to this endpoint, or to none, was answered.
    pub fn answered(&self, endpoint: Option<&str>, code: u16) {
        let mut counts = self.lock();
        let codes = match endpoint {
            None => &mut counts.other_answers,
            Some(path) if counts.answers.contains_key(path) => {
                counts.answers.get_mut(path).expect("it was just there, and nobody else has the lock")
            }
            Some(path) => counts.answers.entry(path.to_owned()).or_default(),
        };
        *codes.entry(code).or_default() += 1;
    }

    /// All that was counted. Who holds it keeps the others from counting.
    pub fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, plugin: &str, count: impl FnOnce(&mut PluginCounts)) {
        let mut counts = self.lock();
        match counts.plugins.get_mut(plugin) {
            Some(counts) => count(counts),
            None => count(counts.plugins.entry(plugin.to_owned()).or_default()),
        }
    }
}

impl Counts {
    /// Forgets plugins and endpoints that are not in use any more.
    pub fn retain(&mut self, plugin: impl Fn(&str) -> bool, endpoint: impl Fn(&str) -> bool) {
        self.plugins.retain(|name, _| plugin(name));
        self.answers.retain(|path, _| endpoint(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        const BOUNDS: &[Duration] = &[ms(10), ms(100)];
        let mut histogram = Histogram::new(BOUNDS);
        for duration in [ms(0), ms(10), ms(11), ms(100), ms(101), ms(5_000)] {
            histogram.observe(duration);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(ms(10), 2), (ms(100), 4)]);
        assert_eq!((histogram.count(), histogram.sum()), (6, ms(5_222)));
        histogram.observe(Duration::MAX);
        assert_eq!((histogram.count(), histogram.sum()), (7, Duration::MAX));
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [ATTEMPT, WAIT] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }

    #[test]
    fn each_is_counted_where_it_belongs() {
        let counters = Counters::default();
        counters.attempt_ended("a", &Command::Poll, AttemptEnd::TimedOut, ms(3));
        counters.attempt_ended("a", &Command::Poll, AttemptEnd::Succeeded, ms(4));
        counters.job_ended("a", &Command::Poll, JobEnd::Succeeded);
        counters.job_ended("b", &Command::Init, JobEnd::Dead);
        counters.waited("b", ms(5));
        for (path, code) in [(Some("/a"), 202), (Some("/a"), 202), (Some("/a"), 403), (Some("/b"), 202), (None, 404)] {
            counters.answered(path, code);
        }
        let mut counts = counters.lock();
        let poll = &counts.plugins["a"].commands[&Command::Poll];
        let attempts = [AttemptEnd::Succeeded, AttemptEnd::Failed, AttemptEnd::TimedOut].map(|end| poll.attempts(end));
        assert_eq!((attempts, poll.duration.count(), poll.duration.sum()), ([1, 0, 1], 2, ms(7)));
        assert_eq!((poll.jobs(JobEnd::Succeeded), poll.jobs(JobEnd::Dead)), (1, 0));
        assert_eq!(counts.plugins["a"].commands.len(), 1);
        let b = &counts.plugins["b"];
        assert_eq!((b.commands[&Command::Init].jobs(JobEnd::Dead), b.wait.count()), (1, 1));
        assert_eq!(counts.answers["/a"], BTreeMap::from([(202, 2), (403, 1)]));
        assert_eq!(counts.other_answers, BTreeMap::from([(404, 1)]));

        counts.retain(|plugin| plugin == "b", |path| path == "/a");
        assert_eq!(counts.plugins.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(counts.answers.keys().collect::<Vec<_>>(), ["/a"]);
    }
}
