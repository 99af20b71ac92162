//! `ductile init`: a folder from which `ductile start` works, for somebody who has nothing but the binary.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::error::CliError;
use super::output;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes config.yaml, README.md, the plugins echo and example, and helpers for plugins. Nothing is overwritten: if one of
these names, or data, is there already, nothing is made.

Examples:
  ductile init gateway && cd gateway && ductile start")]
pub(super) struct Args {
    /// The folder, made when it is missing
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// A file to be made: its place in the folder, its text, and whether it is a program.
type Made = (&'static str, &'static str, bool);

const FILES: [Made; 9] = [
    ("config.yaml", include_str!("init/config.yaml"), false),
    ("README.md", include_str!("init/README.md"), false),
    ("plugins/echo/manifest.yaml", include_str!("../../plugins/echo/manifest.yaml"), false),
    ("plugins/echo/run.sh", include_str!("../../plugins/echo/run.sh"), true),
    ("plugins/example/manifest.yaml", include_str!("../../plugins/example/manifest.yaml"), false),
    ("plugins/example/run.py", include_str!("../../plugins/example/run.py"), true),
    ("plugins/lib/ductile.py", include_str!("../../plugins/lib/ductile.py"), false),
    ("plugins/lib/ductile.rb", include_str!("../../plugins/lib/ductile.rb"), false),
    ("plugins/lib/ductile.sh", include_str!("../../plugins/lib/ductile.sh"), false),
];

/// What must not be there: with an old database, another gateway would go on.
const IN_THE_WAY: [&str; 4] = ["config.yaml", "README.md", "plugins", "data"];

pub(super) fn init(args: &Args) -> Result<ExitCode, CliError> {
    let dir = &args.dir;
    let failed =
        |path: &Path, error: &io::Error| CliError::Failed(format!("`{}` cannot be made: {error}", path.display()));
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            return Err(CliError::Failed(format!("`{}` is not a folder; nothing was made", dir.display())));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(dir, &error)),
        _ => {}
    }
    let found: Vec<_> = IN_THE_WAY.into_iter().filter(|name| dir.join(name).symlink_metadata().is_ok()).collect();
    if !found.is_empty() {
        let names: Vec<_> = found.iter().map(|name| format!("`{name}`")).collect();
        let (names, dir) = (names.join(", "), dir.display());
        return Err(CliError::Failed(format!("in `{dir}` there is already {names}; nothing was made")));
    }
    let mut made = Vec::new();
    let result = FILES.into_iter().try_for_each(|file| make(dir, file, &mut made));
    if let Err((path, error)) = result {
        // The last one first, so that folders are empty; what somebody else put there meanwhile stays.
        for path in made.iter().rev() {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
        return Err(failed(&path, &error));
    }
    for (name, ..) in FILES {
        output::line(&format!("made {}", dir.join(name).display()))?;
    }
    let enter = if dir == Path::new(".") { String::new() } else { format!("cd {} && ", quoted(dir)) };
    output::line("\nnext:")?;
    output::line(&format!("  {enter}ductile start"))?;
    output::line(&format!("  {enter}ductile logs --follow      in a second terminal"))?;
    Ok(ExitCode::SUCCESS)
}

fn make(dir: &Path, (name, text, program): Made, made: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let path = dir.join(name);
    let folders: Vec<_> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
    for folder in folders.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut make = || {
            DirBuilder::new().mode(0o755).create(folder)?;
            made.push(folder.to_owned());
            at_least(folder, 0o700)
        };
        make().map_err(|error| (folder.to_owned(), error))?;
    }
    let (mode, own) = if program { (0o755, 0o700) } else { (0o644, 0o600) };
    let mut make = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        made.push(path.clone());
        file.write_all(text.as_bytes())?;
        at_least(&path, own)
    };
    make().map_err(|error| (path.clone(), error))
}

/// The umask may take from others what it likes, but not from the owner.
fn at_least(path: &Path, own: u32) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & own == own { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(mode | own)) }
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    // Not an option.
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,=:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_when_a_shell_would_read_more_into_it() {
        for (path, text) in
            [("a/b-1.2", "a/b-1.2"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$x", "'$x'"), ("-x", "./-x")]
        {
            assert_eq!(quoted(Path::new(path)), text);
        }
    }
}
