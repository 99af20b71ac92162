//! `plugins`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::interpolate::is_variable_name;
use super::super::path::At;
use super::super::problem::quote;
use super::super::raw::Node;
use super::super::{CircuitBreaker, PluginConfig, Retry, Timeouts};
use super::reader::{Item, Reader, Section};
use super::{RESERVED_NAMES, json, schedule};
use crate::command::Command;

/// For a duration that may be short but not nothing.
const SHORTEST: Duration = Duration::from_millis(1);

const LONGEST_NAME: usize = 64;

pub(super) fn read_all<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> BTreeMap<String, PluginConfig> {
    let section = reader.any_section(root.get("plugins"));
    let mut plugins = BTreeMap::new();
    for (name, item) in section.items() {
        if plugins.contains_key(name) {
            continue;
        }
        if let Some(wrong) = wrong_name(name) {
            reader.note(&item.path, At::Key, format!("{} {wrong}", quote(name)));
        }
        plugins.insert(name.to_owned(), read(reader, item));
    }
    check_aliases(reader, &section, &plugins);
    plugins
}

/// An alias uses what is on disk, never another alias: nobody should have to follow a chain.
fn check_aliases<'a>(reader: &mut Reader<'a>, plugins: &Section<'a>, read: &BTreeMap<String, PluginConfig>) {
    for (name, item) in plugins.items() {
        let Some(uses) = read.get(name).and_then(|plugin| plugin.uses.as_deref()) else { continue };
        if read.get(uses).is_none_or(|plugin| plugin.uses.is_none()) {
            continue;
        }
        let Some(item) = reader.any_section(Some(item)).get("uses") else { continue };
        let message = match uses == name {
            true => format!("`{name}` uses itself; without `uses` it is the plugin of its own name"),
            false => format!("`{uses}` is an alias itself; `uses` names a plugin by its folder, never another alias"),
        };
        reader.refuse(&item, message);
    }
}

/// Why no plugin can have this name, to follow it in a message.
pub(crate) fn wrong_name(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if RESERVED_NAMES.contains(&name) {
        Some("is reserved for a source of events and cannot be the name of a plugin".into())
    } else if name.len() > LONGEST_NAME
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !name.chars().all(allowed)
    {
        Some(format!(
            "cannot be the name of a plugin: letters, digits, `-` and `_`, starting with a letter or digit, \
             at most {LONGEST_NAME} characters"
        ))
    } else {
        None
    }
}

fn read<'a>(reader: &mut Reader<'a>, item: Item<'a>) -> PluginConfig {
    const KEYS: [&str; 10] = [
        "enabled",
        "uses",
        "schedule",
        "schedules",
        "config",
        "env",
        "retry",
        "timeouts",
        "circuit_breaker",
        "max_outstanding_polls",
    ];
    // `echo:` with nothing behind it is a plugin with all defaults.
    let section = reader.section(Some(item).filter(|item| *item.node != Node::Null), &KEYS);
    let enabled = reader.boolean(section.get("enabled")).unwrap_or(true);
    reader.set_resolving(enabled);
    let plugin = PluginConfig {
        enabled,
        uses: section.get("uses").and_then(|item| uses(reader, &item)),
        schedule: section.get("schedule").and_then(|item| schedule::read(reader, &item)),
        schedules: schedule::read_list(reader, &section),
        config: section.get("config").map(|item| json::object(reader, &item)).unwrap_or_default(),
        env: env(reader, &section),
        retry: retry(reader, &section),
        timeouts: timeouts(reader, &section),
        circuit_breaker: circuit_breaker(reader, &section),
        max_outstanding_polls: reader.integer(section.get("max_outstanding_polls"), 1..=1_000_000).unwrap_or(1),
    };
    reader.set_resolving(true);
    plugin
}

fn uses<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<String> {
    let scalar = reader.text(item)?;
    if let Some(wrong) = wrong_name(&scalar.value) {
        reader.refuse(item, format!("{scalar} {wrong}"));
        return None;
    }
    Some(scalar.value.into_owned())
}

fn env<'a>(reader: &mut Reader<'a>, plugin: &Section<'a>) -> BTreeMap<String, String> {
    let section = reader.any_section(plugin.get("env"));
    let mut env = BTreeMap::new();
    for (name, item) in section.items() {
        if !is_variable_name(name) {
            reader.note(&item.path, At::Key, format!("{} cannot be the name of a variable", quote(name)));
        } else if name.starts_with("DUCTILE_") {
            reader.note(&item.path, At::Key, format!("`{name}` may not be set: `DUCTILE_*` is the gateway's own"));
        }
        let Some(value) = reader.any_scalar(&item) else { continue };
        if value.contains('\0') {
            reader.refuse(&item, "the value of a variable cannot hold a zero byte");
        }
        env.entry(name.to_owned()).or_insert(value);
    }
    env
}

fn retry<'a>(reader: &mut Reader<'a>, plugin: &Section<'a>) -> Retry {
    let section = reader.section(plugin.get("retry"), &["max_attempts", "backoff_base"]);
    let default = Retry::default();
    Retry {
        max_attempts: reader.integer(section.get("max_attempts"), 1..=100).unwrap_or(default.max_attempts),
        backoff_base: reader.duration(section.get("backoff_base"), SHORTEST).unwrap_or(default.backoff_base),
    }
}

