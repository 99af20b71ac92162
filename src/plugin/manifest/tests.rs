use super::*;

const MINIMAL: &str = "name: echo\nprotocol: 1\nentrypoint: run.sh\ncommands: [poll]\n";

fn parse(text: &str) -> Result<(Manifest, Vec<String>), String> {
    let mut warnings = Vec::new();
    let manifest = Manifest::parse(text.as_bytes(), &mut warnings).map_err(|error| error.to_string())?;
    Ok((manifest, warnings))
}

#[test]
fn a_whole_manifest_is_understood() {
    let text = "\u{feff}name: echo
version: 1.0
protocol: 1
entrypoint: bin/run
description: says it again
commands:
  - poll
  - {name: handle, type: write, description: takes one}
  - name: health
    type: read
config_keys: {required: [token], optional: [url]}
";
    let (manifest, warnings) = parse(text).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(manifest.name, "echo");
    assert_eq!(manifest.version.as_deref(), Some("1.0"));
    assert_eq!(manifest.entrypoint, PathBuf::from("bin/run"));
    let commands: Vec<_> = manifest.commands.iter().map(|declared| (&declared.command, declared.access)).collect();
    assert_eq!(
        commands,
        [(&Command::Poll, None), (&Command::Handle, Some(Access::Write)), (&Command::Health, Some(Access::Read))]
    );
    assert_eq!(manifest.config_keys.unwrap().required, ["token"]);
}

#[test]
fn what_is_not_understood_is_a_warning() {
    for (extra, warning) in [
        ("colour: red\n", "unknown key `colour`"),
        ("config_keys: {need: [a]}\n", "unknown key `config_keys.need`"),
        ("config_keys:\ndescription: null\nx: {a: {b: [1]}}\n", "unknown key `x`"),
    ] {
        let (_, warnings) = parse(&format!("{MINIMAL}{extra}")).unwrap();
        assert_eq!(warnings, [warning]);
    }
    for (commands, warning) in [
        ("[poll, dance]", "`dance` is not a command of protocol 1; its commands are poll, handle, health and init"),
        ("[poll, poll]", "command `poll` is declared twice"),
        ("[{name: poll, speed: 9}]", "unknown key `commands.poll.speed`"),
    ] {
        let (manifest, warnings) = parse(&MINIMAL.replace("[poll]", commands)).unwrap();
        assert_eq!(warnings, [warning]);
        assert!(manifest.declares(&Command::Poll));
    }
}

#[test]
fn what_is_no_manifest_is_refused_with_the_reason() {
    for (text, reason) in [
        (String::new(), "missing field `name`"),
        ("[1, 2]".to_owned(), "invalid type: sequence, expected a map with `name`, `protocol`, "),
        (format!("{MINIMAL}config_keys: token"), "expected a map with `required` and `optional` at line 5"),
        ("name: [".to_owned(), "name: invalid type: sequence, expected a string at line 1 column 7"),
        (format!("{MINIMAL}version: 'open"), "at line 5 column 10"),
        (format!("{MINIMAL}name: other\n"), "duplicate field `name`"),
        (format!("{MINIMAL}colour: red\ncolour: blue\n"), "duplicate key `colour`"),
        (MINIMAL.replace("name: echo", "name: ''"), "`name` is empty"),
        (MINIMAL.replace("protocol: 1", "protocol: 3"), "protocol `3` is not supported; this version speaks 1 and 2"),
        (MINIMAL.replace("protocol: 1", "protocol: 0"), "protocol `0` is not supported"),
        (
            format!("{MINIMAL}manifest_spec: other.plugin\n"),
            "`manifest_spec` is `other.plugin`, but this version reads",
        ),
        (format!("{MINIMAL}manifest_version: 2\n"), "`manifest_version` is `2`, but this version reads `1`"),
        (format!("{MINIMAL}manifest_version: one\n"), "manifest_version: invalid type: string \"one\""),
        (format!("{MINIMAL}concurrency_safe: maybe\n"), "concurrency_safe: invalid type"),
        (MINIMAL.replace("protocol: 1", "protocol: one"), "protocol: invalid type: string \"one\""),
        (MINIMAL.replace("protocol: 1\n", ""), "missing field `protocol`"),
        (MINIMAL.replace("entrypoint: run.sh\n", ""), "missing field `entrypoint`"),
        (MINIMAL.replace("run.sh", "''"), "`entrypoint` is empty"),
        (MINIMAL.replace("[poll]", "[]"), "`commands` is empty"),
        (MINIMAL.replace("[poll]", "poll"), "commands: invalid type"),
        (MINIMAL.replace("[poll]", "[{name: poll, type: maybe}]"), "unknown variant `maybe`"),
        (MINIMAL.replace("[poll]", "[{type: read}]"), "missing field `name`"),
        (MINIMAL.replace("[poll]", "[{name: poll, name: poll}]"), "duplicate field `name`"),
        (format!("{MINIMAL}config_keys: {{required: token}}\n"), "at line 5"),
        (format!("{MINIMAL}---\nname: second\n"), "more than one document"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(reason), "{text:?}: {error:?} does not say {reason:?}");
    }
    let error = Manifest::parse(b"name: \xff\n", &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "not valid UTF-8 from byte 6 on");
}

const SECOND: &str = "name: echo\nprotocol: 2\nentrypoint: run.sh\ncommands: [poll, token_refresh]\n";

