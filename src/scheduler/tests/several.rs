//! Several schedules of one plugin under a simulated clock.

use serde_json::{Value, json};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// `a` is polled each hour, asked to handle an event each two hours, and polled once more each day.
fn world() -> World {
    let handle = Plan { command: Command::Handle, ..every(2 * HOUR) };
    let plans = [("a", every(HOUR)), ("a/events", handle), ("a/full", every(24 * HOUR))];
    World::new(plans, Tz::UTC, "2026-01-01T00:00:00.000Z")
}

impl World {
    fn jobs(&self) -> Vec<(String, String)> {
        let mut statement = self.connection.prepare("SELECT command, schedule FROM job_queue ORDER BY seq").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn payloads(&self) -> Vec<Option<Value>> {
        let mut statement = self.connection.prepare("SELECT payload FROM jobs ORDER BY seq").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
        rows.map(|text| text.unwrap().map(|text| serde_json::from_str(&text).unwrap())).collect()
    }
}

#[test]
fn each_schedule_has_a_time_of_its_own() {
    let mut world = world();
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    // Until the day is over, its end excluded: a tick a minute, on which everything runs at once.
    for _ in 0..24 * 60 {
        for name in world.tick() {
            *counts.entry(name).or_default() += 1;
        }
        world.run_all(&Transition::Succeeded);
        world.after(MINUTE);
    }
    let expected = [("a", 24), ("a/events", 12), ("a/full", 1)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

#[test]
fn a_job_says_which_schedule_has_asked_for_it_and_moves_only_that() {
    let mut world = world();
    assert_eq!(world.tick(), ["a", "a/events", "a/full"], "in the order of their ids");
    let jobs = [("poll", "default"), ("handle", "events"), ("poll", "full")];
    assert_eq!(world.jobs(), jobs.map(|(command, id)| (command.to_owned(), id.to_owned())));
    world.after(10 * MINUTE);
    let before = [world.row("a/events"), world.row("a/full")];
    assert_eq!(world.end_next(&Transition::Succeeded, false), None);
    assert_eq!(world.row("a").anchor, Some(world.now));
    assert_eq!([world.row("a/events"), world.row("a/full")], before);
}

#[test]
fn a_schedule_waits_for_its_own_jobs_and_for_polls_by_hand() {
    let mut world = World::new([("a", every(HOUR)), ("a/x", every(HOUR))], Tz::UTC, "2026-01-01T00:00:00.000Z");
    assert_eq!(world.tick(), ["a", "a/x"]);
    world.end_next(&Transition::Succeeded, false);
    world.after(HOUR);
    assert_eq!(world.tick(), ["a"], "the job of the other still waits");
    world.run_all(&Transition::Succeeded);

    let by_hand = queue::NewJob::new("a", Command::Poll, queue::SubmittedBy::Cli, 1);
    let handled = queue::NewJob::new("a", Command::Handle, queue::SubmittedBy::Cli, 1);
    let tx = Tx::over(&world.connection);
    for job in [by_hand, handled] {
        assert_eq!(queue::enqueue(&tx, &job, LIMITS, world.now).unwrap(), queue::Enqueued::Inserted);
    }
    world.after(2 * HOUR);
    assert_eq!(world.tick(), [""; 0]);
    world.end_next(&Transition::Succeeded, false);
    assert_eq!(world.tick(), ["a", "a/x"], "what handles events holds no poll back");
}

#[test]
fn schedules_of_the_same_command_share_its_breaker_and_others_have_their_own() {
    let mut world = world();
    for hours in 0..3 {
        assert!(world.tick().contains(&"a".to_owned()), "{hours}");
        let tx = Tx::over(&world.connection);
        while let Some(claimed) = queue::claim(&tx, world.now, |_| true).unwrap() {
            let transition = if claimed.job().command == Command::Poll { dead() } else { Transition::Succeeded };
            queue::finish(&tx, &claimed, &transition, &Attempted::default(), world.now).unwrap();
            let ended = Ended { job: claimed.job(), transition: &transition, interrupted: false };
            settled(&tx, ended, &world.plans, &world.plans, &world.zone, world.now, &mut world.rng).unwrap();
        }
        world.now = world.now.after(HOUR);
    }
    let state = |command| breaker_of(&world.connection, "a", command).unwrap().state();
    assert_eq!((state(&Command::Poll), state(&Command::Handle)), (BreakerState::Open, BreakerState::Closed));
    assert_eq!(open_breakers(&world.connection).unwrap(), 1);
    let worst_of = worst(breakers_of(&world.connection, "a").unwrap()).unwrap();
    assert_eq!((worst_of.0, worst_of.1.state()), (Command::Poll, BreakerState::Open));

    world.after(24 * HOUR);
    assert_eq!(world.tick(), ["a", "a/events"], "one probe, and not a second by the other schedule");
    reset_breakers(&Tx::over(&world.connection), "a").unwrap();
    assert_eq!(open_breakers(&world.connection).unwrap(), 0);
}

#[test]
fn what_is_gone_is_forgotten_unless_its_plugin_is_not_loaded() {
    let mut world = world();
    world.plans.inits.insert("a".to_owned(), None);
    world.tick();
    world.run_all(&Transition::Succeeded);
    let anchor = world.row("a").anchor;
    world.plans.schedules.get_mut("a").unwrap().remove("full");
    world.set("a/new", every(HOUR));
    world.set("a/events", every(2 * HOUR));
    world.after(MINUTE);
    world.sync();
    assert_eq!(world.find("a/full"), None);
    assert_eq!((world.row("a").anchor, world.row("a/events").anchor), (anchor, anchor));
    assert_eq!(world.row("a/events").command, Command::Poll, "it has the same times with another command");
    assert_eq!(world.tick(), ["a/new"]);
    world.run_all(&Transition::Succeeded);

    let plans = std::mem::take(&mut world.plans);
    world.sync();
    assert_eq!((world.row("a").next_run, world.row("a").anchor), (None, anchor));
    assert_eq!(next_runs_of(&world.connection, "a").unwrap(), []);
    world.plans = plans;
    world.sync();
    assert_eq!((world.tick(), world.row("a").anchor), (Vec::new(), anchor));
    let next_runs = next_runs_of(&world.connection, "a").unwrap();
    let ids: Vec<_> = next_runs.iter().map(|next| next.schedule.as_str()).collect();
    assert_eq!(ids, ["default", "new", "events"], "the next one first");
}

#[test]
fn the_end_of_a_job_whose_schedule_is_gone_moves_nothing() {
    let mut world = world();
    world.plans.inits.insert("a".to_owned(), None);
    world.tick();
    world.plans.schedules.clear();
    world.sync();
    world.run_all(&dead());
    assert_eq!(["a", "a/events", "a/full"].map(|name| world.find(name)), [None, None, None]);
    assert_eq!(open_breakers(&world.connection).unwrap(), 0);
}

#[test]
fn payloads_are_passed_on_and_handle_gets_an_event() {
    let payload = || serde_json::value::to_raw_value(&json!({"full": true})).unwrap();
    let handle = |payload| Plan { command: Command::Handle, payload, ..every(HOUR) };
    let poll = Plan { payload: Some(payload().into()), ..every(HOUR) };
    let plans = [("a", every(HOUR)), ("a/x", poll), ("a/y", handle(Some(payload().into()))), ("a/z", handle(None))];
    let mut world = World::new(plans, Tz::UTC, "2026-01-01T00:00:00.000Z");
    world.tick();
    let payloads = world.payloads();
    assert_eq!(payloads[..2], [None, Some(json!({"full": true}))]);
    for (payload, (kind, inner)) in payloads[2..].iter().zip([("y", json!({"full": true})), ("z", json!({}))]) {
        let event = payload.as_ref().unwrap();
        assert_eq!((&event["type"], &event["payload"]), (&json!(format!("schedule.{kind}")), &inner));
        assert_eq!((&event["source"], &event["timestamp"]), (&json!("scheduler"), &json!("2026-01-01T00:00:00.000Z")));
        let ids = "SELECT count(*) FROM job_queue WHERE source_event_id = ?1";
        let count: u32 =
            world.connection.query_row(ids, [event["event_id"].as_str().unwrap()], |row| row.get(0)).unwrap();
        assert_eq!(count, 1);
    }
}
