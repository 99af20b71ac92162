//! Making files for somebody who begins: all of them or none.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::CliError;

/// A file to be made: its place in the folder, its text, and whether it is a program.
pub(super) type File<'a> = (&'a str, &'a str, bool);

/// Makes the files in a folder, and the folder if need be. Nothing is overwritten; when one fails, none is left.
pub(super) fn make(dir: &Path, files: &[File<'_>]) -> Result<(), CliError> {
    let mut made = Vec::new();
    let result = files.iter().try_for_each(|file| make_one(dir, *file, &mut made));
    result.map_err(|(path, error)| {
        // The last one first, so that folders are empty; what somebody else put there meanwhile stays.
        for path in made.iter().rev() {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
        failed(&path, &error)
    })
}

/// Why a file or folder was not made.
pub(super) fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("`{}` cannot be made: {error}", path.display()))
}

fn make_one(dir: &Path, (name, text, program): File<'_>, made: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
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
pub(super) fn quoted(path: &Path) -> String {
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
