//! `plugins.<name>.schedule` and `plugins.<name>.schedules`.

use std::time::Duration;

use super::super::units::{self, show};
use super::super::{DEFAULT_SCHEDULE, NamedSchedule, Schedule, Window};
use super::json;
use super::reader::{Item, Reader, Section};
use crate::command::Command;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

const LONGEST_ID: usize = 64;

/// The list `schedules` of a plugin, in the order of the file.
pub(super) fn read_list<'a>(reader: &mut Reader<'a>, plugin: &Section<'a>) -> Vec<NamedSchedule> {
    let mut schedules: Vec<NamedSchedule> = Vec::new();
    let mut ids: Vec<String> = plugin.get("schedule").map(|_| DEFAULT_SCHEDULE.to_owned()).into_iter().collect();
    for item in reader.list(plugin.get("schedules")) {
        let Some(section) = reader.map(&item, &["id", "command", "every", "jitter", "preferred_window", "payload"])
        else {
            continue;
        };
        let id = reader.required(&section, "id").and_then(|item| id(reader, &item, &mut ids));
        let command = section.get("command").map_or(Some(Command::Poll), |item| command(reader, &item));
        let payload = section.get("payload").map(|item| json::object(reader, &item)).unwrap_or_default();
        let schedule = times(reader, &section);
        if let (Some(id), Some(command), Some(schedule)) = (id, command, schedule) {
            schedules.push(NamedSchedule { id, command, schedule, payload });
        }
    }
    schedules
}

fn id<'a>(reader: &mut Reader<'a>, item: &Item<'a>, ids: &mut Vec<String>) -> Option<String> {
    let scalar = reader.text(item)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if scalar.value.len() > LONGEST_ID || !scalar.value.chars().all(allowed) {
        let message = format!(
            "{scalar} cannot be the id of a schedule: letters, digits, `-` and `_`, at most {LONGEST_ID} characters"
        );
        reader.refuse(item, message);
        return None;
    }
    if ids.iter().any(|id| *id == scalar.value) {
        let whose = if scalar.value == DEFAULT_SCHEDULE { ", which is that of `schedule`," } else { "" };
        reader.refuse(item, format!("the id {scalar}{whose} is taken by another schedule of this plugin"));
        return None;
    }
    ids.push(scalar.value.clone().into_owned());
    Some(scalar.value.into_owned())
}

/// Whether the plugin has it is for its manifest to say.
fn command<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<Command> {
    let scalar = reader.text(item)?;
    match scalar.value.parse() {
        Ok(Command::Health) => {
            reader.refuse(item, format!("{scalar} cannot be scheduled: `status --health` asks for it"))
        }
        Ok(Command::Init) => {
            reader
                .refuse(item, format!("{scalar} cannot be scheduled: it runs when the plugin or its `config` is new"));
        }
        Ok(command) => return Some(command),
        Err(error) => reader.refuse(item, error.to_string()),
    }
    None
}

pub(super) fn read<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<Schedule> {
    let section = reader.map(item, &["every", "jitter", "preferred_window"])?;
    times(reader, &section)
}

fn times<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Option<Schedule> {
    let every = reader.required(section, "every").and_then(|item| every(reader, &item));
    let jitter_item = section.get("jitter");
    let jitter = reader.duration(jitter_item.clone(), Duration::ZERO).unwrap_or(Duration::ZERO);
    let preferred_window = section.get("preferred_window").and_then(|item| window(reader, &item));
    let every = every?;
    if let Some(item) = jitter_item
        && jitter >= every
    {
        reader.refuse(&item, format!("must be less than `every`, which is `{}`", show(every)));
    }
    Some(Schedule { every, jitter, preferred_window })
}

fn every<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<Duration> {
    let wanted = "an interval such as `5m` or `daily`";
    let (every, scalar) = reader.unit(item, wanted, |text| match text {
        "hourly" => Ok(HOUR),
        "daily" => Ok(24 * HOUR),
        "weekly" => Ok(7 * 24 * HOUR),
        "monthly" => Ok(30 * 24 * HOUR),
        _ => units::duration(text).map_err(|error| match error {
            units::UnitError::Duration => units::UnitError::Interval,
            other => other,
        }),
    })?;
    if every < SECOND || every.subsec_nanos() != 0 {
        reader.refuse(item, format!("{scalar} is not a whole number of seconds, at least one"));
        return None;
    }
    Some(every)
}

