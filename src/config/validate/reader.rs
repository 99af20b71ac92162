//! Walks the tree and notes what is wrong: maps and their keys, lists, scalars with their references replaced.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use super::super::interpolate::Template;
use super::super::path::{At, ConfigPath};
use super::super::problem::{ConfigError, hint, quote};
use super::super::raw::Node;
use super::super::source::Source;
use super::super::variables::Variables;

/// Each listed problem costs a pass over the file, and nobody reads more.
const MOST_LISTED: usize = 100;

/// YAML 1.1 would put another map's entries in its place.
pub(super) const MERGE_KEY: &str = "<<";

/// One value and the way to it.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) node: &'a Node,
    pub(super) path: ConfigPath,
}

impl<'a> Item<'a> {
    pub(super) fn root(source: &'a Source) -> Self {
        Self { node: source.root(), path: ConfigPath::root() }
    }
}

/// One map.
#[derive(Default)]
pub(super) struct Section<'a> {
    path: ConfigPath,
    entries: &'a [(Node, Node)],
}

impl<'a> Section<'a> {
    /// The value of `key`; one that is `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<Item<'a>> {
        self.items().find(|(name, _)| *name == key).map(|(_, item)| item).filter(|item| *item.node != Node::Null)
    }

    /// All entries with a text as key, also those that are `null`; not a merge key, which is no key of anything.
    pub(super) fn items(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> {
        self.entries.iter().enumerate().filter_map(|(position, (key, node))| match key {
            Node::Text(name) if name != MERGE_KEY => {
                Some((name.as_str(), Item { node, path: self.path.clone().entry(position, name) }))
            }
            _ => None,
        })
    }
}

/// A scalar with everything put in. It is shown as it is written: what was put in may be a secret.
pub(super) struct Scalar<'a> {
    pub(super) value: Cow<'a, str>,
    written: &'a str,
}

impl Scalar<'_> {
    pub(super) fn is_interpolated(&self) -> bool {
        matches!(self.value, Cow::Owned(_))
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_interpolated() {
            f.write_str("the value of ")?;
        }
        f.write_str(&quote(self.written))
    }
}

struct Note {
    path: ConfigPath,
    at: At,
    message: String,
}

