//! One process at a time owns a state dir: `ductile.lock`, held with `flock(2)` for as long as the process lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The held lock. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
    path: PathBuf,
}

/// What the holder of a lock is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The daemon, `ductile start`: it understands signals.
    Start,
    /// A single job, `ductile run` without a daemon.
    Run,
}

/// The process that holds a lock, as it wrote itself into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub pid: i32,
    /// Clock ticks since boot (`/proc/PID/stat`, field 22): tells the process from a later one with its number.
    started: u64,
    pub role: Role,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("`{}` (PID {}) is already running with this state dir (`{}`)", .holder.role.command(), .holder.pid, path.display())]
    Held { path: PathBuf, holder: Holder },
    #[error("another process is already running with this state dir (`{}`)", path.display())]
    HeldByUnknown { path: PathBuf },
    #[error("the lock file `{}` cannot be used", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A look at the lock by another command holds it for an instant; as often as this the lock is tried again.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

impl Lock {
    /// Takes the lock of `state_dir` without waiting for its holder to end.
    ///
    /// # Errors
    /// When another process holds it, named by PID.
    pub fn take(state_dir: &Path, role: Role) -> Result<Self, LockError> {
        let path = path(state_dir);
        let io_error = |source| LockError::Io { path: path.clone(), source };
        let mut tries = 1;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(io_error)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut held) => {
                    write_holder(&mut held, role).map_err(io_error)?;
                    return Ok(Self { file: held, path });
                }
                Err((mut file, Errno::EWOULDBLOCK)) => match read_holder(&mut file) {
                    Some(holder) if tries == TRIES && holder.is_alive() => {
                        return Err(LockError::Held { path, holder });
                    }
                    _ if tries == TRIES => return Err(LockError::HeldByUnknown { path }),
                    _ => std::thread::sleep(BETWEEN_TRIES),
                },
                Err((_, errno)) => return Err(io_error(errno.into())),
            }
            tries += 1;
        }
    }
}

impl Lock {
    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the lock's name still leads to the file that we hold: who deletes it lets a second daemon in.
    pub fn is_in_place(&self) -> bool {
        let (held, named) = (self.file.metadata(), fs::metadata(&self.path));
        held.ok().zip(named.ok()).is_some_and(|(held, named)| (held.dev(), held.ino()) == (named.dev(), named.ino()))
    }
}

/// Who holds the lock of `state_dir` now; `None` when nobody does.
///
/// # Errors
/// When it is held by a process that did not write itself into the file, or the file cannot be read.
pub fn holder(state_dir: &Path) -> Result<Option<Holder>, LockError> {
    let path = path(state_dir);
    let io_error = |source| LockError::Io { path: path.clone(), source };
    for _ in 0..TRIES {
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io_error)?,
        };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => return Ok(None),
            // Between taking the lock and writing itself into the file, a holder's predecessor stands there.
            Err((mut file, Errno::EWOULDBLOCK)) => match read_holder(&mut file) {
                Some(holder) if holder.is_alive() => return Ok(Some(holder)),
                _ => std::thread::sleep(BETWEEN_TRIES),
            },
            Err((_, errno)) => return Err(io_error(errno.into())),
        }
    }
    Err(LockError::HeldByUnknown { path })
}

impl Holder {
    /// Whether this is a daemon, and still the process that took the lock.
    pub fn is_daemon(&self) -> bool {
        self.role == Role::Start && self.is_alive()
    }

    /// Whether the process that took the lock still runs, as far as the system tells.
    fn is_alive(&self) -> bool {
        start_time(self.pid).unwrap_or(self.started) == self.started && kill(Pid::from_raw(self.pid), None).is_ok()
    }

    /// Tells the daemon that the queue has changed. Nothing happens when the holder is not a daemon.
    ///
    /// # Errors
    /// When the signal may not be sent.
    pub fn wake(&self) -> io::Result<()> {
        self.signal(Signal::SIGUSR1)
    }

    /// Asks the daemon to read its configuration again. Nothing happens when the holder is not a daemon.
    ///
    /// # Errors
    /// When the signal may not be sent.
    pub fn reload(&self) -> io::Result<()> {
        self.signal(Signal::SIGHUP)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.is_daemon() {
            kill(Pid::from_raw(self.pid), signal)?;
        }
        Ok(())
    }
}

impl Role {
    fn command(self) -> &'static str {
        match self {
            Self::Start => "ductile start",
            Self::Run => "ductile run",
        }
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("ductile.lock")
}

/// `PID START_TIME ROLE`.
fn write_holder(file: &mut File, role: Role) -> io::Result<()> {
    let pid = Pid::this().as_raw();
    let started = start_time(pid).unwrap_or(0);
    let word = if role == Role::Start { "start" } else { "run" };
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{pid} {started} {word}")
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(256).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

impl FromStr for Holder {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split_whitespace();
        let mut word = || words.next().ok_or(());
        let pid = word()?.parse().map_err(drop)?;
        let started = word()?.parse().map_err(drop)?;
        let role = match word()? {
            "start" => Role::Start,
            "run" => Role::Run,
            _ => return Err(()),
        };
        Ok(Self { pid, started, role })
    }
}

/// When a process started, in clock ticks since boot; `None` when there is no such process, or no `/proc`.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold anything, brackets too: count the fields behind its last bracket.
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_learns_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()).unwrap(), None);
        let lock = Lock::take(dir.path(), Role::Start).unwrap();

        let found = holder(dir.path()).unwrap().unwrap();
        assert_eq!(found.pid, Pid::this().as_raw());
        assert!(found.is_daemon());
        let error = Lock::take(dir.path(), Role::Run).unwrap_err().to_string();
        assert!(error.contains(&format!("`ductile start` (PID {})", found.pid)), "{error}");

        drop(lock);
        assert_eq!(holder(dir.path()).unwrap(), None);
        Lock::take(dir.path(), Role::Run).unwrap();
    }

    #[test]
    fn a_reused_pid_is_not_the_daemon() {
        let pid = Pid::this().as_raw();
        let started = start_time(pid).unwrap();
        assert!(Holder { pid, started, role: Role::Start }.is_daemon());
        assert!(!Holder { pid, started: started + 1, role: Role::Start }.is_daemon());
        assert!(!Holder { pid, started, role: Role::Run }.is_daemon());
    }
}
