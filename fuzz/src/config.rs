//! The text of a `config.yaml`, and all that reads and checks it.
//!
//! Oracle: what is refused is refused with problems that each have a place in the file and a message, none of which holds a
//! value of the environment. What is accepted keeps the promises of SPEC section 7, is made of the keys in its table, and
//! means the same once more when all of it is written out ([`canonical`]) and read again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ductile::command::Command;
use ductile::config::{self, Config, ConfigError, NamedSchedule, Problem, Variables};
use serde_yaml::Value;
use tempfile::TempDir;

use crate::canonical;

/// Longer than any word of a message, so that finding one in an error means something.
const SECRETS: [&str; 3] = ["tok-5Zq9aaK2", "line-8Xw2 # {x}: '", "[\"line-3Fv7"];

fn variables() -> Variables {
    Variables::from_iter([
        ("TOKEN", SECRETS[0].to_owned()),
        ("LINES", format!("{}\n{}", SECRETS[1], SECRETS[2])),
        ("EVERY", "5m".to_owned()),
        ("FOUR", "4".to_owned()),
        ("TRUE", "true".to_owned()),
        ("PLUGIN", "echo".to_owned()),
        ("EMPTY", String::new()),
    ])
}

thread_local! {
    /// Where the files are, which ductile reads by name.
    static SITE: Site = Site::new();
}

struct Site {
    _folder: TempDir,
    path: PathBuf,
    rewritten: PathBuf,
}

impl Site {
    fn new() -> Self {
        let folder = crate::in_memory_folder();
        let [path, rewritten] = ["config.yaml", "rewritten.yaml"].map(|name| folder.path().join(name));
        Self { _folder: folder, path, rewritten }
    }
}

/// Fails unless ductile keeps its promises about this file.
pub fn check(data: &[u8]) {
    // It would be a file of this machine: a terminal or a pipe keeps one waiting.
    if data.windows(6).any(|window| window == b"file:/") {
        return;
    }
    SITE.with(|site| check_at(site, data));
}

fn check_at(site: &Site, data: &[u8]) {
    fs::write(&site.path, data).unwrap();
    let text = String::from_utf8_lossy(data);
    match config::load(&site.path, &variables()) {
        Err(error) => refused(&site.path, &text, &error),
        Ok(loaded) => {
            promises(&loaded.config);
            known_keys(text.strip_prefix('\u{feff}').unwrap_or(&text));
            let debug = format!("{:?}", loaded.config.plugins);
            hides_secrets(&text, &debug);
            round_trip(site, &loaded.config);
        }
    }
}

fn refused(path: &Path, text: &str, error: &ConfigError) {
    hides_secrets(text, &error.to_string());
    hides_secrets(text, &format!("{error:?}"));
    let ConfigError::Invalid { problems, unlisted } = error else { panic!("{error}") };
    assert!(!problems.is_empty());
    assert!(problems.len() <= 100 && (*unlisted == 0 || problems.len() == 100));
    for problem in problems {
        let Problem { file, location, message, .. } = problem;
        assert_eq!(file, path);
        assert!(!message.trim().is_empty());
        let location = location.unwrap_or_else(|| panic!("without a place: {problem}"));
        assert!(is_inside(text, location), "not in the file: {problem}");
        assert!(!problem.to_string().contains('\n'), "not one line: {problem:?}");
    }
    assert!(problems.is_sorted_by_key(|problem| problem.location), "in the order of the file");
}

/// Whether the file has this line, and this column or one more. A byte order mark is not part of it.
fn is_inside(text: &str, (line, column): (usize, usize)) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // As YAML breaks lines.
    let text = text.replace("\r\n", "\n");
    let mut lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    line >= 1 && column >= 1 && lines.nth(line - 1).is_some_and(|line| column <= line.chars().count() + 1)
}

fn hides_secrets(text: &str, shown: &str) {
    for secret in SECRETS {
        assert!(text.contains(secret) || !shown.contains(secret), "`{secret}` is shown: {shown}");
    }
}

