//! `service`.

use std::time::Duration;

use super::super::path::At;
use super::super::units::show;
use super::super::{LogFormat, LogLevel, Service};
use super::reader::{Reader, Section};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// More queued jobs than this would be no queue but an archive.
const GREATEST_QUEUE_DEPTH: u32 = 1_000_000_000;

pub(super) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Service {
    const KEYS: [&str; 10] = [
        "name",
        "tick_interval",
        "log_level",
        "log_format",
        "dedupe_ttl",
        "job_log_retention",
        "job_queue_retention",
        "fact_retention",
        "max_queue_depth",
        "shutdown_grace",
    ];
    const LOG_LEVELS: [(&str, LogLevel); 5] = [
        ("trace", LogLevel::Trace),
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
        ("error", LogLevel::Error),
    ];
    const LOG_FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];

    let section = reader.section(root.get("service"), &KEYS);
    let name = section.get("name").and_then(|item| reader.text(&item));
    let retention = retention(reader, &section);
    Service {
        name: name.map_or_else(|| "ductile".into(), |name| name.value.into_owned()),
        tick_interval: reader
            .duration(section.get("tick_interval"), Duration::from_secs(1))
            .unwrap_or(Duration::from_secs(60)),
        log_level: reader.choice(section.get("log_level"), &LOG_LEVELS).unwrap_or(LogLevel::Info),
        log_format: reader.choice(section.get("log_format"), &LOG_FORMATS).unwrap_or(LogFormat::Json),
        dedupe_ttl: retention.dedupe_ttl,
        job_log_retention: retention.job_log,
        job_queue_retention: retention.job_queue,
        fact_retention: retention.facts,
        max_queue_depth: reader
            .integer(section.get("max_queue_depth"), 1..=GREATEST_QUEUE_DEPTH)
            .unwrap_or(100_000)
            .into(),
        shutdown_grace: reader
            .duration(section.get("shutdown_grace"), Duration::ZERO)
            .unwrap_or(Duration::from_secs(30)),
    }
}

struct Retention {
    dedupe_ttl: Duration,
    job_log: Duration,
    job_queue: Duration,
    facts: Duration,
}

