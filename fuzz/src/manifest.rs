//! The bytes of a `manifest.yaml`, and whether the plugin in its folder may be loaded.
//!
//! Oracle: [`promised`], a reading of SPEC section 3 ("Discovery", "Loading") over the YAML as `serde_yaml` sees it: a
//! manifest that certainly has the right shape is loaded exactly if SPEC says so, and says what stands there. Whatever
//! else is loaded has this folder's name and one of its safe entrypoints; what is not is refused with a reason that
//! names something. What is loaded means the same when it is written out and read again.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ductile::command::Command;
use ductile::config::{self, Config, Variables};
use ductile::plugin::{
    Access, ConfigKeys, Declared, FactOutput, FactSource, FactView, FactWhen, LoadError, Manifest, Protocol, Registry,
};
use serde_yaml::{Mapping, Value};
use tempfile::TempDir;

use crate::canonical;

const CONFIG: &str = "plugins: {echo: {config: {token: x, 'null': ~}}}\n";

/// What may be run in the folder of [`Site::new`].
const SAFE: [&[&str]; 3] = [&["run.sh"], &["bin", "run"], &["inside"]];

thread_local! {
    static SITE: Site = Site::new();
}

struct Site {
    _folder: TempDir,
    manifest: PathBuf,
    config: Arc<Config>,
}

