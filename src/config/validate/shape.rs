//! What is wrong wherever it stands: duplicate keys, keys that are not text, merge keys, tags.

use std::collections::HashSet;

use super::super::path::{At, ConfigPath};
use super::super::problem::quote;
use super::super::raw::Node;
use super::reader::{MERGE_KEY, Reader, kind};

/// Looks through all of the tree; the schema does not mention these again.
pub(super) fn check(node: &Node, path: &ConfigPath, reader: &mut Reader<'_>) {
    match node {
        Node::List(elements) => {
            for (index, element) in elements.iter().enumerate() {
                check(element, &path.clone().index(index), reader);
            }
        }
        Node::Map(entries) => {
            let mut seen = HashSet::new();
            for (position, (key, value)) in entries.iter().enumerate() {
                let path = path.clone().entry(position, name(key));
                match key {
                    Node::Text(name) if name == MERGE_KEY => {
                        reader.note(&path, At::Key, format!("merge keys (`{MERGE_KEY}`) are not supported"));
                    }
                    Node::Text(name) if !seen.insert(name) => {
                        reader.note(&path, At::Key, format!("duplicate key {}", quote(name)));
                    }
                    Node::Text(_) => {}
                    other => {
                        let message = format!("a key must be text, this is {}; put it in quotes", kind(other));
                        reader.note(&path, At::Key, message);
                    }
                }
                check(value, &path, reader);
            }
        }
        Node::Tagged(tag) => {
            reader.note(path, At::Value, format!("YAML tags such as {} are not supported", quote(tag)))
        }
        Node::Null | Node::Bool(..) | Node::Integer(..) | Node::Float(..) | Node::Text(_) => {}
    }
}

/// What to call an entry with any key.
fn name(key: &Node) -> String {
    match key {
        Node::Text(name) => name.clone(),
        Node::Bool(_, written) | Node::Integer(_, written) | Node::Float(_, written) => written.clone(),
        Node::Null => "null".into(),
        Node::List(_) | Node::Map(_) | Node::Tagged(_) => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::problems;

    #[test]
    fn each_is_found_at_its_place() {
        let in_config = |yaml: &str| format!("plugins:\n  echo:\n    config:\n      {yaml}");
        for (yaml, expected) in [
            ("service: {}\nservice: {}", "c.yaml:2:1: service: duplicate key `service`"),
            (&in_config("a: {b: 1, c: 2, b: 3}"), "c.yaml:4:23: plugins.echo.config.a.b: duplicate key `b`"),
            (&in_config("- {a: 1, a: 2}"), {
                "c.yaml:4:7: plugins.echo.config: expected a map, found a list\n\
                 c.yaml:4:16: plugins.echo.config[0].a: duplicate key `a`"
            }),
            (
                &in_config("5: x"),
                "c.yaml:4:7: plugins.echo.config.5: a key must be text, this is a number; put it in quotes",
            ),
            (
                &in_config("~: x"),
                "c.yaml:4:7: plugins.echo.config.null: a key must be text, this is nothing; put it in quotes",
            ),
            (
                &in_config("? [a]\n      : x"),
                "c.yaml:4:9: plugins.echo.config.?: a key must be text, this is a list; put it in quotes",
            ),
            (
                &in_config("a: &a {b: 1}\n      c: {<<: *a}"),
                "c.yaml:5:11: plugins.echo.config.c.<<: merge keys (`<<`) are not supported",
            ),
            (
                &in_config("a: !include {b: 1}"),
                "c.yaml:4:10: plugins.echo.config.a: YAML tags such as `include` are not supported",
            ),
            ("service: !x {}", "c.yaml:1:10: service: YAML tags such as `x` are not supported"),
            ("true: 1", "c.yaml:1:1: true: a key must be text, this is a boolean; put it in quotes"),
        ] {
            assert_eq!(problems(yaml), expected, "{yaml}");
        }
    }
}
