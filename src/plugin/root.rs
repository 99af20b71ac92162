//! The plugin roots: which folders they hold, and in which of them a plugin is found. Loading it is not their business.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::loaded::LoadError;
use super::trust::MANIFEST;
use crate::config::PluginRoot;

/// The roots of one configuration, as they were when it was read.
#[derive(Debug)]
pub(super) struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// The names of the sub-folders with a manifest, or why they cannot be listed.
    names: Result<BTreeSet<String>, String>,
}

/// Where a plugin was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) root: &'a Path,
    /// Later roots with a plugin of the same name.
    pub(super) shadowed: Vec<&'a Path>,
}

impl Roots {
    /// Looks at the file system. A root that may be missing, and is, is none.
    pub(super) fn read(roots: &[PluginRoot]) -> Self {
        let read = |root: &PluginRoot| match names_on_disk(&root.path) {
            Err(error) if root.may_be_missing && error.kind() == ErrorKind::NotFound => None,
            names => Some(Root { path: root.path.clone(), names: names.map_err(|error| error.to_string()) }),
        };
        Self(roots.iter().filter_map(read).collect())
    }

    /// The plugins in all of them.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|root| root.names.iter().flatten())
    }

    /// What its owner should know of the roots themselves: those behind the first that cannot be read.
    pub(super) fn warnings(&self) -> Vec<String> {
        let unreadable = |root: &Root| {
            let reason = root.names.as_ref().err()?;
            Some(format!("plugin root `{}` cannot be read: {reason}", root.path.display()))
        };
        self.0.iter().skip(1).filter_map(unreadable).collect()
    }

    /// The first root that has the plugin of this folder. A root that cannot be searched ends the search: what it holds
    /// may not be replaced by what a later one holds.
    ///
    /// # Errors
    /// When no root has it, or one before it cannot be searched.
    pub(super) fn find(&self, folder: &str) -> Result<Found<'_>, LoadError> {
        for (index, root) in self.0.iter().enumerate() {
            let names = root.names.as_ref();
            let names = names
                .map_err(|reason| LoadError::RootUnreadable { path: root.path.clone(), reason: reason.clone() })?;
            if names.contains(folder) {
                let later = self.0[index + 1..].iter();
                let shadowed = later.filter(|root| root.names.as_ref().is_ok_and(|names| names.contains(folder)));
                return Ok(Found { root: &root.path, shadowed: shadowed.map(|root| root.path.as_path()).collect() });
            }
        }
        // A folder without its manifest tells more than no folder at all.
        let has_folder = |root: &&Root| root.path.join(folder).symlink_metadata().is_ok();
        match (self.0.iter().find(has_folder), self.0.as_slice()) {
            (Some(root), _) | (None, [root]) => Ok(Found { root: &root.path, shadowed: Vec::new() }),
            (None, roots) => {
                let roots = roots.iter().map(|root| root.path.clone()).collect();
                Err(LoadError::InNoRoot { folder: folder.to_owned(), roots })
            }
        }
    }
}

/// The sub-folders with a manifest, also with one that cannot be looked at. A name that is not UTF-8 is shown as well as
/// can be: no manifest can match it.
fn names_on_disk(root: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        match entry.path().join(MANIFEST).symlink_metadata() {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            _ => {
                names.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folders(tempfile::TempDir);

    impl Folders {
        /// A root for each list of plugins; `-name` is a folder without a manifest.
        fn new(roots: &[&[&str]]) -> (Self, Vec<PluginRoot>) {
            let folders = Self(tempfile::tempdir().unwrap());
            let roots = roots.iter().enumerate().map(|(number, plugins)| {
                let path = folders.0.path().join(number.to_string());
                fs::create_dir(&path).unwrap();
                for plugin in *plugins {
                    let folder = path.join(plugin.trim_start_matches('-'));
                    fs::create_dir(&folder).unwrap();
                    if !plugin.starts_with('-') {
                        fs::write(folder.join(MANIFEST), "").unwrap();
                    }
                }
                PluginRoot { path, may_be_missing: false }
            });
            let roots = roots.collect();
            (folders, roots)
        }
    }

    fn found(roots: &Roots, folder: &str) -> (String, Vec<String>) {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let found = roots.find(folder).unwrap();
        (name(found.root), found.shadowed.iter().map(|path| name(path)).collect())
    }

    #[test]
    fn the_first_root_with_a_manifest_wins() {
        let (_folders, roots) = Folders::new(&[&["a", "-b"], &["a", "b", "c"], &["a", "-d"]]);
        let roots = Roots::read(&roots);
        assert_eq!(found(&roots, "a"), ("0".to_owned(), vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(found(&roots, "b"), ("1".to_owned(), Vec::new()));
        assert_eq!(found(&roots, "d"), ("2".to_owned(), Vec::new()), "a folder at least");
        let error = roots.find("e").unwrap_err().to_string();
        assert!(error.starts_with("folder missing: `e` is in none of `") && error.matches('`').count() == 8, "{error}");
        let mut names: Vec<_> = roots.names().collect();
        names.sort();
        names.dedup();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(roots.warnings(), [""; 0]);
    }

    #[test]
    fn a_root_that_cannot_be_read_hides_what_is_behind_it() {
        let (_folders, mut roots) = Folders::new(&[&["a"], &[], &["a", "b"]]);
        fs::remove_dir(&roots[1].path).unwrap();
        let read = Roots::read(&roots);
        assert_eq!(found(&read, "a").0, "0");
        assert!(read.find("b").unwrap_err().to_string().starts_with("plugin root `"));
        assert_eq!(read.warnings().len(), 1);

        roots[1].may_be_missing = true;
        let read = Roots::read(&roots);
        assert_eq!(found(&read, "b").0, "2");
        assert_eq!(read.warnings(), [""; 0]);
    }
}
