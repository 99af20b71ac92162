//! The shapes of `manifest.yaml`, before anything is checked.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::free::Free;
use super::{Access, FactSource, FactView};

#[derive(Deserialize)]
#[serde(expecting = "a map with `name`, `protocol`, `entrypoint` and `commands`")]
pub(super) struct RawManifest {
    pub(super) manifest_spec: Option<String>,
    pub(super) manifest_version: Option<u64>,
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) protocol: u64,
    pub(super) entrypoint: String,
    pub(super) description: Option<String>,
    pub(super) concurrency_safe: Option<bool>,
    pub(super) commands: Vec<RawCommand>,
    pub(super) fact_outputs: Option<Vec<RawFactOutput>>,
    pub(super) config_keys: Option<RawConfigKeys>,
    pub(super) stopwatch: Option<Free>,
    #[serde(flatten)]
    pub(super) unknown: UnknownKeys,
}

#[derive(Deserialize)]
#[serde(expecting = "a map with `required` and `optional`")]
pub(super) struct RawConfigKeys {
    pub(super) required: Option<Vec<String>>,
    pub(super) optional: Option<Vec<String>>,
    #[serde(flatten)]
    pub(super) unknown: UnknownKeys,
}

#[derive(Deserialize)]
#[serde(expecting = "a map with `when`, `from` and `fact_type`")]
pub(super) struct RawFactOutput {
    pub(super) when: RawWhen,
    pub(super) from: FactSource,
    pub(super) fact_type: String,
    pub(super) compatibility_view: Option<FactView>,
    #[serde(flatten)]
    pub(super) unknown: UnknownKeys,
}

#[derive(Deserialize)]
#[serde(expecting = "a map with `command`")]
pub(super) struct RawWhen {
    pub(super) command: String,
    #[serde(flatten)]
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

impl<'de> Deserialize<'de> for RawCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(remote = "RawCommand")]
        struct Described {
            name: String,
            #[serde(rename = "type")]
            access: Option<Access>,
            description: Option<String>,
            idempotent: Option<bool>,
            retry_safe: Option<bool>,
            input_schema: Option<Free>,
            output_schema: Option<Free>,
            values: Option<Free>,
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