impl Site {
    /// A plugin, `echo`, without a manifest: with two files that may be run, and what only looks like it.
    fn new() -> Self {
        // Not in memory, where nothing may be run on many systems.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let echo = path.join("plugins/echo");
        fs::create_dir_all(echo.join("bin")).unwrap();
        for (name, mode) in [("run.sh", 0o755), ("bin/run", 0o700), ("notes.txt", 0o644), ("open.sh", 0o757)] {
            fs::write(echo.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(echo.join(name), Permissions::from_mode(mode)).unwrap();
        }
        for folder in ["plugins", "plugins/echo", "plugins/echo/bin"] {
            fs::set_permissions(path.join(folder), Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(path.join("outside.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(path.join("outside.sh"), Permissions::from_mode(0o755)).unwrap();
        symlink("run.sh", echo.join("inside")).unwrap();
        symlink("../../outside.sh", echo.join("outside")).unwrap();
        symlink("nowhere", echo.join("broken")).unwrap();
        fs::write(path.join("config.yaml"), CONFIG).unwrap();
        let config = config::load(&path.join("config.yaml"), &Variables::from_iter([("", ""); 0])).unwrap().config;
        let site = Self { manifest: echo.join("manifest.yaml"), config: Arc::new(config), _folder: folder };
        let sound = b"name: echo\nprotocol: 1\nentrypoint: run.sh\ncommands: [poll]\n";
        site.load(sound).expect("the folder for temporary files is one from which files may be run");
        site
    }

    /// The plugin's manifest, or why it was not loaded.
    fn load(&self, manifest: &[u8]) -> Result<Manifest, String> {
        fs::write(&self.manifest, manifest).unwrap();
        fs::set_permissions(&self.manifest, Permissions::from_mode(0o644)).unwrap();
        let registry = Registry::discover(Arc::clone(&self.config));
        let entry = registry.entries().next().expect("there is one");
        assert!(entry.warnings.iter().all(|warning| warning.contains('`')), "{:?}", entry.warnings);
        match &entry.loaded {
            Ok(plugin) => Ok(plugin.manifest.clone()),
            // Without the file's name, which is in every message.
            Err(LoadError::InvalidManifest { reason, .. }) => Err(reason.clone()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Fails unless ductile keeps its promises about this manifest.
pub fn check(data: &[u8]) {
    SITE.with(|site| {
        let text = str::from_utf8(data).ok().map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
        let value = text.and_then(|text| serde_yaml::from_str::<Value>(text).ok());
        let promised = value.as_ref().and_then(promised);
        match (site.load(data), promised) {
            (Ok(manifest), promised) => {
                assert!(promised.is_none_or(|promised| promised.is_some_and(|promised| promised == manifest)));
                assert_eq!(manifest.name, "echo");
                assert!(is_safe(&manifest.entrypoint), "{:?}", manifest.entrypoint);
                let again = canonical::manifest(&manifest).expect("it was text");
                let reread = site.load(again.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{again}"));
                assert_eq!(manifest, reread, "{again}");
            }
            (Err(error), Some(Some(promised))) => panic!("refused: {error}: {promised:?}"),
            (Err(reason), _) => is_clear(text.unwrap_or_default(), &reason),
        }
    });
}

/// Fails unless a reason names what it is about, in words that are not those of the program.
fn is_clear(text: &str, reason: &str) {
    const OURS: &str = "expected struct ";
    assert!(reason.len() > 10 && (!reason.contains(OURS) || text.contains("struct")), "{reason:?}");
    let names = ["`", " at line ", "UTF-8 from byte ", " at position "].iter().any(|word| reason.contains(word));
    // Of the very beginning, a second document and a key that is no text the YAML parser gives no place.
    let is_syntax =
        !["invalid ", "unknown variant ", "missing ", "duplicate "].iter().any(|word| reason.contains(word));
    let is_key = reason.ends_with("expected field identifier");
    assert!(names || is_syntax || is_key, "this names nothing: {reason:?}");
}

/// Whether an entrypoint is one that SPEC lets run, by its writing alone.
fn is_safe(entrypoint: &Path) -> bool {
    let mut names = Vec::new();
    for component in entrypoint.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    let trailing = entrypoint.as_os_str().as_encoded_bytes();
    let names_a_folder = trailing.ends_with(b"/") || trailing.ends_with(b"/.");
    !names_a_folder && SAFE.iter().any(|safe| names == *safe)
}

/// What SPEC makes of a manifest: `Some(None)` is a refusal; `None` when it is a matter of YAML what the shape is, and this
/// reading has no opinion.
fn promised(value: &Value) -> Option<Option<Manifest>> {
    if !is_plain(value) {
        return None;
    }
    let Value::Mapping(_) = value else { return None };
    let text = |value: &Value| match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        _ => None,
    };
    let list = |value: &Value| match value {
        Value::Null => Some(Vec::new()),
        Value::Sequence(elements) => elements.iter().map(|element| element.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let name = value["name"].as_str()?;
    let entrypoint = PathBuf::from(value["entrypoint"].as_str()?);
    let flag = |value: &Value| match value {
        Value::Null => Some(None),
        Value::Bool(flag) => Some(Some(*flag)),
        _ => None,
    };
    let manifest_version = match &value["manifest_version"] {
        Value::Null => None,
        version => Some(version.as_u64()?),
    };
    let manifest_spec = text(&value["manifest_spec"])?;
    let protocol = match value["protocol"].as_u64()? {
        1 => Protocol::One,
        2 => Protocol::Two,
        _ => return Some(None),
    };
    let mut named_soundly = true;
    let mut commands: Vec<Declared> = Vec::new();
    let entries = value["commands"].as_sequence()?;
    for entry in entries {
        // Of a name alone there is nothing more, as of a map without more.
        let name = match entry {
            Value::String(name) => name,
            Value::Mapping(_) => entry["name"].as_str()?,
            _ => return None,
        };
        let entry = if entry.is_mapping() { entry } else { &Value::Mapping(Mapping::new()) };
        let access = match &entry["type"] {
            Value::Null => None,
            Value::String(word) if word == "read" => Some(Access::Read),
            Value::String(word) if word == "write" => Some(Access::Write),
            _ => return None,
        };
        let declared = |command| {
            Some(Declared {
                command,
                access,
                description: text(&entry["description"])?,
                idempotent: flag(&entry["idempotent"])?,
                retry_safe: flag(&entry["retry_safe"])?,
                input_schema: free(&entry["input_schema"]),
                output_schema: free(&entry["output_schema"]),
                values: free(&entry["values"]),
            })
        };
        let of_all = ["poll", "handle", "health", "init"].contains(&name);
        let declared = declared(if of_all || protocol == Protocol::Two && is_command(name) {
            name.parse().expect("the name of a command")
        } else {
            named_soundly &= protocol == Protocol::One;
            Command::Poll
        })?;
        let may_be_asked = declared.command.as_str() == name;
        if may_be_asked && commands.iter().all(|known| known.command != declared.command) {
            commands.push(declared);
        }
    }
    let (mut fact_outputs, mut facts_are_sound) = (Vec::new(), true);
    match &value["fact_outputs"] {
        Value::Null => {}
        Value::Sequence(entries) => {
            for entry in entries {
                let command = entry.as_mapping()?.get("when")?.as_mapping()?.get("command")?.as_str()?;
                let view = text(&entry["compatibility_view"])?;
                if entry["from"].as_str()? != "state_updates" || view.is_some_and(|view| view != "mirror_object") {
                    return None;
                }
                let fact_type = entry["fact_type"].as_str()?.to_owned();
                let Some(declared) = commands.iter().find(|declared| declared.command.as_str() == command) else {
                    facts_are_sound = false;
                    continue;
                };
                facts_are_sound &= !fact_type.trim().is_empty() && fact_type.len() <= 256;
                let output = FactOutput {
                    when: FactWhen { command: declared.command.clone() },
                    from: FactSource::StateUpdates,
                    fact_type,
                    compatibility_view: FactView::MirrorObject,
                };
                if !fact_outputs.contains(&output) {
                    fact_outputs.push(output);
                }
            }
        }
        _ => return None,
    }
    let config_keys = match &value["config_keys"] {
        Value::Null => None,
        keys @ Value::Mapping(_) => {
            Some(ConfigKeys { required: list(&keys["required"])?, optional: list(&keys["optional"])? })
        }
        _ => return None,
    };
    let manifest = Manifest {
        manifest_spec,
        manifest_version,
        name: name.to_owned(),
        version: text(&value["version"])?,
        protocol,
        description: text(&value["description"])?,
        entrypoint,
        concurrency_safe: flag(&value["concurrency_safe"])?,
        commands,
        fact_outputs,
        config_keys,
        stopwatch: free(&value["stopwatch"]),
    };
    let required = manifest.config_keys.iter().flat_map(|keys| &keys.required);
    let loads = manifest.manifest_spec.as_ref().is_none_or(|spec| spec == "ductile.plugin")
        && manifest.manifest_version.is_none_or(|version| version == 1)
        && named_soundly
        && facts_are_sound
        && name == "echo"
        && !entries.is_empty()
        && is_safe(&manifest.entrypoint)
        && required.clone().all(|key| key == "token");
    Some(loads.then_some(manifest))
}

/// What may hold anything, which is plain here.
fn free(value: &Value) -> Option<serde_json::Value> {
    (!value.is_null()).then(|| serde_json::to_value(value).expect("texts for keys, and no tags"))
}

/// Whether a command of protocol 2 may have this name.
fn is_command(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        && name.len() <= 64
}

/// Whether there are texts for keys and no tags, everywhere.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Tagged(_) => false,
        Value::Sequence(elements) => elements.iter().all(is_plain),
        Value::Mapping(entries) => entries.iter().all(|(key, value)| key.is_string() && is_plain(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