#[test]
fn a_whole_manifest_of_protocol_2_is_understood_and_written_as_json() {
    let text = "manifest_spec: ductile.plugin
manifest_version: 1
name: watch
version: 0.2.0
protocol: 2
entrypoint: run.py
description: \"looks at folders\"
concurrency_safe: false
stopwatch: {max_subs: 8}
commands:
  - name: poll
    type: write
    description: compares
    idempotent: false
    retry_safe: true
    input_schema: {}
    output_schema:
      type: object
      properties: {status: {type: string, enum: [ok, error]}, 1: integer}
    values:
      consume: []
      emit:
        - event: \"<watches[].event_type>\"
          values: [payload.root, payload.path]
  - name: Re-scan_2
    type: read
  - health
fact_outputs:
  - when:
      command: poll
    from: state_updates
    fact_type: watch.snapshot
    compatibility_view: mirror_object
  - {when: {command: Re-scan_2}, from: state_updates, fact_type: watch.scan}
config_keys:
  required: []
  optional:
    - watches
";
    let (manifest, warnings) = parse(text).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(manifest.protocol, Protocol::Two);
    let scan: Command = "Re-scan_2".parse().unwrap();
    assert!(manifest.declares(&scan) && manifest.declares(&Command::Health) && !manifest.declares(&Command::Handle));
    assert_eq!(manifest.fact_types(&Command::Poll).collect::<Vec<_>>(), ["watch.snapshot"]);
    assert_eq!(manifest.fact_types(&scan).collect::<Vec<_>>(), ["watch.scan"]);
    assert_eq!(manifest.fact_types(&Command::Health).count(), 0);

    // What other commands are told is the whole manifest again.
    let told = serde_json::to_value(&manifest).unwrap();
    let mut written: Value = serde_yaml::from_str::<Free>(text).unwrap().0;
    written["commands"][2] = serde_json::json!({"name": "health"});
    written["fact_outputs"][1]["compatibility_view"] = "mirror_object".into();
    assert_eq!(told, written);
}

#[test]
fn lists_of_names_do_for_protocol_2_and_objects_for_protocol_1() {
    let (manifest, warnings) = parse(SECOND).unwrap();
    assert!(manifest.declares(&"token_refresh".parse().unwrap()) && warnings.is_empty());
    let objects = "[{name: poll, type: read, idempotent: true, retry_safe: true, input_schema: {a: text}, values: {}}]";
    let (manifest, warnings) = parse(&MINIMAL.replace("[poll]", objects)).unwrap();
    assert_eq!((manifest.commands[0].idempotent, warnings.len()), (Some(true), 0));
    for name in ["2nd", "a b", "''", "é"] {
        let error = parse(&SECOND.replace("token_refresh", name)).unwrap_err();
        assert!(error.starts_with("`commands[1]`: ") && error.contains("cannot be the name of a command"), "{error}");
    }
}

#[test]
fn fact_outputs_that_cannot_be_meant_are_refused() {
    let with = |rule: &str| format!("{SECOND}fact_outputs: [{{{rule}}}]\n");
    for (rule, reason) in [
        ("when: {command: sync}, from: state_updates, fact_type: a", "`fact_outputs[0]`: `when.command` is `sync`"),
        ("when: {command: handle}, from: state_updates, fact_type: a", "`when.command` is `handle`, which is none of"),
        ("when: {command: poll}, from: events, fact_type: a", "unknown variant `events`, expected `state_updates`"),
        ("when: {command: poll}, fact_type: a", "missing field `from`"),
        ("from: state_updates, fact_type: a", "missing field `when`"),
        ("when: poll, from: state_updates, fact_type: a", "expected a map with `command`"),
        ("when: {}, from: state_updates, fact_type: a", "missing field `command`"),
        ("when: {command: poll}, from: state_updates", "missing field `fact_type`"),
        ("when: {command: poll}, from: state_updates, fact_type: ' '", "`fact_outputs[0]`: `fact_type` is empty"),
        (
            "when: {command: poll}, from: state_updates, fact_type: a, compatibility_view: sum",
            "unknown variant `sum`, expected `mirror_object`",
        ),
    ] {
        let error = parse(&with(rule)).unwrap_err();
        assert!(error.contains(reason), "{rule}: {error:?} does not say {reason:?}");
    }
    let long = format!("when: {{command: poll}}, from: state_updates, fact_type: {}", "x".repeat(257));
    assert!(parse(&with(&long)).unwrap_err().contains("has 257 bytes; at most 256"));
    let rule = "when: {command: poll, once: true}, from: state_updates, fact_type: a, kept: 3";
    let (manifest, warnings) = parse(&format!("{SECOND}fact_outputs: [{{{rule}}}, {{{rule}}}]\n")).unwrap();
    assert_eq!(manifest.fact_outputs.len(), 1);
    assert_eq!(warnings[..2], ["unknown key `fact_outputs[0].kept`", "unknown key `fact_outputs[0].when.once`"]);
    assert_eq!(warnings.last().unwrap(), "`fact_outputs[1]` stands there twice");
    let health = "when: {command: health}, from: state_updates, fact_type: a";
    let (_, warnings) = parse(&with(health).replace("token_refresh", "health")).unwrap();
    assert_eq!(warnings, ["`fact_outputs[0]` states nothing: what `health` returns is not kept"]);
}
