use super::*;

fn parse(stdout: &str) -> Result<Response, ProtocolError> {
    Response::parse(Protocol::One, stdout)
}

#[test]
fn a_whole_response_passes_what_it_carries_byte_for_byte() {
    let response = parse(concat!(
        " {\"status\": \"ok\", \"unknown\": [1e999],\n",
        r#""events": [{"type": "a"}, {"type": "\u00e9", "payload": [1.10, {"x" : 9223372036854775808}], "dedupe_key": "k"},"#,
        r#"{"type": "c", "payload": null, "dedupe_key": null}, {"type": "d", "payload": false}],"#,
        r#""state_updates": { "n": 0.1000000000000000055511151231257827 }, "logs": [{"message": "m"}]}"#,
        " \r\n\t\n"
    ))
    .unwrap();
    assert_eq!(response.status, Status::Ok);
    assert!(response.retry);
    let events: Vec<_> = response
        .effects
        .events
        .iter()
        .map(|event| (event.kind.as_str(), event.payload.get(), event.dedupe_key.as_deref()))
        .collect();
    assert_eq!(
        events,
        [
            ("a", "{}", None),
            ("é", r#"[1.10, {"x" : 9223372036854775808}]"#, Some("k")),
            ("c", "{}", None),
            ("d", "false", None),
        ]
    );
    assert_eq!(response.effects.state_updates.unwrap().get(), r#"{ "n": 0.1000000000000000055511151231257827 }"#);
    assert_eq!(response.logs.unwrap(), r#"[{"level":"info","message":"m"}]"#);
}

#[test]
fn null_is_absent() {
    let response =
        parse(r#"{"status":"ok","error":null,"retry":null,"events":null,"state_updates":null,"logs":null}"#).unwrap();
    assert!(response.retry && response.effects.events.is_empty());
    assert!(response.effects.state_updates.is_none() && response.logs.is_none());
    assert!(parse(r#"{"status":"ok","state_updates":{}}"#).unwrap().effects.state_updates.is_none());
}

#[test]
fn an_error_has_a_message() {
    for (fields, message, retry) in [
        ("", DEFAULT_ERROR, true),
        (r#","error":null"#, DEFAULT_ERROR, true),
        (r#","error":"""#, DEFAULT_ERROR, true),
        (r#","error":"no \"luck\"","retry":false"#, "no \"luck\"", false),
        (r#","error":"half \udc80""#, "half \u{fffd}", true),
        (r#","error":"\ud83d\ud83d\ude00é\udfff\\ud800""#, "\u{fffd}😀é\u{fffd}\\ud800", true),
    ] {
        let response = parse(&format!(r#"{{"status":"error"{fields}}}"#)).unwrap();
        assert_eq!((response.status, response.retry), (Status::Error(message.to_owned()), retry), "{fields}");
    }
}

#[test]
fn what_is_no_response_is_refused_with_the_reason() {
    let long_type = format!(r#"{{"status":"ok","events":[{{"type":"{}"}}]}}"#, "x".repeat(257));
    let long_key = format!(r#"{{"status":"ok","events":[{{"type":"t","dedupe_key":"{}"}}]}}"#, "x".repeat(1_025));
    let many = format!(r#"{{"status":"ok","events":[{}]}}"#, vec![r#"{"type":"t"}"#; 1_001].join(","));
    for (stdout, reason) in [
        ("", "stdout is empty"),
        (" \n", "stdout is empty"),
        ("hello", "stdout is not JSON: expected value at line 1 column 1"),
        ("\n{\"status\":", "stdout is not JSON: EOF while parsing a value at line 2 column 10"),
        ("{'status':'ok'}", "stdout is not JSON: key must be a string at line 1 column 2"),
        ("starting\n{\"status\":\"ok\"}", "stdout is not JSON"),
        ("[]", "stdout must be a JSON object, not an array"),
        ("null", "stdout must be a JSON object, not null"),
        ("-1", "stdout must be a JSON object, not a number"),
        (r#"{"status":"ok"}{"status":"ok"}"#, "more than one JSON object: trailing characters at line 1 column 16"),
        ("{\"status\":\"ok\"}\ndone", "more than one JSON object: trailing characters at line 2 column 1"),
        ("{\"status\":\"ok\"}\0", "more than one JSON object"),
        (r#"{"status":"ok","status":"error"}"#, "stdout is not a response: duplicate field `status`"),
        ("{}", "`status` is missing"),
        (r#"{"status":null}"#, "`status` is missing"),
        (r#"{"status":"OK"}"#, "`status` must be `ok` or `error`"),
        (r#"{"status":1}"#, "`status` must be a string, not a number"),
        (r#"{"status":"error","error":{}}"#, "`error` must be a string, not an object"),
        (r#"{"status":"ok","retry":"no"}"#, "`retry` must be true or false, not a string"),
        (r#"{"status":"ok","events":{}}"#, "`events` must be an array, not an object"),
        (r#"{"status":"error","events":1}"#, "`events` must be an array, not a number"),
        (r#"{"status":"ok","events":[["t"]]}"#, "`events[0]` must be an object, not an array"),
        (r#"{"status":"ok","events":[{"type":"t"},{}]}"#, "`events[1].type` is missing"),
        (r#"{"status":"ok","events":[{"type":""}]}"#, "`events[0].type` must not be empty"),
        (r#"{"status":"ok","events":[{"type":"\ud800"}]}"#, "`events[0].type` is not valid: "),
        (&long_type, "`events[0].type` must be at most 256 bytes long, not 257"),
        (&long_key, "`events[0].dedupe_key` must be at most 1024 bytes long, not 1025"),
        (r#"{"status":"ok","events":[{"type":"t","dedupe_key":7}]}"#, "`events[0].dedupe_key` must be a string"),
        (r#"{"status":"ok","events":[{"type":"t","dedupe_key":""}]}"#, "`events[0].dedupe_key` must not be empty"),
        (r#"{"status":"ok","events":[{"type":"t","type":"u"}]}"#, "`events[0]` is not valid: duplicate field `type`"),
        (&many, "`events` must not be more than 1000"),
        (r#"{"status":"ok","state_updates":[]}"#, "`state_updates` must be an object, not an array"),
        (r#"{"status":"ok","state_updates":{"\ud800":1}}"#, "`state_updates` is not valid: "),
        (r#"{"status":"ok","logs":"x"}"#, "`logs` must be an array, not a string"),
        (r#"{"status":"ok","logs":[{"level":"info"}]}"#, "`logs[0].message` is missing"),
        (r#"{"status":"ok","logs":[{"level":1,"message":""}]}"#, "`logs[0].level` must be a string"),
    ] {
        let error = parse(stdout).unwrap_err().to_string();
        let start = &stdout[..stdout.len().min(60)];
        assert!(
            error.starts_with("protocol error: ") && error.contains(reason),
            "{start:?}: {error:?}, not {reason:?}"
        );
    }
}

#[test]
fn limits_are_inclusive_and_depth_is_not_limited() {
    let events = vec![r#"{"type":"t"}"#; 1_000].join(",");
    let response = parse(&format!(r#"{{"status":"ok","events":[{events}]}}"#)).unwrap();
    assert_eq!(response.effects.events.len(), 1_000);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let response = parse(&format!(r#"{{"status":"ok","events":[{{"type":"t","payload":{deep}}}]}}"#)).unwrap();
    assert_eq!(response.effects.events[0].payload.get(), deep);
}

#[test]
fn protocol_2_wants_a_result_with_every_success() {
    for (fields, result) in [
        (r#""status":"ok","result":"2 new\nmails""#, Some("2 new\nmails")),
        (r#""status":"ok","result":"half \udc80""#, Some("half \u{fffd}")),
        (r#""status":"error","result":"1 of 2""#, Some("1 of 2")),
        (r#""status":"error","result":null"#, None),
        (r#""status":"error","result":" ""#, None),
        (r#""status":"error""#, None),
    ] {
        let response = Response::parse(Protocol::Two, &format!("{{{fields}}}")).unwrap();
        assert_eq!(response.result.as_deref(), result, "{fields}");
    }
    for (fields, reason) in [
        (r#""status":"ok""#, "`result` is missing"),
        (r#""status":"ok","result":null"#, "`result` is missing"),
        (r#""status":"ok","result":"\t\n""#, "`result` is missing"),
        (r#""status":"ok","result":{"rows":2}"#, "`result` must be a string, not an object"),
        (r#""status":"error","result":7"#, "`result` must be a string, not a number"),
    ] {
        let error = Response::parse(Protocol::Two, &format!("{{{fields}}}")).unwrap_err().to_string();
        assert!(error.starts_with("protocol error: ") && error.contains(reason), "{fields}: {error}");
    }
}

#[test]
fn in_protocol_1_a_result_is_shown_if_it_is_a_text_and_ignored_otherwise() {
    for (field, result) in [
        ("", None),
        (r#","result":"done""#, Some("done")),
        (r#","result":"""#, None),
        (r#","result":null"#, None),
        (r#","result":{"rows":[1e999]}"#, None),
        (r#","result":7"#, None),
    ] {
        assert_eq!(parse(&format!(r#"{{"status":"ok"{field}}}"#)).unwrap().result.as_deref(), result, "{field}");
    }
    let long = parse(&format!(r#"{{"status":"ok","result":"{}"}}"#, "x".repeat(70_000))).unwrap().result.unwrap();
    assert!(long.ends_with("[cut: 65536 of 70000 bytes kept]"), "{}", long.len());
}
