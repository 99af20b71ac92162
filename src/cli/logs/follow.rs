//! `ductile logs --follow`: each new attempt, as it ends.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::write_attempts;
use crate::cli::error::CliError;
use crate::cli::{no_daemon, output};
use crate::config::Minimal;
use crate::queue::list::{self, Attempt, LogFilter};
use crate::state::{self, Reader};

/// How often the database is asked whether it has changed: soon enough for a reader, and nearly free.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// As many attempts as are read at once.
const PIECE: u32 = 100;

/// Prints `first`, which are numbered up to `end`, and what follows, until nobody reads it any more; Ctrl-C ends the
/// process, as it holds nothing that would have to be put in order.
pub(super) fn follow(
    minimal: &Minimal,
    reader: &Reader,
    filter: LogFilter,
    first: &[Attempt],
    end: i64,
    json: bool,
) -> Result<ExitCode, CliError> {
    if no_daemon(minimal) {
        output::message("no daemon is running: nothing is run until `ductile start`");
    }
    match print_new(&minimal.state_path, reader, LogFilter { after: end, ..filter }, first, json) {
        // Whoever read it has seen enough.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn print_new(
    path: &Path,
    reader: &Reader,
    mut filter: LogFilter,
    first: &[Attempt],
    json: bool,
) -> Result<(), CliError> {
    let file = reader.identity();
    print(first, json)?;
    let mut seen = None;
    loop {
        // Taken before the look: what is committed in between is looked for once more.
        let version = reader.version()?;
        if seen != Some(version) {
            seen = Some(version);
            // Numbers begin again when everything has been deleted.
            filter.after = filter.after.min(list::log_end(reader)?);
            loop {
                let attempts = list::log_following(reader, &filter, PIECE)?;
                let Some(last) = attempts.last() else { break };
                filter.after = last.id;
                print(&attempts, json)?;
            }
        }
        if state::identity(path) != file {
            let path = path.display();
            return Err(CliError::Failed(format!("`{path}` was replaced; nothing more is written to the old one")));
        }
        if nobody_reads() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn print(attempts: &[Attempt], json: bool) -> io::Result<()> {
    if !json {
        return write_attempts(attempts);
    }
    let mut out = io::stdout().lock();
    for attempt in attempts {
        serde_json::to_writer(&mut out, attempt)?;
        writeln!(out)?;
    }
    out.flush()
}

/// Whether stdout is a pipe whose reader is gone: otherwise that would show only with the next attempt.
fn nobody_reads() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) && gone(&fds[0])
}
