use super::super::validate::testing::{problems, validate};
use super::*;
use crate::schema::{closed_maps, errors, file, files, validator, yaml};

const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// The keys that the reader would have taken in place of an unknown one.
fn accepted(yaml: &str) -> Vec<String> {
    let problems = problems(&yaml.replace("HERE", &format!("{UNKNOWN}: 1")));
    let marker = format!("unknown key `{UNKNOWN}`; the keys here are ");
    let (_, keys) = problems.split_once(&marker).unwrap_or_else(|| panic!("{problems}"));
    let keys = keys.lines().next().unwrap().split(['`', ',', ' ']).filter(|key| !key.is_empty() && *key != "and");
    let mut keys: Vec<_> = keys.map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn schema_and_reader_know_the_same_keys_everywhere() {
    let mut read: Vec<_> = [
        "{HERE}",
        "service: {HERE}",
        "state: {HERE}",
        "plugins: {echo: {HERE}}",
        "plugins: {echo: {schedule: {HERE}}}",
        "plugins: {echo: {schedule: {every: 1m, preferred_window: {HERE}}}}",
        "plugins: {echo: {schedules: [{HERE}]}}",
        "plugins: {echo: {retry: {HERE}}}",
        "plugins: {echo: {circuit_breaker: {HERE}}}",
        "webhooks: {HERE}",
        "webhooks: {endpoints: [{HERE}]}",
        "metrics: {HERE}",
        "routes: [{HERE}]",
    ]
    .map(accepted)
    .into();
    read.sort();
    assert_eq!(closed_maps(&schema()), read);
}

/// Whatever the reader takes, the schema takes.
#[test]
fn what_is_valid_is_valid_by_the_schema() {
    let validator = validator(&schema());
    let mut valid = 0;
    let examples = ["config.example.yaml", "systemd/config.yaml", "src/cli/init/config.yaml"];
    for name in examples {
        let text = file(name);
        assert_eq!(problems(&text), "no problem", "{name}");
        assert_eq!(errors(&validator, &yaml(&text).unwrap()), [""; 0], "{name}");
    }
    for (path, text) in files("fuzz/seeds/config").into_iter().chain(files("tests/it/broken")) {
        let Ok(_) = validate(&text) else { continue };
        let value = yaml(&text).unwrap_or_else(|| panic!("{}", path.display()));
        assert_eq!(errors(&validator, &value), [""; 0], "{}", path.display());
        valid += 1;
    }
    assert!(valid > 5, "{valid}");
}

#[test]
fn every_key_is_taken_with_each_kind_of_value() {
    let validator = validator(&schema());
    for text in [
        "{service: , state: , plugins_dir: , plugin_roots: , plugins: , webhooks: , metrics: , routes: }",
        "plugins: {echo: , off: {enabled: false, schedule: {every: '${EVERY}'}, retry: {max_attempts: '${FOUR}'}}}",
        "plugins: {echo: {timeouts: {poll: , rescan: 1ms}, env: {A: 1, B: true, C: '${SECRET}', D: 1.5}, max_outstanding_polls: 3}}",
        "plugins: {echo: {enabled: '${TRUE}', config: {a: [1, {b: ~}]}, circuit_breaker: {threshold: 1, reset_after: 1w}}}",
        "plugins: {echo: {schedules: [{id: default, every: monthly, command: scan, payload: {a: 1}}]}}",
        "{plugins: {echo: }, webhooks: {listen: '[::1]:80', endpoints: [{path: /a, plugin: echo, secret: ['${SECRET}', b], \
          signature_header: X-A, max_body_size: 10b, event_header: X-B}, \
          {path: /b, plugin: echo, secret: x, signature_header: X-A, max_body_size: 64, dedupe_header: X-B}]}}",
        "metrics: {listen: 'localhost:9464'}",
        "service: {log_level: '${LEVEL}', max_queue_depth: '${FOUR}'}",
    ] {
        let told = problems(text);
        assert!(told == "no problem" || told.ends_with("log_level: `${LEVEL}` is not set"), "{text}: {told}");
        assert_eq!(errors(&validator, &yaml(text).unwrap()), [""; 0], "{text}");
    }
}

/// What is wrong in itself is wrong by the schema, too; what depends on other values or on files is not its business.
#[test]
fn broken_configurations_are_broken_by_the_schema() {
    let validator = validator(&schema());
    let mut unseen = Vec::new();
    for (path, text) in files("tests/it/broken") {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match yaml(&text) {
            Some(value) if validator.is_valid(&value) => unseen.push(name),
            _ => {}
        }
    }
    let expected = [
        "alias-of-an-alias.yaml",
        "core-event.yaml",
        "duplicate-key.yaml",
        "endpoint-twice.yaml",
        "jitter.yaml",
        "metrics-address.yaml",
        "missing-secret-file.yaml",
        "plugin-roots.yaml",
        "retention.yaml",
        "route-to-nobody.yaml",
        "too-often.yaml",
        "unclosed-variable.yaml",
        "unset-variable.yaml",
        "window.yaml",
    ];
    assert_eq!(unseen, expected);
    for text in [
        "servce: {}",
        "service: {tick_interval: 60}",
        "service: {tick_interval: '5 m'}",
        "service: {log_level: loud}",
        "plugins: {ductile: }",
        "plugins: {a.b: }",
        "plugins: {echo: {enabled: 'yes'}}",
        "plugins: {echo: {schedule: {jitter: 1m}}}",
        "plugins: {echo: {schedule: {every: 1m, preferred_window: {start: '6:00', end: '07:00'}}}}",
        "plugins: {echo: {schedules: [{id: a, every: 1m, command: init}]}}",
        "plugins: {echo: {env: {DUCTILE_X: a}}}",
        "plugins: {echo: {env: {A: }}}",
        "plugins: {echo: {retry: {max_attempts: 0}}}",
        "plugins: {echo: {timeouts: {2nd: 1s}}}",
        "webhooks: {endpoints: []}",
        "webhooks: {listen: 8080}",
        "routes: [{from: a, to: b}]",
        "routes: {}",
    ] {
        assert_ne!(problems(text), "no problem", "{text}");
        assert!(!validator.is_valid(&yaml(text).unwrap()), "{text}");
    }
}

#[test]
fn the_words_of_choices_are_the_same() {
    let told = problems("service: {log_level: zzzzzzzz, log_format: zzzzzzzz}");
    let schema = schema();
    for (line, name) in told.lines().zip(["LogLevel", "LogFormat"]) {
        let (_, words) = line.split_once("the choices are ").unwrap();
        let words: Vec<_> = words.split(['`', ',', ' ']).filter(|word| !word.is_empty() && *word != "and").collect();
        assert_eq!(schema["$defs"][name]["anyOf"][0]["enum"], serde_json::json!(words), "{name}");
    }
}
