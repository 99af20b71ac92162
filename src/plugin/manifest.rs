//! `manifest.yaml`: what a plugin declares about itself. Reads text only; files and trust are not its business.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::command::Command;

#[cfg(test)]
mod tests;

/// The protocol this gateway speaks.
const PROTOCOL: u64 = 1;

/// What a plugin declares about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The name of its folder, too.
    pub name: String,
    pub version: Option<String>,
    pub description: Option<String>,
    /// Relative to the plugin's folder, as written.
    pub entrypoint: PathBuf,
    /// Known commands only, each once, in the manifest's order.
    pub commands: Vec<Declared>,
    /// `None` when the manifest says nothing about its configuration.
    pub config_keys: Option<ConfigKeys>,
}

/// One command a plugin can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub command: Command,
    pub access: Option<Access>,
    pub description: Option<String>,
}

/// Whether a command changes the outside world; for the reader, nothing depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    Read,
    Write,
}

/// The keys a plugin knows under `plugins.<name>.config`.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    #[error("`{field}` is empty")]
    Empty { field: &'static str },
    #[error("protocol `{found}` is not supported; this version speaks {PROTOCOL}")]
    UnsupportedProtocol { found: u64 },
}

impl Manifest {
    /// Reads a manifest; what it says beyond what is understood goes to `warnings`.
    pub(crate) fn parse(bytes: &[u8], warnings: &mut Vec<String>) -> Result<Self, ManifestError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| ManifestError::NotUtf8 { valid_up_to: error.valid_up_to() })?;
        let raw: RawManifest = serde_yaml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        if raw.protocol != PROTOCOL {
            return Err(ManifestError::UnsupportedProtocol { found: raw.protocol });
        }
        if raw.name.is_empty() {
            return Err(ManifestError::Empty { field: "name" });
        }
        if raw.entrypoint.is_empty() {
            return Err(ManifestError::Empty { field: "entrypoint" });
        }
        if raw.commands.is_empty() {
            return Err(ManifestError::Empty { field: "commands" });
        }
        raw.unknown.warn("", warnings);
        Ok(Self {
            name: raw.name,
            version: raw.version,
            description: raw.description,
            entrypoint: raw.entrypoint.into(),
            commands: declared(raw.commands, warnings),
            config_keys: raw.config_keys.map(|keys| {
                keys.unknown.warn("config_keys.", warnings);
                ConfigKeys { required: keys.required.unwrap_or_default(), optional: keys.optional.unwrap_or_default() }
            }),
        })
    }

    /// Whether the plugin can be asked for `command`.
    pub fn declares(&self, command: Command) -> bool {
        self.commands.iter().any(|declared| declared.command == command)
    }
}

fn declared(raw: Vec<RawCommand>, warnings: &mut Vec<String>) -> Vec<Declared> {
    let mut commands: Vec<Declared> = Vec::new();
    for entry in raw {
        entry.unknown.warn(&format!("commands.{}.", entry.name), warnings);
        match entry.name.parse::<Command>() {
            Ok(command) if commands.iter().any(|known| known.command == command) => {
                warnings.push(format!("command `{command}` is declared twice"));
            }
            Ok(command) => commands.push(Declared { command, access: entry.access, description: entry.description }),
            Err(unknown) => warnings.push(unknown.to_string()),
        }
    }
    commands
}

#[derive(Deserialize)]
#[serde(expecting = "a map with `name`, `protocol`, `entrypoint` and `commands`")]
struct RawManifest {
    name: String,
    version: Option<String>,
    protocol: u64,
    entrypoint: String,
    description: Option<String>,
    commands: Vec<RawCommand>,
    config_keys: Option<RawConfigKeys>,
    #[serde(flatten)]
    unknown: UnknownKeys,
}

#[derive(Deserialize)]
#[serde(expecting = "a map with `required` and `optional`")]
struct RawConfigKeys {
    required: Option<Vec<String>>,
    optional: Option<Vec<String>>,
    #[serde(flatten)]
    unknown: UnknownKeys,
}

/// A bare name, or a map with one.
struct RawCommand {
    name: String,
    access: Option<Access>,
    description: Option<String>,
    unknown: UnknownKeys,
}

impl<'de> Deserialize<'de> for RawCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Described {
            name: String,
            #[serde(rename = "type")]
            access: Option<Access>,
            description: Option<String>,
            #[serde(flatten)]
            unknown: UnknownKeys,
        }

        struct NameOrMap;

        impl<'de> Visitor<'de> for NameOrMap {
            type Value = RawCommand;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a command's name, or a map with `name`, `type` and `description`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RawCommand, E> {
                Ok(RawCommand {
                    name: name.to_owned(),
                    access: None,
                    description: None,
                    unknown: UnknownKeys::default(),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawCommand, A::Error> {
                let Described { name, access, description, unknown } =
                    Described::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(RawCommand { name, access, description, unknown })
            }
        }

        deserializer.deserialize_any(NameOrMap)
    }
}

/// The keys of a map that no field took, each once.
#[derive(Default)]
struct UnknownKeys(BTreeSet<String>);

impl UnknownKeys {
    fn warn(&self, prefix: &str, warnings: &mut Vec<String>) {
        warnings.extend(self.0.iter().map(|key| format!("unknown key `{prefix}{key}`")));
    }
}

impl<'de> Deserialize<'de> for UnknownKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = UnknownKeys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UnknownKeys, A::Error> {
                let mut keys = BTreeSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if keys.contains(&key) {
                        return Err(de::Error::custom(format!("duplicate key `{key}`")));
                    }
                    keys.insert(key);
                }
                Ok(UnknownKeys(keys))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
