//! Copying the database while it is in use, and looking for damage.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::db::Reader;
use super::error::Error;

/// Why there is no backup. What was written of it is gone.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{}` exists already; a backup overwrites nothing", path.display())]
    Exists { path: PathBuf },
    #[error("`{}` cannot be written", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the database cannot be copied to `{}`", path.display())]
    Copy { path: PathBuf, source: rusqlite::Error },
    #[error("the copy cannot be read back")]
    Unreadable { source: rusqlite::Error },
    #[error("the copy is damaged, and so is probably the database: {reason}")]
    Damaged { reason: String },
}

/// Writes a copy of the database as it is at this moment to `to`, which must not exist: a file of mode 0600, on disk
/// and checked. It holds up nobody who writes meanwhile. How many bytes it has.
///
/// # Errors
/// When there is such a file, when it cannot be written, and when the copy is damaged.
pub fn backup(reader: &Reader, to: &Path) -> Result<u64, BackupError> {
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    // Under another name until it is whole: who finds the file has a backup.
    let partial = partial(to);
    let copied = copy(reader, &partial).and_then(|bytes| publish(&partial, to).map(|()| bytes));
    let _ = fs::remove_file(&partial);
    copied
}

fn copy(reader: &Reader, partial: &Path) -> Result<u64, BackupError> {
    let io_error = |source| BackupError::Io { path: partial.to_owned(), source };
    // SQLite fills a file that is there and empty, and keeps its mode.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial).map_err(io_error)?;
    let target = partial.to_str().ok_or_else(|| io_error(io::ErrorKind::InvalidFilename.into()))?;
    reader
        .execute("VACUUM INTO ?1", [target])
        .map_err(|source| BackupError::Copy { path: partial.to_owned(), source })?;
    file.sync_all().map_err(io_error)?;
    let opened = Connection::open_with_flags(partial, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let damage = opened.and_then(|copy| quick_check(&copy)).map_err(|source| BackupError::Unreadable { source })?;
    match damage.into_iter().next() {
        None => Ok(file.metadata().map_err(io_error)?.len()),
        Some(reason) => Err(BackupError::Damaged { reason }),
    }
}

/// Gives the copy its name, unless there is such a file by now.
fn publish(partial: &Path, to: &Path) -> Result<(), BackupError> {
    let io_error = |source| BackupError::Io { path: to.to_owned(), source };
    let linked = fs::hard_link(partial, to).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Err(error),
        // Some file systems of USB sticks have no links: there the name was free a moment ago.
        _ => fs::rename(partial, to),
    });
    linked.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists { path: to.to_owned() },
        _ => io_error(error),
    })?;
    let folder = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error)
}

fn partial(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    name.into()
}

/// What is damaged in a database, as SQLite's `quick_check` tells; nothing when all is well.
///
/// # Errors
/// When it cannot be read far enough to be checked.
pub fn damage(reader: &Reader) -> Result<Vec<String>, Error> {
    Ok(quick_check(reader)?)
}

fn quick_check(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA quick_check(10)")?;
    let found = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::state::Db;

    #[test]
    fn a_backup_overwrites_nothing_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ductile.db");
        drop(Db::open(&path).unwrap());
        let reader = Reader::open(&path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("copy");
        assert_eq!(backup(&reader, &to).unwrap(), fs::metadata(&to).unwrap().len());
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o777, 0o600);
        let before = fs::read(&to).unwrap();
        assert!(matches!(backup(&reader, &to), Err(BackupError::Exists { .. })));
        assert_eq!(fs::read(&to).unwrap(), before);
        // Nor what only looks like no file.
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(matches!(backup(&reader, &dangling), Err(BackupError::Exists { .. })));
        // A name that was taken while it was copied.
        fs::write(folder.path().join("other"), "x").unwrap();
        assert!(matches!(publish(&to, &folder.path().join("other")), Err(BackupError::Exists { .. })));
        assert!(matches!(backup(&reader, &folder.path().join("none/copy")), Err(BackupError::Io { .. })));
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["copy", "dangling", "other"]);
        assert_eq!(damage(&Reader::open(&to).unwrap()).unwrap(), [""; 0]);
    }
}
