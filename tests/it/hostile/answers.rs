//! What may be printed instead of an answer, and what an answer may hold.

use std::fs;

use serde_json::{Value, json};

use super::{Case, ends};
use crate::support::{Plugin, Site};

/// 2^63-1, 2^64, and 40 digits before and after the point.
const NUMBERS: &str = "[9223372036854775807, 18446744073709551616, -9223372036854775809, \
     1234567890123456789012345678901234567890, 0.1234567890123456789012345678901234567890, 1.10, 1E400, -0.0]";

const STATE_LIMIT: usize = 1_048_576;

/// A plugin that prints a file of the site, with its own file name, as it is.
fn prints(site: &Site, name: &'static str, answer: &[u8]) -> Case {
    fs::write(site.path(format!("{name}.out")), answer).unwrap();
    Case::new(name, |name| Plugin::sh(name, &format!("exec cat \"$IT/{name}.out\"")))
}

/// Keeps the requests that it gets, one after the other, byte for byte.
pub(super) fn keeper(name: &str) -> Plugin {
    Plugin::sh(name, &format!("cat >> \"$IT/{name}.in\"; echo '{{\"status\": \"ok\"}}'")).set("timeouts: {handle: 60s}")
}

/// The raw text of a plugin's state.
fn state(site: &Site, plugin: &str) -> String {
    let row = site.row("SELECT state FROM plugin_state WHERE plugin_name = ?1", [plugin]);
    row["state"].as_str().unwrap().to_owned()
}

pub(super) fn cases(site: &mut Site) -> Vec<Case> {
    let mut cases = no_answers(site);
    cases.extend(numbers(site));
    cases.extend(state_limit());
    cases.extend(deep(site));
    cases
}

