use std::time::Duration;

use chrono::NaiveTime;
use chrono_tz::{Europe::Berlin, Tz};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rusqlite::Connection;

use super::store::Scheduled;
use super::*;
use crate::clock::Timestamp;
use crate::command::Command;
use crate::config::{CircuitBreaker, DEFAULT_SCHEDULE, Schedule, Window};
use crate::queue::{self, Attempted, JobLogStatus, Limits, Transition};
use crate::state::{Tx, in_memory};

const LIMITS: Limits = Limits { dedupe_ttl: Duration::from_secs(3600), max_queue_depth: 1_000 };
const HOUR: Duration = Duration::from_secs(3600);

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn every(every: Duration) -> Plan {
    let schedule = Schedule { every, jitter: Duration::ZERO, preferred_window: None };
    Plan {
        command: Command::Poll,
        payload: None,
        schedule,
        max_outstanding: 1,
        max_attempts: 1,
        circuit_breaker: CircuitBreaker::default(),
    }
}

fn within(plan: Plan, start: &str, end: &str) -> Plan {
    let [start, end] = [start, end].map(|text| NaiveTime::parse_from_str(text, "%H:%M").unwrap());
    let schedule = Schedule { preferred_window: Some(Window { start, end }), ..plan.schedule };
    Plan { schedule, ..plan }
}

mod breaker;
mod init;
mod several;

/// A scheduler over a database in memory, with a clock that the test moves.
struct World {
    connection: Connection,
    plans: Plans,
    zone: Tz,
    now: Timestamp,
    rng: StdRng,
}

