//! A folder of plugins as their owners have them, written for other gateways of these protocols: they run as they are.

use serde_json::json;

use crate::support::{OK, Plugin, Site, set_mode};

/// Name, manifest, entrypoint, program.
const PLUGINS: [(&str, &str, &str, &str); 4] = [
    (
        "disk",
        "name: disk
version: 1.0.0
protocol: 1
entrypoint: check.sh
description: Says how full a disk is.
commands: [poll, health]
config_keys:
  required: [mount]
",
        "check.sh",
        r#"#!/bin/sh
request=$(cat)
case "$request" in *'"command":"health"'*) echo '{"status": "ok"}'; exit ;; esac
echo '{"status": "ok", "events": [{"type": "disk.full", "payload": {"percent": 97}}],
  "state_updates": {"percent": 97}, "logs": [{"level": "warn", "message": "97 % of the disk is used"}]}'
"#,
    ),
    (
        "tell",
        "name: tell
version: \"2\"
protocol: 1
entrypoint: ./tell.py
commands:
  - name: handle
    type: write
    description: Writes a line to a file.
",
        "tell.py",
        r#"#!/usr/bin/env python3
import json, os, sys
request = json.load(sys.stdin)
with open(os.path.join(os.environ["IT"], "told"), "a") as told:
    told.write(f"{request['event']['type']} {request['event']['payload']['percent']}\n")
print(json.dumps({"status": "ok", "logs": [{"level": "info", "message": "told"}]}))
"#,
    ),
    (
        "folder_watch",
        "manifest_spec: ductile.plugin
manifest_version: 1
name: folder_watch
version: 0.2.0
protocol: 2
entrypoint: run.py
concurrency_safe: false
description: \"Looks at a folder and tells what is new.\"
stopwatch: {max_subs: 16}
commands:
  - name: poll
    type: write
    description: \"Compares the folder with the last snapshot.\"
    idempotent: false
    retry_safe: true
    input_schema: {}
    output_schema:
      type: object
      properties: {status: {type: string, enum: [ok, error]}, result: {type: string}}
      required: [status, logs]
      additionalProperties: true
    values:
      consume: []
      emit:
        - event: \"<watches[].event_type>\"
          values: [payload.path, payload.root]
  - name: health
    type: read
    idempotent: true
    retry_safe: true
  - name: re-scan
    type: read
    input_schema: {root: string, depth: integer}
fact_outputs:
  - when:
      command: poll
    from: state_updates
    fact_type: folder_watch.snapshot
    compatibility_view: mirror_object
config_keys:
  required: []
  optional:
    - root
",
        "run.py",
        r#"#!/usr/bin/env python3
import json, os, sys

def main():
    request = json.load(sys.stdin)
    if request.get("protocol") != 2:
        print("wrong protocol", file=sys.stderr)
        sys.exit(78)
    command = request.get("command", "")
    root = request.get("config", {}).get("root") or os.environ["IT"]
    if command == "health":
        return {"status": "ok", "result": "folder_watch health OK (watches=1)", "logs": []}
    if command == "re-scan":
        return {"status": "ok", "result": "depth " + str(request.get("payload", {}).get("depth"))}
    before = request.get("state", {}).get("files", [])
    files = sorted(name for name in os.listdir(root) if name.endswith(".txt"))
    new = [name for name in files if name not in before]
    events = [{"type": "folder.changed", "payload": {"path": name, "root": root}, "dedupe_key": "fw:" + name} for name in new]
    return {
        "status": "ok", "result": f"{len(new)} new", "events": events,
        "state_updates": {"files": files}, "logs": [{"level": "info", "message": "scanned"}],
        "ductile_stopwatch_subs": [{"name": "scan", "ms": 1}],
    }

print(json.dumps(main()))
"#,
    ),
    (
        "greet",
        "manifest_spec: ductile.plugin
manifest_version: 1
name: greet
version: 0.1.0
protocol: 2
entrypoint: run.sh
commands: [handle, greet_again]
",
        "run.sh",
        r#"#!/usr/bin/env bash
set -euo pipefail
request=$(cat)
path=$(sed -n 's/.*"payload":{"path":[ ]*"\([^"]*\)".*/\1/p' <<<"$request")
echo "${path:-nobody}" >> "$IT/greeted"
printf '{"status":"ok","result":"hello %s","events":[],"logs":[]}\n' "${path:-nobody}"
"#,
    ),
];

/// The folder, configured.
fn site() -> Site {
    let mut site = Site::new();
    for (name, manifest, entrypoint, program) in PLUGINS {
        let plugin = Plugin::sh(name, OK);
        site.plugin(if name == "disk" { plugin.set("config: {mount: /}") } else { plugin });
        let folder = site.path("plugins").join(name);
        std::fs::remove_file(folder.join("run")).unwrap();
        std::fs::write(folder.join("manifest.yaml"), manifest).unwrap();
        std::fs::write(folder.join(entrypoint), program).unwrap();
        set_mode(&folder.join(entrypoint), 0o755);
    }
    site.route("disk", "disk.full", "tell").route("folder_watch", "folder.changed", "greet");
    site
}

