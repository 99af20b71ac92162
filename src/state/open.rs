//! Opening the database file: what is refused, and the settings of every connection.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::statfs;
use nix::unistd::{AccessFlags, access};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use uuid::Uuid;

use crate::fault::crash_point;

/// In the file's header, so that nobody else's database is taken for ours: "duct".
const APPLICATION_ID: i32 = 0x6475_6374;

/// One script for each schema version, in order. Released scripts never change.
const MIGRATIONS: &[&str] = &[include_str!("schema/0001.sql"), include_str!("schema/0002.sql")];

/// The schema that this program works with.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// How long a statement waits for another process's transaction.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A WAL larger than this is cut back to it when it is next emptied, bytes.
const WAL_SIZE_LIMIT: u64 = 16 << 20;

/// Why a database was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("no database at `{}` yet; `ductile start` creates it", path.display())]
    Missing { path: PathBuf },
    #[error("`{}` is on a network file system ({kind}), where SQLite's locks cannot be trusted; set `state.path` to a local disk", path.display())]
    Network { path: PathBuf, kind: &'static str },
    #[error("`{}` has schema {found}, newer than this program's {known}; use the newer ductile, or restore a backup", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("`{}` has schema {found}, this program needs {known}; `ductile start` migrates it", path.display())]
    Older { path: PathBuf, found: i64, known: i64 },
    #[error("`{}` is not a ductile database; set `state.path` to another file", path.display())]
    Foreign { path: PathBuf },
    #[error("`{}` is damaged; move it away, and restore a backup if there is one", path.display())]
    Damaged { path: PathBuf, source: rusqlite::Error },
    #[error("`{}` cannot be opened", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("`{}` cannot be opened", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the database's writer thread cannot be started")]
    Thread { source: io::Error },
}

/// For the lock holder: created when missing, migrated when older.
pub(super) fn owned(path: &Path) -> Result<Connection, OpenError> {
    refuse_network(path)?;
    let found = if path.exists() { inspect(path)? } else { create(path)? };
    make_private(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let failed = |source| sqlite_error(path, source);
    settings(&connection).map_err(failed)?;
    migrate(&mut connection, found).map_err(failed)?;
    Ok(connection)
}

/// For a writer beside the lock holder: the schema must be ours already.
pub(super) fn shared(path: &Path) -> Result<Connection, OpenError> {
    refuse_network(path)?;
    read_only(path)?;
    another_writer(path)
}

/// Another connection of a process that has one already, for reading.
///
/// Nothing here may open the file by other means than SQLite's: closing it would end all of the process's POSIX locks on
/// it (<https://www.sqlite.org/howtocorrupt.html>, 2.2), and the next program to close the database, as the last one it
/// seems, would delete the write-ahead log that we go on writing to.
pub(super) fn another_reader(path: &Path) -> Result<Connection, OpenError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Another connection of a process that has one already, for writing. As [`another_reader`].
pub(super) fn another_writer(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    settings(&connection).map_err(|source| sqlite_error(path, source))?;
    Ok(connection)
}

/// For a reader: nothing is written, not even a checkpoint.
pub(super) fn read_only(path: &Path) -> Result<Connection, OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    if !path.try_exists().map_err(io_error)? {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    access(path, AccessFlags::R_OK).map_err(|errno| io_error(errno.into()))?;
    let found = inspect(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    if found < KNOWN {
        return Err(OpenError::Older { path: path.to_owned(), found, known: KNOWN });
    }
    Ok(connection)
}

/// An empty file of mode 0600; SQLite gives its companions the same.
fn create(path: &Path) -> Result<i64, OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io_error)?;
    // The name itself must survive a power cut as well.
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error)?;
    Ok(0)
}

/// A copy that was put back may be readable by others.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(io_error)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io_error)?;
    }
    Ok(())
}

/// The schema version of an existing file, read without leaving a trace beside it: a file without a write-ahead log is
/// complete by itself.
fn inspect(path: &Path) -> Result<i64, OpenError> {
    if path.is_dir() {
        return Err(OpenError::Io { path: path.to_owned(), source: io::ErrorKind::IsADirectory.into() });
    }
    let complete = std::fs::metadata(companion(path, "-wal")).map_or(true, |wal| wal.len() == 0);
    let connection = if complete {
        connect(&immutable(path), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?
    };
    version(path, &connection)
}

/// The URI of a file that nobody changes, as in <https://www.sqlite.org/uri.html>.
fn immutable(path: &Path) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").bytes()),
            byte => uri.push(*byte),
        }
    }
    uri.extend(b"?immutable=1");
    std::ffi::OsString::from_vec(uri).into()
}

