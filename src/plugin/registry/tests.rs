use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::PathPart;
use super::*;
use crate::config::{Endpoint, LogFormat, LogLevel, PluginConfig, PluginRoot, Route, Schedule, Service, Webhooks};
use crate::plugin::trust::MANIFEST;

fn config(plugins_dir: PathBuf, plugins: impl IntoIterator<Item = (&'static str, PluginConfig)>) -> Config {
    let day = Duration::from_secs(86_400);
    Config {
        path: "/etc/ductile/config.yaml".into(),
        hash: String::new(),
        service: Service {
            name: "test".to_owned(),
            tick_interval: Duration::from_secs(60),
            log_level: LogLevel::Info,
            log_format: LogFormat::Json,
            dedupe_ttl: day,
            job_log_retention: day,
            job_queue_retention: day,
            fact_retention: day,
            max_queue_depth: 100,
            shutdown_grace: day,
        },
        state_path: "/var/lib/ductile/ductile.db".into(),
        plugin_roots: vec![PluginRoot { path: plugins_dir, may_be_missing: false }],
        plugins: plugins.into_iter().map(|(name, settings)| (name.to_owned(), settings)).collect(),
        webhooks: None,
        metrics: None,
        routes: Vec::new(),
    }
}

fn enabled() -> PluginConfig {
    PluginConfig::default()
}

fn with_config(config: serde_json::Value) -> PluginConfig {
    let serde_json::Value::Object(config) = config else { panic!("not an object") };
    PluginConfig { config, ..enabled() }
}

fn write_plugin(plugins_dir: &Path, name: &str, extra: &str) {
    let folder = plugins_dir.join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(MANIFEST), format!("name: {name}\nprotocol: 1\nentrypoint: run.sh\n{extra}\n")).unwrap();
    fs::write(folder.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn load_error(registry: &Registry, name: &str) -> String {
    registry.get(name).unwrap().loaded.as_ref().unwrap_err().to_string()
}

#[test]
fn one_bad_plugin_does_not_keep_the_others_away() {
    let dir = tempfile::tempdir().unwrap();
    for (name, extra) in [
        ("good", "commands: [poll]"),
        ("off", "commands: [poll]\nconfig_keys: {required: [token]}"),
        ("stray", "commands: [poll]\nconfig_keys: {required: [token]}"),
        ("needy", "commands: [poll]\nconfig_keys: {required: [token, empty, url], optional: [size]}"),
        ("odd", "commands: [poll]\ncolour: red\nconfig_keys: {optional: [size]}"),
        ("broken", "commands: {"),
    ] {
        write_plugin(dir.path(), name, extra);
    }
    fs::create_dir(dir.path().join("lib")).unwrap();
    fs::write(dir.path().join("README"), "").unwrap();
    fs::create_dir(dir.path().join("bare")).unwrap();
    write_plugin(dir.path(), "huge", &format!("#{}", "x".repeat(1 << 20)));
    fs::create_dir(dir.path().join("moved")).unwrap();
    fs::write(dir.path().join("moved/manifest.yaml"), fs::read(dir.path().join("good/manifest.yaml")).unwrap())
        .unwrap();

    let needy = with_config(serde_json::json!({"token": "t", "empty": null, "size": 1, "colour": 2}));
    let plugins = [
        ("good", enabled()),
        ("off", PluginConfig { enabled: false, ..PluginConfig::default() }),
        ("needy", needy),
        ("odd", with_config(serde_json::json!({"color": 1, "size": 2}))),
        ("absent", enabled()),
        ("bare", enabled()),
    ];
    let registry = Registry::discover_in(Arc::new(config(dir.path().to_owned(), plugins)), []);

    let names: Vec<_> = registry.entries().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["absent", "bare", "broken", "good", "huge", "moved", "needy", "odd", "off", "stray"]);
    let runnable: Vec<_> = names.into_iter().filter(|name| registry.runnable(name).is_some()).collect();
    assert_eq!(runnable, ["good", "odd"]);

    for (name, configured, enabled, loaded) in [
        ("good", true, true, true),
        ("off", true, false, true),
        ("stray", false, false, true),
        ("absent", true, true, false),
    ] {
        let entry = registry.get(name).unwrap();
        assert_eq!((entry.configured, entry.enabled, entry.loaded.is_ok()), (configured, enabled, loaded), "{name}");
    }
    for (name, reason) in [
        ("absent", "folder missing: `"),
        ("bare", "bare/manifest.yaml` is missing"),
        ("broken", "broken/manifest.yaml`: "),
        ("huge", "huge/manifest.yaml` is larger than 1048576 bytes"),
        ("moved", "moved/manifest.yaml`: name `good` is not that of its folder, `moved`"),
        ("needy", "needy/manifest.yaml` requires what `plugins.needy.config` lacks: `empty`, `url`"),
    ] {
        let error = load_error(&registry, name);
        assert!(error.contains(reason), "{name}: {error:?} does not say {reason:?}");
    }
    assert_eq!(
        registry.get("odd").unwrap().warnings,
        ["unknown key `colour`", "config key `color` is not one the manifest declares"]
    );
}

#[test]
fn without_plugins_dir_every_configured_plugin_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let registry = Registry::discover_in(
        Arc::new(config(path, [("a", enabled()), ("b", PluginConfig { enabled: false, ..PluginConfig::default() })])),
        [],
    );
    assert_eq!(registry.entries().count(), 2);
    assert!(load_error(&registry, "a").starts_with("plugin root `"));
    assert!(load_error(&registry, "b").contains("No such file"));
}

