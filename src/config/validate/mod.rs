//! From the tree to a [`Config`]: the schema, its defaults, and every rule, all problems at once.
//!
//! Each part of the file has its module. They read through a [`Reader`], which notes what is wrong and
//! answers with nothing; the default then stands in, and the result is thrown away once anything was noted.

mod json;
mod metrics;
mod plugin;
mod reader;
mod root;
mod route;
mod schedule;
mod service;
mod shape;
mod value;
mod webhook;

pub(crate) use plugin::wrong_name as wrong_plugin_name;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::path::ConfigPath;
use super::problem::{ConfigError, hint};
use super::raw::Node;
use super::source::Source;
use super::variables::Variables;
use super::{Metrics, PluginConfig, PluginRoot, Route, Service, Webhooks};
use reader::{Item, Reader, Scalar, Section};

/// Sources of events, so no plugin may have these names.
const RESERVED_NAMES: [&str; 4] = [super::CORE_SOURCE, "webhook", "cli", super::SCHEDULER_SOURCE];

/// What the file says, apart from the file itself.
pub(super) struct Validated {
    pub(super) service: Service,
    pub(super) state_path: PathBuf,
    pub(super) plugin_roots: Vec<PluginRoot>,
    pub(super) plugins: BTreeMap<String, PluginConfig>,
    pub(super) webhooks: Option<Webhooks>,
    pub(super) metrics: Option<Metrics>,
    pub(super) routes: Vec<Route>,
}

/// Checks everything. `folder`, absolute, is what relative paths are relative to.
pub(super) fn all(source: &Source, variables: &Variables, folder: &Path) -> Result<Validated, ConfigError> {
    const KEYS: [&str; 8] =
        ["service", "state", "plugins_dir", "plugin_roots", "plugins", "webhooks", "metrics", "routes"];
    let mut reader = Reader::new(source, variables, folder);
    shape::check(source.root(), &ConfigPath::root(), &mut reader);
    let root = reader.section(Some(Item::root(source)), &KEYS);
    let plugin_names = PluginNames::of(&root);
    let service = service::read(&mut reader, &root);
    let state_path = state_path(&mut reader, &root);
    let plugin_roots = root::read_all(&mut reader, &root);
    let plugins = plugin::read_all(&mut reader, &root);
    let webhooks = webhook::read(&mut reader, &root, &plugin_names);
    let metrics = metrics::read(&mut reader, &root, webhooks.as_ref());
    let routes = route::read_all(&mut reader, &root, &plugin_names);
    reader.finish()?;
    Ok(Validated { service, state_path, plugin_roots, plugins, webhooks, metrics, routes })
}

/// Checks `state` alone.
pub(super) fn state_only(source: &Source, variables: &Variables, folder: &Path) -> Result<PathBuf, ConfigError> {
    let mut reader = Reader::new(source, variables, folder);
    let root = reader.any_section(Some(Item::root(source)));
    let state_path = state_path(&mut reader, &root);
    reader.finish()?;
    Ok(state_path)
}

fn state_path<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> PathBuf {
    let state = reader.section(root.get("state"), &["path"]);
    let item = state.get("path");
    let state_path = path(reader, item.clone(), "./data/ductile.db");
    if let Some(item) = item
        && let Node::Text(written) = item.node
        && (state_path.file_name().is_none() || ["/", "/.", "/..", ".", ".."].iter().any(|end| written.ends_with(end)))
    {
        reader.refuse(&item, "does not name a file");
    }
    state_path
}

/// A path in the file system, absolute.
fn path<'a>(reader: &mut Reader<'a>, item: Option<Item<'a>>, default: &str) -> PathBuf {
    let folder = reader.folder();
    // Collecting the components takes out `./`, which nobody wants to see in a message.
    let absolute = |path: &str| folder.join(path).components().collect();
    let Some(item) = item else { return absolute(default) };
    let Some(scalar) = reader.text(&item) else { return absolute(default) };
    if scalar.value.starts_with('~') {
        reader.refuse(&item, format!("{scalar} starts with `~`, which is not replaced; write `${{HOME}}` instead"));
    }
    absolute(&scalar.value)
}

/// The names under `plugins`, right or wrong, for what refers to them.
struct PluginNames<'a>(Option<Vec<&'a str>>);

impl<'a> PluginNames<'a> {
    fn of(root: &Section<'a>) -> Self {
        let Some(plugins) = root.get("plugins") else { return Self(Some(Vec::new())) };
        let Node::Map(entries) = plugins.node else { return Self(None) };
        let name = |(key, _): &'a (Node, Node)| if let Node::Text(name) = key { Some(name.as_str()) } else { None };
        Self(Some(entries.iter().filter_map(name).collect()))
    }

