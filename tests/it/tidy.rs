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
    ("schema", &[]),
    ("scheduler", &["config", "plugin", "queue", "state"]),
    ("state", &[]),
    ("vitals", &[]),
    ("webhook", &["active", "config", "health", "http", "plugin", "queue", "state"]),
];

const LEAVES: &[&str] = &["clock", "command", "counters", "fault", "log", "schema", "vitals"];

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

/// What a line of the log has: who speaks, how loud, what it says (`...` for what is filled in), its other fields.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    component: String,
    level: String,
    message: String,
    fields: BTreeSet<String>,
}

/// The arguments of a macro's call, which begins behind its parenthesis.
fn arguments(text: &str) -> Vec<String> {
    let (mut arguments, mut argument) = (Vec::new(), String::new());
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(std::mem::take(&mut argument));
                continue;
            }
            _ => {}
        }
        argument.push(c);
    }
    arguments.push(argument);
    arguments.iter().map(|argument| argument.trim().to_owned()).filter(|argument| !argument.is_empty()).collect()
}

/// `...` for each `{...}`.
fn without_values(message: &str) -> String {
    let (mut text, mut depth) = (String::new(), 0);
    for c in message.chars() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                text += "...";
            }
            c if depth == 0 => text.push(c),
            _ => {}
        }
    }
    text
}

fn logged(component: &str, text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for level in ["trace", "debug", "info", "warn", "error"] {
        let call = format!("tracing::{level}!(");
        for (at, _) in text.match_indices(&call) {
            let mut line = Line {
                component: component.to_owned(),
                level: level.to_uppercase(),
                message: String::new(),
                fields: BTreeSet::new(),
            };
            for argument in arguments(&text[at + call.len()..]) {
                if let Some(message) = argument.strip_prefix('"') {
                    line.message = without_values(message.strip_suffix('"').unwrap());
                    // What follows is filled in.
                    break;
                }
                let name = argument.split('=').next().unwrap().trim().trim_start_matches(['%', '?']);
                line.fields.insert(name.to_owned());
            }
            assert!(!line.message.is_empty() && !line.message.starts_with("..."), "{line:?} has no text of its own");
            lines.push(line);
        }
    }
    lines
}

/// The rows of the tables: under the heading of each component level, message, fields, what to do.
fn documented(page: &str) -> Vec<Line> {
    let (mut lines, mut component) = (Vec::new(), "");
    for row in page.lines() {
        component = row.strip_prefix("### ").unwrap_or(component);
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [level @ ("TRACE" | "DEBUG" | "INFO" | "WARN" | "ERROR"), message, fields, meaning] = cells[..] else {
            continue;
        };
        assert!(meaning.len() > 5, "what does {message} mean?");
        lines.push(Line {
            component: component.trim_matches('`').to_owned(),
            level: level.to_owned(),
            message: message.trim_matches('`').trim().to_owned(),
            fields: fields
                .split(", ")
                .map(|field| field.trim_matches('`').to_owned())
                .filter(|field| !field.is_empty())
                .collect(),
        });
    }
    lines
}

#[test]
fn the_page_on_the_log_has_every_line_and_no_other() {
    let page = fs::read_to_string(root().join("docs/log.md")).unwrap();
    let rows = documented(&page);
    let known: BTreeSet<_> = rows.iter().collect();
    assert_eq!(known.len(), rows.len(), "a line is there twice");
    let mut written = Vec::new();
    for file in sources(&root().join("src")) {
        written.extend(logged(&module(&file), product(&fs::read_to_string(&file).unwrap())));
    }
    let written: BTreeSet<_> = written.iter().collect();
    assert!(written.len() > 40, "{}", written.len());
    let missing: Vec<_> = written.difference(&known).collect();
    assert!(missing.is_empty(), "docs/log.md does not know {missing:#?}");
    let gone: Vec<_> = known.difference(&written).collect();
    assert!(gone.is_empty(), "no such lines: {gone:#?}");

    let (_, table) = page.split_once("## Fields").unwrap();
    let explained: BTreeSet<_> = table
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|fields| fields.split(", ").map(|field| field.trim_matches('`')))
        .collect();
    let used: BTreeSet<_> = written.iter().flat_map(|line| line.fields.iter().map(String::as_str)).collect();
    assert_eq!(explained, used, "the table of the fields");
}

/// Every name in a text that looks like a metric's.
fn metrics(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|name| name.starts_with("ductile_")).map(str::to_owned).collect()
}

#[test]
fn metrics_alerts_and_dashboard_go_together() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let told = metrics(product(&read("src/metrics/families.rs")));
    assert!(told.len() > 20, "{told:?}");
    assert_eq!(metrics(&read("docs/prometheus/README.md")), told, "the table of docs/prometheus/README.md");
    let mut used = BTreeSet::new();
    for file in ["docs/prometheus/alerts.yaml", "docs/prometheus/dashboard.json", "tests/prometheus/alerts.yaml"] {
        for name in metrics(&read(file)) {
            let family = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
            let family = family.unwrap_or(&name).to_owned();
            assert!(told.contains(&family), "{file}: nobody tells {name}");
            used.insert(family);
        }
    }
    let unused: Vec<_> = told.difference(&used).collect();
    assert!(unused.is_empty(), "neither an alert nor the dashboard looks at {unused:?}");
}
