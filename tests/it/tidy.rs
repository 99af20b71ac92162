//! What the sources promise about themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules may use which: the table of ARCHITECTURE.md. Leaves may be used by all.
const IMPORTS: &[(&str, &[&str])] = &[
    ("active", &["config", "plugin", "queue", "router", "scheduler", "state"]),
    ("cli", &["active", "config", "daemon", "dispatch", "plugin", "queue", "scheduler", "state"]),
    ("clock", &[]),
    ("command", &[]),
    ("config", &[]),
    ("counters", &[]),
    (
        "daemon",
        &[
            "active",
            "config",
            "dispatch",
            "health",
            "http",
            "metrics",
            "plugin",
            "queue",
            "scheduler",
            "state",
            "webhook",
        ],
    ),
    ("dispatch", &["active", "config", "plugin", "queue", "router", "scheduler", "state"]),
    ("fault", &[]),
    ("health", &["active", "queue", "scheduler", "state"]),
    ("http", &[]),
    ("log", &["config"]),
    ("main", &[]),
    ("metrics", &["active", "health", "http", "queue", "scheduler", "state"]),
    ("plugin", &["config"]),
    ("queue", &["state"]),
    ("router", &["config", "plugin", "queue"]),
    ("scheduler", &["config", "queue", "state"]),
    ("state", &[]),
    ("vitals", &[]),
    ("webhook", &["active", "config", "health", "http", "plugin", "queue", "state"]),
];

const LEAVES: &[&str] = &["clock", "command", "counters", "fault", "log", "vitals"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The top-level module of a file under `src`.
fn module(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The file without its tests, which may use what they like.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap()
}

/// What follows each `crate::`, also inside of braces.
fn used_modules(text: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut used = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap();
                used.extend(group.split(',').map(|item| word(item.trim())));
            }
            None => used.push(word(rest)),
        }
    }
    used
}

#[test]
fn imports_point_one_way() {
    let allowed: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for file in sources(&root().join("src")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let module = module(&file);
        if module == "lib" || name == "tests.rs" || name == "model.rs" || file.iter().any(|part| part == "tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let allowed = allowed.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not in the table"));
        for used in used_modules(product(&text)) {
            if used.is_empty() || used == module || LEAVES.contains(&used.as_str()) {
                continue;
            }
            assert!(allowed.contains(&used.as_str()), "{} uses {used}, which {module} may not", file.display());
            seen.insert((module.clone(), used));
        }
    }
    for (module, uses) in IMPORTS {
        for used in *uses {
            assert!(
                seen.contains(&((*module).to_owned(), (*used).to_owned())),
                "{module} does not use {used} any more"
            );
        }
    }
}

#[test]
fn every_module_says_what_it_owns() {
    for file in sources(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let is_test = file.file_name().is_some_and(|name| name == "tests.rs");
        assert!(is_test || text.starts_with("//!"), "{} does not begin with //!", file.display());
    }
}

#[test]
fn no_source_file_holds_too_much() {
    for file in sources(&root().join("src")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        let is_test = file.file_name().is_some_and(|name| name == "tests.rs");
        assert!(is_test || lines <= 400, "{} has {lines} lines: one idea each?", file.display());
    }
}

/// The texts of the WARN and ERROR lines in a source, up to what is filled in.
fn warnings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for call in ["tracing::warn!(", "tracing::error!("] {
        for (at, _) in text.match_indices(call) {
            let end = text[at..].find(");").map_or(text.len(), |end| at + end);
            let Some(message) = text[at..end].rsplit('"').nth(1) else { continue };
            found.push(message.split('{').next().unwrap().trim().to_owned());
        }
    }
    found.retain(|message| !message.is_empty());
    found
}

#[test]
fn the_operators_page_knows_every_warning() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut seen = 0;
    for file in sources(&root().join("src")) {
        for message in warnings(product(&fs::read_to_string(&file).unwrap())) {
            // The page may leave out the end: of a long text, or from what is filled in.
            let known = page.split('`').any(|quoted| {
                let shown = quoted.split("...").next().unwrap().trim();
                shown.len() > 8 && (message.starts_with(shown) || shown.starts_with(&message))
            });
            assert!(known, "{}: docs/operations.md does not know `{message}`", file.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
