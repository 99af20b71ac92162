//! The YAML file as a tree in which nothing is lost: order, duplicate keys and odd keys are all there.
//!
//! This and nothing else talks to the YAML parser, which reports a location only with an error and stops
//! at the first, and which says what a scalar means or how it is written, but not both. So the tree is read
//! twice without judging it, and [`locate`] reads again up to one place to learn where that is.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess,
};
use serde_yaml::Deserializer as Yaml;

/// How much a file may hold once its aliases are followed: values, and for each of them its text in [`UNIT`]s.
const BUDGET: usize = 100_000;

/// Bytes of text that weigh as much as a value.
const UNIT: usize = 64;

/// One value.
#[derive(Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool, Written),
    Integer(i128, Written),
    Float(f64, Written),
    Text(String),
    List(Vec<Node>),
    /// Key and value, in the order of the file.
    Map(Vec<(Node, Node)>),
    /// A value with a tag of its own, such as `!include`; what it holds is of no interest.
    Tagged(String),
}

/// A scalar that is no text, as it stands in the file: `0x1F`, `1.10`.
pub(super) type Written = String;

/// A line and a column, from 1.
pub(super) type Location = (usize, usize);

/// Why there is no tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) location: Option<Location>,
    pub(super) message: String,
}

/// Reads a file with exactly one document.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    if let Some((offset, c)) = text.char_indices().find(|&(_, c)| c.is_control() && !"\t\n\r\u{85}".contains(c)) {
        let message = format!("the character U+{:04X} is not allowed", u32::from(c));
        return Err(SyntaxError { location: Some(location_of(text, offset)), message });
    }
    let budget = Cell::new(BUDGET);
    let mut documents = Yaml::from_str(text);
    let mut root = match documents.next() {
        Some(document) => Tree { budget: &budget }.deserialize(document).map_err(|error| syntax_error(text, &error))?,
        None => Node::Null,
    };
    if let Some(second) = documents.next() {
        let location = Target.deserialize(second).err().and_then(|error| location(text, &error));
        return Err(SyntaxError { location, message: "there is more than one document in the file".into() });
    }
    if root == Node::Null {
        return Err(SyntaxError { location: Some((1, 1)), message: "the file is empty".into() });
    }
    Fill(&mut root).deserialize(Yaml::from_str(text)).map_err(|error| syntax_error(text, &error))?;
    Ok(root)
}

/// Where a place is: from the top down, at each map or list to the entry of that position, there to its key or value.
pub(super) fn locate(text: &str, positions: &[usize], key: bool) -> Option<Location> {
    Descent { positions, key }.deserialize(Yaml::from_str(text)).err().and_then(|error| location(text, &error))
}

/// The line and column of a byte; lines end where they do for the parser.
pub(super) fn location_of(text: &str, offset: usize) -> Location {
    const BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let before = text[..offset].replace("\r\n", "\n");
    let line = before.rsplit(BREAKS).next().unwrap_or_default();
    (before.matches(BREAKS).count() + 1, line.chars().count() + 1)
}

fn location(text: &str, error: &serde_yaml::Error) -> Option<Location> {
    // The parser adds a line end where the last is missing, and may then complain of the line behind it.
    let end = location_of(text, text.len());
    error.location().map(|location| (location.line(), location.column()).min(end))
}

fn syntax_error(text: &str, error: &serde_yaml::Error) -> SyntaxError {
    let mut message = error.to_string();
    if let Some(at) = error.location() {
        message = message.replacen(&format!(" at line {} column {}", at.line(), at.column()), "", 1);
    }
    SyntaxError { location: location(text, error), message }
}

/// Builds the tree, within a budget that a pyramid of aliases would exceed.
#[derive(Clone, Copy)]
struct Tree<'b> {
    budget: &'b Cell<usize>,
}

impl Tree<'_> {
    fn charge<E: de::Error>(self, weight: usize) -> Result<(), E> {
        match self.budget.get().checked_sub(weight) {
            Some(left) => self.budget.set(left),
            None => {
                let message =
                    format_args!("more than {BUDGET} keys and values, aliases followed: make the file smaller");
                return Err(E::custom(message));
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.charge(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Tree<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value, Written::new()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into(), Written::new()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into(), Written::new()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Integer(value, Written::new()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        match i128::try_from(value) {
            Ok(value) => self.visit_i128(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value, Written::new()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.charge(value.len() / UNIT)?;
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(self)? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry_seed(self, self)? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (tag, content) = tagged.variant::<String>()?;
        content.newtype_variant::<IgnoredAny>()?;
        Ok(Node::Tagged(tag))
    }
}

/// Goes through the file beside the tree and adds how scalars are written.
struct Fill<'n>(&'n mut Node);

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0 {
            Node::Bool(_, written) | Node::Integer(_, written) | Node::Float(_, written) => {
                *written = String::deserialize(deserializer)?;
                Ok(())
            }
            Node::List(_) => deserializer.deserialize_seq(self),
            Node::Map(_) => deserializer.deserialize_map(self),
            Node::Null | Node::Text(_) | Node::Tagged(_) => IgnoredAny::deserialize(deserializer).map(|_| ()),
        }
    }
}

impl<'de> de::Visitor<'de> for Fill<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was there before")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Node::List(elements) = self.0 else { return Ok(()) };
        for element in elements {
            list.next_element_seed(Fill(element))?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Node::Map(entries) = self.0 else { return Ok(()) };
        for (key, value) in entries {
            map.next_entry_seed(Fill(key), Fill(value))?;
        }
        Ok(())
    }
}

/// Goes down to one place and stops there with an error, which carries the location.
#[derive(Clone, Copy)]
struct Descent<'p> {
    positions: &'p [usize],
    key: bool,
}

impl<'de> DeserializeSeed<'de> for Descent<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.positions.is_empty() { Target.deserialize(deserializer) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de> de::Visitor<'de> for Descent<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((&position, positions)) = self.positions.split_first() else { return Ok(()) };
        for _ in 0..position {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Self { positions, ..self }).map(Option::unwrap_or_default)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((&position, positions)) = self.positions.split_first() else { return Ok(()) };
        for _ in 0..position {
            map.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if self.key && positions.is_empty() {
            return map.next_key_seed(Target).map(Option::unwrap_or_default);
        }
        map.next_key::<IgnoredAny>()?;
        map.next_value_seed(Self { positions, ..self })
    }
}

/// The place itself.
struct Target;

impl<'de> DeserializeSeed<'de> for Target {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl de::Visitor<'_> for Target {
    type Value = ();

    /// The visitor accepts nothing, so whatever is there is an error.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}
