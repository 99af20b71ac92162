//! How durations, sizes and times of day are written.

use std::time::Duration;

use chrono::NaiveTime;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// From the longest, in milliseconds.
const DURATION_UNITS: [(&str, u64); 6] =
    [("w", WEEK), ("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1)];

/// The longest duration: ten years of 365 days. Adding one to any date in use cannot overflow.
const LONGEST_MS: u64 = 3650 * DAY;

/// The greatest size, 1 GB.
const GREATEST_SIZE: u64 = 1 << 30;

/// Why a text is no duration, size or time; reads after the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("is not a duration: a whole number and a unit (`ms`, `s`, `m`, `h`, `d` or `w`) is, such as `30s` or `5m`")]
    Duration,
    #[error(
        "is not an interval: `hourly`, `daily`, `weekly` or `monthly` is, \
         or a whole number and a unit (`s`, `m`, `h`, `d` or `w`), such as `15m`"
    )]
    Interval,
    #[error("is longer than ten years")]
    TooLong,
    #[error("is not a size: a whole number and a unit (`B`, `KB`, `MB` or `GB`) is, such as `64KB` or `1MB`")]
    Size,
    #[error("is more than 1 GB")]
    TooBig,
    #[error("is not a time of day: `HH:MM` from `00:00` to `23:59` is")]
    Time,
}

/// `30s`, `5m`, `2h`, `1d`, `1w`, `500ms`.
///
/// # Errors
/// When it is none, or longer than ten years.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Duration)?;
    let (_, length) = DURATION_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(UnitError::Duration)?;
    // What does not fit in 64 bits is too long as well.
    let ms = number.parse().ok().and_then(|count: u64| count.checked_mul(length));
    ms.filter(|ms| *ms <= LONGEST_MS).map(Duration::from_millis).ok_or(UnitError::TooLong)
}

/// The shortest way to write a duration that has whole milliseconds.
pub(super) fn show(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match DURATION_UNITS.into_iter().find(|(_, length)| ms.is_multiple_of(*length)) {
        Some((unit, length)) if ms > 0 => format!("{}{unit}", ms / length),
        _ => "0s".into(),
    }
}

/// Bytes: `64KB`, `1MB`, `10b`, `512`; a unit is 1024 of the one below.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Size)?;
    let length = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(UnitError::Size),
    };
    let bytes = number.parse().ok().and_then(|count: u64| count.checked_mul(length));
    bytes.filter(|bytes| *bytes <= GREATEST_SIZE).ok_or(UnitError::TooBig)
}

/// `HH:MM`.
pub(super) fn time(text: &str) -> Result<NaiveTime, UnitError> {
    let (hour, minute) = text.split_once(':').ok_or(UnitError::Time)?;
    let two_digits = |part: &str| match part.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0')),
        _ => None,
    };
    let (hour, minute) = two_digits(hour).zip(two_digits(minute)).ok_or(UnitError::Time)?;
    NaiveTime::from_hms_opt(hour, minute, 0).ok_or(UnitError::Time)
}

/// The digits at the start, of which there is at least one, and the rest.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", 500),
            ("0s", 0),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1w", 604_800_000),
            ("007s", 7_000),
            ("3650d", LONGEST_MS),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "5", "5 m", " 5m", "5m ", "5M", "-5m", "+5m", "1.5h", "1h30m", "5min", "٥m", "5µs"] {
            assert_eq!(duration(text), Err(UnitError::Duration), "{text}");
        }
        for text in ["3651d", "999999999999999999999999s", "18446744073709551615w"] {
            assert_eq!(duration(text), Err(UnitError::TooLong), "{text}");
        }
    }

    #[test]
    fn a_duration_is_shown_in_its_largest_whole_unit() {
        for text in ["0s", "1ms", "1500ms", "30s", "90s", "5m", "25h", "1d", "30d", "2w"] {
            assert_eq!(show(duration(text).unwrap()), text);
        }
        assert_eq!(show(duration("24h").unwrap()), "1d");
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("512", 512), ("10B", 10), ("64KB", 65_536), ("1mB", 1 << 20), ("1gb", 1 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KB", "1 KB", "1.5MB", "-1", "1K", "1KiB", "1TB", "1é"] {
            assert_eq!(size(text), Err(UnitError::Size), "{text}");
        }
        for text in ["2GB", "1025MB", "99999999999999999999999", "18446744073709551615GB"] {
            assert_eq!(size(text), Err(UnitError::TooBig), "{text}");
        }
    }

    #[test]
    fn times_of_day() {
        assert_eq!(time("06:05"), Ok(NaiveTime::from_hms_opt(6, 5, 0).unwrap()));
        assert_eq!(time("23:59"), Ok(NaiveTime::from_hms_opt(23, 59, 0).unwrap()));
        for text in ["", "6:00", "24:00", "12:60", "12", "12:00:00", "1a:00", " 6:00", "+6:00"] {
            assert_eq!(time(text), Err(UnitError::Time), "{text}");
        }
    }
}
