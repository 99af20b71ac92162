//! The circuit breaker under a simulated clock.

use uuid::Uuid;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const OPENED: Option<Consequence> =
    Some(Consequence::BreakerOpened { failures: 3, reset_after: Duration::from_secs(30 * 60) });

/// Polls `a` every minute; three failures open its breaker for half an hour.
fn world() -> World {
    World::new([("a", every(MINUTE))], Tz::UTC, "2026-01-01T00:00:00.000Z")
}

/// A world whose breaker has just opened.
fn open() -> World {
    let mut world = world();
    for expected in [None, None, OPENED] {
        assert_eq!(world.tick(), ["a"]);
        assert_eq!(world.end_next(&dead(), false), expected);
        world.after(MINUTE);
    }
    assert_eq!(world.breaker().state(), BreakerState::Open);
    world
}

/// A world with its probe on the queue.
fn half_open() -> World {
    let mut world = open();
    world.after(30 * MINUTE);
    assert_eq!(world.tick(), ["a"]);
    assert_eq!(world.breaker().state(), BreakerState::HalfOpen);
    world
}

impl World {
    fn breaker(&self) -> Breaker {
        breaker_of(&self.connection, "a", &Command::Poll).unwrap()
    }

    fn reset(&self) -> Breaker {
        worst(reset_breakers(&Tx::over(&self.connection), "a").unwrap()).unwrap().1
    }

    fn queued(&self) -> Vec<Uuid> {
        let mut statement = self.connection.prepare("SELECT id FROM job_queue WHERE status = 'queued'").unwrap();
        let ids = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        ids.map(|id| id.unwrap().parse().unwrap()).collect()
    }
}

#[test]
fn a_success_in_between_begins_the_count_anew() {
    let mut world = world();
    for transition in [dead(), dead(), Transition::Succeeded, dead(), dead()] {
        world.tick();
        assert_eq!(world.end_next(&transition, false), None);
        world.after(MINUTE);
    }
    assert_eq!((world.breaker().state(), world.breaker().failures), (BreakerState::Closed, 2));
}

#[test]
fn attempts_that_will_be_retried_do_not_count() {
    let mut world = world();
    world.tick();
    let retry = Transition::Retry { status: JobLogStatus::Failed, error: "no".to_owned(), at: None };
    for _ in 0..5 {
        assert_eq!(world.end_next(&retry, false), None);
    }
    assert_eq!(world.breaker(), Breaker::default());
    assert_eq!(world.end_next(&Transition::Requeued, false), None);
    assert_eq!(world.breaker(), Breaker::default());
}

#[test]
fn an_open_breaker_holds_the_polls_and_leaves_the_schedule() {
    let mut world = open();
    let scheduled = world.row("a");
    for _ in 0..29 {
        assert_eq!(world.tick(), [""; 0]);
        assert_eq!(world.row("a"), scheduled, "it stays due");
        world.after(MINUTE);
    }
    assert_eq!(world.tick(), ["a"], "half an hour after the third failure");
}

#[test]
fn only_one_probe_is_sent() {
    let mut world = half_open();
    world.plan("a").max_outstanding = 5;
    for _ in 0..3 {
        world.after(2 * 30 * MINUTE);
        assert_eq!(world.tick(), [""; 0]);
    }
    assert_eq!(world.queued(), [world.breaker().probe.unwrap()]);
}

#[test]
fn a_probe_that_succeeds_closes_and_one_that_fails_opens_again() {
    let mut world = half_open();
    assert_eq!(world.end_next(&Transition::Succeeded, false), Some(Consequence::BreakerClosed));
    assert_eq!(world.breaker(), Breaker::default());
    world.after(MINUTE);
    assert_eq!(world.tick(), ["a"]);

    let mut world = half_open();
    let opened_again = world.end_next(&dead(), false);
    assert!(matches!(opened_again, Some(Consequence::BreakerOpened { failures: 4, .. })), "{opened_again:?}");
    assert_eq!((world.breaker().opened_at, world.breaker().probe), (Some(world.now), None));
    world.after(29 * MINUTE);
    assert_eq!(world.tick(), [""; 0]);
    world.after(MINUTE);
    assert_eq!(world.tick(), ["a"]);
    assert_eq!(world.end_next(&Transition::Succeeded, false), Some(Consequence::BreakerClosed));
}

#[test]
fn a_probe_that_is_retried_or_requeued_stays_the_probe() {
    let mut world = half_open();
    let probe = world.breaker().probe;
    let retry = Transition::Retry { status: JobLogStatus::Failed, error: "no".to_owned(), at: None };
    for transition in [retry, Transition::Requeued] {
        assert_eq!(world.end_next(&transition, false), None);
        assert_eq!((world.breaker().probe, world.tick()), (probe, Vec::new()));
    }
    assert_eq!(world.end_next(&Transition::Succeeded, false), Some(Consequence::BreakerClosed));
}

