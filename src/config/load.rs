//! Finding and reading the file.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Config;
use super::problem::ConfigError;
use super::source::Source;
use super::validate;
use super::variables::Variables;

/// A longer file is no configuration.
const LONGEST_FILE: u64 = 1 << 20;

/// A configuration and what else is known about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub source: Source,
}

/// What a command needs that only looks into the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimal {
    /// The configuration file, absolute.
    pub path: PathBuf,
    /// The database file, absolute.
    pub state_path: PathBuf,
}

/// Finds the file: `explicit`, else `$DUCTILE_CONFIG`, else the first there is of `./config.yaml`,
/// `$XDG_CONFIG_HOME/ductile/config.yaml` (`~/.config` by default) and `/etc/ductile/config.yaml`.
///
/// What was asked for by name is not looked for; whether it is there shows when it is loaded.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, ConfigError> {
    find_with(explicit, |name| env::var_os(name), Path::new(""))
}

/// Reads and checks all of the configuration. Messages name the file as `path` does.
pub fn load(path: &Path, variables: &Variables) -> Result<Loaded, ConfigError> {
    let bytes = read(path)?;
    let source = Source::parse(path, &bytes)?;
    let path = absolute(path)?;
    let validated = validate::all(&source, variables, folder(&path))?;
    let config = Config {
        hash: base16ct::lower::encode_string(&Sha256::digest(&bytes)),
        service: validated.service,
        state_path: validated.state_path,
        plugin_roots: validated.plugin_roots,
        plugins: validated.plugins,
        webhooks: validated.webhooks,
        metrics: validated.metrics,
        routes: validated.routes,
        path,
    };
    Ok(Loaded { config, source })
}

/// Reads only where the database is: for commands that run where no secret is set. The file must be YAML and
/// `state` must be right; nothing else is looked at. Its variables come from the environment of this process.
pub fn load_minimal(path: &Path) -> Result<Minimal, ConfigError> {
    let source = Source::parse(path, &read(path)?)?;
    let path = absolute(path)?;
    let state_path = validate::state_only(&source, &Variables::process(), folder(&path))?;
    Ok(Minimal { path, state_path })
}

fn find_with(
    explicit: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    current: &Path,
) -> Result<PathBuf, ConfigError> {
    let variable = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = explicit.map(Path::to_owned).or_else(|| variable("DUCTILE_CONFIG")) {
        return Ok(path);
    }
    let user = variable("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| home.join(".config")));
    let mut candidates = vec![current.join("config.yaml")];
    candidates.extend(user.map(|folder| folder.join("ductile/config.yaml")));
    candidates.push("/etc/ductile/config.yaml".into());
    match candidates.iter().find(|path| may_be_there(path)) {
        Some(path) => Ok(path.clone()),
        None => Err(ConfigError::NotFound { looked_for: candidates }),
    }
}

/// Also true when that cannot be told: loading it then says why, and nothing else is loaded by mistake.
fn may_be_there(path: &Path) -> bool {
    match path.metadata() {
        Ok(metadata) => !metadata.is_dir(),
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |reason| ConfigError::Unreadable { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(unreadable(io::Error::other("larger than 1 MB")));
    }
    Ok(bytes)
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path).map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })
}

