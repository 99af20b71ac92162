//! What can go wrong with the database while it is in use, sorted by what to do about it.

use std::sync::Arc;

use rusqlite::ErrorCode;

/// A failed read or write. Nothing of a failed write is in the database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Passing: the disk is full, another process holds the lock, or input and output fail. Worth trying again.
    #[error("the database cannot be used right now")]
    Transient(#[source] Arc<rusqlite::Error>),
    /// The file is damaged; nothing should be written to it any more.
    #[error("the database is damaged")]
    Corrupt(#[source] Arc<rusqlite::Error>),
    /// A statement that cannot work, or a constraint that refused a wrong transition: a bug.
    #[error("the database refused a statement")]
    Refused(#[source] Arc<rusqlite::Error>),
    /// A guarded transition found the row in another state than it must be in: a bug.
    #[error("{0}")]
    Conflict(String),
    /// The transaction's code panicked; it was rolled back.
    #[error("a transaction panicked: {0}")]
    Panicked(String),
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// Whether the same write may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let error = Arc::new(error);
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory,
            ) => Self::Transient(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error),
            _ => Self::Refused(error),
        }
    }
}
