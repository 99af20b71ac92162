//! The YAML file as a tree in which nothing is lost: order, duplicate keys and odd keys are all there.
//!
//! This and nothing else talks to the YAML parser, which reports a location only with an error and stops
//! at the first. So the tree is read once without judging it, and [`look`] reads again up to one place to
//! learn where that is and how it is written.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess};
use serde_yaml::Deserializer as Yaml;

/// How much a file may hold once its aliases are followed: values, and for each of them its text in [`UNIT`]s.
const BUDGET: usize = 100_000;

/// Bytes of text that weigh as much as a value.
const UNIT: usize = 64;

/// One value.
#[derive(Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// Key and value, in the order of the file.
    Map(Vec<(Node, Node)>),
    /// A value with a tag of its own, such as `!include`; what it holds is of no interest.
    Tagged(String),
}

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
    let root = match documents.next() {
        Some(document) => Tree { budget: &budget }.deserialize(document).map_err(|error| syntax_error(&error))?,
        None => Node::Null,
    };
    if let Some(second) = documents.next() {
        let error = Target { written: &Cell::default() }.deserialize(second).err();
        let location = error.as_ref().and_then(location);
        return Err(SyntaxError { location, message: "there is more than one document in the file".into() });
    }
    if root == Node::Null {
        return Err(SyntaxError { location: None, message: "the file is empty".into() });
    }
    Ok(root)
}

/// What is at one place of the text.
#[derive(Debug, Default)]
pub(super) struct Spot {
    pub(super) location: Option<Location>,
    /// A scalar as it is written, without quotes.
    pub(super) written: Option<String>,
}

/// Goes down from the top: at each map or list to the entry of that position, there to its key or value.
pub(super) fn look(text: &str, positions: &[usize], key: bool) -> Spot {
    let written = Cell::default();
    let error = Descent { positions, key, written: &written }.deserialize(Yaml::from_str(text)).err();
    Spot { location: error.as_ref().and_then(location), written: written.into_inner() }
}

/// The line and column of a byte.
pub(super) fn location_of(text: &str, offset: usize) -> Location {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn location(error: &serde_yaml::Error) -> Option<Location> {
    error.location().map(|location| (location.line(), location.column()))
}

fn syntax_error(error: &serde_yaml::Error) -> SyntaxError {
    let location = location(error);
    let mut message = error.to_string();
    if let Some((line, column)) = location {
        message = message.replacen(&format!(" at line {line} column {column}"), "", 1);
    }
    SyntaxError { location, message }
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
            None => return Err(E::custom("the file holds too much, its aliases followed")),
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
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(i128::try_from(value).map_or(Node::Float(value as f64), Node::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
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

/// Goes down to one place and stops there with an error, which carries the location.
#[derive(Clone, Copy)]
struct Descent<'p> {
    positions: &'p [usize],
    key: bool,
    written: &'p Cell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Descent<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.positions.is_empty() {
            Target { written: self.written }.deserialize(deserializer)
        } else {
            deserializer.deserialize_any(self)
        }
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
            return map.next_key_seed(Target { written: self.written }).map(Option::unwrap_or_default);
        }
        map.next_key::<IgnoredAny>()?;
        map.next_value_seed(Self { positions, ..self })
    }
}

/// The place itself: notes what is written there and fails.
struct Target<'p> {
    written: &'p Cell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Target<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl de::Visitor<'_> for Target<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }

    fn visit_str<E: de::Error>(self, written: &str) -> Result<(), E> {
        self.written.set(Some(written.to_owned()));
        Err(E::custom("found"))
    }
}
