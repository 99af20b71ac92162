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
    script: String,
    commands: String,
    pub(super) settings: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
}

impl Plugin {
    fn new(name: &str, script: String) -> Self {
        let commands = "poll, handle".to_owned();
        let name = name.to_owned();
        Self { name, script, commands, settings: Vec::new(), env: BTreeMap::new() }
    }

    /// A POSIX shell script.
    pub(crate) fn sh(name: &str, script: &str) -> Self {
        Self::new(name, format!("#!/bin/sh\n{script}\n"))
    }

    /// A Python script, with `request` read and `json`, `os`, `sys`, `time` there.
    pub(crate) fn python(name: &str, script: &str) -> Self {
        let head = "#!/usr/bin/env python3\nimport json, os, sys, time\nrequest = json.load(sys.stdin)\n";
        Self::new(name, format!("{head}{script}\n"))
    }

    /// Python without that.
    pub(crate) fn bare_python(name: &str, script: &str) -> Self {
        Self::new(name, format!("#!/usr/bin/env python3\nimport json, os, sys, time\n{script}\n"))
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
        let Self { name, commands, .. } = self;
        let text = format!("name: {name}\nversion: 1.0.0\nprotocol: 1\nentrypoint: run\ncommands: [{commands}]\n");
        fs::write(folder.join("manifest.yaml"), text).unwrap();
        // Anew each time: the old one may be running.
        let entrypoint = folder.join("run");
        let _ = fs::remove_file(&entrypoint);
        fs::write(&entrypoint, &self.script).unwrap();
        set_mode(&entrypoint, 0o755);
    }
}
