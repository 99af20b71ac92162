//! `manifest.yaml`: what a plugin declares about itself. Reads text only; files and trust are not its business.

mod free;
mod raw;
#[cfg(test)]
mod schema;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::protocol::Protocol;
use crate::command::{Command, InvalidCommand};
use free::Free;
use raw::{RawCommand, RawFactOutput, RawManifest};

#[cfg(test)]
mod tests;

/// What `manifest_spec` and `manifest_version` say, if they are there.
const SPEC: &str = "ductile.plugin";
const SPEC_VERSION: u64 = 1;

const FACT_TYPE_BYTES: usize = 256;

/// What a plugin declares about itself. As JSON it has the shape of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_spec: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_version: Option<u64>,
    /// The name of its folder, too.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub protocol: Protocol,
    /// Relative to the plugin's folder, as written.
    pub entrypoint: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Shown only: one job runs at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_safe: Option<bool>,
    /// Those that may be asked for, each once, in the manifest's order.
    pub commands: Vec<Declared>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fact_outputs: Vec<FactOutput>,
    /// `None` when the manifest says nothing about its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_keys: Option<ConfigKeys>,
    /// Shown only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopwatch: Option<Value>,
}

/// One command a plugin can be asked for. What stands beside its name is for the reader, nothing depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declared {
    #[serde(rename = "name")]
    pub command: Command,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_safe: Option<bool>,
    /// A JSON Schema, or a map from names to types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// The names that it reads and writes in payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Value>,
}

/// Whether a command changes the outside world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Access {
    Read,
    Write,
}

/// What becomes a fact: the snapshots of one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactOutput {
    pub when: FactWhen,
    pub from: FactSource,
    /// Not blank, at most 256 bytes.
    pub fact_type: String,
    pub compatibility_view: FactView,
}

/// When there is a fact: this command has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactWhen {
    pub command: Command,
}

/// Where a fact is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FactSource {
    StateUpdates,
}

/// What a fact does to the plugin's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FactView {
    /// It becomes all of it.
    #[default]
    MirrorObject,
}

/// The keys a plugin knows under `plugins.<name>.config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigKeys {
    pub required: Vec<String>,
    pub optional: Vec<String>,
}

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
    #[error("not valid UTF-8 from byte {valid_up_to} on")]
    NotUtf8 { valid_up_to: usize },
    #[error("`manifest_spec` is `{found}`, but this version reads `{SPEC}`")]
    OtherSpec { found: String },
    #[error("`manifest_version` is `{found}`, but this version reads `{SPEC_VERSION}`")]
    OtherSpecVersion { found: u64 },
    #[error("`{field}` is empty")]
    Empty { field: &'static str },
    #[error("protocol `{found}` is not supported; this version speaks 1 and 2")]
    UnsupportedProtocol { found: u64 },
    #[error("`commands[{index}]`: {reason}")]
    CommandName { index: usize, reason: InvalidCommand },
    #[error("`fact_outputs[{index}]`: {reason}")]
    FactOutput { index: usize, reason: String },
}

impl Manifest {
    /// Reads a manifest; what it says beyond what is understood goes to `warnings`.
    pub(crate) fn parse(bytes: &[u8], warnings: &mut Vec<String>) -> Result<Self, ManifestError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| ManifestError::NotUtf8 { valid_up_to: error.valid_up_to() })?;
        let raw: RawManifest = serde_yaml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        if let Some(found) = raw.manifest_spec.as_ref().filter(|spec| *spec != SPEC) {
            return Err(ManifestError::OtherSpec { found: found.clone() });
        }
        if let Some(found) = raw.manifest_version.filter(|version| *version != SPEC_VERSION) {
            return Err(ManifestError::OtherSpecVersion { found });
        }
        let protocol =
            Protocol::from_number(raw.protocol).ok_or(ManifestError::UnsupportedProtocol { found: raw.protocol })?;
        for (field, is_empty) in [
            ("name", raw.name.is_empty()),
            ("entrypoint", raw.entrypoint.is_empty()),
            ("commands", raw.commands.is_empty()),
        ] {
            if is_empty {
                return Err(ManifestError::Empty { field });
            }
        }
        raw.unknown.warn("", warnings);
        let commands = declared(protocol, raw.commands, warnings)?;
        let fact_outputs = fact_outputs(raw.fact_outputs.unwrap_or_default(), &commands, warnings)?;
        Ok(Self {
            manifest_spec: raw.manifest_spec,
            manifest_version: raw.manifest_version,
            name: raw.name,
            version: raw.version,
            protocol,
            entrypoint: raw.entrypoint.into(),
            description: raw.description,
            concurrency_safe: raw.concurrency_safe,
            commands,
            fact_outputs,
            config_keys: raw.config_keys.map(|keys| {
                keys.unknown.warn("config_keys.", warnings);
                ConfigKeys { required: keys.required.unwrap_or_default(), optional: keys.optional.unwrap_or_default() }
            }),
            stopwatch: value(raw.stopwatch),
        })
    }

    /// Whether the plugin can be asked for `command`.
    pub fn declares(&self, command: &Command) -> bool {
        self.commands.iter().any(|declared| declared.command == *command)
    }

    /// The types of the facts that a success of `command` states.
    pub fn fact_types(&self, command: &Command) -> impl Iterator<Item = &str> {
        let outputs = self.fact_outputs.iter().filter(move |output| output.when.command == *command);
        outputs.map(|output| output.fact_type.as_str())
    }
}

