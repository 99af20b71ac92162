//! What is read from the database, and when: only after something has changed.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::detail::Detail;
use crate::cli::error::CliError;
use crate::cli::status::Status;
use crate::queue::list::{self, Filter};
use crate::queue::{self, Job};
use crate::state::lock::{self, Holder};
use crate::state::{self, Error, Reader, publish};

/// As many jobs of each list are read.
pub(super) const MOST: u32 = 200;

/// All that the screen shows of the gateway, of one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    /// What runs and what is queued, in the order of the queue.
    pub(super) waiting: Vec<Job>,
    /// What was over last, the newest first.
    pub(super) ended: Vec<Job>,
    /// The same of the dead ones only.
    pub(super) dead: Vec<Job>,
}

/// The database of the gateway.
pub(super) struct Source {
    path: PathBuf,
    /// `None` before the first look, and while something is written: see [`Source::close`].
    reader: Option<Reader>,
    holder: Option<Holder>,
    /// The database's, when it was last read.
    version: Option<i64>,
}

impl Source {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, reader: None, holder: None, version: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What there is now; `None` when nothing has changed since the last time.
    pub(super) fn look(&mut self) -> Result<Option<Snapshot>, CliError> {
        let holder = lock::holder(self.path.parent().unwrap_or(Path::new("/")))?;
        if self.reader.as_ref().is_some_and(|reader| reader.identity() != state::identity(&self.path)) {
            self.close();
        }
        // Taken before the look: what is committed in between is looked for once more.
        let version = self.open()?.version()?;
        if self.version == Some(version) && self.holder == holder {
            return Ok(None);
        }
        self.holder = holder;
        let path = self.path.clone();
        let snapshot = read(self.open()?, &path, holder)?;
        self.version = Some(version);
        Ok(Some(snapshot))
    }

    /// Everything about one job.
    pub(super) fn detail(&mut self, id: Uuid) -> Result<Detail, CliError> {
        Detail::read(self.open()?, id)
    }

    /// Lets the database go: opening it for writing, as a command does, looks at it by ways that take this process's
    /// locks of it away (`state::open`), and a reader without its lock would miss the end of the write-ahead log.
    pub(super) fn close(&mut self) {
        (self.reader, self.version) = (None, None);
    }

    fn open(&mut self) -> Result<&Reader, CliError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.path)?,
        };
        Ok(self.reader.insert(reader))
    }
}

fn read(reader: &Reader, path: &Path, holder: Option<Holder>) -> Result<Snapshot, CliError> {
    let _moment = reader.unchecked_transaction().map_err(Error::from)?;
    let jobs = |statuses: &[queue::Status]| {
        list::jobs(reader, &Filter { statuses: statuses.to_vec(), plugin: None, limit: MOST })
    };
    let mut waiting = jobs(&[queue::Status::Running, queue::Status::Queued])?;
    // What waits for a retry has a limit of its own.
    waiting.truncate(MOST as usize);
    let mut dead = jobs(&[queue::Status::Dead])?;
    dead.reverse();
    let ended = queue::ended(reader, MOST)?;
    let status = Status::read(reader, path, holder, publish::all_plugins(reader)?, None)?;
    Ok(Snapshot { status, waiting, ended, dead })
}