/// Whether a plugin has a command of some other name is for its manifest to say.
fn timeouts<'a>(reader: &mut Reader<'a>, plugin: &Section<'a>) -> Timeouts {
    let section = reader.any_section(plugin.get("timeouts"));
    let mut timeouts = Timeouts::default();
    for (name, item) in section.items() {
        let command = match name.parse::<Command>() {
            Ok(command) => command,
            Err(error) => {
                reader.note(&item.path, At::Key, error.to_string());
                continue;
            }
        };
        let item = Some(item).filter(|item| *item.node != Node::Null);
        let Some(timeout) = reader.duration(item, SHORTEST) else { continue };
        match command {
            Command::Poll => timeouts.poll = timeout,
            Command::Handle => timeouts.handle = timeout,
            Command::Health => timeouts.health = timeout,
            Command::Init => timeouts.init = timeout,
            Command::Named(_) => {
                timeouts.named.insert(command, timeout);
            }
        }
    }
    timeouts
}

fn circuit_breaker<'a>(reader: &mut Reader<'a>, plugin: &Section<'a>) -> CircuitBreaker {
    let section = reader.section(plugin.get("circuit_breaker"), &["threshold", "reset_after"]);
    let default = CircuitBreaker::default();
    CircuitBreaker {
        threshold: reader.integer(section.get("threshold"), 1..=1_000_000).unwrap_or(default.threshold),
        reset_after: reader.duration(section.get("reset_after"), SHORTEST).unwrap_or(default.reset_after),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plugin, problems};
    use super::*;

    #[test]
    fn defaults() {
        for yaml in ["", "~", "{}", "{schedule: , config: , env: , retry: , timeouts: , circuit_breaker: , enabled: }"]
        {
            let plugin = plugin(yaml);
            assert!(plugin.enabled);
            assert_eq!(plugin.schedule, None);
            assert!(plugin.config.is_empty() && plugin.env.is_empty());
            assert_eq!(plugin.retry, Retry { max_attempts: 4, backoff_base: Duration::from_secs(30) });
            let [poll, handle, health, init] = [60, 120, 10, 30].map(Duration::from_secs);
            assert_eq!(plugin.timeouts, Timeouts { poll, handle, health, init, named: BTreeMap::new() });
            assert_eq!(plugin.circuit_breaker, CircuitBreaker { threshold: 3, reset_after: Duration::from_secs(1800) });
            assert_eq!(plugin.max_outstanding_polls, 1);
        }
    }

    #[test]
    fn timeouts_are_for_commands_of_any_name() {
        let timeouts = plugin("{timeouts: {poll: 1s, token_refresh: 5m}}").timeouts;
        let of = |command: &str| timeouts.of(&command.parse().unwrap()).as_secs();
        assert_eq!(["poll", "handle", "health", "init"].map(of), [1, 120, 10, 30]);
        assert_eq!(["token_refresh", "other"].map(of), [300, 120]);
    }

    #[test]
    fn environment_values_stay_as_they_are_written() {
        let env = plugin("{env: {A: 1.10, B: 0x1F, C: true, D: '${NASTY}', E: '', F: 007, G: '$${X}'}}").env;
        let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            env,
            [
                ("A", "1.10"),
                ("B", "0x1F"),
                ("C", "true"),
                ("D", "a # b: 'c' \"d\"\n- e"),
                ("E", ""),
                ("F", "007"),
                ("G", "${X}")
            ]
        );
    }

    #[test]
    fn a_disabled_plugin_needs_no_variables_but_a_sound_structure() {
        let disabled = plugin(
            "{enabled: false, schedule: {every: '${NO}'}, env: {A: '${NO}', B: b}, config: {a: '${NO}', b: 1}, \
             retry: {max_attempts: '${NO}'}}",
        );
        assert!(!disabled.enabled);
        assert_eq!(serde_json::Value::from(disabled.config).to_string(), r#"{"a":"${NO}","b":1}"#);
        assert!(plugin("{enabled: '${TRUE}'}").enabled);
        assert_eq!(
            problems("plugins:\n  a: {enabled: false, env: {A: '${'}, retry: {max: 3}}\n  b: {env: {A: '${NO}'}}"),
            "c.yaml:2:32: plugins.a.env.A: `${` is never closed; write `$${` for a literal `${`\n\
             c.yaml:2:47: plugins.a.retry.max: unknown key `max`; the keys here are `max_attempts` and `backoff_base`\n\
             c.yaml:3:16: plugins.b.env.A: `${NO}` is not set"
        );
    }

    #[test]
    fn wrong_values() {
        let is_no_interval = "is not an interval: `hourly`, `daily`, `weekly` or `monthly` is, \
                              or a whole number and a unit (`s`, `m`, `h`, `d` or `w`), such as `15m`";
        for (yaml, expected) in [
            ("[]", "9: plugins.echo: expected a map, found a list".into()),
            ("{enabled: yes}", "19: plugins.echo.enabled: expected `true` or `false`, found the text `yes`".into()),
            ("{schedule: {jitter: 1m}}", "10: plugins.echo.schedule: `every` is missing".into()),
            ("{schedule: {every: 5min}}", format!("28: plugins.echo.schedule.every: `5min` {is_no_interval}")),
            ("{schedule: {every: 500ms}}", "28: plugins.echo.schedule.every: `500ms` is not a whole number of seconds, at least one".into()),
            ("{schedule: {every: 0s}}", "28: plugins.echo.schedule.every: `0s` is not a whole number of seconds, at least one".into()),
            ("{schedule: {every: 1m, jitter: 60s}}", "40: plugins.echo.schedule.jitter: must be less than `every`, which is `1m`".into()),
            (
                "{schedule: {every: 1m, preferred_window: {start: '24:00', end: 600}}}",
                "58: plugins.echo.schedule.preferred_window.start: `24:00` is not a time of day: `HH:MM` from `00:00` to `23:59` is\n\
                 c.yaml:2:72: plugins.echo.schedule.preferred_window.end: expected a time of day such as `\"06:00\"`, found the number `600`".into(),
            ),
            (
                "{schedule: {every: 1m, preferred_window: {start: '06:00', end: '06:00'}}}",
                "50: plugins.echo.schedule.preferred_window: `start` and `end` are the same, so the window is empty".into(),
            ),
            ("{env: {DUCTILE_X: a}}", "16: plugins.echo.env.DUCTILE_X: `DUCTILE_X` may not be set: `DUCTILE_*` is the gateway's own".into()),
            ("{env: {A-B: a}}", "16: plugins.echo.env.A-B: `A-B` cannot be the name of a variable".into()),
            ("{env: {A: }}", "19: plugins.echo.env.A: expected text, found nothing; write `\"\"` for an empty text".into()),
            ("{timeouts: {poll: 0s}}", "27: plugins.echo.timeouts.poll: `0s` is too short: at least `1ms` is wanted".into()),
            (
                "{timeouts: {2nd: 1s}}",
                "21: plugins.echo.timeouts.2nd: `2nd` cannot be the name of a command: letters, digits, `-` and `_`, \
                 starting with a letter, at most 64 characters".into(),
            ),
            ("{circuit_breaker: {threshold: 0}}", "39: plugins.echo.circuit_breaker.threshold: `0` is not a whole number from 1 to 1000000".into()),
            ("{max_outstanding_polls: 1.5}", "33: plugins.echo.max_outstanding_polls: expected a whole number from 1 to 1000000, found the number `1.5`".into()),
        ] {
            assert_eq!(problems(&format!("plugins:\n  echo: {yaml}")), format!("c.yaml:2:{expected}"));
        }
    }

    #[test]
    fn aliases() {
        assert_eq!(plugin("{uses: imap}").uses.as_deref(), Some("imap"));
        assert_eq!(plugin("{uses: ~}").uses, None);
        assert_eq!(problems("plugins: {imap: , work: {uses: imap}, home: {uses: imap}}"), "no problem");
        for (yaml, expected) in [
            ("{a: {uses: 1}}", "1:21: plugins.a.uses: expected text, found the number `1`; put it in quotes"),
            (
                "{a: {uses: ../b}}",
                "1:21: plugins.a.uses: `../b` cannot be the name of a plugin: letters, digits, `-` and `_`, \
                 starting with a letter or digit, at most 64 characters",
            ),
            (
                "{a: {uses: a}}",
                "1:21: plugins.a.uses: `a` uses itself; without `uses` it is the plugin of its own name",
            ),
            (
                "{a: {uses: b}, b: {uses: c, enabled: false}}",
                "1:21: plugins.a.uses: `b` is an alias itself; `uses` names a plugin by its folder, never another alias",
            ),
            (
                "{a: {uses: b}, b: {uses: a}}",
                "1:21: plugins.a.uses: `b` is an alias itself; `uses` names a plugin by its folder, never another alias\n\
                 c.yaml:1:35: plugins.b.uses: `a` is an alias itself; `uses` names a plugin by its folder, never another alias",
            ),
        ] {
            assert_eq!(problems(&format!("plugins: {yaml}")), format!("c.yaml:{expected}"));
        }
    }

    #[test]
    fn names() {
        let longest = "x".repeat(64);
        for name in ["a", "0", "A-b_c", longest.as_str()] {
            assert_eq!(problems(&format!("plugins: {{\"{name}\": }}")), "no problem");
        }
        for name in ["_a", "-a", "a.b", "é", "a b", "", &"x".repeat(65)] {
            assert!(
                problems(&format!("plugins: {{\"{name}\": }}")).contains("cannot be the name of a plugin"),
                "{name}"
            );
        }
        for name in RESERVED_NAMES {
            let expected = format!(
                "c.yaml:1:11: plugins.{name}: `{name}` is reserved for a source of events and cannot be the name of a plugin"
            );
            assert_eq!(problems(&format!("plugins: {{{name}: }}")), expected);
        }
    }
}
