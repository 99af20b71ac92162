//! Plugins in whatever language is there, in both protocols.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::{Plugin, Site};

/// Each reads its request from stdin, finds the number behind `"n":`, and remembers and tells the next one.
const SCRIPTS: [(&str, &str); 5] = [
    (
        "sh",
        r#"#!/bin/sh
n=$(sed -n 's/.*"n":\([0-9]*\).*/\1/p')
printf '{"status": "ok", "result": "%d", "state_updates": {"n": %d}}\n' $((n + 1)) $((n + 1))
"#,
    ),
    (
        "bash",
        r#"#!/usr/bin/env bash
read -r request
[[ $request =~ \"n\":([0-9]+) ]] && n=$((BASH_REMATCH[1] + 1))
echo "{\"status\": \"ok\", \"result\": \"$n\", \"state_updates\": {\"n\": $n}}"
"#,
    ),
    (
        "python3",
        r#"#!/usr/bin/env python3
import json, sys
n = json.load(sys.stdin)["event"]["payload"]["n"] + 1
json.dump({"status": "ok", "result": str(n), "state_updates": {"n": n}}, sys.stdout)
"#,
    ),
    (
        "node",
        r#"#!/usr/bin/env node
const n = JSON.parse(require("fs").readFileSync(0)).event.payload.n + 1;
console.log(JSON.stringify({ status: "ok", result: String(n), state_updates: { n } }));
"#,
    ),
    (
        "perl",
        r#"#!/usr/bin/env perl
use strict;
my $request = do { local $/; <STDIN> };
my ($n) = $request =~ /"n":(\d+)/;
$n++;
print qq({"status": "ok", "result": "$n", "state_updates": {"n": $n}}\n);
"#,
    ),
];

const C: &str = r#"#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    static char request[65536];
    request[fread(request, 1, sizeof request - 1, stdin)] = 0;
    char *at = strstr(request, "\"n\":");
    int n = at ? atoi(at + 4) + 1 : 0;
    printf("{\"status\": \"ok\", \"result\": \"%d\", \"state_updates\": {\"n\": %d}}\n", n, n);
    return 0;
}
"#;

const RUST: &str = r##"use std::io::Read;
fn main() {
    let mut request = String::new();
    std::io::stdin().read_to_string(&mut request).unwrap();
    let (_, rest) = request.split_once("\"n\":").unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let n = digits.parse::<u64>().unwrap() + 1;
    println!(r#"{{"status": "ok", "result": "{n}", "state_updates": {{"n": {n}}}}}"#);
}
"##;

/// The compilers with their arguments but for output and source.
const COMPILED: [(&str, &str, &str, &[&str]); 2] =
    [("cc", "plugin.c", C, &["-o"]), ("rustc", "plugin.rs", RUST, &["--edition=2021", "-o"])];

/// The programs of all languages that are there, by the name of what runs or compiles them.
fn programs(site: &Site) -> Vec<(&'static str, Vec<u8>)> {
    let mut programs = Vec::new();
    for (interpreter, script) in SCRIPTS {
        // A shell has no version to tell.
        let found = Command::new(interpreter).args(["-c", ""]).output().is_ok();
        match found {
            true => programs.push((interpreter, script.into())),
            false => eprintln!("skipped: {interpreter} is not installed"),
        }
    }
    for (compiler, file, text, arguments) in COMPILED {
        let (source, output) = (site.path(file), site.path(compiler));
        fs::write(&source, text).unwrap();
        match Command::new(compiler).args(arguments).arg(&output).arg(&source).output() {
            Ok(compiled) => {
                assert!(compiled.status.success(), "{compiler}: {}", String::from_utf8_lossy(&compiled.stderr));
                programs.push((compiler, fs::read(&output).unwrap()));
            }
            Err(error) => eprintln!("skipped: {compiler} is not installed: {error}"),
        }
    }
    programs
}

#[test]
fn a_plugin_may_be_written_in_anything() {
    let mut site = Site::new();
    let programs = programs(&site);
    assert!(programs.iter().any(|(name, _)| *name == "sh"));
    for (language, program) in &programs {
        site.plugin(Plugin::executable(&format!("{language}-1"), program.clone()));
        site.plugin(Plugin::executable(&format!("{language}-2"), program.clone()).protocol_2());
    }
    let daemon = site.start();
    let mut jobs = Vec::new();
    for (at, (language, _)) in programs.iter().enumerate() {
        for protocol in [1, 2] {
            let (plugin, payload) = (format!("{language}-{protocol}"), format!(r#"{{"n":{at}}}"#));
            let job = site.detach([plugin.as_str(), "--command", "handle", "--payload", payload.as_str()]);
            jobs.push((plugin, job, at + 1));
        }
    }
    for (plugin, job, n) in jobs {
        site.wait_rows(&format!("SELECT 1 FROM job_log WHERE job_id = '{job}'"));
        let attempt = &site.attempts(&job)[0];
        assert_eq!(
            (&attempt["status"], &attempt["result"]),
            (&json!("succeeded"), &json!(n.to_string())),
            "{plugin}: {attempt}"
        );
        assert_eq!(site.state(&plugin), json!({"n": n}), "{plugin}");
    }
    daemon.stop();
}
