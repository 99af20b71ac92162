//! A plugin's state after its updates. Storing it is not its business.

use std::collections::BTreeMap;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The merged state would be larger than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the merged state is larger than {limit} bytes")]
pub(super) struct StateTooLarge {
    pub(super) limit: usize,
}

/// `current` with each top-level key of `updates` replaced or added; null is a value like any other.
///
/// Both are JSON objects: the protocol vouches for updates, this function for what it wrote before. What is no
/// object counts as an empty one. Values stay byte for byte as they are. `limit` is in bytes of the result, inclusive;
/// memory is bounded by it, whatever the updates hold.
pub(super) fn merge(current: &str, updates: &RawValue, limit: usize) -> Result<String, StateTooLarge> {
    let mut merged = Merged { entries: BTreeMap::new(), least: 1, limit };
    merged.take(current)?;
    merged.take(updates.get())?;
    merged.write()
}

struct Merged<'a> {
    entries: BTreeMap<String, &'a RawValue>,
    /// What the result takes at least: keys do not go away again, while values may still be replaced by shorter ones.
    least: usize,
    limit: usize,
}

impl<'a> Merged<'a> {
    fn take(&mut self, object: &'a str) -> Result<(), StateTooLarge> {
        // The visitor fails when the limit is passed, which `least` then shows, or when this is no object.
        let _ = serde_json::Deserializer::from_str(object).deserialize_map(&mut *self);
        self.check(self.least)
    }

    fn check(&self, bytes: usize) -> Result<(), StateTooLarge> {
        if bytes > self.limit { Err(StateTooLarge { limit: self.limit }) } else { Ok(()) }
    }

    fn write(self) -> Result<String, StateTooLarge> {
        let bytes: usize = self.entries.iter().map(|(key, value)| entry_bytes(key, value.get())).sum();
        self.check(bytes + 1)?;
        let json = serde_json::to_string(&self.entries).expect("texts and JSON can be written as JSON");
        self.check(json.len())?;
        Ok(json)
    }
}

/// `"key":value,`, for a key without escapes.
fn entry_bytes(key: &str, value: &str) -> usize {
    key.len() + value.len() + 4
}

impl<'de> Visitor<'de> for &mut Merged<'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            let least = entry_bytes(&key, "0");
            if self.entries.insert(key, value).is_none() {
                self.least += least;
                self.check(self.least).map_err(de::Error::custom)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn top_level_keys_are_replaced_or_added() {
        for (current, updates, expected) in [
            ("{}", "{}", "{}"),
            (r#"{"a":1}"#, r#"{ "b" : [ 1, 2 ] }"#, r#"{"a":1,"b":[ 1, 2 ]}"#),
            (r#"{"a":{"x":1}}"#, r#"{"a":{"y":2}}"#, r#"{"a":{"y":2}}"#),
            (r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":null}"#),
            (r#"{"a":1}"#, r#"{"\u0061":2}"#, r#"{"a":2}"#),
            ("{}", r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("{}", r#"{"q\"\n":1}"#, r#"{"q\"\n":1}"#),
            (
                r#"{"big":9223372036854775808}"#,
                r#"{"long":0.10000000000000000000000000001}"#,
                r#"{"big":9223372036854775808,"long":0.10000000000000000000000000001}"#,
            ),
        ] {
            assert_eq!(merge(current, &raw(updates), 1_000).as_deref(), Ok(expected), "{current} {updates}");
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        let too_large = |limit| Err(StateTooLarge { limit });
        assert_eq!(merge("{}", &raw("{}"), 2).as_deref(), Ok("{}"));
        for (current, updates) in [(r#"{"a":"xyz"}"#, r#"{"b":10}"#), ("{}", r#"{"a\n":1,"b":"ccccccc"}"#)] {
            let merged = merge(current, &raw(updates), 1_000).unwrap();
            assert_eq!(merge(current, &raw(updates), merged.len()), Ok(merged.clone()));
            assert_eq!(merge(current, &raw(updates), merged.len() - 1), too_large(merged.len() - 1));
        }
        let shrinking = format!(r#"{{"a":"{}","a":1}}"#, "x".repeat(100));
        assert_eq!(merge(&shrinking, &raw(&shrinking), 7).as_deref(), Ok(r#"{"a":1}"#));
    }

    #[test]
    fn a_million_keys_are_not_held() {
        let keys: Vec<_> = (0..1_000_000).map(|key| format!(r#""{key}":0"#)).collect();
        let updates = raw(&format!("{{{}}}", keys.join(",")));
        let mut merged = Merged { entries: BTreeMap::new(), least: 1, limit: 1_048_576 };
        assert!(merged.take(updates.get()).is_err());
        assert!(merged.entries.len() < 200_000);
    }
}
