//! The state dir: where the database and the lock live, and who may use it.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

/// A folder that only its owner, who is also our user, can change.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// What its owner should know, but need not act on.
    pub warning: Option<String>,
}

/// Why a state dir was not used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    #[error(
        "`{}` belongs to user `{owner}`, and this command would leave files of user `{user}` in it; run it as `sudo -u {owner} ductile ...`",
        path.display()
    )]
    NotOwner { path: PathBuf, owner: String, user: String },
    #[error("`{}` belongs to user `{owner}` and is closed to user `{user}`; run it as `sudo -u {owner} ductile ...`", path.display())]
    Closed { path: PathBuf, owner: String, user: String },
    #[error("`{}` can be written by other users (mode {mode:04o}); run `chmod go-w {}`", path.display(), path.display())]
    Writable { path: PathBuf, mode: u32 },
    #[error("`{}` is shared by all users; set `state.path` to a file in a folder of its own", path.display())]
    Shared { path: PathBuf },
    #[error("the state dir `{}` cannot be used", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StateDir {
    /// The folder of the database at `state_path`, created with mode 0700 when missing and never changed otherwise.
    ///
    /// # Errors
    /// When another user owns it, others can write to it, or it cannot be made.
    pub fn prepare(state_path: &Path) -> Result<Self, DirError> {
        if let Some(found) = Self::find(state_path)? {
            return Ok(found);
        }
        let path = folder(state_path).to_owned();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        match made.and_then(|()| fs::metadata(&path)) {
            Ok(found) => check(path, &found, Uid::effective()),
            Err(source) => Err(DirError::Io { path, source }),
        }
    }

    /// The folder of the database at `state_path` if there is one; nothing is made.
    ///
    /// # Errors
    /// As [`StateDir::prepare`].
    pub fn find(state_path: &Path) -> Result<Option<Self>, DirError> {
        let path = folder(state_path).to_owned();
        match fs::metadata(&path) {
            Ok(found) => check(path, &found, Uid::effective()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DirError::Io { path, source }),
        }
    }

    /// For commands that only look: whether our user may read the database, where there is one.
    ///
    /// # Errors
    /// When it may not; the message names whose the folder is.
    pub fn check_readable(state_path: &Path) -> Result<(), DirError> {
        match File::open(state_path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            _ => return Ok(()),
        }
        let path = folder(state_path).to_owned();
        match fs::metadata(&path) {
            Ok(found) => {
                let (owner, user) = (name_of(Uid::from_raw(found.uid())), name_of(Uid::effective()));
                Err(DirError::Closed { path, owner, user })
            }
            Err(source) => Err(DirError::Io { path, source }),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn folder(state_path: &Path) -> &Path {
    state_path.parent().unwrap_or(Path::new("/"))
}

fn check(path: PathBuf, found: &Metadata, user: Uid) -> Result<StateDir, DirError> {
    if !found.is_dir() {
        return Err(DirError::Io { path, source: io::ErrorKind::NotADirectory.into() });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o1002 == 0o1002 {
        return Err(DirError::Shared { path });
    }
    let owner = Uid::from_raw(found.uid());
    if owner != user {
        return Err(DirError::NotOwner { path, owner: name_of(owner), user: name_of(user) });
    }
    if mode & 0o022 != 0 {
        return Err(DirError::Writable { path, mode });
    }
    let warning = (mode & 0o055 != 0).then(|| {
        format!(
            "`{}` can be read by other users (mode {mode:04o}); `chmod 700 {}` keeps them out",
            path.display(),
            path.display()
        )
    });
    Ok(StateDir { path, warning })
}

fn name_of(user: Uid) -> String {
    User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_mode(mode: u32) -> Result<StateDir, DirError> {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let result = StateDir::prepare(&path.join("ductile.db"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode, "never chmodded");
        result
    }

    #[test]
    fn a_missing_dir_is_made_private() {
        let parent = tempfile::tempdir().unwrap();
        let dir = StateDir::prepare(&parent.path().join("a/b/ductile.db")).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(dir.warning, None);
    }

    #[test]
    fn writable_by_others_is_refused_and_readable_is_a_warning() {
        assert!(with_mode(0o700).unwrap().warning.is_none());
        assert!(with_mode(0o750).unwrap().warning.unwrap().contains("0750"));
        assert!(with_mode(0o777).unwrap_err().to_string().contains("chmod go-w"));
        assert!(matches!(with_mode(0o1777), Err(DirError::Shared { .. })));
        assert!(matches!(with_mode(0o770), Err(DirError::Writable { mode: 0o770, .. })));
    }

    #[test]
    fn another_users_dir_is_refused_with_the_command_to_use() {
        let dir = tempfile::tempdir().unwrap();
        let found = fs::metadata(dir.path()).unwrap();
        let stranger = Uid::from_raw(found.uid() + 1);
        let error = check(dir.path().to_owned(), &found, stranger).unwrap_err().to_string();
        assert!(error.contains(&format!("sudo -u {} ductile", name_of(Uid::from_raw(found.uid())))), "{error}");
    }
}