fn no_answers(site: &Site) -> Vec<Case> {
    let refused: &[(&'static str, &[u8], &str)] = &[
        ("no_json", b"hello\n", "stdout is not JSON: expected value at line 1 column 1"),
        (
            "half_an_answer",
            b"{\"status\": \"ok\"",
            "stdout is not JSON: EOF while parsing an object at line 1 column 15",
        ),
        (
            "two_objects",
            b"{\"status\": \"ok\"}\n{\"status\": \"ok\"}\n",
            "stdout has more than one JSON object: trailing characters at line 2 column 1",
        ),
        (
            "trailing_garbage",
            b"{\"status\": \"ok\"} done\n",
            "stdout has more than one JSON object: trailing characters at line 1 column 18",
        ),
        (
            "trailing_nul",
            b"{\"status\": \"ok\"}\0",
            "stdout has more than one JSON object: trailing characters at line 1 column 17",
        ),
        ("null_answer", b"null\n", "stdout must be a JSON object, not null"),
        ("array", b"[{\"status\": \"ok\"}]", "stdout must be a JSON object, not an array"),
        ("text", b"\"ok\"", "stdout must be a JSON object, not a string"),
        ("number", b"1", "stdout must be a JSON object, not a number"),
        ("empty_object", b"{}", "`status` is missing"),
        ("null_status", b"{\"status\": null}", "`status` is missing"),
        ("nothing", b"", "stdout is empty"),
        ("white_space", b" \n\t\r\n", "stdout is empty"),
        (
            "byte_order_mark",
            b"\xef\xbb\xbf{\"status\": \"ok\"}",
            "stdout is not JSON: expected value at line 1 column 1",
        ),
        (
            "invalid_utf8",
            b"{\"status\": \"ok\", \"x\": \"\xff\"}",
            "stdout is not valid UTF-8: invalid utf-8 sequence of 1 bytes from index 23",
        ),
        (
            "duplicate_status",
            b"{\"status\": \"ok\", \"status\": \"error\"}",
            "stdout is not a response: duplicate field `status` at line 1 column 25",
        ),
        (
            "duplicate_event_key",
            b"{\"status\": \"ok\", \"events\": [{\"type\": \"a\", \"type\": \"b\"}]}",
            "`events[0]` is not valid: duplicate field `type` at line 1 column 20",
        ),
        (
            "state_as_array",
            b"{\"status\": \"ok\", \"state_updates\": []}",
            "`state_updates` must be an object, not an array",
        ),
        (
            "retry_as_text",
            b"{\"status\": \"error\", \"retry\": \"false\"}",
            "`retry` must be true or false, not a string",
        ),
    ];
    let mut cases: Vec<_> = refused
        .iter()
        .map(|(name, answer, reason)| {
            let expected = String::from_utf8_lossy(answer).into_owned();
            prints(site, name, answer).dead(2, &format!("protocol error: {reason}")).also(move |_, _, attempts| {
                let kept = attempts[0]["result"].as_str().unwrap_or_default();
                assert_eq!(kept, expected, "what was printed is kept");
            })
        })
        .collect();
    let nothing = br#"{"status":"ok","error":null,"retry":null,"events":null,"state_updates":null,"logs":null}"#;
    let error = br#"{"status":"error","error":null,"retry":null,"events":null,"state_updates":null,"logs":null}"#;
    let inner =
        br#"{"status":"ok","state_updates":{"gone":null},"events":[{"type":"e","payload":null,"dedupe_key":null}],
        "logs":[{"level":null,"message":""}]}"#;
    cases.push(prints(site, "nulls", nothing).also(|site, job, attempts| {
        assert_eq!(attempts[0]["logs"], Value::Null);
        let plugin = job["plugin"].as_str().unwrap();
        assert_eq!(site.rows("SELECT 1 FROM plugin_state WHERE plugin_name = ?1", [plugin]).len(), 0);
    }));
    cases.push(prints(site, "null_error", error).dead(2, "the plugin reported an error and gave no message"));
    cases.push(prints(site, "inner_nulls", inner).also(|site, _, attempts| {
        assert_eq!(state(site, "inner_nulls"), r#"{"gone":null}"#);
        assert_eq!(attempts[0]["logs"], r#"[{"level":"info","message":""}]"#);
    }));
    let twice = br#"{"status":"ok","state_updates":{"a":1,"a":2,"\u0061":3}}"#;
    cases.push(prints(site, "duplicate_state_key", twice).also(|site, _, _| {
        assert_eq!(state(site, "duplicate_state_key"), r#"{"a":3}"#, "the last one counts");
    }));
    cases
}

fn numbers(site: &mut Site) -> Vec<Case> {
    let answer = format!(
        r#"{{"status": "ok", "state_updates": {{"n": {NUMBERS}}}, "events": [{{"type": "numbers", "payload": {NUMBERS}}}]}}"#
    );
    fs::write(site.path("numbers.out"), answer).unwrap();
    site.plugin(keeper("numbers_keeper")).route("numbers", "numbers", "numbers_keeper");
    let check = |site: &Site, job: &Value, _: &[Value]| {
        assert_eq!(state(site, "numbers"), format!(r#"{{"n":{NUMBERS}}}"#));
        let requests = fs::read_to_string(site.path("numbers.in")).unwrap();
        let (first, second) = requests.trim_end().split_once('\n').unwrap();
        assert!(first.contains(r#""state":{}"#), "{first}");
        assert!(second.contains(&format!(r#""state":{{"n":{NUMBERS}}}"#)), "{second}");
        let children = site.rows("SELECT * FROM jobs WHERE parent_job_id = ?1", [job["id"].as_str().unwrap()]);
        assert_eq!((children.len(), &children[0]["status"]), (1, &json!("succeeded")));
        let event = format!(r#"{{"type":"numbers","payload":{NUMBERS},"source":"numbers","#);
        assert!(children[0]["payload"].as_str().unwrap().starts_with(&event), "{}", children[0]["payload"]);
        let handled = fs::read_to_string(site.path("numbers_keeper.in")).unwrap();
        assert_eq!(handled.matches(&format!(r#""event":{event}"#)).count(), 2, "{handled}");
    };
    let plugin = |name: &str| Plugin::sh(name, "cat >> \"$IT/numbers.in\"; cat \"$IT/numbers.out\"");
    vec![
        Case::new("numbers", plugin).also(check),
        Case::again("numbers, which the state already has", "numbers").also(check),
    ]
}

fn state_limit() -> Vec<Case> {
    let plugin = |name: &str| {
        let script = "size = request['event']['payload']\n\
                      print(json.dumps({'status': 'ok', 'state_updates': {'a': 'x' * (size - len('{\"a\":\"\"}'))}}))";
        Plugin::python(name, script)
    };
    let full = |site: &Site| {
        let state = state(site, "state");
        assert_eq!(state.len(), STATE_LIMIT, "{}", ends(&state));
    };
    let over = (STATE_LIMIT + 1).to_string();
    vec![
        Case::new("state", plugin).handle(&STATE_LIMIT.to_string()).also(move |site, _, _| full(site)),
        Case::again("one byte more of state", "state")
            .handle(&over)
            .dead(2, "the plugin's state would be larger than 1048576 bytes")
            .also(move |site, job, attempts| {
                full(site);
                let row = site.row("SELECT updated_at FROM plugin_state WHERE plugin_name = 'state'", ());
                assert!(row["updated_at"].as_str() < job["completed_at"].as_str(), "nothing was written: {row}");
                assert!(attempts[0]["result"].as_str().unwrap().starts_with("{\"status\": \"ok\""));
            }),
    ]
}

fn deep(site: &mut Site) -> Vec<Case> {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let open = "[".repeat(1_000_000);
    let objects = format!("{}1{}", "{\"a\":".repeat(1_000_000), "}".repeat(1_000_000));
    site.plugin(keeper("deep_keeper")).route("deep_event", "deep", "deep_keeper");
    let event = format!(r#"{{"status":"ok","events":[{{"type":"deep","payload":{deep}}}],"unknown":{objects}}}"#);
    // As long as the limit, it may not be remembered; half of it may.
    let half = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let remembered = format!(r#"{{"status":"ok","state_updates":{{"deep":{half}}}}}"#);
    let kept = half.clone();
    vec![
        prints(site, "deep_event", event.as_bytes()).also(move |site, job, _| {
            let children = site.rows("SELECT status FROM jobs WHERE parent_job_id = ?1", [job["id"].as_str().unwrap()]);
            assert_eq!(children, [json!({"status": "succeeded"})]);
            let handled = fs::read_to_string(site.path("deep_keeper.in")).unwrap();
            assert!(handled.contains(&format!(r#""payload":{deep},"#)), "{}", ends(&handled));
        }),
        prints(site, "deep_state", remembered.as_bytes()).also(move |site, _, _| {
            assert!(state(site, "deep_state") == format!(r#"{{"deep":{kept}}}"#));
        }),
        Case::again("deep state in the request", "deep_state"),
        prints(site, "deep_array", format!("{half}\n").as_bytes())
            .dead(2, "protocol error: stdout must be a JSON object, not an array"),
        prints(site, "deep_and_open", open.as_bytes())
            .dead_with(2, &["protocol error: stdout is not JSON: EOF while parsing a list at line 1 column "]),
        prints(site, "deep_status", format!(r#"{{"status":{half}}}"#).as_bytes())
            .dead(2, "protocol error: `status` must be a string, not an array"),
        prints(site, "deep_logs", format!(r#"{{"status":"ok","logs":{half}}}"#).as_bytes())
            .dead(2, "protocol error: `logs[0]` must be an object, not an array"),
    ]
}
