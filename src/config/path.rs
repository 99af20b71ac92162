//! Where in the configuration something is: the way from the top through keys and list positions.

use std::fmt;

/// The way to one value, shown like `routes[2].to`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The first entry with this key.
    Key(String),
    /// The entry at this position of a map; tells duplicate keys apart. The name is for show.
    Entry(usize, String),
    Index(usize),
}

/// Which end of a map's entry is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Key,
    Value,
}

impl ConfigPath {
    /// The whole file.
    pub fn root() -> Self {
        Self::default()
    }

    /// The value under `key` of the map here.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        self.step(Step::Key(key.into()))
    }

    /// The element at `index`, from 0, of the list here.
    #[must_use]
    pub fn index(self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    pub(super) fn entry(self, position: usize, name: impl Into<String>) -> Self {
        self.step(Step::Entry(position, name.into()))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn step(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(name) | Step::Entry(_, name) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    if is_plain(name) { f.write_str(name)? } else { write!(f, "{name:?}")? }
                }
            }
        }
        Ok(())
    }
}

/// Whether a key reads well without quotes.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || ".[]\"\\".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_one_would_write_it() {
        assert_eq!(ConfigPath::root().to_string(), "");
        assert_eq!(ConfigPath::root().key("routes").index(2).key("to").to_string(), "routes[2].to");
        assert_eq!(ConfigPath::root().key("plugins").entry(3, "a.b").key("").to_string(), r#"plugins."a.b"."""#);
    }
}