fn window<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<Window> {
    let section = reader.map(item, &["start", "end"])?;
    let mut time = |key| {
        let item = reader.required(&section, key)?;
        reader.unit(&item, "a time of day such as `\"06:00\"`", units::time).map(|(time, _)| time)
    };
    let (start, end) = (time("start"), time("end"));
    let window = Window { start: start?, end: end? };
    if window.start == window.end {
        reader.refuse(item, "`start` and `end` are the same, so the window is empty");
        return None;
    }
    Some(window)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plugin, problems};
    use super::*;

    #[test]
    fn schedules() {
        for (every, seconds) in [
            ("hourly", 3600),
            ("daily", 86_400),
            ("weekly", 604_800),
            ("monthly", 2_592_000),
            ("5m", 300),
            ("'${EVERY}'", 300),
        ] {
            let schedule = plugin(&format!("{{schedule: {{every: {every}, jitter: 500ms}}}}")).schedule.unwrap();
            assert_eq!(schedule.every, Duration::from_secs(seconds), "{every}");
            assert_eq!(schedule.jitter, Duration::from_millis(500));
        }
        let schedule =
            plugin("{schedule: {every: 1s, preferred_window: {start: '22:00', end: \"06:30\"}}}").schedule.unwrap();
        let window = schedule.preferred_window.unwrap();
        assert_eq!((window.start, window.end), (units::time("22:00").unwrap(), units::time("06:30").unwrap()));
        // Without quotes, where YAML would once have read a number.
        let block =
            "\n    schedule:\n      every: 1h\n      preferred_window:\n        start: 22:00\n        end: 06:00";
        assert_eq!(plugin(block).schedule.unwrap().preferred_window.unwrap().start, units::time("22:00").unwrap());
    }

    #[test]
    fn a_list_of_schedules() {
        let plugin = plugin(
            "{schedule: {every: 5m}, schedules: [{id: nightly, every: daily, jitter: 10m, \
             preferred_window: {start: '01:00', end: '05:00'}, command: handle, payload: {full: true, token: '${SECRET}'}}, \
             {id: A-1_b, every: '${EVERY}'}]}",
        );
        assert_eq!(plugin.schedule.unwrap().every, Duration::from_secs(300));
        let [nightly, other] = plugin.schedules.as_slice() else { panic!("{:?}", plugin.schedules) };
        assert_eq!((nightly.id.as_str(), nightly.command.clone()), ("nightly", Command::Handle));
        assert_eq!(nightly.schedule.jitter, Duration::from_secs(600));
        assert!(nightly.schedule.preferred_window.is_some());
        assert_eq!(serde_json::Value::from(nightly.payload.clone()).to_string(), r#"{"full":true,"token":"hunter2"}"#);
        assert!(!format!("{nightly:?}").contains("hunter2"));
        assert_eq!((other.id.as_str(), other.command.clone(), other.payload.len()), ("A-1_b", Command::Poll, 0));
        assert_eq!(other.schedule.every, Duration::from_secs(300));
    }

    #[test]
    fn the_id_of_schedule_is_free_without_it() {
        assert_eq!(problems("plugins: {echo: {schedules: [{id: default, every: 1m}]}}"), "no problem");
        assert_eq!(problems("plugins: {echo: {schedules: , schedule: {every: 1m}}}"), "no problem");
    }

    #[test]
    fn wrong_lists() {
        for (yaml, expected) in [
            ("{schedules: {id: a}}", "21: plugins.echo.schedules: expected a list, found a map"),
            ("{schedules: [5m]}", "22: plugins.echo.schedules[0]: expected a map, found the text `5m`"),
            (
                "{schedules: [{}]}",
                "22: plugins.echo.schedules[0]: `id` is missing\nc.yaml:2:22: plugins.echo.schedules[0]: `every` is missing",
            ),
            (
                "{schedules: [{id: a/b, every: 1m}]}",
                "27: plugins.echo.schedules[0].id: `a/b` cannot be the id of a schedule: letters, digits, `-` and `_`, at most 64 characters",
            ),
            (
                "{schedules: [{id: a, every: 1m}, {id: a, every: 1h}]}",
                "47: plugins.echo.schedules[1].id: the id `a` is taken by another schedule of this plugin",
            ),
            (
                "{schedule: {every: 1m}, schedules: [{id: default, every: 1m}]}",
                "50: plugins.echo.schedules[0].id: the id `default`, which is that of `schedule`, is taken by another schedule of this plugin",
            ),
            (
                "{schedules: [{id: a, every: 1m, command: po l}]}",
                "50: plugins.echo.schedules[0].command: `po l` cannot be the name of a command: letters, digits, `-` and `_`, \
                 starting with a letter, at most 64 characters",
            ),
            (
                "{schedules: [{id: a, every: 1m, command: init}]}",
                "50: plugins.echo.schedules[0].command: `init` cannot be scheduled: it runs when the plugin or its `config` is new",
            ),
            (
                "{schedules: [{id: a, every: 1m, command: health}]}",
                "50: plugins.echo.schedules[0].command: `health` cannot be scheduled: `status --health` asks for it",
            ),
            (
                "{schedules: [{id: a, every: 1m, payload: [1]}]}",
                "50: plugins.echo.schedules[0].payload: expected a map, found a list",
            ),
            (
                "{schedules: [{id: a, evry: 1m, every: 1m, jitter: 2m}]}",
                "30: plugins.echo.schedules[0].evry: unknown key `evry`; did you mean `every`?\n\
                 c.yaml:2:59: plugins.echo.schedules[0].jitter: must be less than `every`, which is `1m`",
            ),
        ] {
            assert_eq!(problems(&format!("plugins:\n  echo: {yaml}")), format!("c.yaml:2:{expected}"), "{yaml}");
        }
    }
}