/// The commands that the protocol allows; protocol 1 has but the four.
fn declared(
    protocol: Protocol,
    raw: Vec<RawCommand>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Declared>, ManifestError> {
    let mut commands: Vec<Declared> = Vec::new();
    for (index, entry) in raw.into_iter().enumerate() {
        entry.unknown.warn(&format!("commands.{}.", entry.name), warnings);
        let command = match (protocol, entry.name.parse::<Command>()) {
            (_, Ok(command)) if command.is_standard() => command,
            (Protocol::Two, Ok(command)) => command,
            (Protocol::Two, Err(reason)) => return Err(ManifestError::CommandName { index, reason }),
            (Protocol::One, _) => {
                let standard = "poll, handle, health and init";
                warnings.push(format!("`{}` is not a command of protocol 1; its commands are {standard}", entry.name));
                continue;
            }
        };
        if commands.iter().any(|known| known.command == command) {
            warnings.push(format!("command `{command}` is declared twice"));
            continue;
        }
        commands.push(Declared {
            command,
            access: entry.access,
            description: entry.description,
            idempotent: entry.idempotent,
            retry_safe: entry.retry_safe,
            input_schema: value(entry.input_schema),
            output_schema: value(entry.output_schema),
            values: value(entry.values),
        });
    }
    Ok(commands)
}

fn fact_outputs(
    raw: Vec<RawFactOutput>,
    commands: &[Declared],
    warnings: &mut Vec<String>,
) -> Result<Vec<FactOutput>, ManifestError> {
    let mut outputs: Vec<FactOutput> = Vec::new();
    for (index, entry) in raw.into_iter().enumerate() {
        entry.unknown.warn(&format!("fact_outputs[{index}]."), warnings);
        entry.when.unknown.warn(&format!("fact_outputs[{index}].when."), warnings);
        let refused = |reason| Err(ManifestError::FactOutput { index, reason });
        let name = &entry.when.command;
        let Some(declared) = commands.iter().find(|declared| declared.command.as_str() == name) else {
            return refused(format!("`when.command` is `{name}`, which is none of the declared commands"));
        };
        let command = declared.command.clone();
        match entry.fact_type.len() {
            _ if entry.fact_type.trim().is_empty() => return refused("`fact_type` is empty".to_owned()),
            length if length > FACT_TYPE_BYTES => {
                return refused(format!("`fact_type` has {length} bytes; at most {FACT_TYPE_BYTES} are allowed"));
            }
            _ => {}
        }
        if command == Command::Health {
            warnings.push(format!("`fact_outputs[{index}]` states nothing: what `health` returns is not kept"));
        }
        let output = FactOutput {
            when: FactWhen { command },
            from: entry.from,
            fact_type: entry.fact_type,
            compatibility_view: entry.compatibility_view.unwrap_or_default(),
        };
        if outputs.contains(&output) {
            warnings.push(format!("`fact_outputs[{index}]` stands there twice"));
            continue;
        }
        outputs.push(output);
    }
    Ok(outputs)
}

/// What becomes null is as good as absent.
fn value(free: Option<Free>) -> Option<Value> {
    free.map(|Free(value)| value).filter(|value| !value.is_null())
}
