//! Whether the files of a plugin may be run: where they really are, and who may write to them.
//!
//! It looks at the file system only, and each time anew: what was true at discovery is not at the next spawn.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{AccessFlags, access};

#[cfg(test)]
mod tests;

/// The name of a manifest's file.
pub(crate) const MANIFEST: &str = "manifest.yaml";

/// Why a plugin's files may not be run.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("folder missing: `{path}`")]
    FolderMissing { path: PathBuf },
    #[error("`{path}` is missing")]
    Missing { path: PathBuf },
    #[error("`{path}` cannot be examined: {reason}")]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("`{path}` is not a folder")]
    NotAFolder { path: PathBuf },
    #[error("`{path}` is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("`{path}` leads to `{resolved}`, outside of plugins_dir `{plugins_dir}`")]
    Outside { path: PathBuf, resolved: PathBuf, plugins_dir: PathBuf },
    #[error("`{path}` may be written by every user")]
    WorldWritable { path: PathBuf },
    #[error("entrypoint `{entrypoint}` of `{folder}` is absolute; it must be relative to the plugin's folder")]
    Absolute { folder: PathBuf, entrypoint: PathBuf },
    #[error("entrypoint `{entrypoint}` of `{folder}` contains `..`")]
    ParentComponent { folder: PathBuf, entrypoint: PathBuf },
    #[error("`{path}` is not executable")]
    NotExecutable { path: PathBuf },
}

/// A plugin's folder that passed the checks; the paths are resolved.
#[derive(Debug)]
pub(crate) struct TrustedFolder {
    plugins_dir: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) manifest: PathBuf,
}

impl TrustedFolder {
    /// Checks `plugins_dir`, the folder `name` in it, and the manifest there.
    pub(crate) fn check(plugins_dir: &Path, name: &str) -> Result<Self, TrustError> {
        let shown = plugins_dir.join(name);
        if !is_direct_child(name) {
            return Err(TrustError::FolderMissing { path: shown });
        }
        let plugins_dir = resolve(plugins_dir)?;
        let path = resolve(&shown).map_err(|error| match error {
            TrustError::Missing { path } => TrustError::FolderMissing { path },
            other => other,
        })?;
        check_inside(&plugins_dir, &shown, &path)?;
        if !metadata(&path)?.is_dir() {
            return Err(TrustError::NotAFolder { path: shown });
        }
        for folder in path.ancestors().take_while(|folder| folder.starts_with(&plugins_dir)) {
            check_not_world_writable(folder, &metadata(folder)?)?;
        }
        let mut folder = Self { plugins_dir, path, manifest: PathBuf::new() };
        folder.manifest = folder.check_file(&folder.path.join(MANIFEST))?.0;
        Ok(folder)
    }

    /// Checks the entrypoint as a manifest names it, and returns where it really is.
    pub(crate) fn check_entrypoint(&self, entrypoint: &Path) -> Result<PathBuf, TrustError> {
        let refused = || (self.path.clone(), entrypoint.to_owned());
        if entrypoint.is_absolute() {
            let (folder, entrypoint) = refused();
            return Err(TrustError::Absolute { folder, entrypoint });
        }
        if entrypoint.components().any(|component| component == Component::ParentDir) {
            let (folder, entrypoint) = refused();
            return Err(TrustError::ParentComponent { folder, entrypoint });
        }
        let shown = self.path.join(entrypoint);
        let (path, metadata) = self.check_file(&shown)?;
        // `access` also knows ACLs and noexec mounts; the bits alone are what root is held to.
        if metadata.permissions().mode() & 0o111 == 0 || access(&path, AccessFlags::X_OK).is_err() {
            return Err(TrustError::NotExecutable { path: shown });
        }
        Ok(path)
    }

    /// A regular file within `plugins_dir` that only its owner can exchange.
    fn check_file(&self, shown: &Path) -> Result<(PathBuf, Metadata), TrustError> {
        let path = resolve(shown)?;
        check_inside(&self.plugins_dir, shown, &path)?;
        let metadata = metadata(&path)?;
        if !metadata.is_file() {
            return Err(TrustError::NotAFile { path: shown.to_owned() });
        }
        check_not_world_writable(&path, &metadata)?;
        // The folder itself and plugins_dir are checked already; what lies between matters as much.
        for between in path.ancestors().skip(1).take_while(|dir| *dir != self.path && *dir != self.plugins_dir) {
            check_not_world_writable(between, &self::metadata(between)?)?;
        }
        Ok((path, metadata))
    }
}

/// Whether `name` names something directly in a folder: no separator, no `..`.
fn is_direct_child(name: &str) -> bool {
    matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(only)] if only == name)
}

fn resolve(path: &Path) -> Result<PathBuf, TrustError> {
    path.canonicalize().map_err(|reason| unreadable(path, reason))
}

fn metadata(path: &Path) -> Result<Metadata, TrustError> {
    path.metadata().map_err(|reason| unreadable(path, reason))
}

fn unreadable(path: &Path, reason: io::Error) -> TrustError {
    match reason.kind() {
        io::ErrorKind::NotFound => TrustError::Missing { path: path.to_owned() },
        _ => TrustError::Unreadable { path: path.to_owned(), reason },
    }
}

/// `Path::starts_with` compares components: `plugins-evil` is outside of `plugins`.
fn check_inside(plugins_dir: &Path, shown: &Path, resolved: &Path) -> Result<(), TrustError> {
    if resolved.starts_with(plugins_dir) && resolved != plugins_dir {
        return Ok(());
    }
    Err(TrustError::Outside {
        path: shown.to_owned(),
        resolved: resolved.to_owned(),
        plugins_dir: plugins_dir.to_owned(),
    })
}

/// The sticky bit excuses nothing: it keeps others from removing files, not from adding some.
fn check_not_world_writable(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err(TrustError::WorldWritable { path: path.to_owned() });
    }
    Ok(())
}
