//! Starting a child, and saying in words why it could not be started. What happens to it then is `process`'s business.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use tokio::process::{Child, Command};

/// Nine pauses, doubling from here: half a second in all.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const PAUSES: u32 = 9;

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start `{program}`: {reason}{hint}")]
pub(crate) struct SpawnError {
    program: PathBuf,
    reason: io::Error,
    hint: String,
}

/// A child that runs, and our ends of its pipes.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) streams: Streams,
}

/// Our ends of a child's pipes: they block.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: PipeWriter,
    pub(crate) stdout: PipeReader,
    pub(crate) stderr: PipeReader,
}

/// Starts the child as the leader of its own process group, all three streams piped.
///
/// There is no `pre_exec` here, and there must not be: it would turn posix_spawn into a fork.
pub(crate) async fn spawn(mut command: Command) -> Result<Started, SpawnError> {
    let failed = |command: &Command, reason: io::Error| {
        let program = PathBuf::from(command.as_std().get_program());
        SpawnError { hint: hint(&program, &reason), program, reason }
    };
    let streams = pipe(&mut command).map_err(|reason| failed(&command, reason))?;
    command.process_group(0).kill_on_drop(true);
    let mut pauses = (0..PAUSES).map(|n| FIRST_PAUSE * 2u32.pow(n));
    loop {
        let reason = match command.spawn() {
            Ok(child) => return Ok(Started { child, streams }),
            Err(reason) => reason,
        };
        // "Text file busy": somebody is still writing the program, or a fork still holds the file open.
        match pauses.next() {
            Some(pause) if reason.kind() == io::ErrorKind::ExecutableFileBusy => tokio::time::sleep(pause).await,
            _ => return Err(failed(&command, reason)),
        }
    }
}

/// Gives the command its ends of three pipes, which it keeps until it is dropped.
///
/// Pipes of tokio's own would be registered with the runtime, which most children are too quick to need.
fn pipe(command: &mut Command) -> io::Result<Streams> {
    let (theirs, stdin) = io::pipe()?;
    command.stdin(theirs);
    let (stdout, theirs) = io::pipe()?;
    command.stdout(theirs);
    let (stderr, theirs) = io::pipe()?;
    command.stderr(theirs);
    Ok(Streams { stdin, stdout, stderr })
}

/// What the system's error does not say: a missing interpreter looks like a missing program.
fn hint(program: &Path, reason: &io::Error) -> String {
    let interpreter = interpreter(program);
    match (reason.raw_os_error().map(Errno::from_raw), interpreter) {
        (Some(Errno::ENOENT), Some(name)) => {
            format!("; the interpreter `{}` of its `#!` line is probably missing", name.escape_debug())
        }
        (Some(Errno::ENOEXEC), None) => "; a script needs a `#!` line".to_owned(),
        _ => String::new(),
    }
}

/// What stands behind `#!`, to the end of the line but for arguments.
fn interpreter(program: &Path) -> Option<String> {
    let mut start = Vec::new();
    File::open(program).ok()?.take(256).read_to_end(&mut start).ok()?;
    let start = String::from_utf8_lossy(&start);
    let line = start.strip_prefix("#!")?.split('\n').next()?;
    // A `\r` is part of the name for the kernel, and the usual reason why there is no such file.
    line.split([' ', '\t']).find(|word| !word.is_empty()).map(str::to_owned)
}
