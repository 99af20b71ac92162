//! `ductile check --deep`: whether `ductile start` would find what it needs on this machine. It changes nothing.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use crate::active::Active;
use crate::cli::output::{self, Paint};
use crate::config::Config;
use crate::log::chain;
use crate::state::lock::{self, Holder, Role};
use crate::state::{self, OpenError, Reader, StateDir, publish};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) about: &'static str,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// It works, but somebody should know.
    Warning,
    /// `start` would refuse, or a job would fail.
    Error,
}

impl Level {
    pub(super) fn paint(self) -> Paint {
        match self {
            Self::Ok => Paint::Plain,
            Self::Warning => Paint::Busy,
            Self::Error => Paint::Bad,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

fn ok(about: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, about, text: text.into() }
}

fn warning(about: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Warning, about, text: text.into() }
}

fn error(about: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Error, about, text: text.into() }
}

/// Everything that a start needs, in the order in which it would need it.
pub(super) fn look(active: &Active) -> Vec<Finding> {
    let config = active.registry.config();
    let mut findings = Vec::new();
    findings.extend(config_file(&config.path));
    findings.push(state_dir(&config.state_path));
    findings.push(disk(&config.state_path));
    let (daemon, holder) = daemon(&config.state_path);
    findings.push(daemon);
    findings.push(database(&config.state_path));
    findings.extend(interpreters(active));
    findings.extend(listen(config, holder));
    findings
}

fn config_file(path: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let path = path.display();
    (mode & 0o002 != 0).then(|| {
        warning(
            "config",
            format!("`{path}` can be written by every user, who decides then what runs; run `chmod o-w {path}`"),
        )
    })
}

const STATE_DIR: &str = "state dir";

fn state_dir(state_path: &Path) -> Finding {
    let folder = state_path.parent().unwrap_or(Path::new("/")).display();
    match StateDir::find(state_path) {
        Err(reason) => error(STATE_DIR, chain(&reason)),
        Ok(Some(dir)) => match dir.warning {
            Some(text) => warning(STATE_DIR, text),
            None => ok(STATE_DIR, format!("{folder}")),
        },
        Ok(None) => {
            let above = existing(state_path);
            match access(above, AccessFlags::W_OK | AccessFlags::X_OK) {
                Ok(()) => ok(STATE_DIR, format!("{folder} is not there yet; `ductile start` makes it")),
                Err(errno) => error(
                    STATE_DIR,
                    format!("{folder} is not there and cannot be made in `{}`: {errno}", above.display()),
                ),
            }
        }
    }
}

/// The folder of the database, or the nearest one above it that is there.
fn existing(state_path: &Path) -> &Path {
    state_path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/"))
}

/// With less, a flood of jobs or of what plugins print could fill the disk before anybody looks.
const LITTLE_SPACE: u64 = 256 << 20;

fn disk(state_path: &Path) -> Finding {
    const DISK: &str = "disk";
    let folder = existing(state_path);
    if let Err(reason) = state::refuse_network(&folder.join("ductile.db")) {
        return error(DISK, chain(&reason));
    }
    match statvfs(folder) {
        Ok(found) => space(DISK, found.blocks_available().saturating_mul(found.fragment_size())),
        Err(errno) => error(DISK, format!("the free space of `{}` cannot be read: {errno}", folder.display())),
    }
}

fn space(about: &'static str, free: u64) -> Finding {
    let text = format!("{} free", output::size(free));
    if free < LITTLE_SPACE { warning(about, format!("{text}, which is little")) } else { ok(about, text) }
}

/// Who holds the state dir; `None` also when nobody knows.
fn daemon(state_path: &Path) -> (Finding, Option<Holder>) {
    const DAEMON: &str = "daemon";
    match lock::holder(state_path.parent().unwrap_or(Path::new("/"))) {
        Ok(None) => (ok(DAEMON, "none is running with this state dir"), None),
        Ok(Some(holder)) => {
            let what = if holder.role == Role::Start { "running" } else { "none, but a `ductile run`" };
            (ok(DAEMON, format!("{what}, PID {}", holder.pid)), Some(holder))
        }
        Err(reason) => (warning(DAEMON, chain(&reason)), None),
    }
}

