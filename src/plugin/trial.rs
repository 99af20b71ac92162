//! One attempt for a plugin's author: run as any other, and looked at more closely.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::{Pid, Uid};

use super::attempt::{Attempt, Call, run_process};
use super::environment::{self, INSTANCE_VARIABLE};
use super::loaded::{LoadError, Plugin};
use super::process::{Cancel, Limits};
use super::stray;
use super::trust::TrustError;
use crate::config::PluginConfig;

/// The most that a plugin may print on stdout, in bytes.
pub const STDOUT_LIMIT: usize = Limits::STDOUT;
/// How much of its stderr is read, in bytes.
pub const STDERR_LIMIT: usize = Limits::STDERR;

/// An attempt, and what its outcome does not say.
#[derive(Debug)]
pub struct Trial {
    pub attempt: Attempt,
    /// What it printed on stdout; the beginning when that is over [`STDOUT_LIMIT`].
    pub stdout: Vec<u8>,
    /// How much it printed, as far as it was read.
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// From before its start to the end of its output.
    pub duration: Duration,
    /// The processes that still ran when it had ended. Without `/proc` there are none.
    pub leftovers: Vec<Leftover>,
}

/// A process that a plugin has left running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Of its program, at most 15 bytes.
    pub name: String,
    /// Whether it was killed with the plugin's process group. Others run on beside a daemon, until its next start.
    pub in_group: bool,
}

/// Loads the plugin in this folder, with the checks of a start; what is odd but harmless goes to `warnings`.
///
/// # Errors
/// When a start would not load it.
pub fn load_folder(folder: &Path, settings: PluginConfig, warnings: &mut Vec<String>) -> Result<Plugin, LoadError> {
    let missing = || LoadError::Untrusted(TrustError::FolderMissing { path: folder.to_owned() });
    let resolved = folder.canonicalize().map_err(|_| missing())?;
    let (Some(root), Some(name)) = (resolved.parent(), resolved.file_name().and_then(|name| name.to_str())) else {
        return Err(missing());
    };
    let environment = environment::of_plugin(&environment::allowed(std::env::vars_os()), &settings.env);
    Plugin::load(root, name, settings, environment, warnings)
}

/// Runs one attempt as [`super::run`] does, and ends all that it has started. The call's instance must be one of its
/// own: everything that carries it is killed.
pub async fn try_out(plugin: &Plugin, call: Call, cancel: &Cancel) -> Trial {
    let (protocol, timeout) = (plugin.manifest.protocol, plugin.settings.timeouts.of(&call.command));
    let instance = call.instance;
    let mark = format!("{INSTANCE_VARIABLE}={instance}");
    let found = Mutex::new(Vec::new());
    let look = |leader| found.lock().unwrap_or_else(PoisonError::into_inner).extend(leftovers(leader, &mark));
    let (limits, started) = (Limits::default(), Instant::now());
    let ended = run_process(plugin, call, cancel, &limits, &look).await;
    let duration = started.elapsed();
    stray::kill_all(instance);
    let leftovers = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    match ended {
        Ok(ended) => Trial {
            stdout: ended.stdout.bytes.clone(),
            stdout_bytes: ended.stdout.total,
            stderr_bytes: ended.stderr.total,
            attempt: Attempt::of(ended, protocol, timeout, limits.stdout),
            duration,
            leftovers,
        },
        Err(ending) => Trial {
            attempt: Attempt::without_process(ending.outcome()),
            stdout: Vec::new(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            duration,
            leftovers,
        },
    }
}

/// What belongs to the group, or has the mark in its environment, and is not dead.
fn leftovers(group: Pid, mark: &str) -> Vec<Leftover> {
    let user = Uid::effective().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let leftover = |entry: fs::DirEntry| {
        entry.file_name().to_str()?.parse::<i32>().ok()?;
        if entry.metadata().ok()?.uid() != user {
            return None;
        }
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // `pid (name) state parent group ...`; a name may hold brackets.
        let (name, rest) = (stat.find('(')?, stat.rfind(')')?);
        let mut fields = stat[rest + 1..].split_whitespace();
        let (state, in_group) = (fields.next()?, fields.nth(1)?.parse() == Ok(group.as_raw()));
        let dead = matches!(state, "Z" | "X");
        let marked = || {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let name = stat.get(name + 1..rest)?.to_owned();
        (!dead && (in_group || marked())).then_some(Leftover { name, in_group })
    };
    entries.filter_map(leftover).collect()
}