/// What SPEC section 7 says of each key.
fn promises(config: &Config) {
    const SECOND: Duration = Duration::from_secs(1);
    let Config { service, plugins, .. } = config;
    assert!(config.path.is_absolute() && config.state_path.is_absolute());
    assert!(!config.plugin_roots.is_empty() && config.plugin_roots.iter().all(|root| root.path.is_absolute()));
    assert!(config.state_path.file_name().is_some());
    assert!(!service.name.is_empty() && service.tick_interval >= SECOND && service.max_queue_depth >= 1);
    assert!(service.job_queue_retention >= service.dedupe_ttl);
    for (name, plugin) in plugins {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(!name.is_empty() && name.len() <= 64 && name.chars().all(allowed) && !name.starts_with(['-', '_']));
        assert!(!["ductile", "webhook", "cli", "scheduler"].contains(&name.as_str()));
        assert!((1..=100).contains(&plugin.retry.max_attempts) && !plugin.retry.backoff_base.is_zero());
        assert!(plugin.max_outstanding_polls >= 1 && plugin.circuit_breaker.threshold >= 1);
        let timeouts = &plugin.timeouts;
        assert!(timeouts.named.iter().all(|(command, time)| !command.is_standard() && !time.is_zero()));
        assert!([timeouts.poll, timeouts.handle, timeouts.health, timeouts.init].iter().all(|time| !time.is_zero()));
        for (name, value) in &plugin.env {
            assert!(!name.starts_with("DUCTILE_") && !name.contains(['=', '\0']) && !name.is_empty());
            assert!(!value.contains('\0'));
        }
        let mut ids = BTreeSet::new();
        for NamedSchedule { id, command, .. } in plugin.all_schedules() {
            assert!(!id.is_empty() && id.len() <= 64 && id.chars().all(allowed), "{id}");
            assert!(!matches!(command, Command::Health | Command::Init));
            assert!(ids.insert(id));
        }
        let used = plugin.uses.as_ref().and_then(|uses| plugins.get(uses));
        assert!(used.is_none_or(|used| used.uses.is_none()), "an alias of an alias");
        for schedule in plugin.all_schedules().map(|named| named.schedule) {
            assert!(schedule.every >= SECOND && schedule.every.subsec_nanos() == 0 && schedule.jitter < schedule.every);
            assert!(schedule.preferred_window.is_none_or(|window| window.start != window.end));
        }
    }
    let mut paths = BTreeSet::new();
    for endpoint in config.webhooks.iter().flat_map(|webhooks| &webhooks.endpoints) {
        assert!(endpoint.path.starts_with('/') && endpoint.path != "/healthz" && paths.insert(&endpoint.path));
        assert!(plugins.contains_key(&endpoint.plugin));
        assert!(!endpoint.secrets.is_empty() && endpoint.secrets.iter().all(|secret| !secret.is_empty()));
        assert!((1..=1 << 30).contains(&endpoint.max_body_size));
        let headers =
            [Some(&endpoint.signature_header), endpoint.dedupe_header.as_ref(), endpoint.event_header.as_ref()];
        assert!(headers.iter().flatten().all(|name| !name.is_empty() && **name == name.to_ascii_lowercase()));
    }
    if let (Some(metrics), Some(webhooks)) = (&config.metrics, &config.webhooks) {
        assert!(metrics.listen != webhooks.listen || metrics.listen.port() == 0);
    }
    for route in &config.routes {
        assert!(plugins.contains_key(&route.to) && !route.event_type.is_empty());
        assert!(plugins.contains_key(&route.from) || route.from == "ductile");
    }
}

/// A second look at the text of an accepted file: no duplicate keys, tags, merge keys or keys that are no text anywhere,
/// and no key that is not in SPEC's table.
fn known_keys(text: &str) {
    let root: Value = serde_yaml::from_str(text).unwrap_or_else(|error| panic!("no YAML, or duplicate keys: {error}"));
    plain(&root);
    let keys = |value: &Value, known: &[&str]| {
        for key in value.as_mapping().into_iter().flatten().filter_map(|(key, _)| key.as_str()) {
            assert!(known.contains(&key), "`{key}`");
        }
    };
    keys(&root, &["service", "state", "plugins_dir", "plugin_roots", "plugins", "webhooks", "metrics", "routes"]);
    keys(
        &root["service"],
        &[
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
        ],
    );
    keys(&root["state"], &["path"]);
    for plugin in root["plugins"].as_mapping().into_iter().flatten().map(|(_, plugin)| plugin) {
        keys(
            plugin,
            &[
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
            ],
        );
        keys(&plugin["schedule"], &["every", "jitter", "preferred_window"]);
        keys(&plugin["schedule"]["preferred_window"], &["start", "end"]);
        for schedule in plugin["schedules"].as_sequence().into_iter().flatten() {
            keys(schedule, &["id", "command", "every", "jitter", "preferred_window", "payload"]);
            keys(&schedule["preferred_window"], &["start", "end"]);
        }
        keys(&plugin["retry"], &["max_attempts", "backoff_base"]);
        for name in plugin["timeouts"].as_mapping().into_iter().flatten().filter_map(|(name, _)| name.as_str()) {
            assert!(name.parse::<Command>().is_ok(), "`{name}`");
        }
        keys(&plugin["circuit_breaker"], &["threshold", "reset_after"]);
    }
    keys(&root["webhooks"], &["listen", "endpoints"]);
    keys(&root["metrics"], &["listen"]);
    for endpoint in root["webhooks"]["endpoints"].as_sequence().into_iter().flatten() {
        let known = ["path", "plugin", "secret", "signature_header", "max_body_size", "dedupe_header", "event_header"];
        keys(endpoint, &known);
    }
    for route in root["routes"].as_sequence().into_iter().flatten() {
        keys(route, &["from", "event_type", "to"]);
    }
}

fn plain(value: &Value) {
    match value {
        Value::Tagged(tagged) => panic!("a tag: {:?}", tagged.tag),
        Value::Sequence(elements) => elements.iter().for_each(plain),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                assert!(key.as_str().is_some_and(|key| key != "<<"), "{key:?}");
                plain(value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn round_trip(site: &Site, config: &Config) {
    /// Files that say much by aliases say it all when they are written out, which may be more than a file may hold.
    const MOST: usize = 500_000;
    let Some(text) = canonical::config(config, MOST) else { return };
    fs::write(&site.rewritten, &text).unwrap();
    // Without variables: nothing of a value may look like a reference to one.
    let again = config::load(&site.rewritten, &Variables::from_iter([("", ""); 0]));
    let again = again.unwrap_or_else(|error| panic!("refused when written out: {error}\n{text}")).config;
    assert_eq!(canonical::config(&again, usize::MAX), Some(text));
}
