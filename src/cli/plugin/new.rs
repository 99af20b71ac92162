//! `ductile plugin new`: a folder that `ductile plugin test` passes, to be changed from there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use crate::cli::error::CliError;
use crate::cli::new_files::{self, File, quoted};
use crate::cli::output;
use crate::config::wrong_plugin_name;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes the folder DIR/NAME with manifest.yaml, a program that answers poll, handle and health, a
README.md, and a program `test` that has ductile run each command once. It needs nothing beside it
but its language, so the folder may be copied anywhere. An existing folder is left as it is.

Examples:
  ductile plugin new feed                          in Python, plugins/feed
  ductile plugin new disk --lang sh --dir /etc/ductile/plugins
  plugins/feed/test                                does it keep the contract?")]
pub(super) struct Args {
    /// Its name: of the folder, in the manifest, and under `plugins` in the configuration
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Lang::Python)]
    lang: Lang,
    /// The folder of plugins, made when it is missing
    #[arg(long, default_value = "plugins")]
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lang {
    /// Python 3, standard library only
    Python,
    /// POSIX sh and awk
    Sh,
    /// Node.js, no packages
    Node,
}

impl Lang {
    /// The program's name and text, and what it needs.
    fn program(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Python => ("run.py", include_str!("templates/run.py"), "Python 3.9 or later"),
            Self::Sh => ("run.sh", include_str!("templates/run.sh"), "a POSIX shell and awk"),
            Self::Node => ("run.js", include_str!("templates/run.js"), "Node.js"),
        }
    }
}

/// Where the schema of manifests is, seen from a plugin's folder, in a folder of `ductile init`.
const SCHEMA: &str = "../../schemas/manifest.schema.json";

pub(super) fn new(args: &Args) -> Result<ExitCode, CliError> {
    let Args { name, lang, dir } = args;
    if let Some(wrong) = wrong_plugin_name(name) {
        return Err(CliError::Usage(format!("`{name}` {wrong}")));
    }
    let folder = dir.join(name);
    if folder.symlink_metadata().is_ok() {
        return Err(CliError::Failed(format!("there is already `{}`; nothing was made", folder.display())));
    }
    let (entrypoint, program, needs) = lang.program();
    let fill =
        |text: &str| text.replace("__NAME__", name).replace("__ENTRYPOINT__", entrypoint).replace("__NEEDS__", needs);
    let mut manifest = fill(include_str!("templates/manifest.yaml"));
    if dir.join("..").join(SCHEMA.trim_start_matches("../")).is_file() {
        manifest.insert_str(0, &format!("# yaml-language-server: $schema={SCHEMA}\n"));
    }
    let [program, readme, test] =
        [program, include_str!("templates/README.md"), include_str!("templates/test")].map(fill);
    let files: [File<'_>; 4] = [
        ("manifest.yaml", &manifest, false),
        (entrypoint, &program, true),
        ("README.md", &readme, false),
        ("test", &test, true),
    ];
    new_files::make(&folder, &files)?;
    for (file, ..) in files {
        output::line(&format!("made {}", folder.join(file).display()))?;
    }
    let test = quoted(&Path::new(".").join(&folder).join("test"));
    output::line(&format!(
        "\nnext:\n  {test}      runs each of its commands once\n  in config.yaml:\n    plugins:\n      {}:\n        \
         schedule: {{every: 5m}}\n        config: {{greeting: hello}}\n  ductile check",
        key(name)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The name as a key in YAML, which would take `1` for a number.
fn key(name: &str) -> String {
    let is_text = serde_yaml::from_str::<serde_yaml::Value>(name).is_ok_and(|value| value.as_str() == Some(name));
    if is_text { name.to_owned() } else { format!("\"{name}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_yaml_would_misread_is_quoted() {
        for (name, expected) in [
            ("feed", "feed"),
            ("a-1", "a-1"),
            ("1", "\"1\""),
            ("1e5", "\"1e5\""),
            ("true", "\"true\""),
            ("null", "\"null\""),
        ] {
            assert_eq!(key(name), expected);
        }
    }
}