fn database(state_path: &Path) -> Finding {
    const DATABASE: &str = "database";
    if let Err(reason) = StateDir::check_readable(state_path) {
        return error(DATABASE, chain(&reason));
    }
    let reader = match Reader::open(state_path) {
        Ok(reader) => reader,
        Err(OpenError::Missing { .. }) => return ok(DATABASE, "none yet; `ductile start` makes it"),
        Err(reason @ OpenError::Older { .. }) => return warning(DATABASE, chain(&reason)),
        Err(reason) => return error(DATABASE, chain(&reason)),
    };
    let path = state_path.display();
    match state::damage(&reader) {
        Ok(damage) if damage.is_empty() => {
            let bytes = std::fs::metadata(state_path).map_or(0, |file| file.len());
            ok(DATABASE, format!("{path}, {}, no damage", output::size(bytes)))
        }
        Ok(damage) => error(DATABASE, format!("`{path}` is damaged: {}", damage.join("; "))),
        Err(reason) => error(DATABASE, chain(&reason)),
    }
}

/// Of each plugin that is enabled and loaded: what is not loaded is told before.
fn interpreters(active: &Active) -> Vec<Finding> {
    const PLUGIN: &str = "plugin";
    let entries = active.registry.entries().filter(|entry| entry.enabled);
    let loaded = entries.filter_map(|entry| Some((&entry.name, entry.loaded.as_ref().ok()?)));
    let look = |(name, plugin): (&String, &std::sync::Arc<crate::plugin::Plugin>)| match plugin.check_interpreter() {
        Ok(()) => ok(PLUGIN, name),
        Err(reason) => error(PLUGIN, format!("{name}: {}", chain(&reason))),
    };
    loaded.map(look).collect()
}

fn listen(config: &Config, holder: Option<Holder>) -> Vec<Finding> {
    // The daemon's own addresses are not free, of course.
    let daemon = holder.filter(Holder::is_daemon);
    let service = daemon.and_then(|_| publish::service(&*Reader::open(&config.state_path).ok()?).ok());
    let held = service.map_or((None, None), |service| (service.listen, service.metrics_listen));
    let webhooks = config.webhooks.as_ref().map(|webhooks| ("webhooks.listen", webhooks.listen, held.0));
    let metrics = config.metrics.as_ref().map(|metrics| ("metrics.listen", metrics.listen, held.1));
    webhooks.into_iter().chain(metrics).map(|(key, address, held)| can_listen(key, address, held.as_deref())).collect()
}

fn can_listen(key: &str, address: SocketAddr, held: Option<&str>) -> Finding {
    const LISTEN: &str = "listen";
    if held.and_then(|held| held.parse().ok()).is_some_and(|held| same(held, address)) {
        return ok(LISTEN, format!("{address}, held by the daemon"));
    }
    match TcpListener::bind(address) {
        Ok(_) => ok(LISTEN, format!("{address} is free")),
        Err(reason) => error(LISTEN, format!("cannot listen on {address} (`{key}`): {reason}")),
    }
}

/// Whether a daemon that was told to listen on `configured` would be found on `held`.
fn same(held: SocketAddr, configured: SocketAddr) -> bool {
    held.ip() == configured.ip() && (held.port() == configured.port() || configured.port() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_space_is_a_warning() {
        assert_eq!(space("disk", LITTLE_SPACE).level, Level::Ok);
        let little = space("disk", LITTLE_SPACE - 1);
        assert_eq!((little.level, little.text.as_str()), (Level::Warning, "256.0 MB free, which is little"));
    }

    #[test]
    fn a_port_of_the_systems_choice_is_the_daemons_own() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(same(address("127.0.0.1:4000"), address("127.0.0.1:0")));
        assert!(same(address("127.0.0.1:80"), address("127.0.0.1:80")));
        assert!(!same(address("127.0.0.1:80"), address("127.0.0.1:81")));
        assert!(!same(address("127.0.0.1:80"), address("0.0.0.0:80")));
    }
}