#[test]
fn after_a_cancelled_or_interrupted_probe_the_next_due_poll_is_the_probe() {
    let mut world = half_open();
    let tx = Tx::over(&world.connection);
    assert!(queue::cancel(&tx, world.breaker().probe.unwrap(), "cancelled", world.now).unwrap());
    world.after(MINUTE);
    assert_eq!(world.tick(), ["a"]);
    assert_eq!(world.queued(), [world.breaker().probe.unwrap()]);

    assert_eq!(world.end_next(&dead(), true), None, "interrupted in its last attempt");
    assert_eq!((world.breaker().state(), world.breaker().failures), (BreakerState::HalfOpen, 3));
    world.after(MINUTE);
    assert_eq!(world.tick(), ["a"]);
    assert_eq!(world.end_next(&Transition::Succeeded, false), Some(Consequence::BreakerClosed));
}

#[test]
fn interrupted_and_cancelled_jobs_do_not_count() {
    let mut world = world();
    for _ in 0..5 {
        world.tick();
        assert_eq!(world.end_next(&dead(), true), None);
        world.after(MINUTE);
        world.tick();
        let tx = Tx::over(&world.connection);
        for id in world.queued() {
            queue::cancel(&tx, id, "cancelled", world.now).unwrap();
        }
        world.after(MINUTE);
    }
    assert_eq!(world.breaker(), Breaker::default());
}

#[test]
fn several_failures_at_one_time_count_each_and_open_it_once() {
    let mut plan = every(MINUTE);
    plan.max_outstanding = 5;
    let mut world = World::new([("a", plan)], Tz::UTC, "2026-01-01T00:00:00.000Z");
    for _ in 0..5 {
        assert_eq!(world.tick(), ["a"]);
        world.after(2 * MINUTE);
    }
    let ended: Vec<_> = (0..5).map(|_| world.end_next(&dead(), false)).collect();
    assert_eq!(ended, [None, None, OPENED, None, None], "jobs that were queued already still run");
    assert_eq!((world.breaker().failures, world.breaker().opened_at), (3, Some(world.now)));
}

#[test]
fn what_was_queued_before_it_opened_neither_closes_nor_opens_it() {
    let mut plan = every(MINUTE);
    plan.max_outstanding = 5;
    let mut world = World::new([("a", plan)], Tz::UTC, "2026-01-01T00:00:00.000Z");
    for _ in 0..5 {
        world.tick();
        world.after(2 * MINUTE);
    }
    for _ in 0..3 {
        world.end_next(&dead(), false);
    }
    let opened = world.breaker();
    world.after(MINUTE);
    assert_eq!(world.end_next(&Transition::Succeeded, false), None);
    assert_eq!(world.end_next(&dead(), false), None);
    assert_eq!(world.breaker(), opened);
}

#[test]
fn a_reset_closes_it_and_older_results_do_not_count_again() {
    let mut world = half_open();
    let (before, probe) = (world.reset(), world.queued());
    assert_eq!((before.state(), before.probe), (BreakerState::HalfOpen, Some(probe[0])));
    assert_eq!(world.breaker().state(), BreakerState::Closed);
    // The probe, as a job that runs while it is reset.
    assert_eq!(world.end_next(&dead(), false), None);
    assert_eq!((world.breaker().state(), world.breaker().failures), (BreakerState::Closed, 0));
    for expected in [None, None, OPENED] {
        world.after(MINUTE);
        assert_eq!(world.tick(), ["a"], "it is polled as ever");
        assert_eq!(world.end_next(&dead(), false), expected, "and new results count");
    }
}

#[test]
fn new_results_count_though_the_places_in_the_queue_begin_anew() {
    let mut world = half_open();
    world.reset();
    world.run_all(&Transition::Succeeded);
    world.connection.execute("DELETE FROM job_queue", []).unwrap();
    for expected in [None, None, OPENED] {
        world.after(MINUTE);
        assert_eq!(world.tick(), ["a"]);
        assert_eq!(world.end_next(&dead(), false), expected);
    }
}

#[test]
fn a_restart_changes_nothing() {
    for mut world in [open(), half_open()] {
        let before = (world.breaker(), world.row("a"));
        world.sync();
        assert_eq!((world.breaker(), world.row("a")), before);
    }
}

#[test]
fn a_clock_that_steps_back_does_not_keep_it_open_for_longer() {
    let mut world = open();
    world.now = time("2025-06-01T00:00:00.000Z");
    assert_eq!(world.tick(), [""; 0], "the schedule counts from now");
    world.after(MINUTE);
    assert_eq!(world.tick(), [""; 0], "so does the breaker, from the first poll that is due");
    world.after(30 * MINUTE);
    assert_eq!(world.tick(), ["a"]);
    assert_eq!(world.end_next(&Transition::Succeeded, false), Some(Consequence::BreakerClosed));
}

#[test]
fn jobs_of_other_producers_do_not_move_it() {
    let mut world = open();
    let before = world.breaker();
    let by_hand = queue::NewJob::new("a", Command::Poll, queue::SubmittedBy::Cli, 1);
    let entered = queue::enqueue(&Tx::over(&world.connection), &by_hand, LIMITS, world.now).unwrap();
    assert_eq!(entered, queue::Enqueued::Inserted);
    assert_eq!(world.end_next(&Transition::Succeeded, false), None);
    assert_eq!(world.breaker(), before);
}
