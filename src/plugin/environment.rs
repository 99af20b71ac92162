//! What a plugin's process sees of the environment: an allow-list of the daemon's, and what its settings add.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Marks every plugin process of one database, so that those which a killed daemon left behind are found.
pub(crate) const INSTANCE_VARIABLE: &str = "DUCTILE_INSTANCE";

/// Variables as they are given to a process.
pub(crate) type Environment = Vec<(OsString, OsString)>;

const NAMES: [&[u8]; 8] = [b"PATH", b"HOME", b"USER", b"LOGNAME", b"SHELL", b"LANG", b"TZ", b"TMPDIR"];
const PREFIXES: [&[u8]; 3] = [b"LC_", b"XDG_", b"SSL_CERT_"];
const SUFFIXES: [&[u8]; 2] = [b"_proxy", b"_PROXY"];

/// What of the daemon's environment may reach plugins: secrets live in all the rest.
pub(crate) fn allowed(process: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
    process.into_iter().filter(|(name, _)| is_allowed(name.as_encoded_bytes())).collect()
}

/// The allowed variables, with a plugin's own in place of equal names.
pub(crate) fn of_plugin(allowed: &Environment, own: &BTreeMap<String, String>) -> Environment {
    let inherited = allowed.iter().filter(|(name, _)| !name.to_str().is_some_and(|name| own.contains_key(name)));
    let own = own.iter().map(|(name, value)| (name.into(), value.into()));
    inherited.cloned().chain(own).collect()
}

fn is_allowed(name: &[u8]) -> bool {
    NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_names_pass() {
        for (name, expected) in [
            ("PATH", true),
            ("HOME", true),
            ("LC_ALL", true),
            ("XDG_RUNTIME_DIR", true),
            ("SSL_CERT_FILE", true),
            ("https_proxy", true),
            ("NO_PROXY", true),
            ("PATH2", false),
            ("path", false),
            ("LD_PRELOAD", false),
            ("LANGUAGE", false),
            ("GITHUB_TOKEN", false),
            ("DUCTILE_JOB_ID", false),
            ("DUCTILE_INSTANCE", false),
            ("CREDENTIALS_DIRECTORY", false),
            ("NOTIFY_SOCKET", false),
            ("WATCHDOG_USEC", false),
            ("WATCHDOG_PID", false),
            ("INVOCATION_ID", false),
            ("HTTPS_PROXY_PASSWORD", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn settings_win_over_what_is_inherited() {
        let process =
            [("PATH", "/bin"), ("LANG", "C"), ("SECRET", "x")].map(|(name, value)| (name.into(), value.into()));
        let own = BTreeMap::from([("LANG".to_owned(), "de".to_owned()), ("TOKEN".to_owned(), "t".to_owned())]);
        let expected =
            [("PATH", "/bin"), ("LANG", "de"), ("TOKEN", "t")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(of_plugin(&allowed(process), &own), expected);
    }
}
