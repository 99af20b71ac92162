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
use ductile::plugin::{Access, LoadError, Manifest, Registry};
use serde_yaml::Value;
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
    let protocol = value["protocol"].as_u64()?;
    let mut commands: Vec<ductile::plugin::Declared> = Vec::new();
    let entries = value["commands"].as_sequence()?;
    for entry in entries {
        let (name, access, description) = match entry {
            Value::String(name) => (name.as_str(), None, None),
            Value::Mapping(_) => {
                let access = match &entry["type"] {
                    Value::Null => None,
                    Value::String(word) if word == "read" => Some(Access::Read),
                    Value::String(word) if word == "write" => Some(Access::Write),
                    _ => return None,
                };
                (entry["name"].as_str()?, access, text(&entry["description"])?)
            }
            _ => return None,
        };
        let command = match name {
            "poll" => Command::Poll,
            "handle" => Command::Handle,
            "health" => Command::Health,
            "init" => Command::Init,
            _ => continue,
        };
        if commands.iter().all(|known| known.command != command) {
            commands.push(ductile::plugin::Declared { command, access, description });
        }
    }
    let config_keys = match &value["config_keys"] {
        Value::Null => None,
        keys @ Value::Mapping(_) => {
            Some(ductile::plugin::ConfigKeys { required: list(&keys["required"])?, optional: list(&keys["optional"])? })
        }
        _ => return None,
    };
    let manifest = Manifest {
        name: name.to_owned(),
        version: text(&value["version"])?,
        description: text(&value["description"])?,
        entrypoint,
        commands,
        config_keys,
    };
    let required = manifest.config_keys.iter().flat_map(|keys| &keys.required);
    let loads = protocol == 1
        && name == "echo"
        && !entries.is_empty()
        && is_safe(&manifest.entrypoint)
        && required.clone().all(|key| key == "token");
    Some(loads.then_some(manifest))
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
