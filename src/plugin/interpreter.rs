//! Whether the system can run an entrypoint: what its first line asks for. For `check`; a spawn finds out by itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::environment::Environment;
use super::trust::TrustError;

/// Why a loaded plugin could not be run all the same.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    #[error("`{}` cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("`{}` asks for the interpreter `{}`, which is not there{}", path.display(), interpreter.escape_debug(), hint(interpreter))]
    Missing { path: PathBuf, interpreter: String },
    #[error("`{}` asks for `{}`, which is in no folder of the plugin's PATH (`{search}`){}", path.display(), program.escape_debug(), hint(program))]
    NotInPath { path: PathBuf, program: String, search: String },
    #[error("`{}` neither begins with `#!` nor is it a program of this system", path.display())]
    NoProgram { path: PathBuf },
}

fn hint(word: &str) -> &'static str {
    match word {
        word if word.ends_with('\r') => "; its lines end with CR LF",
        word if word.contains(' ') => "; `env -S` takes more than one word",
        _ => "",
    }
}

/// The kernel reads no more of the first line.
const FIRST_LINE: u64 = 256;
/// Where `env` looks when there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Looks whether the interpreter of `entrypoint` is there, as a process in `folder` with this environment finds it.
pub(super) fn check(entrypoint: &Path, folder: &Path, environment: &Environment) -> Result<(), InterpreterError> {
    let path = || entrypoint.to_owned();
    let mut head = Vec::new();
    File::open(entrypoint)
        .and_then(|file| file.take(FIRST_LINE).read_to_end(&mut head))
        .map_err(|reason| InterpreterError::Unreadable { path: path(), reason })?;
    let Some(line) = head.strip_prefix(b"#!") else {
        let elf = head.starts_with(b"\x7fELF");
        return if elf { Ok(()) } else { Err(InterpreterError::NoProgram { path: path() }) };
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    // A carriage return belongs to the name, for the kernel too.
    let line = line.trim_matches([' ', '\t']);
    let (interpreter, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if interpreter.is_empty() || !is_program(&folder.join(interpreter)) {
        return Err(InterpreterError::Missing { path: path(), interpreter: interpreter.to_owned() });
    }
    if Path::new(interpreter).file_name() != Some(OsStr::new("env")) {
        return Ok(());
    }
    let Some(program) = program_of_env(argument.trim_start_matches([' ', '\t'])) else { return Ok(()) };
    let search = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let search = search.unwrap_or(OsStr::new(DEFAULT_PATH));
    let found = match program.contains('/') {
        true => is_program(&folder.join(program)),
        false => std::env::split_paths(search).any(|in_path| is_program(&folder.join(in_path).join(program))),
    };
    if found {
        return Ok(());
    }
    let search = String::from_utf8_lossy(search.as_bytes()).into_owned();
    Err(InterpreterError::NotInPath { path: path(), program: program.to_owned(), search })
}

/// What `env` is to run. The kernel hands it all that follows as one word, which only `-S` splits.
fn program_of_env(argument: &str) -> Option<&str> {
    let Some(words) = argument.strip_prefix("-S") else {
        return (!argument.is_empty() && !argument.starts_with('-')).then_some(argument);
    };
    words.split([' ', '\t']).find(|word| !word.is_empty() && !word.starts_with('-') && !word.contains('='))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_line_decides() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for (name, mode) in [("tool", 0o755), ("data", 0o644)] {
            std::fs::write(bin.join(name), "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let environment: Environment = vec![("PATH".into(), bin.clone().into())];
        let entrypoint = dir.path().join("run");
        let check = |text: &[u8]| {
            std::fs::write(&entrypoint, text).unwrap();
            check(&entrypoint, dir.path(), &environment).map_err(|error| error.to_string())
        };
        for good in [
            &b"#!/bin/sh\necho"[..],
            b"#! /bin/sh -eu",
            b"#!\t/bin/sh",
            b"#!/usr/bin/env tool\n",
            b"#!/usr/bin/env -S tool -u --x=1\n",
            b"#!/usr/bin/env -S A=1 tool\n",
            b"#!bin/tool\n",
            b"\x7fELF\x02",
        ] {
            assert_eq!(check(good), Ok(()), "{}", String::from_utf8_lossy(good));
        }
        for (bad, message) in [
            (&b"#!/none/python3\n"[..], "interpreter `/none/python3`, which is not there"),
            (b"#!/bin/sh\r\n", r"`/bin/sh\r`, which is not there; its lines end with CR LF"),
            (b"#!\n", "interpreter ``"),
            (b"#!/usr/bin/env none\n", "asks for `none`, which is in no folder of the plugin's PATH"),
            (b"#!/usr/bin/env data\n", "asks for `data`"),
            (b"#!/usr/bin/env tool -u\n", "asks for `tool -u`"),
            (b"#!/usr/bin/env tool -u\n", "`env -S` takes more than one word"),
            (b"#!/usr/bin/env tool\r\n", "CR LF"),
            (b"echo hello\n", "neither begins with `#!`"),
            (b"", "neither begins with `#!`"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