fn version(path: &Path, connection: &Connection) -> Result<i64, OpenError> {
    let read = || -> rusqlite::Result<(i64, i32, i64)> {
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let application = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        // Reading the schema touches the first pages: a cut or overwritten file is noticed here.
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((version, application, tables))
    };
    let (found, application, tables) = read().map_err(|source| sqlite_error(path, source))?;
    if application != APPLICATION_ID && (tables > 0 || found != 0) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if found > KNOWN {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: KNOWN });
    }
    refuse_truncated(path, connection)?;
    Ok(found)
}

/// A file shorter than its header says has lost pages that nothing has read yet.
fn refuse_truncated(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let read = || -> rusqlite::Result<(u64, u64)> {
        let pages: u64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        let page_size: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        Ok((pages, page_size))
    };
    let (pages, page_size) = read().map_err(|source| sqlite_error(path, source))?;
    let length = |path: &Path| std::fs::metadata(path).map(|file| file.len()).unwrap_or(0);
    // Pages that are still in the write-ahead log need not be in the file.
    let wal_pages = length(&companion(path, "-wal")) / page_size.max(1);
    if length(path) / page_size.max(1) + wal_pages < pages {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        let reason = format!("the file is shorter than the {pages} pages it should have");
        let source = rusqlite::Error::SqliteFailure(code, Some(reason));
        return Err(OpenError::Damaged { path: path.to_owned(), source });
    }
    Ok(())
}

fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    let connect = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(128);
        // Otherwise a statement whose plan could depend on a bound value, as a LIMIT, is compiled anew at each use.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    };
    connect().map_err(|source| sqlite_error(path, source))
}

/// Bytes, for a database that is made now: half of SQLite's own size. A settlement changes a few bytes on each of seven
/// pages, and logs them whole.
const PAGE_SIZE: i64 = 2_048;

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous())?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT)
}

/// FULL: a commit is on the disk before anybody is told of it.
#[cfg(not(feature = "fault-injection"))]
fn synchronous() -> &'static str {
    "FULL"
}
#[cfg(feature = "fault-injection")]
use crate::fault::synchronous;

/// Brings the schema from `found` to ours, in one transaction.
fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    if found == KNOWN {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(found).expect("a version between 0 and ours");
    for script in &MIGRATIONS[done..] {
        tx.execute_batch(script)?;
    }
    if done == 0 {
        let instance = Uuid::new_v4().to_string();
        tx.execute("INSERT INTO service (one, instance) VALUES (1, ?1)", [instance])?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    tx.pragma_update(None, "user_version", KNOWN)?;
    crash_point!("migrate.uncommitted");
    tx.commit()?;
    crash_point!("migrate.committed");
    Ok(())
}

/// A database of our schema that is gone with its connection.
#[cfg(test)]
pub(crate) fn in_memory() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, 0).unwrap();
    connection
}

fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => OpenError::Damaged { path, source },
        _ => OpenError::Sqlite { path, source },
    }
}

/// Refuses a network file system for the database at `path`; its folder must be there.
///
/// # Errors
/// When it is on one, or that cannot be found out.
pub fn refuse_network(path: &Path) -> Result<(), OpenError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let found = statfs(dir).map_err(|errno| OpenError::Io { path: dir.to_owned(), source: errno.into() })?;
    match network_file_system(found.filesystem_type().0 as i64) {
        Some(kind) => Err(OpenError::Network { path: path.to_owned(), kind }),
        None => Ok(()),
    }
}

/// The network file systems among `statfs(2)`'s magic numbers, as in `linux/magic.h` and the kernel's sources.
fn network_file_system(magic: i64) -> Option<&'static str> {
    Some(match magic & 0xffff_ffff {
        0x0000_6969 => "NFS",
        0x0000_517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0102_1997 => "9P",
        0x0bd0_0bd0 => "Lustre",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x1983_0326 => "FhGFS/BeeGFS",
        0x4750_4653 => "GPFS",
        0x0000_564c => "NCP",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
