//! The contract of `plugins/README.md`, over every plugin that is bundled, and those that will be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Process, Ran, Site};

/// A plugin of the repository, copied into a site.
struct Bundled {
    name: String,
    manifest: Value,
    site: Site,
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins")
}

fn bundled() -> Vec<Bundled> {
    let folders = fs::read_dir(plugins()).unwrap();
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

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(plugins().join(&self.name).join(name)).ok()
    }

    /// That of its configuration, and that as a validator.
    fn schema(&self) -> (Value, jsonschema::Validator) {
        let text = self.file("config.schema.json").unwrap_or_else(|| panic!("{}: no config.schema.json", self.name));
        let schema = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let validator = compiled(&schema, &self.name);
        (schema, validator)
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

#[track_caller]
fn compiled(schema: &Value, what: &str) -> jsonschema::Validator {
    jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|error| panic!("{what}: {error}"));
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{what}: {error}"))
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

#[test]
fn the_schema_of_a_configuration_has_the_keys_of_the_manifest() {
    for plugin in bundled() {
        let (name, (schema, _)) = (&plugin.name, plugin.schema());
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)), "{name}");
        assert!(schema["title"].is_string(), "{name}");
        let (required, optional) = (plugin.keys("required"), plugin.keys("optional"));
        assert_eq!(schema["required"], json!(required), "{name}");
        let properties = schema["properties"].as_object().unwrap();
        let keys: BTreeSet<_> = properties.keys().map(String::as_str).collect();
        assert_eq!(keys, required.into_iter().chain(optional).collect(), "{name}");
        for (key, property) in properties {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.'), "{name}: {key} has no description that is a sentence");
        }
    }
}

#[test]
fn the_schema_of_a_configuration_takes_its_examples_and_refuses_a_wrong_key() {
    let plugins = bundled();
    let mut seen = BTreeSet::new();
    for plugin in &plugins {
        // The other plugins in it are used as they are meant to be, too.
        let Some(example) = plugin.file("example.yaml") else { continue };
        let example: Value = serde_yaml::from_str(&example).unwrap();
        for (instance, settings) in example["plugins"].as_object().unwrap() {
            let used = settings["uses"].as_str().unwrap_or(instance);
            let (_, schema) = plugins.iter().find(|other| other.name == used).unwrap().schema();
            let mut config = settings["config"].clone();
            let wrong: Vec<_> = schema.iter_errors(&config).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{} has {instance}: {wrong:?}", plugin.name);
            config["no_such_key"] = true.into();
            assert!(!schema.is_valid(&config), "{used}");
            seen.insert(used.to_owned());
        }
        assert!(seen.contains(&plugin.name), "its own example does not use {}", plugin.name);
    }
    assert!(seen.len() >= 10, "{seen:?}");
}

#[test]
fn the_schemas_in_a_manifest_are_schemas() {
    for plugin in bundled() {
        for command in plugin.manifest["commands"].as_array().unwrap() {
            for kind in ["input_schema", "output_schema"] {
                let schema = &command[kind];
                if !schema.is_null() {
                    compiled(schema, &format!("{}: {} {kind}", plugin.name, command["name"]));
                }
                if kind == "input_schema" && command["name"] == "handle" {
                    assert!(!schema.is_null(), "{}: handle takes a payload, but has no {kind}", plugin.name);
                }
            }
        }
    }
}