    /// Lets the name through if it is one of them.
    fn check(&self, reader: &mut Reader<'a>, item: &Item<'a>, scalar: Scalar<'a>) -> Option<String> {
        // Names that could not be read are a problem of their own, not one of each reference.
        let Some(names) = &self.0 else { return Some(scalar.value.into_owned()) };
        if names.contains(&scalar.value.as_ref()) {
            return Some(scalar.value.into_owned());
        }
        let hint = hint(&scalar.value, names, "the plugins are");
        reader.refuse(item, format!("{scalar} is not a configured plugin{hint}"));
        None
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of the parts share.

    use super::*;

    pub(in crate::config) fn validate(yaml: &str) -> Result<Validated, String> {
        let variables = Variables::from_iter([
            ("EVERY", "5m"),
            ("FOUR", "4"),
            ("TRUE", "true"),
            ("SECRET", "hunter2"),
            ("NASTY", "a # b: 'c' \"d\"\n- e"),
            ("EMPTY", ""),
        ]);
        let source = Source::parse(Path::new("c.yaml"), yaml.as_bytes()).map_err(|error| error.to_string())?;
        all(&source, &variables, Path::new("/etc/ductile")).map_err(|error| error.to_string())
    }

    /// The settings of a plugin, which must be right.
    pub(super) fn plugin(yaml: &str) -> PluginConfig {
        let yaml = format!("plugins:\n  echo: {yaml}\n");
        validate(&yaml).map_err(|problems| panic!("{problems}")).unwrap().plugins.remove("echo").unwrap()
    }

    pub(in crate::config) fn problems(yaml: &str) -> String {
        validate(yaml).map(|_| "no problem".to_owned()).unwrap_or_else(|problems| problems)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{problems, validate};
    use super::*;

    #[test]
    fn paths_are_relative_to_the_file() {
        let validated = validate("plugins_dir: ../p\nstate: {path: ./a/./b.db}").unwrap();
        assert_eq!(validated.state_path, Path::new("/etc/ductile/a/b.db"));
        assert_eq!(validated.plugin_roots[0].path, Path::new("/etc/ductile/../p"));
        let validated = validate("plugins_dir: /opt/p\nservice:").unwrap();
        assert_eq!(validated.state_path, Path::new("/etc/ductile/data/ductile.db"));
        assert_eq!(validated.plugin_roots[0].path, Path::new("/opt/p"));
    }

    #[test]
    fn impossible_paths_are_refused() {
        for (yaml, expected) in [
            ("state: {path: /}", "c.yaml:1:15: state.path: does not name a file"),
            ("state: {path: ./}", "c.yaml:1:15: state.path: does not name a file"),
            ("state: {path: ''}", "c.yaml:1:15: state.path: may not be empty"),
            (
                "plugins_dir: ~/plugins",
                "c.yaml:1:14: plugins_dir: `~/plugins` starts with `~`, which is not replaced; write `${HOME}` instead",
            ),
            ("state: data.db", "c.yaml:1:8: state: expected a map, found the text `data.db`"),
        ] {
            assert_eq!(problems(yaml), expected);
        }
    }

    #[test]
    fn problems_come_all_at_once_in_the_order_of_the_file() {
        let yaml = "\
routes:
  - {from: echo, event_type: x, to: eco}
plugins:
  echo:
    schedule: {evry: 5m}
    retry: {max_attempts: 0}
servce: {}
state: {path: '${NOWHERE}'}
";
        assert_eq!(
            problems(yaml),
            "\
c.yaml:2:37: routes[0].to: `eco` is not a configured plugin; did you mean `echo`?
c.yaml:5:5: plugins.echo.schedule: `every` is missing
c.yaml:5:16: plugins.echo.schedule.evry: unknown key `evry`; did you mean `every`?
c.yaml:6:27: plugins.echo.retry.max_attempts: `0` is not a whole number from 1 to 100
c.yaml:7:1: servce: unknown key `servce`; did you mean `service`?
c.yaml:8:15: state.path: `${NOWHERE}` is not set"
        );
    }

    #[test]
    fn more_problems_than_anyone_reads_are_counted() {
        let yaml: String = (0..250).map(|n| format!("nonsense_{n}: 1\n")).collect();
        let problems = problems(&yaml);
        assert_eq!(problems.lines().count(), 101);
        assert!(problems.ends_with("\nand 150 more"), "{problems}");
    }

    #[test]
    fn the_file_must_be_a_map() {
        assert_eq!(problems("- a"), "c.yaml:1:1: expected a map, found a list");
        assert_eq!(problems("text"), "c.yaml:1:1: expected a map, found the text `text`");
    }
}
