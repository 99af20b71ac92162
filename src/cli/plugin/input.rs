//! What the plugin is given: JSON from the command line, from a file, or from standard input.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::test::Args;
use crate::cli::error::CliError;
use crate::clock::Clock;
use crate::command::Command;
use crate::config::{PluginConfig, Timeouts};
use crate::plugin::{Envelope, Plugin, Protocol};

/// What JSON must be.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Any,
    Object,
}

/// The settings that `plugins.<name>` would have.
pub(super) fn settings(args: &Args) -> Result<PluginConfig, CliError> {
    let config = match &args.plugin_config {
        Some(text) => {
            let json = json("--plugin-config", text, Shape::Object)?;
            serde_json::from_str(json.get())
                .map_err(|error| CliError::Usage(format!("--plugin-config cannot be read: {error}")))?
        }
        None => serde_json::Map::new(),
    };
    let timeouts = match (args.timeout, &args.command) {
        (None, _) => Timeouts::default(),
        (Some(timeout), command) => {
            let named = command.iter().filter(|command| !command.is_standard());
            let named = named.map(|command| (command.clone(), timeout)).collect();
            Timeouts { poll: timeout, handle: timeout, health: timeout, init: timeout, named }
        }
    };
    let mut env = BTreeMap::new();
    for assignment in &args.env {
        let Some((name, value)) = assignment.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(CliError::Usage(format!("--env `{assignment}` is not NAME=VALUE")));
        };
        if name.starts_with("DUCTILE_") {
            return Err(CliError::Usage(format!("--env `{name}` may not be set: `DUCTILE_*` is the gateway's own")));
        }
        env.insert(name.to_owned(), value.to_owned());
    }
    Ok(PluginConfig { config, env, timeouts, ..PluginConfig::default() })
}

/// What the plugin remembers before the first command: a JSON object.
pub(super) fn state(args: &Args) -> Result<String, CliError> {
    let given = args.state.as_deref().map(|text| json("--state", text, Shape::Object)).transpose()?;
    Ok(given.map_or_else(|| "{}".to_owned(), |json| json.get().to_owned()))
}

/// The JSON of `--payload`, before it is known what for.
pub(super) fn payload(args: &Args) -> Result<Option<Box<RawValue>>, CliError> {
    args.payload.as_deref().map(|text| json("--payload", text, Shape::Any)).transpose()
}

/// A command, and the payload of its job.
pub(super) type Asked = (Command, Option<Box<RawValue>>);

/// The commands to run, each with its job's payload.
pub(super) fn calls(args: &Args, plugin: &Plugin, payload: Option<&RawValue>) -> Result<Vec<Asked>, CliError> {
    let manifest = &plugin.manifest;
    let declared: Vec<_> = manifest.commands.iter().map(|declared| declared.command.as_str()).collect();
    let target = args.command.clone().unwrap_or(Command::Handle);
    let wanted = args.command.is_some() || payload.is_some() || args.event_type.is_some();
    if wanted && !manifest.declares(&target) {
        let (name, declared) = (plugin.name(), declared.join(", "));
        return Err(CliError::Usage(format!(
            "plugin `{name}` has no command `{target}`; its manifest declares: {declared}"
        )));
    }
    if args.event_type.is_some() && target != Command::Handle {
        return Err(CliError::Usage("--event-type is for `--command handle` only".to_owned()));
    }
    if payload.is_some() && target != Command::Handle && manifest.protocol == Protocol::One {
        let name = plugin.name();
        return Err(CliError::Usage(format!(
            "plugin `{name}` speaks protocol 1, in which --payload is for `--command handle` only"
        )));
    }
    let commands = match &args.command {
        Some(command) => vec![command.clone()],
        // As they come in a gateway: prepare, look, and only then work.
        None => [Command::Init, Command::Health, Command::Poll, Command::Handle]
            .into_iter()
            .filter(|command| manifest.declares(command))
            .collect(),
    };
    if commands.is_empty() {
        let declared = declared.join(", ");
        return Err(CliError::Usage(format!(
            "which command? The manifest declares none of poll, handle, health and init, but: {declared}; name one with --command"
        )));
    }
    let empty = RawValue::from_string("{}".to_owned()).expect("this is JSON");
    let payload_of = |command: &Command| match command {
        Command::Handle => {
            let event = Envelope {
                kind: args.event_type.as_deref().unwrap_or("cli"),
                payload: payload.unwrap_or(&empty),
                dedupe_key: None,
                source: "cli",
                timestamp: Clock::System.now(),
                event_id: Uuid::now_v7(),
            };
            Some(event.to_json())
        }
        command => payload.filter(|_| *command == target).map(RawValue::to_owned),
    };
    Ok(commands.into_iter().map(|command| (command.clone(), payload_of(&command))).collect())
}

/// The JSON that an option holds or leads to.
fn json(option: &str, text: &str, shape: Shape) -> Result<Box<RawValue>, CliError> {
    let (text, from) = match (text, text.strip_prefix('@')) {
        ("-", _) => (io::read_to_string(io::stdin())?, "standard input".to_owned()),
        (_, Some(file)) => {
            let text = fs::read_to_string(file)
                .map_err(|error| CliError::Failed(format!("`{file}` ({option}) cannot be read: {error}")))?;
            (text, format!("`{file}`"))
        }
        _ => (text.to_owned(), format!("`{option}`")),
    };
    let json = RawValue::from_string(text.trim().to_owned())
        .map_err(|error| CliError::Usage(format!("{from} is not JSON: {error}")))?;
    if shape == Shape::Object && !json.get().starts_with('{') {
        return Err(CliError::Usage(format!("{from} must be a JSON object, such as {{\"key\": \"value\"}}")));
    }
    Ok(json)
}
