//! Parts of a manifest that may hold anything: they are shown and mean nothing here.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use serde_yaml::Value as Yaml;

/// YAML of any shape, as JSON: what cannot be a key there becomes text, a tag goes, infinity and the like become null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Free(pub(super) Json);

/// Levels of lists and maps.
const DEEPEST: usize = 64;

/// Bytes as JSON, once aliases are followed.
const LONGEST: usize = 65_536;

impl<'de> Deserialize<'de> for Free {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = json(Yaml::deserialize(deserializer)?);
        if depth(&json) > DEEPEST {
            return Err(D::Error::custom(format_args!("a value may be nested {DEEPEST} deep")));
        }
        if json.to_string().len() > LONGEST {
            return Err(D::Error::custom(format_args!("a value may have {LONGEST} bytes as JSON, aliases followed")));
        }
        Ok(Self(json))
    }
}

fn depth(value: &Json) -> usize {
    match value {
        Json::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Json::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
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

    #[test]
    fn it_is_bounded() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(serde_yaml::from_str::<Free>(&nested(DEEPEST)).is_ok());
        let error = serde_yaml::from_str::<Free>(&nested(DEEPEST + 1)).unwrap_err().to_string();
        assert!(error.contains("may be nested 64 deep"), "{error}");
        assert!(serde_yaml::from_str::<Free>(&"x".repeat(LONGEST - 2)).is_ok());
        let error = serde_yaml::from_str::<Free>(&"x".repeat(LONGEST - 1)).unwrap_err().to_string();
        assert!(error.contains("may have 65536 bytes"), "{error}");
    }
}
