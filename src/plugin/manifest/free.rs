//! Parts of a manifest that may hold anything: they are shown and mean nothing here.

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use serde_yaml::Value as Yaml;

/// YAML of any shape, as JSON: what cannot be a key there becomes text, a tag goes, infinity and the like become null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Free(pub(super) Json);

impl<'de> Deserialize<'de> for Free {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(json(Yaml::deserialize(deserializer)?)))
    }
}

fn json(value: Yaml) -> Json {
    match value {
        Yaml::Null => Json::Null,
        Yaml::Bool(value) => value.into(),
        Yaml::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(whole)) => whole.into(),
            (None, None) => number.as_f64().map_or(Json::Null, Json::from),
        },
        Yaml::String(text) => text.into(),
        Yaml::Sequence(elements) => elements.into_iter().map(json).collect(),
        Yaml::Mapping(entries) => entries.into_iter().map(|(name, value)| (key(name), json(value))).collect(),
        Yaml::Tagged(tagged) => json(tagged.value),
    }
}

fn key(value: Yaml) -> String {
    match json(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_yaml_holds_becomes_json() {
        for (yaml, json) in [
            ("{type: object, required: [a]}", r#"{"required":["a"],"type":"object"}"#),
            ("{1: one, true: yes, ~: x, [a, 2]: b}", r#"{"1":"one","[\"a\",2]":"b","null":"x","true":"yes"}"#),
            ("[1, -1, 18446744073709551615, 1.5, .inf, 0x10, !tag 7]", "[1,-1,18446744073709551615,1.5,null,16,7]"),
            ("~", "null"),
        ] {
            let Free(value) = serde_yaml::from_str(yaml).unwrap();
            assert_eq!(value.to_string(), json, "{yaml}");
        }
        assert!(serde_yaml::from_str::<Free>("{a: 1, a: 2}").is_err(), "which of them?");
    }
}
