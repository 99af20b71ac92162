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
    #[error("`{path}` leads to `{resolved}`, outside of the plugin root `{root}`")]
    Outside { path: PathBuf, resolved: PathBuf, root: PathBuf },
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
    root: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) manifest: PathBuf,
}

impl TrustedFolder {
    /// Checks the root, the folder `name` in it, and the manifest there.
    pub(crate) fn check(root: &Path, name: &str) -> Result<Self, TrustError> {
        let shown = root.join(name);
        if !is_direct_child(Path::new(name)) {
            return Err(TrustError::FolderMissing { path: shown });
        }
        let root = root.canonicalize().map_err(|reason| unreadable(root, reason))?;
        check_not_world_writable(&root, &metadata(&root)?)?;
        let (path, metadata) = resolve(&root, Path::new(name)).map_err(|error| match error {
            TrustError::Missing { path } => TrustError::FolderMissing { path },
            other => other,
        })?;
        check_inside(&root, &shown, &path)?;
        if !metadata.is_dir() {
            return Err(TrustError::NotAFolder { path: shown });
        }
        check_not_world_writable(&path, &metadata)?;
        check_between(&path, |folder| folder == root)?;
        let mut folder = Self { root, path, manifest: PathBuf::new() };
        folder.manifest = folder.check_file(Path::new(MANIFEST))?.0;
        Ok(folder)
    }

    /// Checks the entrypoint as a manifest names it, and returns where it really is.
    pub(crate) fn check_entrypoint(&self, entrypoint: &Path) -> Result<PathBuf, TrustError> {
        if entrypoint.is_absolute() {
            return Err(TrustError::Absolute { folder: self.path.clone(), entrypoint: entrypoint.to_owned() });
        }
        if entrypoint.components().any(|component| component == Component::ParentDir) {
            return Err(TrustError::ParentComponent { folder: self.path.clone(), entrypoint: entrypoint.to_owned() });
        }
        let (path, metadata) = self.check_file(entrypoint)?;
        // `access` also knows ACLs and noexec mounts; the bits alone are what root is held to.
        if metadata.permissions().mode() & 0o111 == 0 || access(&path, AccessFlags::X_OK).is_err() {
            return Err(TrustError::NotExecutable { path });
        }
        Ok(path)
    }

    /// A regular file within the root that only its owner can exchange; `relative` is to the folder.
    fn check_file(&self, relative: &Path) -> Result<(PathBuf, Metadata), TrustError> {
        let (path, metadata) = resolve(&self.path, relative)?;
        let shown = || self.path.join(relative);
        check_inside(&self.root, &shown(), &path)?;
        if !metadata.is_file() {
            return Err(TrustError::NotAFile { path: shown() });
        }
        check_not_world_writable(&path, &metadata)?;
        check_between(&path, |folder| folder == self.path || folder == self.root)?;
        Ok((path, metadata))
    }
}

/// Checks the folders above `path`, up to one that was checked before: who writes there can exchange what is below.
fn check_between(path: &Path, checked: impl Fn(&Path) -> bool) -> Result<(), TrustError> {
    for folder in path.ancestors().skip(1).take_while(|folder| !checked(folder)) {
        check_not_world_writable(folder, &metadata(folder)?)?;
    }
    Ok(())
}

/// Whether a path is a single name: no separator, no `.`, no `..`.
fn is_direct_child(path: &Path) -> bool {
    let mut components = path.components();
    let first = components.next();
    components.next().is_none() && first == Some(Component::Normal(path.as_os_str()))
}

/// Where `relative` to a resolved folder really is, and what is there.
fn resolve(folder: &Path, relative: &Path) -> Result<(PathBuf, Metadata), TrustError> {
    let path = folder.join(relative);
    // This runs before each spawn: a name that is no symlink needs no walk down from the root.
    if is_direct_child(relative) {
        let metadata = path.symlink_metadata().map_err(|reason| unreadable(&path, reason))?;
        if !metadata.is_symlink() {
            return Ok((path, metadata));
        }
    }
    let resolved = path.canonicalize().map_err(|reason| unreadable(&path, reason))?;
    let metadata = metadata(&resolved)?;
    Ok((resolved, metadata))
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
fn check_inside(root: &Path, shown: &Path, resolved: &Path) -> Result<(), TrustError> {
    if resolved.starts_with(root) && resolved != root {
        return Ok(());
    }
    Err(TrustError::Outside { path: shown.to_owned(), resolved: resolved.to_owned(), root: root.to_owned() })
}

/// The sticky bit excuses nothing: it keeps others from removing files, not from adding some.
fn check_not_world_writable(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err(TrustError::WorldWritable { path: path.to_owned() });
    }
    Ok(())
}
