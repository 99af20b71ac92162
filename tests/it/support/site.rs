//! One installation in a folder of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::plugin::Plugin;
use super::process::{Process, Ran, with_variable};
use super::wait::wait_for;
use super::{Daemon, wait_until};

/// Marks all processes of a site, daemons and plugins: none of them outlives it.
const MARK: &str = "IT";

/// The parts of its configuration are written to `config.yaml` when a process is started.
#[derive(Debug)]
pub(crate) struct Site {
    service: BTreeMap<String, String>,
    plugins: BTreeMap<String, Plugin>,
    routes: Vec<String>,
    more: String,
    /// Written as it is, instead of all parts.
    raw: Option<String>,
    env: BTreeMap<String, String>,
    dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ductile-it-").tempdir().unwrap();
        fs::create_dir(dir.path().join("plugins")).unwrap();
        let service = [("tick_interval", "1s"), ("shutdown_grace", "20s")];
        let service = service.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let (plugins, env) = (BTreeMap::new(), BTreeMap::new());
        Self { service, plugins, routes: Vec::new(), more: String::new(), raw: None, env, dir }
    }

    /// A site with one plugin.
    pub(crate) fn with(plugin: Plugin) -> Self {
        let mut site = Self::new();
        site.plugin(plugin);
        site
    }

    /// Sets `service.<key>`.
    pub(crate) fn service(&mut self, key: &str, value: &str) -> &mut Self {
        self.service.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a plugin, or replaces the one of that name.
    pub(crate) fn plugin(&mut self, plugin: Plugin) -> &mut Self {
        plugin.write(&self.path("plugins"));
        self.plugins.insert(plugin.name.clone(), plugin);
        self
    }

    /// Adds `plugins.<name>` alone, or replaces it: an alias, or a plugin whose files are elsewhere.
    pub(crate) fn settings(&mut self, plugin: Plugin) -> &mut Self {
        self.plugins.insert(plugin.name.clone(), plugin);
        self
    }

    /// Writes the files of a plugin into a root, and nothing into the configuration.
    pub(crate) fn files(&self, root: &str, plugin: &Plugin) {
        plugin.write(&self.path(root));
    }

    /// Copies one of the repository's plugins, and the helpers, with the lines of its `plugins.<name>`.
    pub(crate) fn bundled(&mut self, name: &str, settings: &[&str]) -> &mut Self {
        let plugin = settings.iter().fold(Plugin::sh(name, ""), |plugin, line| plugin.set(line));
        self.copy(name);
        self.copy("lib");
        self.plugins.insert(name.to_owned(), plugin);
        self
    }

    /// Copies a folder of the repository's plugins.
    pub(crate) fn copy(&self, name: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(name);
        let to = self.path("plugins").join(name);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
    }

    /// Takes a plugin out of the configuration; its files stay.
    pub(crate) fn remove(&mut self, name: &str) -> &mut Self {
        self.plugins.remove(name);
        self
    }

    pub(crate) fn route(&mut self, from: &str, event_type: &str, to: &str) -> &mut Self {
        self.routes.push(format!("{{from: {from}, event_type: {event_type}, to: {to}}}"));
        self
    }

    pub(crate) fn clear_routes(&mut self) -> &mut Self {
        self.routes.clear();
        self
    }

    /// Top-level YAML that follows the rest.
    pub(crate) fn more(&mut self, yaml: &str) -> &mut Self {
        self.more = yaml.to_owned();
        self
    }

    /// The whole configuration, instead of parts.
    pub(crate) fn raw(&mut self, yaml: &str) -> &mut Self {
        self.raw = Some(yaml.to_owned());
        self
    }

    /// A variable of the processes that follow.
    pub(crate) fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn clear_env(&mut self) -> &mut Self {
        self.env.clear();
        self
    }

    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("state/ductile.db")
    }

    /// The text of a file that a plugin writes, without white space around it; empty while there is none.
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default().trim().to_owned()
    }

    /// Waits until a plugin has written a whole line into this file. Its text.
    #[track_caller]
    pub(crate) fn wait_file(&self, file: &str) -> String {
        let line = || fs::read_to_string(self.path(file)).ok().filter(|text| text.ends_with('\n'));
        wait_for(&format!("a line in {file}"), String::new, line).trim().to_owned()
    }

    /// Makes a file that a plugin waits for.
    pub(crate) fn touch(&self, file: &str) {
        fs::write(self.path(file), "").unwrap();
    }

    pub(crate) fn write_config(&self) {
        let text = self.raw.clone().unwrap_or_else(|| self.config());
        let (path, new) = (self.path("config.yaml"), self.path("config.yaml.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn config(&self) -> String {
        let mut yaml = String::from("state: {path: state/ductile.db}\nplugins_dir: plugins\nservice:\n");
        for (key, value) in &self.service {
            writeln!(yaml, "  {key}: {value}").unwrap();
        }
        yaml.push_str("plugins:\n");
        for (name, plugin) in &self.plugins {
            writeln!(yaml, "  {name}:").unwrap();
            for line in &plugin.settings {
                writeln!(yaml, "    {line}").unwrap();
            }
            writeln!(yaml, "    env:\n      {MARK}: \"{}\"", self.dir.path().display()).unwrap();
            for (variable, value) in &plugin.env {
                writeln!(yaml, "      {variable}: {value}").unwrap();
            }
        }
        writeln!(yaml, "routes: [{}]\n{}", self.routes.join(", "), self.more).unwrap();
        yaml
    }

    /// `ductile` with these arguments, in the site's folder, where its `config.yaml` is found without being named.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        self.write_config();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ductile"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(arguments).current_dir(self.dir.path()).env_clear();
        command.env("PATH", format!("/usr/bin:/bin:{path}")).env("HOME", self.dir.path()).env(MARK, self.dir.path());
        command.envs(&self.env);
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn cli<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        self.spawn(arguments).wait()
    }

    #[track_caller]
    pub(crate) fn cli_with_stdin<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, stdin: &str) -> Ran {
        Process::spawn(&mut self.command(arguments), stdin).wait()
    }

    /// Starts it.
    pub(crate) fn spawn<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Process {
        Process::spawn(&mut self.command(arguments), "")
    }

    /// Puts a job on the queue with `run --detach`. Its id.
    #[track_caller]
    pub(crate) fn detach<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let mut command = self.command(["run", "--detach"]);
        let ran = Process::spawn(command.args(arguments), "").wait().expect_code(0);
        let id = ran.stdout.trim().to_owned();
        assert_eq!(id.len(), 36, "an id: {ran:?}");
        id
    }

    /// `ductile start`, once it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(self)
    }

    /// The processes of this site, but for `ductile` itself.
    pub(crate) fn plugin_processes(&self) -> Vec<i32> {
        let binary = Path::new(env!("CARGO_BIN_EXE_ductile"));
        let own = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != binary);
        with_variable(MARK, self.dir.path().to_str().unwrap()).into_iter().filter(own).collect()
    }

    /// Waits until no plugin process of this site is left.
    #[track_caller]
    pub(crate) fn wait_no_plugin_process(&self) {
        wait_until("the end of all plugin processes", || self.plugin_processes().is_empty());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Twice, for what was being started meanwhile.
        for _ in 0..2 {
            for pid in with_variable(MARK, self.dir.path().to_str().unwrap()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// Sets the permission bits of a file or folder.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The permission bits of a file or folder.
#[track_caller]
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
