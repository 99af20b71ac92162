//! One plugin that may run: its manifest, its settings, and what each of its processes is given.
//!
//! Everything that stays the same between two attempts is prepared here, once.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use uuid::Uuid;

use super::environment::{Environment, INSTANCE_VARIABLE};
use super::interpreter::{self, InterpreterError};
use super::manifest::{Manifest, ManifestError};
use super::trust::{TrustError, TrustedFolder};
use crate::config::PluginConfig;

const MANIFEST_BYTES: u64 = 1 << 20;

/// A plugin that was loaded.
pub struct Plugin {
    name: String,
    pub manifest: Manifest,
    /// `plugins.<name>` of the configuration; defaults, and not enabled, for a plugin that is not in it.
    pub settings: PluginConfig,
    root: PathBuf,
    config: Box<RawValue>,
    environment: Environment,
    fingerprint: String,
}

/// Why a plugin was not loaded. Each message is whole in itself: it names the file and the reason.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("plugin root `{path}` cannot be read: {reason}")]
    RootUnreadable { path: PathBuf, reason: String },
    #[error("folder missing: `{folder}` is in none of {}", backticked(.roots.iter().map(|root| root.display())))]
    InNoRoot { folder: String, roots: Vec<PathBuf> },
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    #[error("manifest `{path}` cannot be read: {reason}")]
    ManifestUnreadable { path: PathBuf, reason: io::Error },
    #[error("manifest `{path}` is larger than {MANIFEST_BYTES} bytes")]
    ManifestTooLarge { path: PathBuf },
    #[error("invalid manifest `{path}`: {reason}")]
    InvalidManifest { path: PathBuf, reason: String },
    #[error("invalid manifest `{path}`: name `{name}` is not that of its folder, `{folder}`")]
    NameMismatch { path: PathBuf, name: String, folder: String },
    #[error("manifest `{path}` requires what `plugins.{plugin}.config` lacks: {}", backticked(.keys.iter()))]
    MissingConfigKeys { path: PathBuf, plugin: String, keys: Vec<String> },
}

impl Plugin {
    /// Loads the plugin `name`, by default from the folder of that name in `root`; what is odd but harmless goes to
    /// `warnings`.
    pub(crate) fn load(
        root: &Path,
        name: &str,
        settings: PluginConfig,
        environment: Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Self, LoadError> {
        let folder_name = settings.uses.as_deref().unwrap_or(name);
        let folder = TrustedFolder::check(root, folder_name)?;
        let path = folder.manifest.clone();
        let bytes = read_manifest(&path)?;
        let manifest = Manifest::parse(&bytes, warnings).map_err(|error: ManifestError| {
            LoadError::InvalidManifest { path: path.clone(), reason: error.to_string() }
        })?;
        if manifest.name != folder_name {
            return Err(LoadError::NameMismatch { path, name: manifest.name, folder: folder_name.to_owned() });
        }
        folder.check_entrypoint(&manifest.entrypoint)?;
        let missing = check_config_keys(&manifest, &settings, warnings);
        if settings.enabled && !missing.is_empty() {
            return Err(LoadError::MissingConfigKeys { path, plugin: name.to_owned(), keys: missing });
        }
        let config = serde_json::value::to_raw_value(&settings.config).expect("a JSON map can be written as JSON");
        let fingerprint = Sha256::new().chain_update(&bytes).chain_update([0]).chain_update(config.get()).finalize();
        Ok(Self {
            name: name.to_owned(),
            manifest,
            settings,
            root: root.to_owned(),
            config,
            environment,
            fingerprint: base16ct::lower::encode_string(&fingerprint),
        })
    }

    /// The name under `plugins`; that of its folder is the manifest's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder, as the configuration leads to it.
    pub fn folder(&self) -> PathBuf {
        self.root.join(&self.manifest.name)
    }

    /// Says whether the manifest or `plugins.<name>.config` has changed: SHA-256 of both, lower-case hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Checks again what was checked when the plugin was loaded, except for the manifest's contents.
    pub fn recheck(&self) -> Result<(), TrustError> {
        self.trusted().map(drop)
    }

    /// Whether the system has what the entrypoint asks for in its first line.
    ///
    /// # Errors
    /// When it has not, and when the plugin may not be run.
    pub fn check_interpreter(&self) -> Result<(), InterpreterError> {
        let (folder, entrypoint) = self.trusted()?;
        interpreter::check(&entrypoint, &folder.path, &self.environment)
    }

    /// The settings under `config`, as the plugin gets them: a JSON object.
    pub(crate) fn config(&self) -> &RawValue {
        &self.config
    }

    /// What to spawn for one attempt, with the files checked just now.
    pub(crate) fn command(&self, job_id: Uuid, instance: Uuid) -> Result<Command, TrustError> {
        let (folder, entrypoint) = self.trusted()?;
        // The path that was checked is the one that runs: no symlink is followed a second time.
        let mut command = Command::new(entrypoint);
        command
            .current_dir(folder.path)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("DUCTILE_JOB_ID", job_id.to_string())
            .env(INSTANCE_VARIABLE, instance.to_string());
        Ok(command)
    }

    /// Where the folder and the entrypoint really are.
    fn trusted(&self) -> Result<(TrustedFolder, PathBuf), TrustError> {
        let folder = TrustedFolder::check(&self.root, &self.manifest.name)?;
        let entrypoint = folder.check_entrypoint(&self.manifest.entrypoint)?;
        Ok((folder, entrypoint))
    }
}

/// Shows no more than the name: settings hold secrets.
impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name()).finish_non_exhaustive()
    }
}

fn read_manifest(path: &Path) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MANIFEST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|reason| LoadError::ManifestUnreadable { path: path.to_owned(), reason })?;
    if bytes.len() as u64 > MANIFEST_BYTES {
        return Err(LoadError::ManifestTooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Returns the required keys without a value, and warns of those the manifest does not know.
fn check_config_keys(manifest: &Manifest, settings: &PluginConfig, warnings: &mut Vec<String>) -> Vec<String> {
    let Some(keys) = &manifest.config_keys else { return Vec::new() };
    for key in settings.config.keys() {
        if !keys.required.contains(key) && !keys.optional.contains(key) {
            warnings.push(format!("config key `{key}` is not one the manifest declares"));
        }
    }
    let has_value = |key: &String| settings.config.get(key).is_some_and(|value| !value.is_null());
    keys.required.iter().filter(|key| !has_value(key)).cloned().collect()
}

fn backticked(words: impl Iterator<Item = impl fmt::Display>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
