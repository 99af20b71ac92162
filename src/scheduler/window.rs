//! Daily windows of local time, across changes to and from daylight saving time.

use chrono::{DateTime, Days, Duration, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};

use crate::clock::Timestamp;
use crate::config::Window;

/// Where a time stands to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    Inside,
    /// Outside; the next window starts then.
    Before(Timestamp),
}

/// Where `time` stands to the windows of `zone`'s days.
pub(super) fn position<Z: TimeZone>(window: Window, zone: &Z, time: Timestamp) -> Position {
    let utc = time.to_utc();
    let today = utc.with_timezone(zone).date_naive();
    // A window that began yesterday may reach into today; the third day ahead covers a zone that skips a date.
    let first = today.checked_sub_days(Days::new(1)).unwrap_or(today);
    for date in first.iter_days().take(5) {
        let (start, end) = on(window, zone, date);
        if utc < start {
            return Position::Before(start.into());
        }
        if utc < end {
            return Position::Inside;
        }
    }
    // Only at the end of chrono's calendar: never hold a run back for ever.
    Position::Inside
}

/// The window that starts on `date`, as instants.
fn on<Z: TimeZone>(window: Window, zone: &Z, date: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
    let overnight = window.start > window.end;
    let end_date = if overnight { date.succ_opt().unwrap_or(date) } else { date };
    let start = instant(zone, date.and_time(window.start));
    let end = instant(zone, end_date.and_time(window.end));
    // A gap that swallows the whole window moves it behind the gap, instead of skipping that day's run.
    (start, if end > start { end } else { start + length(window) })
}

/// How long the window is on a day without a change of the clocks.
fn length(window: Window) -> Duration {
    let length = window.end - window.start;
    if length < Duration::zero() { length + Duration::days(1) } else { length }
}

/// The instant of a local time: the first of two, the end of the gap for none.
fn instant<Z: TimeZone>(zone: &Z, local: NaiveDateTime) -> DateTime<Utc> {
    let mut local = local;
    // Gaps end on whole minutes, and are a day long at most (a zone that crosses the date line).
    for _ in 0..=24 * 60 {
        match zone.from_local_datetime(&local) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => return time.to_utc(),
            LocalResult::None => local = local.date().and_time(whole_minute(local.time())) + Duration::minutes(1),
        }
    }
    local.and_utc()
}

fn whole_minute(time: NaiveTime) -> NaiveTime {
    use chrono::Timelike;
    NaiveTime::from_hms_opt(time.hour(), time.minute(), 0).expect("the hour and minute of a time are a time")
}

#[cfg(test)]
mod tests {
    use chrono_tz::{Europe::Berlin, Pacific::Apia, Tz};
    use rstest::rstest;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(start: &str, end: &str) -> Window {
        let time = |text| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
        Window { start: time(start), end: time(end) }
    }

    #[rstest]
    // Summer time, UTC+2.
    #[case("06:00", "22:00", "2026-07-01T03:59:59.999Z", Some("2026-07-01T04:00:00.000Z"))]
    #[case("06:00", "22:00", "2026-07-01T04:00:00.000Z", None)]
    #[case("06:00", "22:00", "2026-07-01T19:59:59.999Z", None)]
    #[case("06:00", "22:00", "2026-07-01T20:00:00.000Z", Some("2026-07-02T04:00:00.000Z"))]
    // Overnight.
    #[case("22:00", "06:00", "2026-07-01T20:00:00.000Z", None)]
    #[case("22:00", "06:00", "2026-07-02T03:59:59.999Z", None)]
    #[case("22:00", "06:00", "2026-07-02T04:00:00.000Z", Some("2026-07-02T20:00:00.000Z"))]
    // The clocks go forward on 2026-03-29 at 02:00 (01:00 UTC): 02:30 is the gap's end, 03:00.
    #[case("02:30", "05:00", "2026-03-29T00:59:00.000Z", Some("2026-03-29T01:00:00.000Z"))]
    #[case("02:30", "05:00", "2026-03-29T01:00:00.000Z", None)]
    #[case("02:30", "05:00", "2026-03-29T03:00:00.000Z", Some("2026-03-30T00:30:00.000Z"))]
    // A window inside the gap keeps its length.
    #[case("02:15", "02:45", "2026-03-29T00:00:00.000Z", Some("2026-03-29T01:00:00.000Z"))]
    #[case("02:15", "02:45", "2026-03-29T01:29:59.999Z", None)]
    #[case("02:15", "02:45", "2026-03-29T01:30:00.000Z", Some("2026-03-30T00:15:00.000Z"))]
    // They go back on 2026-10-25 at 03:00 (01:00 UTC): 02:00 to 03:00 comes twice, the first one counts.
    #[case("02:30", "04:00", "2026-10-25T00:29:00.000Z", Some("2026-10-25T00:30:00.000Z"))]
    #[case("02:30", "04:00", "2026-10-25T01:15:00.000Z", None)]
    #[case("01:00", "02:30", "2026-10-25T00:29:59.999Z", None)]
    #[case("01:00", "02:30", "2026-10-25T01:15:00.000Z", Some("2026-10-26T00:00:00.000Z"))]
    fn berlin(#[case] start: &str, #[case] end: &str, #[case] time: &str, #[case] next: Option<&str>) {
        let expected = next.map_or(Position::Inside, |next| Position::Before(at(next)));
        assert_eq!(position(window(start, end), &Berlin, at(time)), expected);
    }

    #[test]
    fn a_skipped_date_has_its_window_at_the_end_of_the_gap() {
        // Samoa had no 30 December 2011: midnight after the 29th was the 31st, 10:00 UTC.
        let found = position(window("06:00", "07:00"), &Apia, at("2011-12-30T09:00:00.000Z"));
        assert_eq!(found, Position::Before(at("2011-12-30T10:00:00.000Z")));
    }

    #[test]
    fn every_minute_of_two_years_is_inside_or_before_a_later_start() {
        for zone in [Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::UTC] {
            for window in [window("02:15", "02:45"), window("23:30", "01:30"), window("00:00", "23:59")] {
                let mut time = at("2026-01-01T00:00:00.000Z");
                while time < at("2028-01-01T00:00:00.000Z") {
                    if let Position::Before(start) = position(window, &zone, time) {
                        assert!(start > time);
                        assert_eq!(position(window, &zone, start), Position::Inside, "{zone} {window:?} {start}");
                    }
                    time = time.after(std::time::Duration::from_secs(7 * 60));
                }
            }
        }
    }
}
