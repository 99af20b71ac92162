//! `plugins_dir` and `plugin_roots`: where plugins are looked for.

use super::super::PluginRoot;
use super::super::problem::quote;
use super::super::raw::Node;
use super::path;
use super::reader::{Reader, Section};

const DEFAULT: &str = "./plugins";

/// In the order in which they are searched: `plugins_dir`, then `plugin_roots`.
pub(super) fn read_all<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Vec<PluginRoot> {
    let plugins_dir = root.get("plugins_dir");
    let items = reader.list(root.get("plugin_roots"));
    let may_be_missing = plugins_dir.is_none() && !items.is_empty();
    let mut roots = vec![PluginRoot { path: path(reader, plugins_dir, DEFAULT), may_be_missing }];
    for item in items {
        let root = PluginRoot { path: path(reader, Some(item.clone()), DEFAULT), may_be_missing: false };
        // A default that is named all the same must be there, at the place where it is named.
        roots.retain(|other| !(other.may_be_missing && other.path == root.path));
        if let Node::Text(written) = item.node
            && !written.is_empty()
            && roots.iter().any(|other| other.path == root.path)
        {
            reader.refuse(&item, format!("{} is searched already", quote(written)));
        }
        roots.push(root);
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, validate};

    fn roots(yaml: &str) -> Vec<(String, bool)> {
        let roots = validate(yaml).map_err(|problems| panic!("{problems}")).unwrap().plugin_roots;
        roots.into_iter().map(|root| (root.path.display().to_string(), root.may_be_missing)).collect()
    }

    #[test]
    fn roots_keep_their_order_and_the_default_is_the_first() {
        let root = |path: &str, may_be_missing| (path.to_owned(), may_be_missing);
        for (yaml, expected) in [
            ("service:", vec![root("/etc/ductile/plugins", false)]),
            ("plugin_roots: []", vec![root("/etc/ductile/plugins", false)]),
            ("plugins_dir: p", vec![root("/etc/ductile/p", false)]),
            ("plugin_roots: [more]", vec![root("/etc/ductile/plugins", true), root("/etc/ductile/more", false)]),
            ("plugin_roots: [/a, ./plugins]", vec![root("/a", false), root("/etc/ductile/plugins", false)]),
            (
                "{plugins_dir: p, plugin_roots: [/b, ./a]}",
                vec![root("/etc/ductile/p", false), root("/b", false), root("/etc/ductile/a", false)],
            ),
        ] {
            assert_eq!(roots(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn wrong_roots() {
        for (yaml, expected) in [
            ("plugin_roots: more", "c.yaml:1:15: plugin_roots: expected a list, found the text `more`"),
            ("plugin_roots: ['']", "c.yaml:1:16: plugin_roots[0]: may not be empty"),
            (
                "plugin_roots: [a, 1]",
                "c.yaml:1:19: plugin_roots[1]: expected text, found the number `1`; put it in quotes",
            ),
            (
                "plugin_roots: [~/p]",
                "c.yaml:1:16: plugin_roots[0]: `~/p` starts with `~`, which is not replaced; write `${HOME}` instead",
            ),
            ("{plugins_dir: /a, plugin_roots: [b, /a]}", "c.yaml:1:37: plugin_roots[1]: `/a` is searched already"),
        ] {
            assert_eq!(problems(yaml), expected, "{yaml}");
        }
    }
}
