//! When the next run of a schedule is. Pure: the time, the zone and the random number are given.

use std::time::Duration;

use chrono::TimeZone;

use super::window::{Position, position};
use crate::clock::Timestamp;
use crate::config::Schedule;

/// `anchor + every + uniform(-jitter/2, +jitter/2)`, moved to the start of the next window when it is outside.
/// `draw` is uniform in `[0, 1)`.
pub(super) fn next_run<Z: TimeZone>(schedule: &Schedule, zone: &Z, anchor: Timestamp, draw: f64) -> Timestamp {
    let later = schedule.every + schedule.jitter.mul_f64(draw.clamp(0.0, 1.0));
    into_window(schedule, zone, anchor.after(later.saturating_sub(schedule.jitter / 2)))
}

/// `time`, or the start of the next window when it is outside.
pub(super) fn into_window<Z: TimeZone>(schedule: &Schedule, zone: &Z, time: Timestamp) -> Timestamp {
    match schedule.preferred_window.map(|window| position(window, zone, time)) {
        None | Some(Position::Inside) => time,
        Some(Position::Before(start)) => start,
    }
}

/// What a schedule is stored with, to notice that it has changed.
pub(super) fn hash(schedule: &Schedule) -> String {
    let Schedule { every, jitter, preferred_window } = schedule;
    let window = preferred_window.map_or_else(String::new, |window| format!("{} {}", window.start, window.end));
    format!("{} {} {window}", millis(*every), millis(*jitter)).trim_end().to_owned()
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis()
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveTime, Utc};

    use super::*;
    use crate::config::Window;

    fn schedule(every: u64, jitter: u64) -> Schedule {
        let [every, jitter] = [every, jitter].map(Duration::from_secs);
        Schedule { every, jitter, preferred_window: None }
    }

    #[test]
    fn jitter_reaches_half_of_itself_both_ways() {
        let anchor = Timestamp::from_millis(1_000_000);
        let next = |draw| next_run(&schedule(300, 60), &Utc, anchor, draw).since(anchor).as_secs_f64();
        assert_eq!(next(0.0), 270.0);
        assert_eq!(next(0.5), 300.0);
        assert!(next(0.999_999) > 329.9 && next(0.999_999) <= 330.0);
        assert_eq!(next_run(&schedule(300, 0), &Utc, anchor, 0.7).since(anchor), Duration::from_secs(300));
    }

    #[test]
    fn jitter_close_to_every_never_runs_backwards() {
        let anchor = Timestamp::from_millis(0);
        assert!(next_run(&schedule(10, 9), &Utc, anchor, 0.0) > anchor);
    }

    #[test]
    fn the_hash_tells_schedules_apart() {
        let window = |start, end| {
            let [start, end] = [start, end].map(|hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap());
            Schedule { preferred_window: Some(Window { start, end }), ..schedule(60, 5) }
        };
        let all = [schedule(60, 0), schedule(60, 5), schedule(61, 5), window(6, 22), window(22, 6)];
        let hashes: std::collections::BTreeSet<_> = all.iter().map(hash).collect();
        assert_eq!(hashes.len(), all.len());
        assert_eq!(hash(&schedule(60, 5)), hash(&schedule(60, 5)));
    }
}