fn retention<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Retention {
    // `None` when it is absent, and also when it could not be read, which is a problem already.
    let mut read = |key| reader.duration(section.get(key), Duration::ZERO);
    let ttl = read("dedupe_ttl");
    let job_log = read("job_log_retention");
    let job_queue = read("job_queue_retention");
    let facts = read("fact_retention");
    let retention = Retention {
        dedupe_ttl: ttl.unwrap_or(DAY),
        job_log: job_log.unwrap_or(30 * DAY),
        job_queue: job_queue.or(job_log).unwrap_or(30 * DAY),
        facts: facts.or(job_log).unwrap_or(30 * DAY),
    };
    let all_read = [("dedupe_ttl", ttl), ("job_log_retention", job_log), ("job_queue_retention", job_queue)]
        .into_iter()
        .all(|(key, value)| value.is_some() || section.get(key).is_none());
    if all_read && retention.job_queue < retention.dedupe_ttl {
        // At least one of them is written, or the defaults would be at odds.
        let blamed =
            ["job_queue_retention", "job_log_retention", "dedupe_ttl"].into_iter().find_map(|key| section.get(key));
        let message = format!(
            "finished jobs are kept `{}` (`job_queue_retention`), which is less than `dedupe_ttl` (`{}`)",
            show(retention.job_queue),
            show(retention.dedupe_ttl)
        );
        if let Some(item) = blamed {
            reader.note(&item.path, At::Value, message);
        }
    }
    retention
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, validate};
    use super::*;

    fn service(yaml: &str) -> Service {
        validate(yaml).map_err(|problems| panic!("{problems}")).unwrap().service
    }

    #[test]
    fn defaults() {
        let service = service("service: {}");
        assert_eq!(service.name, "ductile");
        assert_eq!(service.tick_interval, Duration::from_secs(60));
        assert_eq!((service.log_level, service.log_format), (LogLevel::Info, LogFormat::Json));
        assert_eq!(
            (service.dedupe_ttl, service.job_log_retention, service.job_queue_retention, service.fact_retention),
            (DAY, 30 * DAY, 30 * DAY, 30 * DAY)
        );
        assert_eq!(service.max_queue_depth, 100_000);
        assert_eq!(service.shutdown_grace, Duration::from_secs(30));
    }

    #[test]
    fn everything_can_be_set() {
        let service = service(
            "service: {name: a b, tick_interval: 1s, log_level: warn, log_format: text, dedupe_ttl: 1h, \
             job_log_retention: 2h, job_queue_retention: 90m, fact_retention: 1d, max_queue_depth: 0x10, shutdown_grace: 0s}",
        );
        assert_eq!(service.name, "a b");
        assert_eq!(service.tick_interval, Duration::from_secs(1));
        assert_eq!((service.log_level, service.log_format), (LogLevel::Warn, LogFormat::Text));
        assert_eq!(service.dedupe_ttl, Duration::from_secs(3600));
        assert_eq!(service.job_log_retention, Duration::from_secs(7200));
        assert_eq!(service.job_queue_retention, Duration::from_secs(5400));
        assert_eq!(service.fact_retention, DAY);
        assert_eq!(service.max_queue_depth, 16);
        assert_eq!(service.shutdown_grace, Duration::ZERO);
    }

    #[test]
    fn interpolated_values_are_parsed_as_the_schema_wants() {
        let service =
            service("service: {tick_interval: '${EVERY}', max_queue_depth: '1${FOUR}', dedupe_ttl: '${FOUR}h'}");
        assert_eq!(service.tick_interval, Duration::from_secs(300));
        assert_eq!(service.max_queue_depth, 14);
        assert_eq!(service.dedupe_ttl, Duration::from_secs(4 * 3600));
    }

    #[test]
    fn the_queue_and_facts_are_kept_as_long_as_the_log_unless_they_say_otherwise() {
        let service = service("service: {job_log_retention: 7d}");
        assert_eq!((service.job_queue_retention, service.fact_retention), (7 * DAY, 7 * DAY));
    }

    #[test]
    fn wrong_values_name_what_is_wanted() {
        for (yaml, expected) in [
            ("name: 5", "17: service.name: expected text, found the number `5`; put it in quotes"),
            ("name: ''", "17: service.name: may not be empty"),
            ("tick_interval: 500ms", "26: service.tick_interval: `500ms` is too short: at least `1s` is wanted"),
            (
                "tick_interval: 60",
                "26: service.tick_interval: expected a duration such as `30s` or `5m`, found the number `60`",
            ),
            (
                "tick_interval: 5x",
                "26: service.tick_interval: `5x` is not a duration: a whole number and a unit \
                 (`ms`, `s`, `m`, `h`, `d` or `w`) is, such as `30s` or `5m`",
            ),
            ("tick_interval: 11000d", "26: service.tick_interval: `11000d` is longer than ten years"),
            ("log_level: inf", "22: service.log_level: `inf` is not one of the choices; did you mean `info`?"),
            (
                "log_format: xml",
                "23: service.log_format: `xml` is not one of the choices; the choices are `json` and `text`",
            ),
            ("max_queue_depth: 0", "28: service.max_queue_depth: `0` is not a whole number from 1 to 1000000000"),
            (
                "max_queue_depth: '9'",
                "28: service.max_queue_depth: expected a whole number from 1 to 1000000000, found the text `9`",
            ),
            (
                "max_queue_depth: 99999999999999999999999999999999999999999999",
                "28: service.max_queue_depth: expected a whole number from 1 to 1000000000, \
                 found the number `99999999999999999999999999999999999999999999`",
            ),
            (
                "max_queue_depth: '${SECRET}'",
                "28: service.max_queue_depth: the value of `${SECRET}` is not a whole number from 1 to 1000000000",
            ),
            ("log_level: '${SECRET}'", {
                "22: service.log_level: the value of `${SECRET}` is not one of the choices; \
                 the choices are `trace`, `debug`, `info`, `warn` and `error`"
            }),
            (
                "job_queue_retention: 12h",
                "32: service.job_queue_retention: finished jobs are kept `12h` (`job_queue_retention`), \
                 which is less than `dedupe_ttl` (`1d`)",
            ),
            (
                "job_log_retention: 12h",
                "30: service.job_log_retention: finished jobs are kept `12h` (`job_queue_retention`), \
                 which is less than `dedupe_ttl` (`1d`)",
            ),
            (
                "dedupe_ttl: 31d",
                "23: service.dedupe_ttl: finished jobs are kept `30d` (`job_queue_retention`), \
                 which is less than `dedupe_ttl` (`31d`)",
            ),
            ("dedupe_ttl: [1d]", "23: service.dedupe_ttl: expected a duration such as `30s` or `5m`, found a list"),
        ] {
            assert_eq!(problems(&format!("service: {{{yaml}}}")), format!("c.yaml:1:{expected}"));
        }
    }
}
