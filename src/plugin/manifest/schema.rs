//! The JSON Schema of manifests, made from the shapes that are read. Stricter in one point: what is only warned of, an
//! unknown key, is wrong by the schema, so that an editor marks it.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::Manifest;
use super::raw::{Described, RawCommand, RawManifest};

impl JsonSchema for RawCommand {
    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let described = generator.subschema_for::<Described>();
        json_schema!({"anyOf": [{"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,63}$"}, described]})
    }
}

fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    crate::schema::committed::<RawManifest>("manifest", generator, "ductile: manifest.yaml of a plugin")
}

mod tests {
    use super::*;
    use crate::schema::{closed_maps, errors, file, files, validator, yaml};

    /// What is unknown by the reader, of a text that is a manifest.
    fn unknown(text: &str) -> Option<bool> {
        let mut warnings = Vec::new();
        Manifest::parse(text.as_bytes(), &mut warnings).ok()?;
        Some(warnings.iter().any(|warning| warning.starts_with("unknown key")))
    }

    #[test]
    fn what_is_a_manifest_is_one_by_the_schema_but_for_unknown_keys() {
        let validator = validator(&schema());
        let (mut valid, mut warned) = (0, 0);
        for (path, text) in files("fuzz/seeds/manifest") {
            let Some(unknown) = unknown(&text) else { continue };
            // With keys that are no text it is free-form all the same.
            let Some(value) = yaml(&text) else { continue };
            let errors = errors(&validator, &value);
            // In protocol 1 other names are warned of.
            let names = errors.iter().all(|error| error.starts_with("/commands/")) && value["protocol"] == 1;
            assert!(errors.is_empty() || unknown || names, "{}: {errors:#?}", path.display());
            assert!(!unknown || !errors.is_empty(), "{} has an unknown key", path.display());
            valid += 1;
            warned += usize::from(unknown);
        }
        assert!(valid > 10 && warned > 0, "{valid} {warned}");
    }

    /// Those of the repository, and what `plugin new` writes.
    #[test]
    fn bundled_manifests_are_valid_and_name_their_schema() {
        let validator = validator(&schema());
        let line = "# yaml-language-server: $schema=../../schemas/manifest.schema.json\n";
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut seen = 0;
        for entry in std::fs::read_dir(root.join("plugins")).unwrap() {
            let path = entry.unwrap().path().join("manifest.yaml");
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            assert!(text.starts_with(line), "{} does not begin with {line}", path.display());
            assert_eq!(errors(&validator, &yaml(&text).unwrap()), [""; 0], "{}", path.display());
            seen += 1;
        }
        assert!(seen >= 4, "{seen}");
        let template = file("src/cli/plugin/templates/manifest.yaml");
        assert_eq!(errors(&validator, &yaml(&template).unwrap()), [""; 0]);
        assert_eq!(closed_maps(&schema()).len(), 5);
    }

    #[test]
    fn what_is_no_manifest_is_none_by_the_schema() {
        let validator = validator(&schema());
        let head = "name: a, protocol: 1, entrypoint: run";
        for text in [
            "{name: a, protocol: 1, entrypoint: run}".to_owned(),
            format!("{{{head}, commands: []}}"),
            format!("{{{head}, commands: [2nd]}}").replace("protocol: 1", "protocol: 2"),
            format!("{{{head}, commands: [poll]}}").replace("protocol: 1", "protocol: 3"),
            format!("{{{head}, commands: [poll], manifest_spec: other}}"),
            format!("{{{head}, commands: [poll], manifest_version: 2}}"),
            format!("{{{head}, commands: [{{type: read}}]}}"),
            format!("{{{head}, commands: [{{name: poll, type: look}}]}}"),
            format!("{{{head}, commands: [poll], config_keys: [a]}}"),
            format!("{{{head}, commands: [poll], fact_outputs: [{{from: state_updates, fact_type: a}}]}}"),
        ] {
            assert_eq!(unknown(&text), None, "{text}");
            assert!(!validator.is_valid(&yaml(&text).unwrap()), "{text}");
        }
        for key in ["descripton: x", "config_keys: {require: []}", "commands: [{name: poll, kind: read}]"] {
            let text =
                format!("{{{head}, {key}{}}}", if key.starts_with("commands") { "" } else { ", commands: [poll]" });
            assert_eq!(unknown(&text), Some(true), "{text}");
            assert!(!validator.is_valid(&yaml(&text).unwrap()), "{text}");
        }
        let full = format!(
            "{{{head}, manifest_spec: ductile.plugin, manifest_version: 1, version: ~, concurrency_safe: true, stopwatch: [1], \
             commands: [poll, {{name: handle, type: write, description: x, idempotent: true, retry_safe: false, \
             input_schema: {{a: b}}, output_schema: 1, values: ~}}], config_keys: {{required: [a], optional: }}, \
             fact_outputs: [{{when: {{command: poll}}, from: state_updates, fact_type: a, compatibility_view: mirror_object}}]}}"
        );
        assert_eq!(unknown(&full), Some(false));
        assert_eq!(errors(&validator, &yaml(&full).unwrap()), [""; 0]);
    }
}