/// Collects problems while the file is read.
pub(super) struct Reader<'a> {
    source: &'a Source,
    variables: &'a Variables,
    folder: &'a Path,
    resolving: bool,
    problems: Vec<Note>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source, variables: &'a Variables, folder: &'a Path) -> Self {
        Self { source, variables, folder, resolving: true, problems: Vec::new() }
    }

    /// All the problems, if there are any, in the order of the file.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let unlisted = self.problems.len().saturating_sub(MOST_LISTED);
        let listed = self.problems.into_iter().take(MOST_LISTED);
        let mut problems: Vec<_> = listed.map(|note| self.source.problem(&note.path, note.at, note.message)).collect();
        problems.sort_by_key(|problem| problem.location);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { problems, unlisted }) }
    }

    pub(super) fn folder(&self) -> &'a Path {
        self.folder
    }

    /// Whether references are resolved. Where they are not, a scalar with one reads as nothing, without a problem.
    pub(super) fn set_resolving(&mut self, resolving: bool) {
        self.resolving = resolving;
    }

    pub(super) fn note(&mut self, path: &ConfigPath, at: At, message: impl Into<String>) {
        self.problems.push(Note { path: path.clone(), at, message: message.into() });
    }

    /// Notes a problem with a value.
    pub(super) fn refuse(&mut self, item: &Item<'_>, message: impl Into<String>) {
        self.note(&item.path, At::Value, message);
    }

    /// A map that has only these keys; empty when it is absent or no map.
    pub(super) fn section(&mut self, item: Option<Item<'a>>, keys: &[&str]) -> Section<'a> {
        item.and_then(|item| self.map(&item, keys)).unwrap_or_default()
    }

    /// A map with any keys; empty when it is absent or no map.
    pub(super) fn any_section(&mut self, item: Option<Item<'a>>) -> Section<'a> {
        item.and_then(|item| self.any_map(&item)).unwrap_or_default()
    }

    /// A map that has only these keys.
    pub(super) fn map(&mut self, item: &Item<'a>, keys: &[&str]) -> Option<Section<'a>> {
        let section = self.any_map(item)?;
        for (name, item) in section.items() {
            if !keys.contains(&name) {
                let hint = hint(name, keys, "the keys here are");
                self.note(&item.path, At::Key, format!("unknown key {}{hint}", quote(name)));
            }
        }
        Some(section)
    }

    pub(super) fn any_map(&mut self, item: &Item<'a>) -> Option<Section<'a>> {
        match item.node {
            Node::Map(entries) => Some(Section { path: item.path.clone(), entries }),
            _ => self.mismatch(item, "a map"),
        }
    }

    /// The elements of a list; none when it is absent or no list.
    pub(super) fn list(&mut self, item: Option<Item<'a>>) -> Vec<Item<'a>> {
        let Some(item) = item else { return Vec::new() };
        match item.node {
            Node::List(elements) => {
                let element = |(index, node)| Item { node, path: item.path.clone().index(index) };
                elements.iter().enumerate().map(element).collect()
            }
            _ => self.mismatch(&item, "a list").unwrap_or_default(),
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, section: &Section<'a>, key: &str) -> Option<Item<'a>> {
        let item = section.get(key);
        if item.is_none() {
            self.note(&section.path, At::Key, format!("`{key}` is missing"));
        }
        item
    }

    /// A text with its references replaced.
    pub(super) fn scalar(&mut self, item: &Item<'a>, wanted: &str) -> Option<Scalar<'a>> {
        let Node::Text(written) = item.node else { return self.mismatch(item, wanted) };
        let template = match Template::parse(written) {
            Ok(template) => template,
            Err(error) => {
                self.refuse(item, error.to_string());
                return None;
            }
        };
        if !written.contains("${") {
            return Some(Scalar { value: Cow::Borrowed(written), written });
        }
        if template.has_references() && !self.resolving {
            return None;
        }
        match template.resolve(self.variables, self.folder) {
            Ok(resolved) => {
                for reference in &resolved.empty {
                    self.refuse(item, format!("`{reference}` is set, but empty"));
                }
                if !resolved.empty.is_empty() {
                    return None;
                }
                Some(Scalar { value: Cow::Owned(resolved.text), written })
            }
            Err(errors) => {
                for error in errors {
                    self.refuse(item, error.to_string());
                }
                None
            }
        }
    }

    /// A text with references where the schema wants something else; a text without is of the wrong type.
    pub(super) fn interpolated(&mut self, item: &Item<'a>, wanted: &str) -> Option<Scalar<'a>> {
        let scalar = self.scalar(item, wanted)?;
        if scalar.is_interpolated() { Some(scalar) } else { self.mismatch(item, wanted) }
    }

    /// Notes that a value is of the wrong type.
    pub(super) fn mismatch<T>(&mut self, item: &Item<'_>, wanted: &str) -> Option<T> {
        let (found, is_scalar) = match item.node {
            // Already refused for its tag.
            Node::Tagged(_) => return None,
            Node::Integer(_, written) | Node::Float(_, written) => (format!("the number {}", quote(written)), true),
            Node::Bool(_, written) => (format!("the boolean {}", quote(written)), true),
            Node::Text(text) => (format!("the text {}", quote(text)), false),
            other => (kind(other).to_owned(), false),
        };
        let cure = if wanted == "text" && is_scalar { "; put it in quotes" } else { "" };
        self.refuse(item, format!("expected {wanted}, found {found}{cure}"));
        None
    }
}

/// What a value is, without showing it.
pub(super) fn kind(node: &Node) -> &'static str {
    match node {
        Node::Null => "nothing",
        Node::Bool(..) => "a boolean",
        Node::Integer(..) | Node::Float(..) => "a number",
        Node::Text(_) => "text",
        Node::List(_) => "a list",
        Node::Map(_) => "a map",
        Node::Tagged(_) => "a tagged value",
    }
}
