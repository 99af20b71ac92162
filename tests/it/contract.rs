//! The contract of `plugins/README.md`, over every plugin that is bundled, and those that will be.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Process, Ran, Site};

/// A plugin of the repository, copied into a site.
struct Bundled {
    name: String,
    manifest: Value,
    site: Site,
}

fn bundled() -> Vec<Bundled> {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins")).unwrap();
    let mut found = Vec::new();
    for folder in folders.map(|entry| entry.unwrap().path()) {
        let Ok(manifest) = fs::read_to_string(folder.join("manifest.yaml")) else { continue };
        let manifest = serde_yaml::from_str(&manifest).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let mut site = Site::new();
        site.bundled(&name, &[]);
        found.push(Bundled { name, manifest, site });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

impl Bundled {
    fn protocol(&self) -> u64 {
        self.manifest["protocol"].as_u64().unwrap()
    }

    /// Names, from a list of names or of objects with a name.
    fn commands(&self) -> Vec<&str> {
        let commands = self.manifest["commands"].as_array().unwrap().iter();
        commands.map(|command| command.as_str().or(command["name"].as_str()).unwrap()).collect()
    }

    fn keys(&self, kind: &str) -> Vec<&str> {
        let keys = self.manifest["config_keys"][kind].as_array();
        keys.into_iter().flatten().map(|key| key.as_str().unwrap()).collect()
    }

    /// The least that ductile would send.
    fn request(&self, command: &str, config: Value) -> Value {
        let protocol = self.protocol();
        let mut request = json!({"protocol": protocol, "job_id": "019a0000-0000-7000-8000-000000000000"});
        request["command"] = command.into();
        request["config"] = config;
        request["state"] = json!({});
        if protocol == 2 {
            request["payload"] = json!({});
            request["context"] = json!({});
        }
        if command == "handle" {
            let (event_id, timestamp) = ("5d0c0a5e-0000-5000-8000-000000000000", "2026-01-01T12:00:00.000Z");
            request["event"] = json!({"type": "test", "payload": {}, "source": "test", "timestamp": timestamp});
            request["event"]["event_id"] = event_id.into();
        }
        request["deadline_at"] = "2099-01-01T12:00:00.000Z".into();
        request
    }

    fn asked(&self, command: &str, config: Value) -> Ran {
        self.given(&self.request(command, config).to_string())
    }

    fn given(&self, stdin: &str) -> Ran {
        let folder = self.site.path("plugins").join(&self.name);
        let mut program = Command::new(folder.join(self.manifest["entrypoint"].as_str().unwrap()));
        let path = std::env::var("PATH").unwrap();
        program.current_dir(&folder).env_clear().env("PATH", path).env("HOME", self.site.path("")).env("LC_ALL", "C");
        Process::spawn(&mut program, stdin).wait()
    }

    /// The answer of a process that has ended, if it is as the contract wants it.
    #[track_caller]
    fn answer(&self, ran: &Ran) -> Value {
        let name = &self.name;
        assert!(matches!(ran.code, Some(0 | 78)), "{name}: {ran:?}");
        let answer = ran.json();
        let fields = answer.as_object().unwrap_or_else(|| panic!("{name}: no object: {ran:?}"));
        for (field, value) in fields {
            let right = match field.as_str() {
                "status" => value == "ok" || value == "error",
                "error" | "result" => value.as_str().is_some_and(|text| !text.trim().is_empty()),
                "retry" => value.is_boolean(),
                "events" => value.as_array().is_some_and(|events| events.iter().all(is_event)),
                "state_updates" => value.is_object(),
                "logs" => value.as_array().is_some_and(|logs| logs.iter().all(is_log)),
                _ => false,
            };
            assert!(right, "{name}: `{field}`: {ran:?}");
        }
        let needed = match (answer["status"].as_str(), self.protocol()) {
            (Some("error"), _) => "error",
            (Some("ok"), 2) => "result",
            _ => "status",
        };
        assert!(answer[needed].is_string(), "{name}: no `{needed}`: {ran:?}");
        answer
    }

    /// It will not be tried again.
    #[track_caller]
    fn refusal(&self, ran: &Ran) -> String {
        let answer = self.answer(ran);
        assert_eq!(answer["status"], "error", "{}: {ran:?}", self.name);
        assert!(ran.code == Some(78) || answer["retry"] == false, "{}: {ran:?}", self.name);
        answer["error"].as_str().unwrap().to_owned()
    }
}

fn is_event(event: &Value) -> bool {
    let fields = event.as_object().unwrap();
    fields.iter().all(|(field, value)| match (field.as_str(), value.as_str()) {
        ("type", Some(text)) => (1..=256).contains(&text.len()),
        ("dedupe_key", Some(text)) => (1..=1024).contains(&text.len()),
        ("payload", _) => true,
        _ => false,
    }) && fields.contains_key("type")
}

fn is_log(log: &Value) -> bool {
    let level = log["level"].as_str().is_some_and(|level| ["debug", "info", "warn", "error"].contains(&level));
    level && log["message"].is_string() && log.as_object().unwrap().len() == 2
}

#[test]
fn each_command_answers_and_what_is_missing_in_the_configuration_is_named() {
    let plugins = bundled();
    assert!(plugins.len() >= 4, "found {}", plugins.len());
    for plugin in &plugins {
        let required = plugin.keys("required");
        assert!(!plugin.commands().is_empty());
        for command in plugin.commands() {
            let ran = plugin.asked(command, json!({}));
            // What comes may be handled without a look at the configuration.
            if required.is_empty() || command == "handle" && plugin.answer(&ran)["status"] == "ok" {
                plugin.answer(&ran);
            } else {
                let error = plugin.refusal(&ran);
                assert!(required.iter().any(|key| error.contains(key)), "{} {command}: {error}", plugin.name);
            }
        }
    }
}

#[test]
fn a_value_of_the_wrong_shape_is_no_fault_of_the_plugin() {
    for plugin in bundled() {
        for key in [plugin.keys("required"), plugin.keys("optional")].concat() {
            plugin.answer(&plugin.asked(plugin.commands()[0], json!({key: [{}]})));
        }
    }
}

#[test]
fn what_is_not_asked_properly_is_refused() {
    for plugin in bundled() {
        let error = plugin.refusal(&plugin.asked("no-such-command", json!({})));
        assert!(error.contains("command"), "{}: {error}", plugin.name);
        for stdin in ["", "{}", "[]", "null"] {
            plugin.refusal(&plugin.given(stdin));
        }
    }
}

#[test]
fn ductile_takes_what_they_answer() {
    for mut plugin in bundled() {
        let name = plugin.name.clone();
        let required: Vec<_> = plugin.keys("required").iter().map(|key| format!("{key}: []")).collect();
        let config = format!("config: {{{}}}", required.join(", "));
        plugin.site.bundled(&name, &[&config, "retry: {max_attempts: 1}"]);
        plugin.site.cli(["check"]).expect_code(0);
        for command in plugin.commands().into_iter().filter(|command| *command != "health" && *command != "init") {
            let ran = plugin.site.cli(["run", &name, "--command", command]);
            assert!(!format!("{ran:?}").contains("protocol error"), "{name} {command}: {ran:?}");
        }
    }
}
