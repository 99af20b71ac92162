//! Where the text for a `${...}` comes from: the environment, an environment file, other files.

use std::collections::BTreeMap;
use std::env::{self, VarError};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::env_file;
use super::interpolate::{Origin, Reference};
use super::problem::{ConfigError, one_line};

/// systemd sets it to the folder of a service's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The most that `${file:...}` or an environment file may hold.
const LONGEST_FILE: u64 = 1 << 20;

/// The variables a configuration may use.
#[derive(Clone)]
pub struct Variables {
    /// `None`: the environment of this process.
    named: Option<BTreeMap<String, String>>,
    credentials: Option<PathBuf>,
}

impl Variables {
    /// The environment of this process.
    pub fn process() -> Self {
        Self { named: None, credentials: process_credentials() }
    }

    /// The variables of a file in the format of systemd's `EnvironmentFile=`, and no others; only
    /// `CREDENTIALS_DIRECTORY` may also come from the environment of this process.
    pub fn from_env_file(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason| ConfigError::Unreadable { path: path.to_owned(), reason };
        let text = read(path).map_err(unreadable)?;
        let mut variables = Self::from_iter(env_file::parse(&text));
        if variables.credentials.is_none() {
            variables.credentials = process_credentials();
        }
        Ok(variables)
    }

    /// Finds the text for one reference. Files are relative to `folder`; one newline at their end is removed.
    pub(super) fn resolve(&self, reference: Reference<'_>, folder: &Path) -> Result<String, Unresolved> {
        let fail = |reason| Unresolved { written: reference.written.to_owned(), reason };
        match reference.origin {
            Origin::Variable(name) => self.get(name).map_err(fail),
            Origin::File(path) => secret_file(&folder.join(path)).map_err(fail),
            Origin::Credential(name) => match &self.credentials {
                Some(credentials) => secret_file(&credentials.join(name)).map_err(fail),
                None => Err(fail(Reason::NoCredentials)),
            },
        }
    }

    fn get(&self, name: &str) -> Result<String, Reason> {
        match &self.named {
            Some(named) => named.get(name).cloned().ok_or(Reason::Unset),
            None => env::var(name).map_err(|error| match error {
                VarError::NotPresent => Reason::Unset,
                VarError::NotUnicode(_) => Reason::NotUnicode,
            }),
        }
    }
}

/// Exactly these variables; for tests.
impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(named: I) -> Self {
        let named: BTreeMap<String, String> = named.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let credentials = named.get(CREDENTIALS_DIRECTORY).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { named: Some(named), credentials }
    }
}

/// Not the values: they are secrets.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").finish_non_exhaustive()
    }
}

/// A reference for which there is no text.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {reason}", one_line(written))]
pub(super) struct Unresolved {
    written: String,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("is not set")]
    Unset,
    #[error("is set to something that is not UTF-8 text")]
    NotUnicode,
    #[error("needs the variable `{CREDENTIALS_DIRECTORY}`, which is not set")]
    NoCredentials,
    #[error("cannot be read: `{}`: {error}", shown(path))]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("is empty: `{}`", shown(.0))]
    Empty(PathBuf),
}

fn shown(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

fn process_credentials() -> Option<PathBuf> {
    env::var_os(CREDENTIALS_DIRECTORY).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn secret_file(path: &Path) -> Result<String, Reason> {
    let mut text = read(path).map_err(|error| Reason::Unreadable { path: path.to_owned(), error })?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.is_empty() { Err(Reason::Empty(path.to_owned())) } else { Ok(text) }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(io::Error::other("larger than 1 MB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::interpolate::Template;
    use super::*;

    fn resolve(variables: &Variables, folder: &Path, text: &str) -> Result<String, String> {
        let template = Template::parse(text).unwrap();
        template.resolve(variables, folder).map(|resolved| resolved.text).map_err(|errors| errors[0].to_string())
    }

    #[test]
    fn files_and_credentials_are_read_without_their_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = folder.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        fs::write(folder.path().join("token"), "s3cret\n\n").unwrap();
        fs::write(credentials.join("hook"), "no newline").unwrap();
        fs::write(folder.path().join("empty"), "\n").unwrap();
        fs::write(folder.path().join("binary"), b"\xff").unwrap();
        let variables = Variables::from_iter([(CREDENTIALS_DIRECTORY, credentials.to_str().unwrap())]);
        let resolve = |text: &str| resolve(&variables, folder.path(), text);

        assert_eq!(resolve("${file:token}").unwrap(), "s3cret\n");
        assert_eq!(resolve(&format!("${{file:{}/token}}", folder.path().display())).unwrap(), "s3cret\n");
        assert_eq!(resolve("${credential:hook}").unwrap(), "no newline");

        let at = folder.path().display();
        for (text, expected) in [
            ("${file:empty}", format!("`${{file:empty}}` is empty: `{at}/empty`")),
            (
                "${file:a\n b}",
                format!(r"`${{file:a\n b}}` cannot be read: `{at}/a\n b`: No such file or directory (os error 2)"),
            ),
            ("${file:binary}", format!("`${{file:binary}}` cannot be read: `{at}/binary`: not UTF-8 text")),
            (
                "${credential:no}",
                format!(
                    "`${{credential:no}}` cannot be read: `{at}/credentials/no`: No such file or directory (os error 2)"
                ),
            ),
        ] {
            assert_eq!(resolve(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_endless_file_is_refused() {
        let error = resolve(&Variables::from_iter([("A", "")]), Path::new("/"), "${file:/dev/zero}").unwrap_err();
        assert_eq!(error, "`${file:/dev/zero}` cannot be read: `/dev/zero`: larger than 1 MB");
    }

    #[test]
    fn an_environment_file_hides_the_environment_of_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        fs::write(&path, "TOKEN='a b'\n").unwrap();
        let variables = Variables::from_env_file(&path).unwrap();
        assert_eq!(resolve(&variables, folder.path(), "${TOKEN}").unwrap(), "a b");
        assert_eq!(resolve(&variables, folder.path(), "${PATH}").unwrap_err(), "`${PATH}` is not set");
        assert!(resolve(&Variables::process(), folder.path(), "${PATH}").is_ok());

        let error = Variables::from_env_file(&folder.path().join("none")).unwrap_err();
        let at = folder.path().display();
        assert_eq!(error.to_string(), format!("cannot read `{at}/none`: No such file or directory (os error 2)"));
    }

    #[test]
    fn debug_output_holds_no_value() {
        assert!(!format!("{:?}", Variables::from_iter([("TOKEN", "s3cret")])).contains("s3cret"));
    }
}
