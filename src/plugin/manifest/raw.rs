//! The shapes of `manifest.yaml`, before anything is checked.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::free::Free;
use super::{Access, FactSource, FactView};

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields, rename = "Manifest"))]
#[serde(expecting = "a map with `name`, `protocol`, `entrypoint` and `commands`")]
pub(super) struct RawManifest {
    /// `ductile.plugin`, if it is there.
    #[cfg_attr(test, schemars(extend("enum" = [super::SPEC, null])))]
    pub(super) manifest_spec: Option<String>,
    /// `1`, if it is there.
    #[cfg_attr(test, schemars(extend("enum" = [super::SPEC_VERSION, null])))]
    pub(super) manifest_version: Option<u64>,
    /// The name of its folder.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub(super) name: String,
    /// Of the plugin; in quotes if it would be a number.
    pub(super) version: Option<String>,
    /// What it speaks on stdin and stdout.
    #[cfg_attr(test, schemars(extend("enum" = [1, 2])))]
    pub(super) protocol: u64,
    /// The program, relative to the folder.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub(super) entrypoint: String,
    /// Shown only.
    pub(super) description: Option<String>,
    /// Shown only.
    pub(super) concurrency_safe: Option<bool>,
    /// What it can be asked for; each a name, or a map with one. In protocol 1 poll, handle, health and init.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub(super) commands: Vec<RawCommand>,
    /// Which commands' `state_updates` are snapshots, kept as facts.
    pub(super) fact_outputs: Option<Vec<RawFactOutput>>,
    /// The keys it knows under `plugins.<name>.config`.
    pub(super) config_keys: Option<RawConfigKeys>,
    /// Anything; shown only.
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    pub(super) stopwatch: Option<Free>,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(skip))]
    pub(super) unknown: UnknownKeys,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(expecting = "a map with `required` and `optional`")]
pub(super) struct RawConfigKeys {
    /// Without one of these the plugin is not loaded.
    pub(super) required: Option<Vec<String>>,
    /// Others give a warning.
    pub(super) optional: Option<Vec<String>>,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(skip))]
    pub(super) unknown: UnknownKeys,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(expecting = "a map with `when`, `from` and `fact_type`")]
pub(super) struct RawFactOutput {
    /// The command whose successes are facts.
    pub(super) when: RawWhen,
    /// Where they are taken from.
    pub(super) from: FactSource,
    /// What they are called.
    #[cfg_attr(test, schemars(length(min = 1, max = 256)))]
    pub(super) fact_type: String,
    /// What they do to the plugin's state: they become all of it.
    pub(super) compatibility_view: Option<FactView>,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(skip))]
    pub(super) unknown: UnknownKeys,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(expecting = "a map with `command`")]
pub(super) struct RawWhen {
    /// One of `commands`.
    pub(super) command: String,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(skip))]
    pub(super) unknown: UnknownKeys,
}

/// A bare name, or a map with one.
pub(super) struct RawCommand {
    pub(super) name: String,
    pub(super) access: Option<Access>,
    pub(super) description: Option<String>,
    pub(super) idempotent: Option<bool>,
    pub(super) retry_safe: Option<bool>,
    pub(super) input_schema: Option<Free>,
    pub(super) output_schema: Option<Free>,
    pub(super) values: Option<Free>,
    pub(super) unknown: UnknownKeys,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[serde(remote = "RawCommand")]
pub(super) struct Described {
    /// Of protocol 1 poll, handle, health or init; of protocol 2 any.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z][A-Za-z0-9_-]{0,63}$")))]
    name: String,
    /// `read`: only looks. `write`: changes something out there. Shown only.
    #[serde(rename = "type")]
    access: Option<Access>,
    /// Shown only.
    description: Option<String>,
    /// Shown only.
    idempotent: Option<bool>,
    /// Shown only.
    retry_safe: Option<bool>,
    /// A JSON Schema, or a map from names to types; shown only.
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    input_schema: Option<Free>,
    /// A JSON Schema, or a map from names to types; shown only.
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    output_schema: Option<Free>,
    /// The names that it reads and writes in payloads; shown only.
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    values: Option<Free>,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(skip))]
    unknown: UnknownKeys,
}

impl<'de> Deserialize<'de> for RawCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
                    idempotent: None,
                    retry_safe: None,
                    input_schema: None,
                    output_schema: None,
                    values: None,
                    unknown: UnknownKeys::default(),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawCommand, A::Error> {
                Described::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(NameOrMap)
    }
}

/// The keys of a map that no field took, each once.
#[derive(Default)]
pub(super) struct UnknownKeys(BTreeSet<String>);

impl UnknownKeys {
    pub(super) fn warn(&self, prefix: &str, warnings: &mut Vec<String>) {
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
