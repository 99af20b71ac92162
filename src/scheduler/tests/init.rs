//! When inits are enqueued, and what their ends mean.

use super::*;

/// `a` declares init, in its first version.
fn world() -> World {
    let mut world = World::new([("a", every(HOUR))], Tz::UTC, "2026-01-01T00:00:00.000Z");
    world.version(Some("1"));
    world
}

impl World {
    /// A start, or a reload, with `a` of this manifest and configuration; `None`: without init.
    fn version(&mut self, hash: Option<&str>) {
        self.plans.inits.insert("a".to_owned(), hash.map(str::to_owned));
        self.sync();
    }

    /// How many inits are in each state: queued, running, over.
    fn inits(&self) -> [i64; 3] {
        ["status = 'queued'", "status = 'running'", "completed_at IS NOT NULL"].map(|state| {
            let sql = format!("SELECT count(*) FROM job_queue WHERE command = 'init' AND {state}");
            self.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        })
    }

    /// Claims the next job as the dispatcher does. Its command.
    fn start_next(&self) -> String {
        let tx = Tx::over(&self.connection);
        let claimed = queue::claim(&tx, self.now, |_| true).unwrap().expect("a job is due");
        let job = claimed.job();
        if let Some(Some(hash)) = self.plans.inits.get(&job.plugin).filter(|_| job.command.as_str() == "init") {
            init_started(&tx, &job.plugin, hash).unwrap();
        }
        job.command.to_string()
    }

    fn unhealthy(&self) -> Option<String> {
        unhealthy(&self.connection, "a").unwrap().map(|unhealthy| unhealthy.error)
    }
}

#[test]
fn it_runs_once_for_each_manifest_and_configuration_whatever_the_restarts() {
    let mut world = world();
    world.sync();
    assert_eq!(world.inits(), [1, 0, 0], "no second one while it waits");
    world.start_next();
    world.sync();
    assert_eq!(world.inits(), [0, 1, 0], "nor while it runs");
    world.end_next(&Transition::Succeeded, false);
    world.sync();
    assert_eq!(world.inits(), [0, 0, 1]);
    world.version(Some("2"));
    assert_eq!(world.inits(), [1, 0, 1]);
}

#[test]
fn while_it_is_pending_the_plugins_other_jobs_are_passed_over() {
    let mut world = World::new([("a", every(HOUR)), ("b", every(HOUR))], Tz::UTC, "2026-01-01T00:00:00.000Z");
    assert_eq!(world.tick(), ["a", "b"], "before the init in the queue");
    world.version(Some("1"));
    let claim = |world: &World, a_loaded: bool| {
        let tx = Tx::over(&world.connection);
        let claimed = queue::claim(&tx, world.now, |plugin| plugin == "b" || a_loaded).unwrap();
        claimed.map(|claimed| {
            queue::finish(&tx, &claimed, &Transition::Succeeded, &Attempted::default(), world.now).unwrap();
            format!("{} {}", claimed.job().plugin, claimed.job().command)
        })
    };
    assert_eq!(claim(&world, false).as_deref(), Some("b poll"));
    assert_eq!(claim(&world, false), None, "it is not loaded");
    assert_eq!(claim(&world, true).as_deref(), Some("a init"), "first, though it came last");
    assert_eq!(claim(&world, true).as_deref(), Some("a poll"));
}

#[test]
fn its_failure_stops_the_polls_until_one_succeeds() {
    let mut world = world();
    world.start_next();
    assert_eq!(world.end_next(&dead(), false), Some(Consequence::InitFailed));
    assert_eq!(world.unhealthy().as_deref(), Some("no"));
    assert_eq!(world.tick(), [""; 0]);
    let due = world.row("a");
    world.after(HOUR);
    assert_eq!((world.tick(), world.row("a")), (Vec::new(), due), "the schedule is left as it is");

    world.sync();
    assert_eq!(world.inits(), [1, 0, 1], "each start tries again");
    world.start_next();
    assert_eq!(world.end_next(&Transition::Succeeded, false), None);
    assert_eq!((world.unhealthy(), world.tick()), (None, vec!["a".to_owned()]));
}

#[test]
fn one_by_hand_counts_like_any_other() {
    let mut world = world();
    world.start_next();
    world.end_next(&dead(), false);
    let init = queue::NewJob::new("a", Command::Init, queue::SubmittedBy::Cli, 1);
    let _ = queue::enqueue(&Tx::over(&world.connection), &init, LIMITS, world.now).unwrap();
    world.start_next();
    world.end_next(&Transition::Succeeded, false);
    assert_eq!(world.unhealthy(), None);
    assert!(is_initialized(&world.connection, "a", "1").unwrap());
    world.sync();
    assert_eq!(world.inits(), [0, 0, 2]);
}

#[test]
fn a_change_while_it_waits_needs_no_other_one_and_while_it_runs_one_more() {
    let mut world = world();
    world.version(Some("2"));
    assert_eq!(world.inits(), [1, 0, 0], "the one that waits will run with the newest");
    world.start_next();
    world.version(Some("3"));
    assert_eq!(world.inits(), [1, 1, 0]);
    world.version(Some("3"));
    assert_eq!(world.inits(), [1, 1, 0]);
    // The one that runs was claimed with the second version, and is interrupted by a shutdown: two wait.
    world.end_next(&Transition::Requeued, false);
    assert_eq!(world.inits(), [2, 0, 0]);
    world.sync();
    assert_eq!(world.inits(), [1, 0, 1], "one is enough");
    world.start_next();
    world.end_next(&Transition::Succeeded, false);
    assert!(is_initialized(&world.connection, "a", "3").unwrap());
}

#[test]
fn one_that_is_not_needed_any_more_is_ended_and_forgotten() {
    let mut world = world();
    world.start_next();
    world.end_next(&dead(), false);
    world.sync();
    world.version(None);
    assert_eq!((world.inits(), world.unhealthy()), ([0, 0, 2], None));
    assert_eq!(world.tick(), ["a"], "it is polled");

    let mut world = self::world();
    world.plans.inits.clear();
    world.sync();
    assert_eq!(world.inits(), [1, 0, 0], "of a plugin that is not loaded it waits");
}

#[test]
fn a_full_queue_does_not_keep_it_away() {
    let mut world = world();
    let full = Limits { max_queue_depth: 0, ..LIMITS };
    let tx = Tx::over(&world.connection);
    assert!(tick(&tx, &world.plans, full, &world.zone, world.now, &mut world.rng).unwrap().queue_full);
    assert_eq!(world.inits(), [1, 0, 0]);
}

#[test]
fn a_failed_one_is_tried_again_also_with_what_had_succeeded_before() {
    let mut world = world();
    world.start_next();
    world.end_next(&Transition::Succeeded, false);
    world.version(Some("2"));
    world.start_next();
    world.end_next(&dead(), false);
    world.version(Some("1"));
    assert_eq!(world.inits(), [1, 0, 2]);
    world.start_next();
    world.end_next(&Transition::Succeeded, false);
    assert_eq!(world.unhealthy(), None);

    let by_hand = queue::NewJob::new("a", Command::Init, queue::SubmittedBy::Cli, 1);
    let _ = queue::enqueue(&Tx::over(&world.connection), &by_hand, LIMITS, world.now).unwrap();
    world.start_next();
    world.end_next(&dead(), false);
    world.sync();
    assert_eq!(world.inits(), [1, 0, 4], "the next start tries again");
}
