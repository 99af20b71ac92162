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
    let commands: Vec<_> = manifest.commands.iter().map(|declared| (declared.command, declared.access)).collect();
    assert_eq!(
        commands,
        [(Command::Poll, None), (Command::Handle, Some(Access::Write)), (Command::Health, Some(Access::Read))]
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
        ("[poll, dance]", "`dance` is not a command; the commands are poll, handle, health and init"),
        ("[poll, poll]", "command `poll` is declared twice"),
        ("[{name: poll, speed: 9}]", "unknown key `commands.poll.speed`"),
    ] {
        let (manifest, warnings) = parse(&MINIMAL.replace("[poll]", commands)).unwrap();
        assert_eq!(warnings, [warning]);
        assert!(manifest.declares(Command::Poll));
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
        (MINIMAL.replace("protocol: 1", "protocol: 2"), "protocol `2` is not supported"),
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
