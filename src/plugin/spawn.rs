//! Starting a child, and saying in words why it could not be started. What happens to it then is `process`'s business.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
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

/// Starts the child as the leader of its own process group, all three streams piped.
///
/// There is no `pre_exec` here, and there must not be: it would turn posix_spawn into a fork.
pub(crate) async fn spawn(mut command: Command) -> Result<Child, SpawnError> {
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut pauses = (0..PAUSES).map(|n| FIRST_PAUSE * 2u32.pow(n));
    loop {
        let reason = match command.spawn() {
            Ok(child) => return Ok(child),
            Err(reason) => reason,
        };
        // "Text file busy": somebody is still writing the program, or a fork still holds the file open.
        match pauses.next() {
            Some(pause) if reason.kind() == io::ErrorKind::ExecutableFileBusy => tokio::time::sleep(pause).await,
            _ => {
                let program = PathBuf::from(command.as_std().get_program());
                return Err(SpawnError { hint: hint(&program, &reason), program, reason });
            }
        }
    }
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
