//! The JSON Schemas in `schemas/`: made from the types by tests, which compare them with the files. Not in the program.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Set to anything, it has the tests write the files anew.
const UPDATE: &str = "UPDATE_SCHEMAS";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The schema of `T`, after it was compared with the file of this name.
pub(crate) fn committed<T: JsonSchema>(name: &str, generator: SchemaGenerator, title: &str) -> Value {
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    let made = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = root().join("schemas").join(format!("{name}.schema.json"));
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(made == written, "{} is out of date: {UPDATE}=1 cargo test --lib schema", path.display());
    serde_json::from_str(&made).unwrap()
}

pub(crate) fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::draft202012::new(schema).unwrap()
}

/// What is wrong by the schema, each with its place; empty when nothing is.
pub(crate) fn errors(validator: &jsonschema::Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Every map of the schema that takes the listed keys only, by the names of those keys.
pub(crate) fn closed_maps(schema: &Value) -> Vec<Vec<String>> {
    fn walk(value: &Value, found: &mut Vec<Vec<String>>) {
        match value {
            Value::Object(map) => {
                if map.get("additionalProperties") == Some(&json!(false)) {
                    found.push(keys(map));
                }
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }

    fn keys(map: &Map<String, Value>) -> Vec<String> {
        map["properties"].as_object().unwrap().keys().cloned().collect()
    }

    let mut found = Vec::new();
    walk(schema, &mut found);
    found.sort();
    found
}

/// YAML as a program sees it that knows JSON only; `None` for what JSON cannot say.
pub(crate) fn yaml(text: &str) -> Option<Value> {
    serde_yaml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()
}

/// The files of a folder of the repository, with their text; those that are no text are left out.
pub(crate) fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?))).collect();
    files.sort();
    files
}

/// The text of a file of the repository.
pub(crate) fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}