/// Where relative paths start. A file always has a folder.
fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::super::{At, ConfigPath};
    use super::*;

    /// One of everything.
    const FULL: &str = "\
service: {name: home, tick_interval: 30s, log_level: debug}
state: {path: data/x.db}
plugins_dir: ./plugins
plugins:
  echo:
    schedule: {every: 5m, jitter: 30s, preferred_window: {start: '06:00', end: '22:00'}}
    config: {token: '${TOKEN}', list: [1, 2.5, {a: b}], note: \"x\"}
    env: {A: 1}
    retry: {max_attempts: 4, backoff_base: 30s}
    timeouts: {poll: 60s}
    circuit_breaker: {threshold: 3, reset_after: 30m}
  notify: &defaults {}
  other: *defaults
webhooks:
  listen: 127.0.0.1:8080
  endpoints:
    - {path: /a, plugin: echo, secret: ['${TOKEN}'], signature_header: X-Sig, max_body_size: 1MB}
routes:
  - {from: echo, event_type: x, to: notify}
  - {from: ductile, event_type: job.dead, to: notify}
";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_whole_file_is_loaded() {
        let (folder, path) = file(FULL);
        let Loaded { config, source } = load(&path, &Variables::from_iter([("TOKEN", "s3cret")])).unwrap();
        assert_eq!(config.path, path);
        assert_eq!(config.hash.len(), 64);
        assert_eq!(config.state_path, folder.path().join("data/x.db"));
        assert_eq!(config.plugins.keys().collect::<Vec<_>>(), ["echo", "notify", "other"]);
        assert_eq!(config.plugins["echo"].config["token"], "s3cret");
        assert_eq!(config.routes.len(), 2);
        let at = ConfigPath::root().key("routes").index(0).key("to");
        let problem = source.problem(&at, At::Value, "`notify` lacks `handle`");
        let expected = format!("{}:19:37: routes[0].to: `notify` lacks `handle`", path.display());
        assert_eq!(problem.to_string(), expected);
        assert_eq!(ConfigError::invalid(vec![problem]).to_string(), expected);
        assert!(!format!("{config:?} {source:?}").contains("s3cret"));
    }

    #[test]
    fn the_hash_is_of_the_bytes() {
        let (_folder, path) = file("service: {}\n");
        let hash = load(&path, &Variables::process()).unwrap().config.hash;
        // printf 'service: {}\n' | sha256sum
        assert_eq!(hash, "32312dbb9f0aede240466de1ea1778cdf694d94319fdb5b4c9f2ce751d9e920c");
    }

    #[test]
    fn an_empty_variable_is_an_error() {
        let (_folder, path) = file("plugins:\n  echo: {config: {token: 'a${T}'}}\n");
        let error = load(&path, &Variables::from_iter([("T", "")])).unwrap_err();
        let expected = format!("{}:2:26: plugins.echo.config.token: `${{T}}` is set, but empty", path.display());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_database_is_found_without_any_secret() {
        let (folder, path) = file("state: {path: a.db}\nnonsense: !tag\nplugins: {x: '${UNSET_SECRET}', x: 5}\n");
        let minimal = load_minimal(&path).unwrap();
        assert_eq!(minimal, Minimal { path, state_path: folder.path().join("a.db") });

        for (text, expected) in [
            ("state: {pat: a.db}", "1:9: state.pat: unknown key `pat`; did you mean `path`?"),
            ("state: {path: '${UNSET_SECRET}'}", "1:15: state.path: `${UNSET_SECRET}` is not set"),
            ("- x", "1:1: expected a map, found a list"),
        ] {
            let (_folder, path) = file(text);
            assert_eq!(load_minimal(&path).unwrap_err().to_string(), format!("{}:{expected}", path.display()));
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let error = |path: &Path| load(path, &Variables::process()).unwrap_err().to_string();
        let missing = format!("cannot read `{at}/none`: No such file or directory (os error 2)");
        assert_eq!(error(&folder.path().join("none")), missing);
        assert_eq!(error(folder.path()), format!("cannot read `{at}`: Is a directory (os error 21)"));
        assert_eq!(error(Path::new("/dev/zero")), "cannot read `/dev/zero`: larger than 1 MB");
    }

    #[test]
    fn the_file_is_looked_for_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (here, xdg) = (folder.path().join("here"), folder.path().join("xdg"));
        fs::create_dir_all(here.join("config.yaml")).unwrap();
        fs::create_dir_all(xdg.join("ductile")).unwrap();
        let find = |explicit: Option<&str>, variable: Option<&str>| {
            let variables = |name: &str| match name {
                "DUCTILE_CONFIG" => variable.map(OsString::from),
                "XDG_CONFIG_HOME" => Some(xdg.clone().into()),
                _ => None,
            };
            find_with(explicit.map(Path::new), variables, &here)
        };
        assert_eq!(find(Some("a.yaml"), Some("b.yaml")).unwrap(), Path::new("a.yaml"));
        assert_eq!(find(None, Some("b.yaml")).unwrap(), Path::new("b.yaml"));
        if !Path::new("/etc/ductile/config.yaml").exists() {
            let expected = format!(
                "no configuration file; looked for `{}/config.yaml`, `{}/ductile/config.yaml`, `/etc/ductile/config.yaml`",
                here.display(),
                xdg.display()
            );
            // A folder of that name is not it.
            assert_eq!(find(None, Some("")).unwrap_err().to_string(), expected);
        }
        fs::write(xdg.join("ductile/config.yaml"), "").unwrap();
        assert_eq!(find(None, None).unwrap(), xdg.join("ductile/config.yaml"));
        fs::remove_dir(here.join("config.yaml")).unwrap();
        fs::write(here.join("config.yaml"), "").unwrap();
        assert_eq!(find(None, None).unwrap(), here.join("config.yaml"));
    }

    fn check(bytes: &[u8]) {
        if let Ok(source) = Source::parse(Path::new("c.yaml"), bytes) {
            let variables = Variables::from_iter([("TOKEN", "x")]);
            if let Err(error) = validate::all(&source, &variables, Path::new("/")) {
                assert!(!error.to_string().is_empty());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            check(&bytes);
        }

        #[test]
        fn no_yaml_makes_it_panic(text in r"([a-c:\-\[\]{}&*!|>'#,?$%@~ \n]|<<|\$\{|: |- ){0,80}") {
            check(text.as_bytes());
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0..FULL.len(), length in 0..40_usize, text in r"[ -~\n]{0,6}") {
            let mut bytes = FULL.as_bytes().to_vec();
            bytes.splice(at..(at + length).min(FULL.len()), text.bytes());
            check(&bytes);
        }
    }
}
