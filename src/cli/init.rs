//! `ductile init`: a folder from which `ductile start` works, for somebody who has nothing but the binary.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::error::CliError;
use super::new_files::{self, File, quoted};
use super::output;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes config.yaml, README.md, the plugins echo and example, helpers for plugins, and schemas by which an
editor checks config.yaml and manifests. Nothing is overwritten: if one of these names, or data, is there
already, nothing is made.

Examples:
  ductile init gateway && cd gateway && ductile start")]
pub(super) struct Args {
    /// The folder, made when it is missing
    #[arg(default_value = ".")]
    dir: PathBuf,
}

const FILES: [File<'_>; 13] = [
    ("config.yaml", include_str!("init/config.yaml"), false),
    ("README.md", include_str!("init/README.md"), false),
    ("plugins/echo/config.schema.json", include_str!("../../plugins/echo/config.schema.json"), false),
    ("plugins/echo/manifest.yaml", include_str!("../../plugins/echo/manifest.yaml"), false),
    ("plugins/echo/run.sh", include_str!("../../plugins/echo/run.sh"), true),
    ("plugins/example/config.schema.json", include_str!("../../plugins/example/config.schema.json"), false),
    ("plugins/example/manifest.yaml", include_str!("../../plugins/example/manifest.yaml"), false),
    ("plugins/example/run.py", include_str!("../../plugins/example/run.py"), true),
    ("plugins/lib/ductile.py", include_str!("../../plugins/lib/ductile.py"), false),
    ("plugins/lib/ductile.rb", include_str!("../../plugins/lib/ductile.rb"), false),
    ("plugins/lib/ductile.sh", include_str!("../../plugins/lib/ductile.sh"), false),
    ("schemas/config.schema.json", include_str!("../../schemas/config.schema.json"), false),
    ("schemas/manifest.schema.json", include_str!("../../schemas/manifest.schema.json"), false),
];

/// What must not be there: with an old database, another gateway would go on.
const IN_THE_WAY: [&str; 5] = ["config.yaml", "README.md", "plugins", "schemas", "data"];

pub(super) fn init(args: &Args) -> Result<ExitCode, CliError> {
    let dir = &args.dir;
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            return Err(CliError::Failed(format!("`{}` is not a folder; nothing was made", dir.display())));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(new_files::failed(dir, &error)),
        _ => {}
    }
    let found: Vec<_> = IN_THE_WAY.into_iter().filter(|name| dir.join(name).symlink_metadata().is_ok()).collect();
    if !found.is_empty() {
        let names: Vec<_> = found.iter().map(|name| format!("`{name}`")).collect();
        let (names, dir) = (names.join(", "), dir.display());
        return Err(CliError::Failed(format!("in `{dir}` there is already {names}; nothing was made")));
    }
    new_files::make(dir, &FILES)?;
    for (name, ..) in FILES {
        output::line(&format!("made {}", dir.join(name).display()))?;
    }
    let enter = if dir == Path::new(".") { String::new() } else { format!("cd {} && ", quoted(dir)) };
    output::line("\nnext:")?;
    output::line(&format!("  {enter}ductile start"))?;
    output::line(&format!("  {enter}ductile logs --follow      in a second terminal"))?;
    Ok(ExitCode::SUCCESS)
}