#[test]
fn the_fingerprint_follows_manifest_and_config() {
    let dir = tempfile::tempdir().unwrap();
    write_plugin(dir.path(), "echo", "commands: [init]");
    let fingerprint = |settings: PluginConfig| {
        let registry = Registry::discover_in(Arc::new(config(dir.path().to_owned(), [("echo", settings)])), []);
        registry.runnable("echo").unwrap().fingerprint().to_owned()
    };
    let first = fingerprint(enabled());
    assert_eq!(first, fingerprint(PluginConfig { max_outstanding_polls: 7, ..enabled() }));
    assert_ne!(first, fingerprint(with_config(serde_json::json!({"a": 1}))));
    fs::remove_dir_all(dir.path().join("echo")).unwrap();
    write_plugin(dir.path(), "echo", "commands: [init, poll]");
    assert_ne!(first, fingerprint(enabled()));
}

#[test]
fn a_change_for_the_worse_is_seen_at_the_next_spawn() {
    let dir = tempfile::tempdir().unwrap();
    write_plugin(dir.path(), "echo", "commands: [poll]");
    let registry = Registry::discover_in(Arc::new(config(dir.path().to_owned(), [("echo", enabled())])), []);
    let plugin = registry.runnable("echo").unwrap();
    plugin.recheck().unwrap();
    fs::set_permissions(dir.path().join("echo/run.sh"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(plugin.recheck().unwrap_err().to_string().contains("may be written by every user"));
}

#[test]
fn what_is_asked_of_a_plugin_must_be_declared() {
    let dir = tempfile::tempdir().unwrap();
    write_plugin(dir.path(), "poller", "commands: [poll]");
    write_plugin(dir.path(), "handler", "commands: [handle]");
    let every = Duration::from_secs(60);
    let scheduled = || PluginConfig {
        schedule: Some(Schedule { every, jitter: Duration::ZERO, preferred_window: None }),
        ..enabled()
    };
    let plugins = [("poller", scheduled()), ("handler", scheduled()), ("absent", scheduled())];
    let mut config = config(dir.path().to_owned(), plugins);
    let route = |to: &str| Route { from: "poller".to_owned(), event_type: "x".to_owned(), to: to.to_owned() };
    config.routes = vec![route("handler"), route("absent"), route("poller")];
    let endpoint = |plugin: &str| Endpoint {
        path: format!("/{plugin}"),
        plugin: plugin.to_owned(),
        secrets: vec!["s".to_owned()],
        signature_header: "x-signature".to_owned(),
        max_body_size: 1,
        dedupe_header: None,
        event_header: None,
    };
    config.webhooks = Some(Webhooks {
        listen: "127.0.0.1:0".parse().unwrap(),
        endpoints: vec![endpoint("absent"), endpoint("poller"), endpoint("handler")],
    });

    let conflicts = Registry::discover_in(Arc::new(config), []).conflicts();
    let key = |name: &str| PathPart::Key(name.to_owned());
    let paths: Vec<_> = conflicts.iter().map(|conflict| conflict.path.clone()).collect();
    assert_eq!(
        paths,
        [
            vec![key("plugins"), key("handler"), key("schedule")],
            vec![key("routes"), PathPart::Index(2), key("to")],
            vec![key("webhooks"), key("endpoints"), PathPart::Index(1), key("plugin")],
        ]
    );
    assert_eq!(conflicts[0].message, "plugin `handler` has a schedule, but its manifest does not declare `poll`");
}