impl World {
    fn new(plans: impl IntoIterator<Item = (&'static str, Plan)>, zone: Tz, now: &str) -> Self {
        let mut world = Self {
            connection: in_memory(),
            plans: Plans::default(),
            zone,
            now: time(now),
            rng: StdRng::seed_from_u64(7),
        };
        for (name, plan) in plans {
            world.set(name, plan);
        }
        world.sync();
        world
    }

    /// `name` is that of a plugin, or `plugin/schedule`.
    fn set(&mut self, name: &str, plan: Plan) {
        let (plugin, schedule) = name.split_once('/').unwrap_or((name, DEFAULT_SCHEDULE));
        self.plans.schedules.entry(plugin.to_owned()).or_default().insert(schedule.to_owned(), plan);
    }

    fn plan(&mut self, plugin: &str) -> &mut Plan {
        self.plans.schedules.get_mut(plugin).unwrap().get_mut(DEFAULT_SCHEDULE).unwrap()
    }

    fn sync(&mut self) {
        sync(&Tx::over(&self.connection), &self.plans, &self.zone, self.now, &mut self.rng).unwrap();
    }

    fn tick(&mut self) -> Vec<String> {
        let tx = Tx::over(&self.connection);
        let ticked = tick(&tx, &self.plans, LIMITS, &self.zone, self.now, &mut self.rng).unwrap();
        ticked.enqueued.iter().map(name).collect()
    }

    /// Runs whatever is due, all of it ending in `transition`.
    fn run_all(&mut self, transition: &Transition) {
        let tx = Tx::over(&self.connection);
        while let Some(claimed) = queue::claim(&tx, self.now, |_| true).unwrap() {
            queue::finish(&tx, &claimed, transition, &Attempted::default(), self.now).unwrap();
            let ended = Ended { job: claimed.job(), transition, interrupted: false };
            settled(&tx, ended, &self.plans, &self.plans, &self.zone, self.now, &mut self.rng).unwrap();
        }
    }

    /// Ends the next job of the queue like this; also what runs already.
    fn end_next(&mut self, transition: &Transition, interrupted: bool) -> Option<Consequence> {
        let tx = Tx::over(&self.connection);
        let claimed = queue::adopt(&tx).unwrap().or_else(|| queue::claim(&tx, self.now, |_| true).unwrap());
        let claimed = claimed.expect("a job is due");
        queue::finish(&tx, &claimed, transition, &Attempted::default(), self.now).unwrap();
        let ended = Ended { job: claimed.job(), transition, interrupted };
        settled(&tx, ended, &self.plans, &self.plans, &self.zone, self.now, &mut self.rng).unwrap()
    }

    fn after(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn row(&self, name: &str) -> Scheduled {
        self.find(name).unwrap()
    }

    fn find(&self, name: &str) -> Option<Scheduled> {
        let (plugin, schedule) = name.split_once('/').unwrap_or((name, DEFAULT_SCHEDULE));
        store::one(&self.connection, plugin, schedule).unwrap()
    }

    /// Ticks at the first whole minute after each time that something is due, until `end`; when polls were enqueued.
    /// Each is run at once.
    fn simulate(&mut self, end: &str) -> Vec<Timestamp> {
        let mut runs = Vec::new();
        while self.now < time(end) {
            if !self.tick().is_empty() {
                runs.push(self.now);
            }
            self.run_all(&Transition::Succeeded);
            let due = store::all(&self.connection).unwrap().into_iter().filter_map(|row| row.next_run).min().unwrap();
            self.now =
                Timestamp::from_millis((due.as_millis().max(self.now.as_millis() + 1) + 59_999) / 60_000 * 60_000);
        }
        runs
    }
}

/// As [`World::set`] takes it.
fn name((plugin, schedule): &(String, String)) -> String {
    if schedule == DEFAULT_SCHEDULE { plugin.clone() } else { format!("{plugin}/{schedule}") }
}

fn dead() -> Transition {
    Transition::Dead { status: JobLogStatus::Failed, error: "no".to_owned() }
}

#[test]
fn a_new_plugin_is_due_at_once_and_then_at_its_interval() {
    let mut world = World::new([("b", every(HOUR)), ("a", every(HOUR))], Tz::UTC, "2026-01-01T00:00:00.000Z");
    assert_eq!(world.tick(), ["a", "b"], "in the order of their names");
    world.run_all(&Transition::Succeeded);
    assert_eq!(world.tick(), [""; 0]);
    world.now = time("2026-01-01T00:59:59.999Z");
    assert_eq!(world.tick(), [""; 0]);
    world.now = time("2026-01-01T01:00:00.000Z");
    assert_eq!(world.tick(), ["a", "b"]);
}

#[test]
fn a_year_of_hours_has_as_many_runs_as_it_has_hours() {
    let mut plan = every(HOUR);
    plan.schedule.jitter = Duration::from_secs(600);
    let mut world = World::new([("a", plan)], Berlin, "2026-01-01T00:00:00.000Z");
    let runs = world.simulate("2027-01-01T00:00:00.000Z");
    // Ticks come once a minute, so that each run is half a minute late on average.
    let expected = 365.0 * 24.0 / (1.0 + 0.5 / 60.0);
    assert!((runs.len() as f64 / expected - 1.0).abs() < 0.01, "{} of {expected}", runs.len());
    let gaps: Vec<_> = runs.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(gaps.iter().all(|gap| (Duration::from_secs(55 * 60)..=Duration::from_secs(66 * 60)).contains(gap)));
    assert!(gaps.iter().max() > gaps.iter().min(), "the jitter is drawn anew for each run");
}

#[test]
fn a_daily_run_in_a_window_happens_once_on_each_local_day_of_two_years() {
    for (start, end) in [("06:00", "07:00"), ("02:15", "02:45"), ("23:30", "00:30"), ("01:30", "03:30")] {
        let plan = within(every(HOUR * 20), start, end);
        let mut world = World::new([("a", plan)], Berlin, "2026-01-01T12:00:00.000Z");
        let runs = world.simulate("2028-01-01T12:00:00.000Z");
        let mut days: Vec<_> = runs
            .iter()
            // Half a day earlier, an overnight window is on one date.
            .map(|run| run.before(HOUR * if start > end { 12 } else { 0 }).to_utc().with_timezone(&Berlin).date_naive())
            .collect();
        assert_eq!(runs.len(), 730, "{start}-{end}");
        days.dedup();
        assert_eq!(days.len(), 730, "{start}-{end}");
    }
}

#[test]
fn a_late_tick_never_fires_outside_the_window() {
    let plan = within(every(HOUR), "06:00", "22:00");
    let mut world = World::new([("a", plan)], Tz::UTC, "2026-01-01T21:30:00.000Z");
    assert_eq!(world.tick(), ["a"]);
    world.run_all(&Transition::Succeeded);
    assert_eq!(world.row("a").next_run, Some(time("2026-01-02T06:00:00.000Z")), "22:30 is outside");
    let mut late = World::new([("a", within(every(HOUR), "06:00", "22:00"))], Tz::UTC, "2026-01-01T21:59:00.000Z");
    late.now = time("2026-01-01T22:00:00.000Z");
    assert_eq!(late.tick(), [""; 0], "it was due in time, but the tick came late");
    assert_eq!(late.row("a").next_run, Some(time("2026-01-02T06:00:00.000Z")));
}

#[test]
fn the_next_run_counts_from_the_end_of_the_last_dead_ones_included() {
    for transition in [Transition::Succeeded, dead()] {
        let mut world = World::new([("a", every(HOUR))], Tz::UTC, "2026-01-01T00:00:00.000Z");
        world.tick();
        assert_eq!(world.row("a").next_run, Some(time("2026-01-01T01:00:00.000Z")));
        world.now = time("2026-01-01T00:20:00.000Z");
        world.run_all(&transition);
        assert_eq!(world.row("a").anchor, Some(world.now));
        assert_eq!(world.row("a").next_run, Some(time("2026-01-01T01:20:00.000Z")));
    }
}

#[test]
fn retries_and_other_producers_do_not_move_the_schedule() {
    let mut world = World::new([("a", every(HOUR))], Tz::UTC, "2026-01-01T00:00:00.000Z");
    world.tick();
    let before = world.row("a");
    world.now = time("2026-01-01T00:10:00.000Z");
    let tx = Tx::over(&world.connection);
    let claimed = queue::claim(&tx, world.now, |_| true).unwrap().unwrap();
    let retry = Transition::Retry { status: JobLogStatus::Failed, error: "no".to_owned(), at: None };
    let ended = Ended { job: claimed.job(), transition: &retry, interrupted: false };
    settled(&tx, ended, &world.plans, &world.plans, &world.zone, world.now, &mut world.rng).unwrap();
    let by_hand = queue::Job { submitted_by: queue::SubmittedBy::Cli, schedule: None, ..claimed.job().clone() };
    let ended = Ended { job: &by_hand, transition: &Transition::Succeeded, interrupted: false };
    settled(&tx, ended, &world.plans, &world.plans, &world.zone, world.now, &mut world.rng).unwrap();
    assert_eq!(world.row("a"), before);
}

#[test]
fn outstanding_polls_hold_back_the_next_one() {
    let mut two = every(HOUR);
    two.max_outstanding = 2;
    let mut world = World::new([("one", every(HOUR)), ("two", two)], Tz::UTC, "2026-01-01T00:00:00.000Z");
    assert_eq!(world.tick(), ["one", "two"]);
    world.now = time("2026-01-01T05:00:00.000Z");
    assert_eq!(world.tick(), ["two"]);
    world.now = time("2026-01-01T10:00:00.000Z");
    assert_eq!(world.tick(), [""; 0]);
    world.run_all(&Transition::Succeeded);
    assert_eq!(world.row("one").next_run, Some(time("2026-01-01T11:00:00.000Z")));
}

#[test]
fn a_full_queue_leaves_the_polls_due() {
    let mut world = World::new([("a", every(HOUR)), ("b", every(HOUR))], Tz::UTC, "2026-01-01T00:00:00.000Z");
    let full = Limits { max_queue_depth: 1, ..LIMITS };
    let tx = Tx::over(&world.connection);
    let ticked = tick(&tx, &world.plans, full, &world.zone, world.now, &mut world.rng).unwrap();
    assert_eq!((ticked.enqueued.iter().map(name).collect(), ticked.queue_full), (vec!["a".to_owned()], true));
    world.run_all(&Transition::Succeeded);
    assert_eq!(world.tick(), ["b"]);
}

#[test]
fn a_clock_that_steps_back_holds_nothing_up() {
    let mut world = World::new([("a", every(HOUR))], Tz::UTC, "2026-06-01T00:00:00.000Z");
    world.tick();
    world.run_all(&Transition::Succeeded);
    world.now = time("2026-01-01T00:00:00.000Z");
    assert_eq!(world.tick(), [""; 0]);
    let row = world.row("a");
    assert_eq!((row.anchor, row.next_run), (Some(world.now), Some(time("2026-01-01T01:00:00.000Z"))));
}

#[test]
fn a_clock_that_steps_forward_runs_what_is_due_once() {
    let mut world = World::new([("a", every(HOUR))], Tz::UTC, "2026-01-01T00:00:00.000Z");
    world.tick();
    world.run_all(&Transition::Succeeded);
    world.now = time("2026-06-01T00:00:00.000Z");
    assert_eq!(world.tick(), ["a"]);
    world.run_all(&Transition::Succeeded);
    assert_eq!(world.tick(), [""; 0]);
}

#[test]
fn a_restart_draws_nothing_again_and_a_change_counts_from_the_anchor() {
    let mut plan = every(HOUR);
    plan.schedule.jitter = HOUR / 2;
    let mut world = World::new([("a", plan)], Tz::UTC, "2026-01-01T00:00:00.000Z");
    world.tick();
    world.run_all(&Transition::Succeeded);
    let drawn = world.row("a");
    world.now = time("2026-01-01T00:30:00.000Z");
    world.sync();
    assert_eq!(world.row("a"), drawn);

    world.set("a", every(HOUR * 2));
    world.sync();
    assert_eq!(world.row("a").next_run, Some(time("2026-01-01T02:00:00.000Z")));

    // While it is not loaded it waits; with it again it still knows when it ran.
    world.plans.schedules.clear();
    world.sync();
    world.now = time("2026-01-01T05:00:00.000Z");
    assert_eq!((world.row("a").next_run, world.tick()), (None, Vec::new()));
    world.set("a", every(HOUR * 24));
    world.sync();
    assert_eq!(world.row("a").next_run, Some(time("2026-01-02T00:00:00.000Z")));
}

#[test]
fn ticks_find_what_is_due_by_an_index() {
    let connection = in_memory();
    for sql in
        [store::DUE, store::ANCHORED_AFTER, store::ONE, store::PUT, store::SUSPEND, store::DELETE, store::OF_PLUGIN]
    {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nulls = rusqlite::params_from_iter(vec![rusqlite::types::Null; explain.parameter_count()]);
        let plan: Vec<String> = explain.query_map(nulls, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        assert!(plan.iter().all(|step| !step.starts_with("SCAN")), "{sql}\n{plan:#?}");
    }
}
