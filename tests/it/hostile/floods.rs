//! More output than anybody wants, valid and not.

use std::fs;

use serde_json::{Value, json};

use super::answers::keeper;
use super::{Case, ends};
use crate::support::{OK, Plugin, Site};

/// The most that may be printed.
const STDOUT_LIMIT: usize = 10 << 20;

fn python(name: &'static str, script: &str) -> Case {
    Case::new(name, |name| Plugin::bare_python(name, script))
}

/// An answer of exactly [`STDOUT_LIMIT`]: `tail` comes after a value of many two-byte characters and one more.
fn filled(head: &str, tail: &str, size: usize) -> String {
    let room = size - head.len() - tail.len();
    format!("{head}{}{}{tail}", "é".repeat(room / 2), "x".repeat(room % 2))
}

pub(super) fn cases(site: &mut Site) -> Vec<Case> {
    site.plugin(keeper("big_keeper")).route("big_event", "big", "big_keeper");
    let (head, tail) = (r#"{"status":"ok","events":[{"type":"big","payload":""#, r#""}]}"#);
    fs::write(site.path("big_event.out"), filled(head, tail, STDOUT_LIMIT)).unwrap();
    fs::write(site.path("over_by_one.out"), filled(head, tail, STDOUT_LIMIT + 1)).unwrap();
    let (log_head, log_tail) = (r#"{"status":"ok","logs":[{"message":""#, r#""}]}"#);
    fs::write(site.path("big_log.out"), filled(log_head, log_tail, STDOUT_LIMIT)).unwrap();
    let cat = |name: &str| Plugin::sh(name, &format!("exec cat \"$IT/{name}.out\""));
    vec![
        python("sixty_megabytes", "for _ in range(60):\n    sys.stdout.write('x' * (1 << 20))")
            .dead(2, "protocol error: stdout exceeded 10 MB")
            .also(|_, _, attempts| {
                let kept = attempts[0]["result"].as_str().unwrap();
                let note = "x\n[cut: 65536 of 62914560 bytes kept]";
                assert!(kept.len() == 65_536 + note.len() - 1 && kept.ends_with(note), "{}", ends(kept));
            }),
        Case::new("over_by_one", cat).dead(2, "protocol error: stdout exceeded 10 MB"),
        Case::new("big_event", cat).also(move |site, job, attempts| {
            let children = site.rows("SELECT status FROM jobs WHERE parent_job_id = ?1", [job["id"].as_str().unwrap()]);
            assert_eq!(children, [json!({"status": "succeeded"})]);
            let payload = filled("\"", "\"", STDOUT_LIMIT - head.len() - tail.len() + 2);
            let handled = fs::read_to_string(site.path("big_keeper.in")).unwrap();
            assert!(handled.contains(&format!(r#""event":{{"type":"big","payload":{payload},"#)), "{}", ends(&handled));
            let kept = attempts[0]["result"].as_str().unwrap();
            assert!(kept.ends_with(" of 10485760 bytes kept]"), "{}", ends(kept));
        }),
        Case::new("big_log", cat).also(|_, _, attempts| {
            let logs = attempts[0]["logs"].as_str().unwrap();
            let entries: Vec<Value> = serde_json::from_str(logs).unwrap();
            assert!(entries.len() == 2 && logs.len() > 65_000, "{}", ends(logs));
            assert!(entries[0]["message"].as_str().unwrap().chars().all(|char| char == 'é'), "{}", ends(logs));
            assert_eq!(entries[1], json!({"level": "warn", "message": "[cut: 0 of 1 log entries kept whole]"}));
        }),
        // Five million values are 10 MB only if each has one digit: the first is the first that is wrong.
        python("five_million_values", "sys.stdout.write('{\"status\":\"ok\",\"events\":[' + '0,' * 4999999 + '0]}')")
            .dead(2, "protocol error: `events[0]` must be an object, not a number"),
        // What is ignored may be anything.
        python("five_million_unknown", "sys.stdout.write('{\"unknown\":[' + '0,' * 4999999 + '0],\"status\":\"ok\"}')"),
        python(
            "as_many_events_as_fit",
            "sys.stdout.write('{\"status\":\"ok\",\"events\":[' + '{\"type\":\"\\\\u0065\"},' * 550000 + '{\"type\":\"e\"}]}')",
        )
        .dead(2, "protocol error: `events` must not be more than 1000"),
        python("a_million_entries_too_many", "sys.stdout.write('{\"status\":\"ok\",\"logs\":[' + '{\"message\":\"\"},' * 999999 + '{\"message\":\"\"}]}')")
            .dead(2, "protocol error: stdout exceeded 10 MB"),
        python("as_many_entries_as_fit", "sys.stdout.write('{\"status\":\"ok\",\"logs\":[' + '{\"message\":\"\"},' * 699000 + '{\"message\":\"\"}]}')")
            .also(|_, _, attempts| {
                let logs = attempts[0]["logs"].as_str().unwrap();
                let entries: Vec<Value> = serde_json::from_str(logs).unwrap();
                let note = entries.last().unwrap()["message"].as_str().unwrap();
                assert_eq!(note, format!("[cut: {} of 699001 log entries kept whole]", entries.len() - 1));
            }),
        python("a_million_state_keys", "sys.stdout.write('{\"status\":\"ok\",\"state_updates\":{' + ','.join('\"%d\":0' % n for n in range(900000)) + '}}')")
            .dead(2, "the plugin's state would be larger than 1048576 bytes"),
        python("multi_byte_stderr", "sys.stderr.reconfigure(encoding='utf-8')\nsys.stderr.write('€' * 1000000)\nprint('{\"status\": \"ok\"}')")
            .also(|_, _, attempts| {
                let kept = attempts[0]["stderr"].as_str().unwrap();
                let expected = format!("{}\n[cut: 65535 of 3000000 bytes kept]", "€".repeat(21_845));
                assert!(kept == expected, "{}", ends(kept));
            }),
        // Neither stream is left waiting for the other.
        Case::new("floods_both", |name| {
            Plugin::sh(name, &format!("head -c 20000000 /dev/zero >&2 & head -c 20000000 /dev/zero; wait; {OK}"))
        })
        .dead(2, "protocol error: stdout exceeded 10 MB"),
    ]
}

/// Ten megabytes for many plugins, one of which sends them on to the others.
pub(super) fn fan_out(site: &mut Site) -> Vec<Case> {
    let relay = "print(json.dumps({'status': 'ok', 'events': [{'type': 'big', 'payload': request['event']['payload']}]}, \
                 ensure_ascii=False, separators=(',', ':')), end='')";
    site.plugin(Plugin::python("big_relay", relay));
    // However many targets an event has, it is in memory once; and what comes in goes out again as large.
    for target in ["big_relay", "big_sink0", "big_sink1", "big_sink2", "big_sink3"] {
        site.route("big_fan", "big", target);
        // Not to itself: once around is enough.
        if target != "big_relay" {
            site.route("big_relay", "big", target);
        }
    }
    for sink in ["big_sink0", "big_sink1", "big_sink2", "big_sink3"] {
        site.plugin(Plugin::sh(sink, OK));
    }
    let cat = |name: &str| Plugin::sh(name, "exec cat \"$IT/big_event.out\"");
    vec![Case::new("big_fan", cat).also(|site, job, _| {
        let sql = "WITH RECURSIVE line (id) AS (SELECT ?1 UNION ALL SELECT job_queue.id FROM job_queue, line \
                       WHERE parent_job_id = line.id) SELECT DISTINCT status, hops FROM job_queue JOIN line USING (id)";
        let line = site.rows(sql, [job["id"].as_str().unwrap()]);
        assert_eq!(line.len(), 3, "itself, its children, the relay's: {line:?}");
        assert!(line.iter().all(|job| job["status"] == "succeeded"), "{line:?}");
    })]
}
