//! A running `ductile start`.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::process::{Process, Ran};
use super::site::Site;
use super::wait::wait_for;

#[derive(Debug)]
pub(crate) struct Daemon(pub(crate) Process);

impl Daemon {
    #[track_caller]
    pub(super) fn start(site: &Site) -> Self {
        Self::ready(site.spawn(["start"]))
    }

    /// Started by a shell after these commands, such as `ulimit -n 1024`.
    #[track_caller]
    pub(crate) fn start_under(site: &Site, commands: &str) -> Self {
        let start = site.command(["start"]);
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("{commands} && exec \"$0\" start")).arg(start.get_program()).env_clear();
        shell.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(start.get_current_dir().unwrap());
        Self::ready(Process::spawn(&mut shell, ""))
    }

    #[track_caller]
    fn ready(process: Process) -> Self {
        let mut daemon = Self(process);
        let what = "`ductile started` in the log";
        let ready = wait_for(what, String::new, || match daemon.0.stdout().contains("ductile started") {
            true => Some(true),
            false => daemon.0.ended().map(|_| false),
        });
        assert!(ready, "it did not start\nstdout: {}\nstderr: {}", daemon.0.stdout(), daemon.0.stderr());
        daemon
    }

    /// SIGTERM; what it said, after it has ended with 0 and without a panic.
    #[track_caller]
    pub(crate) fn stop(self) -> Ran {
        self.0.signal(Signal::SIGTERM);
        self.end()
    }

    /// Waits for an end with 0, without a panic.
    #[track_caller]
    pub(crate) fn end(self) -> Ran {
        let ran = self.0.wait().expect_code(0);
        assert!(!ran.stdout.contains("panic") && ran.stderr.is_empty(), "{ran:?}");
        ran
    }

    /// kill -9. What it had logged.
    pub(crate) fn kill(mut self) -> Vec<Value> {
        self.0.kill();
        self.log()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }

    /// The log's whole lines so far, each an object.
    #[track_caller]
    pub(crate) fn log(&self) -> Vec<Value> {
        log_lines(&self.0.stdout())
    }

    /// Waits for a line with this level and this in its message. The first such line.
    #[track_caller]
    pub(crate) fn wait_log(&self, level: &str, message: &str) -> Value {
        let context = || self.0.stdout();
        wait_for(&format!("{level} `{message}` in the log"), context, || find_line(&self.log(), level, message))
    }
}

/// Log lines as objects; one that is still being written is left out.
#[track_caller]
pub(crate) fn log_lines(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in log line {line:?}"));
    whole.lines().map(parse).collect()
}

/// The first line with this level and this in its message.
pub(crate) fn find_line(lines: &[Value], level: &str, message: &str) -> Option<Value> {
    let fits = |line: &&Value| line["level"] == level && line["message"].as_str().unwrap().contains(message);
    lines.iter().find(fits).cloned()
}