#[test]
fn they_load_without_a_word_and_run() {
    let site = site();
    let checked = site.cli(["check"]).expect_code(0);
    assert!(!checked.stderr.contains("warning"), "{}", checked.stderr);
    std::fs::write(site.path("a.txt"), "").unwrap();
    let daemon = site.start();
    site.cli(["run", "disk"]).expect_code(0).expect_stdout("97 % of the disk is used");
    site.cli(["run", "folder_watch"]).expect_code(0).expect_stdout("    result  1 new");
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'tell' AND status = 'succeeded'");
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'greet' AND status = 'succeeded'");
    site.cli(["run", "folder_watch"]).expect_code(0).expect_stdout("    result  0 new");
    site.cli(["run", "folder_watch", "--command", "re-scan", "--payload", r#"{"depth": 3}"#])
        .expect_code(0)
        .expect_stdout("depth 3");
    site.cli(["run", "greet", "--command", "greet_again"]).expect_code(0).expect_stdout("hello nobody");
    let status = site.cli(["status", "--health", "--json"]).expect_code(0).json();
    let watch = status["plugins"].as_array().unwrap().iter().find(|plugin| plugin["name"] == "folder_watch").unwrap();
    assert_eq!(watch["health"]["result"], "folder_watch health OK (watches=1)");
    daemon.stop();
    assert_eq!((site.read("told").as_str(), site.read("greeted").as_str()), ("disk.full 97", "a.txt\nnobody"));
    assert_eq!(site.state("disk"), json!({"percent": 97}));
    assert_eq!(site.state("folder_watch"), json!({"files": ["a.txt"]}));
    assert_eq!(site.count("SELECT count(*) FROM plugin_facts WHERE plugin_name = 'folder_watch'"), 2);
    assert_eq!(site.count("SELECT count(*) FROM job_log WHERE status != 'succeeded'"), 0);
}

#[test]
fn all_that_a_manifest_says_is_shown() {
    let site = site();
    site.start().stop();
    let shown = site.cli(["plugins", "folder_watch"]).expect_code(0).stdout;
    for part in [
        "protocol  2",
        "commands  poll health re-scan",
        "concurrency_safe  false",
        "manifest_spec     ductile.plugin",
        "manifest_version  1",
        "description       Looks at a folder and tells what is new.",
        "          fact_type: folder_watch.snapshot",
        "stopwatch         {\"max_subs\":16}",
        "config_keys       {\"optional\":[\"root\"],\"required\":[]}",
        "    command poll\n",
        "        idempotent        false",
        "        retry_safe        true",
        "        type              write",
        "        description       Compares the folder with the last snapshot.",
        "        output_schema\n            additionalProperties: true\n            properties:\n",
        "\"values\":[\"payload.path\",\"payload.root\"]",
        "        input_schema      {\"depth\":\"integer\",\"root\":\"string\"}",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    let shown = site.cli(["plugins", "folder_watch", "--json"]).expect_code(0).json();
    assert_eq!((&shown["protocol"], &shown["commands"]), (&json!(2), &json!(["poll", "health", "re-scan"])));
    let manifest = &shown["manifest"];
    assert_eq!(
        (&manifest["manifest_spec"], &manifest["stopwatch"]["max_subs"]),
        (&json!("ductile.plugin"), &json!(16))
    );
    assert_eq!(
        manifest["commands"][2],
        json!({"name": "re-scan", "type": "read", "input_schema": {"root": "string", "depth": "integer"}})
    );
    assert_eq!(manifest["fact_outputs"][0]["when"]["command"], "poll");
    let all = site.cli(["plugins", "--json"]).expect_code(0).json();
    let protocols: Vec<_> = all.as_array().unwrap().iter().map(|plugin| &plugin["protocol"]).collect();
    assert_eq!(protocols, [&json!(1), &json!(2), &json!(2), &json!(1)]);
}

#[test]
fn a_manifest_that_cannot_be_meant_is_named_with_its_reason() {
    let site = site();
    let path = site.path("plugins/greet/manifest.yaml");
    let whole = std::fs::read_to_string(&path).unwrap();
    for (from, to, reason) in [
        ("protocol: 2", "protocol: 7", "protocol `7` is not supported; this version speaks 1 and 2"),
        (
            "ductile.plugin",
            "ductile.event",
            "`manifest_spec` is `ductile.event`, but this version reads `ductile.plugin`",
        ),
        ("manifest_version: 1", "manifest_version: 2", "`manifest_version` is `2`, but this version reads `1`"),
        ("greet_again", "2nd", "`commands[1]`: `2nd` cannot be the name of a command"),
        (
            "version: 0.1.0",
            "fact_outputs: [{when: {command: poll}, from: state_updates, fact_type: x}]",
            "`fact_outputs[0]`: `when.command` is `poll`, which is none of the declared commands",
        ),
    ] {
        std::fs::write(&path, whole.replace(from, to)).unwrap();
        let ran =
            site.cli(["check"]).expect_code(1).expect_stderr("plugin `greet` is not loaded").expect_stderr(reason);
        assert!(ran.stderr.contains(path.to_str().unwrap()), "{}", ran.stderr);
    }
}
