//! The file behind a configuration: kept so that whatever is found wrong later can still name its line.

use std::fmt;
use std::path::{Path, PathBuf};

use super::path::{At, ConfigPath, Step};
use super::problem::{ConfigError, Problem};
use super::raw::{self, Node};

/// The text of a configuration file that is well-formed YAML.
pub struct Source {
    path: PathBuf,
    text: String,
    root: Node,
}

impl Source {
    /// Reads bytes as YAML; `path` is what messages call the file.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let refuse = |location, message| {
            let (file, path) = (path.to_owned(), ConfigPath::root());
            ConfigError::invalid(vec![Problem { file, location, path, message }])
        };
        let text = str::from_utf8(bytes).map_err(|error| {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            refuse(Some(raw::location_of(&good, good.len())), "the file is not UTF-8 text".into())
        })?;
        let root = raw::parse(text).map_err(|error| refuse(error.location, error.message))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), root })
    }

    /// The file, as the user named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Something wrong at `path`, with its line and column. A path that is not in the file gets the location of
    /// the nearest part of it that is.
    pub fn problem(&self, path: &ConfigPath, at: At, message: impl Into<String>) -> Problem {
        let (positions, complete) = self.positions(path);
        let key = (at == At::Key || !complete) && !positions.is_empty();
        let location = raw::locate(&self.text, &positions, key);
        Problem { file: self.path.clone(), location, path: path.clone(), message: message.into() }
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// The path as positions in maps and lists, as far as it exists.
    fn positions(&self, path: &ConfigPath) -> (Vec<usize>, bool) {
        let mut positions = Vec::new();
        let mut node = &self.root;
        for step in path.steps() {
            let found = match (node, step) {
                (Node::List(elements), Step::Index(index)) => elements.get(*index).map(|next| (*index, next)),
                (Node::Map(entries), Step::Entry(position, _)) => {
                    entries.get(*position).map(|(_, value)| (*position, value))
                }
                (Node::Map(entries), Step::Key(name)) => entries
                    .iter()
                    .enumerate()
                    .find(|(_, (key, _))| matches!(key, Node::Text(key) if key == name))
                    .map(|(position, (_, value))| (position, value)),
                _ => None,
            };
            let Some((position, next)) = found else { return (positions, false) };
            positions.push(position);
            node = next;
        }
        (positions, true)
    }
}

/// Not the text: secrets may be written in it.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
service: {name: \"x\"}
list:
  - plain
  - {a: 0x1F, ä: 1.10}
twice: 1
twice: &anchor
  deep: ~
alias: *anchor
empty:
";

    fn source(text: &str) -> Result<Source, ConfigError> {
        Source::parse(Path::new("c.yaml"), text.as_bytes())
    }

    #[test]
    fn every_place_has_its_line_and_column() {
        let source = source(TEXT).unwrap();
        let root = ConfigPath::root;
        let element = || root().key("list").index(1);
        let cases = [
            (root(), At::Value, (2, 1)),
            (root().key("service"), At::Key, (2, 1)),
            (root().key("service").key("name"), At::Key, (2, 11)),
            (root().key("service").key("name"), At::Value, (2, 17)),
            (root().key("list"), At::Value, (4, 3)),
            (root().key("list").index(0), At::Value, (4, 5)),
            (element().key("ä"), At::Key, (5, 15)),
            (element().key("ä"), At::Value, (5, 18)),
            (root().key("twice"), At::Key, (6, 1)),
            (root().entry(3, "twice"), At::Key, (7, 1)),
            (root().key("empty"), At::Value, (10, 7)),
            // A value behind an alias is where the anchor is.
            (root().key("alias").key("deep"), At::Value, (8, 9)),
            // What is not there is reported at the nearest thing that is.
            (root().key("service").key("nothing").key("here"), At::Value, (2, 1)),
            (root().key("nothing"), At::Key, (2, 1)),
        ];
        for (path, at, expected) in cases {
            assert_eq!(source.problem(&path, at, "").location, Some(expected), "{path} {at:?}");
        }
    }

    #[test]
    fn what_is_not_yaml_is_one_problem_at_its_place() {
        for (text, expected) in [
            ("", "c.yaml:1:1: the file is empty"),
            ("# nothing\n", "c.yaml:1:1: the file is empty"),
            (
                "a: [1, 2\nb: 3\n",
                "c.yaml:2:2: did not find expected ',' or ']', while parsing a flow sequence at line 1 column 4",
            ),
            ("a: *b\n", "c.yaml:1:4: unknown anchor"),
            ("- a\nb", "c.yaml:2:2: could not find expected ':', while scanning a simple key at line 2 column 1"),
            ("a: 1\n---", "c.yaml:2:4: there is more than one document in the file"),
            ("a: 1\n---\nb: 2\n", "c.yaml:3:1: there is more than one document in the file"),
            ("a: 1\nb: \u{7}\n", "c.yaml:2:4: the character U+0007 is not allowed"),
            ("a: 1\r\nb: 2\rc: \u{85}\u{7}\n", "c.yaml:4:1: the character U+0007 is not allowed"),
        ] {
            assert_eq!(source(text).unwrap_err().to_string(), expected, "{text:?}");
        }
        let error = Source::parse(Path::new("c.yaml"), b"a: 1\nb: \xff\n").unwrap_err();
        assert_eq!(error.to_string(), "c.yaml:2:4: the file is not UTF-8 text");
    }

    /// How numbers are written comes with the tree; looking each up took minutes for a file like this.
    #[test]
    fn many_numbers_are_read_with_their_writing_at_once() {
        let text: String = (0..20_000).map(|n| format!("a{n}: {n}.0\n")).collect();
        let source = source(&text).unwrap();
        let Node::Map(entries) = source.root() else { panic!("a map") };
        assert!(entries.iter().enumerate().all(|(n, (_, value))| *value == Node::Float(n as f64, format!("{n}.0"))));
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let source = source("\u{feff}a: 1\n").unwrap();
        assert_eq!(source.problem(&ConfigPath::root().key("a"), At::Key, "").location, Some((1, 1)));
    }

    #[test]
    fn nesting_is_read_as_deep_as_the_parser_goes() {
        let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(source(&nested(127)).is_ok());
        assert_eq!(source(&nested(128)).unwrap_err().to_string(), "c.yaml:1:131: recursion limit exceeded");
    }

    #[test]
    fn hostile_files_are_refused_without_a_panic() {
        let pyramid = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
            format!("{text}a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1)
        });
        let copies = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a,".repeat(100_000));
        for text in [pyramid.as_str(), &copies, "a: &a [*a, *a]\n", &"[".repeat(100_000), &"- ".repeat(10_000)] {
            assert!(matches!(source(text), Err(ConfigError::Invalid { .. })));
        }
    }
}
