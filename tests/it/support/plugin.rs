//! Plugins as tests write them: a script with a manifest.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::site::set_mode;

/// The answer of a plugin that has nothing to say.
pub(crate) const OK: &str = r#"echo '{"status": "ok"}'"#;

/// A script, its manifest, and `plugins.<name>` of the configuration.
///
/// Scripts run in their own folder; `$IT` is the site's folder, for files that tell the test how far they have come.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    pub(super) name: String,
    program: Vec<u8>,
    protocol: u8,
    commands: String,
    /// What follows in the manifest.
    more: String,
    pub(super) settings: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
}

impl Plugin {
    fn new(name: &str, program: Vec<u8>) -> Self {
        let commands = "poll, handle".to_owned();
        let (name, more) = (name.to_owned(), String::new());
        Self { name, program, protocol: 1, commands, more, settings: Vec::new(), env: BTreeMap::new() }
    }

    /// A POSIX shell script.
    pub(crate) fn sh(name: &str, script: &str) -> Self {
        Self::new(name, format!("#!/bin/sh\n{script}\n").into())
    }

    /// A Python script, with `request` read and `json`, `os`, `sys`, `time` there.
    pub(crate) fn python(name: &str, script: &str) -> Self {
        let head = "#!/usr/bin/env python3\nimport json, os, sys, time\nrequest = json.load(sys.stdin)\n";
        Self::new(name, format!("{head}{script}\n").into())
    }

    /// Python without that.
    pub(crate) fn bare_python(name: &str, script: &str) -> Self {
        Self::new(name, format!("#!/usr/bin/env python3\nimport json, os, sys, time\n{script}\n").into())
    }

    /// Whatever may be executed.
    pub(crate) fn executable(name: &str, program: impl Into<Vec<u8>>) -> Self {
        Self::new(name, program.into())
    }

    /// Instead of protocol 1.
    pub(crate) fn protocol_2(mut self) -> Self {
        self.protocol = 2;
        self
    }

    /// Lines of the manifest that follow those which every plugin has.
    pub(crate) fn declare(mut self, yaml: &str) -> Self {
        self.more = yaml.to_owned();
        self
    }

    /// Instead of `poll, handle`.
    pub(crate) fn commands(mut self, commands: &str) -> Self {
        self.commands = commands.to_owned();
        self
    }

    /// A line of `plugins.<name>`, such as `retry: {max_attempts: 1}`.
    pub(crate) fn set(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// An entry of `plugins.<name>.env`, as YAML.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn write(&self, plugins_dir: &Path) {
        let folder = plugins_dir.join(&self.name);
        fs::create_dir_all(&folder).unwrap();
        let Self { name, protocol, commands, more, .. } = self;
        let head = format!("name: {name}\nversion: 1.0.0\nprotocol: {protocol}\nentrypoint: run\n");
        let text = format!("{head}commands: [{commands}]\n{more}\n");
        fs::write(folder.join("manifest.yaml"), text).unwrap();
        // Anew each time: the old one may be running.
        let entrypoint = folder.join("run");
        let _ = fs::remove_file(&entrypoint);
        fs::write(&entrypoint, &self.program).unwrap();
        set_mode(&entrypoint, 0o755);
    }
}
