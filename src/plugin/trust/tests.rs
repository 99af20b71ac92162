use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// `plugins/echo` with a manifest and `run.sh`, beside the folder `plugins-evil` with the same.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for root in ["plugins", "plugins-evil"] {
            files.write(&format!("{root}/echo/manifest.yaml"), 0o644);
            files.write(&format!("{root}/echo/run.sh"), 0o755);
        }
        files
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, mode: u32) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), "#!/bin/sh\n").unwrap();
        self.chmod(path, mode);
    }

    fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn link(&self, to: &str, at: &str) {
        let _ = fs::remove_file(self.at(at));
        symlink(to, self.at(at)).unwrap();
    }

    fn check(&self, name: &str, entrypoint: &str) -> Result<PathBuf, String> {
        let folder = TrustedFolder::check(&self.at("plugins"), name).map_err(|error| error.to_string())?;
        folder.check_entrypoint(Path::new(entrypoint)).map_err(|error| error.to_string())
    }
}

type Change = fn(&Files);

#[test]
fn what_may_run() {
    let cases: [(&str, &str, Change); 6] = [
        ("echo", "run.sh", |_| ()),
        ("echo", "./run.sh", |_| ()),
        ("echo", "bin/run", |files| files.write("plugins/echo/bin/run", 0o755)),
        ("echo", "run.sh", |files| files.link("../../plugins/echo/real", "plugins/echo/run.sh")),
        ("echo", "run.sh", |files| files.link("../lib/run.sh", "plugins/echo/run.sh")),
        ("alias", "run.sh", |files| files.link("echo", "plugins/alias")),
    ];
    for (index, (name, entrypoint, change)) in cases.into_iter().enumerate() {
        let files = Files::new();
        files.write("plugins/echo/real", 0o755);
        files.write("plugins/lib/run.sh", 0o755);
        change(&files);
        let path = files.check(name, entrypoint).unwrap_or_else(|error| panic!("case {index}: {error}"));
        assert!(path.is_absolute() && path == path.canonicalize().unwrap());
    }
}

#[test]
fn a_plugins_dir_behind_a_symlink_is_fine() {
    let files = Files::new();
    files.link("plugins", "link");
    let folder = TrustedFolder::check(&files.at("link"), "echo").unwrap();
    folder.check_entrypoint(Path::new("run.sh")).unwrap();
}

#[test]
fn what_may_not_run_and_why() {
    let cases: [(&str, &str, Change, &str); 24] = [
        ("echo", "none.sh", |_| (), "plugins/echo/none.sh` is missing"),
        ("echo", "/bin/sh", |_| (), "is absolute"),
        ("echo", "../echo/run.sh", |_| (), "contains `..`"),
        ("echo", "bin/../run.sh", |files| files.write("plugins/echo/bin/x", 0o755), "contains `..`"),
        ("echo", ".", |_| (), "is not a regular file"),
        ("echo", "bin", |files| files.write("plugins/echo/bin/run", 0o755), "is not a regular file"),
        ("echo", "run.sh", |files| files.chmod("plugins/echo/run.sh", 0o644), "is not executable"),
        ("echo", "run.sh", |files| files.link("/bin/sh", "plugins/echo/run.sh"), "outside of the plugin root"),
        (
            "echo",
            "run.sh",
            |files| files.link("../../plugins-evil/echo/run.sh", "plugins/echo/run.sh"),
            "plugins-evil/echo/run.sh`, outside of the plugin root",
        ),
        ("echo", "bin/sh", |files| files.link("/bin", "plugins/echo/bin"), "outside of the plugin root"),
        (
            "echo",
            "run.sh",
            |files| files.link("../../plugins-evil/echo/manifest.yaml", "plugins/echo/manifest.yaml"),
            "outside of the plugin root",
        ),
        ("evil", "run.sh", |files| files.link("../plugins-evil/echo", "plugins/evil"), "outside of the plugin root"),
        ("self", "run.sh", |files| files.link(".", "plugins/self"), "outside of the plugin root"),
        ("none", "run.sh", |_| (), "folder missing: `"),
        ("gone", "run.sh", |files| files.link("nowhere", "plugins/gone"), "folder missing: `"),
        ("../plugins-evil/echo", "run.sh", |_| (), "folder missing: `"),
        ("file", "run.sh", |files| files.write("plugins/file", 0o644), "plugins/file` is not a folder"),
        (
            "echo",
            "run.sh",
            |files| fs::remove_file(files.at("plugins/echo/manifest.yaml")).unwrap(),
            "plugins/echo/manifest.yaml` is missing",
        ),
        ("echo", "run.sh", |files| files.chmod("plugins", 0o777), "plugins` may be written by every user"),
        ("echo", "run.sh", |files| files.chmod("plugins", 0o1777), "plugins` may be written by every user"),
        ("echo", "run.sh", |files| files.chmod("plugins/echo", 0o757), "plugins/echo` may be written by"),
        ("echo", "run.sh", |files| files.chmod("plugins/echo/manifest.yaml", 0o646), "manifest.yaml` may be written"),
        ("echo", "run.sh", |files| files.chmod("plugins/echo/run.sh", 0o757), "run.sh` may be written by"),
        (
            "echo",
            "bin/run",
            |files| {
                files.write("plugins/echo/bin/run", 0o755);
                files.chmod("plugins/echo/bin", 0o777);
            },
            "plugins/echo/bin` may be written by",
        ),
    ];
    for (index, (name, entrypoint, change, reason)) in cases.into_iter().enumerate() {
        let files = Files::new();
        change(&files);
        let error = files.check(name, entrypoint).expect_err(&format!("case {index} should be refused: {reason}"));
        assert!(error.contains(reason), "case {index}: {error:?} does not say {reason:?}");
    }
}
