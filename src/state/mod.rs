//! The database: the state dir, the lock, the file, its connections and its schema.
//!
//! [`Db`] is the only owner of a connection that writes; what it runs is a closure in a transaction. The tables
//! of the queue belong to `queue`, that of the schedule to `scheduler`; this module owns `plugin_state`,
//! `plugin_facts`, `plugin` and `service`.

mod backup;
mod checkpoint;
mod db;
mod dir;
mod error;
pub mod facts;
pub mod lock;
mod merge;
mod open;
pub mod plugin_state;
mod progress;
pub mod publish;
mod sql;
mod writer;

pub use backup::{BackupError, backup, damage};
pub use db::{Db, FileId, Reader, Tx, identity};
pub use dir::{DirError, StateDir};
pub use error::Error;
pub use open::{OpenError, refuse_network};
pub use progress::WriteHealth;
pub use sql::Text;

#[cfg(test)]
pub(crate) use open::in_memory;
