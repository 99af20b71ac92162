//! All that a plugin declares, for people.

use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::cli::output;

/// Shown already, by those who have the rest of the plugin.
const SHOWN: [&str; 4] = ["name", "version", "protocol", "commands"];

/// What is longer than this is shown as YAML, on lines of its own.
const LONG: usize = 100;

/// Writes the manifest, which is JSON text, one line a value unless that is long.
pub(super) fn write(out: &mut impl Write, manifest: &str) -> io::Result<()> {
    let manifest: Map<String, Value> = serde_json::from_str(manifest)?;
    writeln!(out, "\nmanifest")?;
    let rest = manifest.iter().filter(|(key, _)| !SHOWN.contains(&key.as_str()));
    values(out, 4, rest)?;
    let commands = manifest.get("commands").and_then(Value::as_array);
    for command in commands.into_iter().flatten().filter_map(Value::as_object) {
        let name = command.get("name").map(text).unwrap_or_default();
        writeln!(out, "    command {name}")?;
        values(out, 8, command.iter().filter(|(key, _)| *key != "name"))?;
    }
    Ok(())
}

fn values<'a>(
    out: &mut impl Write,
    indent: usize,
    values: impl Iterator<Item = (&'a String, &'a Value)>,
) -> io::Result<()> {
    for (key, value) in values {
        let text = text(value);
        if value.is_string() || text.len() <= LONG {
            writeln!(out, "{:indent$}{key:16}  {text}", "")?;
            continue;
        }
        writeln!(out, "{:indent$}{key}", "")?;
        for line in serde_yaml::to_string(value).map_err(io::Error::other)?.lines() {
            writeln!(out, "{:indent$}    {}", "", output::printable(line))?;
        }
    }
    Ok(())
}

/// On one line: a text as it is, everything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => output::printable(text.trim_end()).replace('\n', " "),
        other => output::printable(&other.to_string()).into_owned(),
    }
}
