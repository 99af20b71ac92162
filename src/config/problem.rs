//! What can be wrong with a configuration, and how it is said: one line per problem.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::path::ConfigPath;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Line and column, both from 1; the column counts characters.
    pub location: Option<(usize, usize)>,
    pub path: ConfigPath,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.location {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Why there is no configuration. Its text says which file and why; a cause is not repeated as a source.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("no configuration file; looked for {}", list(looked_for))]
    NotFound { looked_for: Vec<PathBuf> },
    #[error("cannot read `{}`: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    /// At least one problem, in the order of the file.
    #[error("{}", lines(problems, *unlisted))]
    Invalid {
        problems: Vec<Problem>,
        /// How many more there are than a reader could want to see.
        unlisted: usize,
    },
}

impl ConfigError {
    /// Refuses a configuration that parsed well, for reasons found later.
    pub fn invalid(problems: Vec<Problem>) -> Self {
        Self::Invalid { problems, unlisted: 0 }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

fn lines(problems: &[Problem], unlisted: usize) -> String {
    let mut lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    if unlisted > 0 {
        lines.push(format!("and {unlisted} more"));
    }
    lines.join("\n")
}

/// `text` in backticks, on one line, cut when it is long.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", one_line(&text[..end])),
        None => format!("`{}`", one_line(text)),
    }
}

/// `text` on one line.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// The candidate that `written` was probably meant to be.
pub(super) fn closest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let allowed = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&written, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What to add to a message about the unknown name `written`: what it was meant to be, or all it can be.
pub(crate) fn hint(written: &str, candidates: &[&str], introduction: &str) -> String {
    match closest(written, candidates.iter().copied()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None if candidates.is_empty() => String::new(),
        None => format!("; {introduction} {}", and(candidates)),
    }
}

fn and(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_stays_on_one_short_line() {
        assert_eq!(quote("a\nb\u{1b}"), r"`a\nb\u{1b}`");
        assert_eq!(quote(&"x".repeat(100)), format!("`{}…`", "x".repeat(60)));
    }

    #[test]
    fn a_near_miss_is_recognised_and_a_wild_one_is_not() {
        let keys = ["every", "jitter", "preferred_window"];
        for (written, meant) in [("evry", "every"), ("jiter", "jitter"), ("Every", "every"), ("window", "")] {
            assert_eq!(closest(written, keys).unwrap_or_default(), meant, "{written}");
        }
        assert_eq!(hint("evry", &keys, "known are"), "; did you mean `every`?");
        assert_eq!(hint("x", &keys, "known are"), "; known are `every`, `jitter` and `preferred_window`");
    }
}
