//! Chains of plugins that do something to the world.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Plugin, Site};

#[test]
fn a_file_is_read_transformed_by_another_program_and_written_back() {
    let read = r#"text = open(request["config"]["path"]).read()
event = {"type": "file.read", "payload": {"path": request["config"]["path"], "text": text}}
print(json.dumps({"status": "ok", "result": f"{len(text)} characters", "events": [event]}))"#;
    let sort = r#"import subprocess
payload = request["event"]["payload"]
payload["text"] = subprocess.run(["sort"], input=payload["text"], capture_output=True, text=True, check=True).stdout
print(json.dumps({"status": "ok", "events": [{"type": "text.sorted", "payload": payload}]}))"#;
    let write = r#"payload = request["payload"]
with open(payload["path"] + ".new", "w") as new: new.write(payload["text"])
os.rename(payload["path"] + ".new", payload["path"])
print(json.dumps({"status": "ok", "result": "wrote " + payload["path"]}))"#;
    let mut site = Site::new();
    let path = site.path("words");
    fs::write(&path, "pear\nfig\n\"ünique\"\napple\n").unwrap();
    let objects = "{name: poll, type: read}, {name: health, type: read}";
    let reader = Plugin::python("reader", read).protocol_2().commands(objects);
    site.plugin(reader.set(&format!("config: {{path: \"{}\"}}", path.display())));
    site.plugin(Plugin::python("sorter", sort)).plugin(Plugin::python("writer", write).protocol_2());
    site.route("reader", "file.read", "sorter").route("sorter", "text.sorted", "writer");
    let daemon = site.start();
    let root = site.detach(["reader"]);
    let last = site.wait_rows("SELECT * FROM job_queue WHERE plugin = 'writer' AND status = 'succeeded'").remove(0);
    daemon.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "\"ünique\"\napple\nfig\npear\n");
    assert_eq!(last["hops"], 2);
    assert_eq!(site.attempts(last["id"].as_str().unwrap())[0]["result"], json!(format!("wrote {}", path.display())));
    let trace = site.cli(["queue", "trace", &root]).expect_code(0).stdout;
    assert!(["reader poll", "sorter handle", "writer handle"].iter().all(|job| trace.contains(job)), "{trace}");
}

/// What git needs of an environment without any configuration.
const IDENTITY: &str = "export GIT_AUTHOR_NAME=it GIT_AUTHOR_EMAIL=it@localhost GIT_COMMITTER_NAME=it \
     GIT_COMMITTER_EMAIL=it@localhost GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null";

fn git(folder: &Path, arguments: &[&str]) -> String {
    let script = format!("{IDENTITY}; exec git \"$@\"");
    let ran =
        Command::new("/bin/sh").args(["-ec", &script, "git"]).args(arguments).current_dir(folder).output().unwrap();
    assert!(ran.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn a_repository_is_cloned_edited_committed_and_pushed() {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("skipped: git is not installed");
        return;
    }
    let folder = r#"folder=$(sed -n 's/.*"payload":{"folder":"\([^"]*\)"}.*/\1/p')"#;
    let event = |kind: &str| {
        format!(
            r#"printf '{{"status":"ok","result":"{kind} %s","events":[{{"type":"repo.{kind}","payload":{{"folder":"%s"}}}}]}}' "$folder" "$folder""#
        )
    };
    let step = |script: &str, kind: &str| format!("set -e; {IDENTITY}; {script}\n{}", event(kind));
    let clone = step(r#"folder="$IT/clone"; rm -rf "$folder"; git clone -q "$IT/bare" "$folder""#, "cloned");
    let edit = step(&format!(r#"{folder}; cd "$folder"; echo "from a plugin" >> notes"#), "edited");
    let commit =
        step(&format!(r#"{folder}; cd "$folder"; git add -A; git commit -qm "notes: one line more""#), "committed");
    let push = step(&format!(r#"{folder}; cd "$folder"; git push -q origin HEAD:main"#), "pushed");
    let mut site = Site::with(Plugin::sh("clone", &clone).protocol_2().commands("checkout"));
    site.plugin(Plugin::sh("edit", &edit)).plugin(Plugin::sh("commit", &commit).protocol_2());
    site.plugin(Plugin::sh("push", &push).protocol_2());
    for (from, kind, to) in [("clone", "cloned", "edit"), ("edit", "edited", "commit"), ("commit", "committed", "push")]
    {
        site.route(from, &format!("repo.{kind}"), to);
    }
    let (bare, seed) = (site.path("bare"), site.path("seed"));
    for folder in [&bare, &seed] {
        fs::create_dir(folder).unwrap();
    }
    git(&bare, &["init", "-q", "--bare", "--initial-branch=main"]);
    git(&seed, &["init", "-q", "--initial-branch=main"]);
    fs::write(seed.join("notes"), "first\n").unwrap();
    git(&seed, &["add", "-A"]);
    git(&seed, &["commit", "-qm", "begin"]);
    git(&seed, &["push", "-q", bare.to_str().unwrap(), "main"]);

    let daemon = site.start();
    site.cli(["run", "clone", "--command", "checkout"]).expect_code(0).expect_stdout("cloned ");
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'push' AND status = 'succeeded'");
    daemon.stop();
    assert_eq!(git(&bare, &["log", "--format=%s", "main"]), "notes: one line more\nbegin\n");
    assert_eq!(git(&bare, &["show", "main:notes"]), "first\nfrom a plugin\n");
}
