//! How a process may end, and not end.

use serde_json::json;

use super::Case;
use crate::support::{OK, Plugin, Site};

/// Prints a valid answer.
fn says(fields: &str) -> String {
    format!("echo '{{{fields}}}'")
}

fn sh(name: &'static str, script: &str) -> Case {
    Case::new(name, |name| Plugin::sh(name, script))
}

/// A child that holds stdout and stderr open for ten minutes; the script goes on when it runs.
fn holding(prefix: &str, mark: &str) -> String {
    format!(
        "{prefix} sh -c 'echo $$ > \"$IT/{mark}\"; exec sleep 600' &\n\
         while [ ! -s \"$IT/{mark}\" ]; do sleep 0.02; done\n{OK}"
    )
}

pub(super) fn cases(site: &mut Site) -> Vec<Case> {
    let megabyte = format!("\"{}\"", "x".repeat(1 << 20));
    std::fs::write(site.path("megabyte.json"), megabyte).unwrap();
    let no_retry = says(r#""status": "error", "error": "no key", "retry": false"#);
    let retry = says(r#""status": "error", "error": "no luck""#);
    let ok = says(r#""status": "ok", "state_updates": {"a": 1}"#);
    let no_state = |site: &Site, job: &serde_json::Value, _: &[serde_json::Value]| {
        let rows = site.rows("SELECT 1 FROM plugin_state WHERE plugin_name = ?1", [job["plugin"].as_str().unwrap()]);
        assert_eq!(rows.len(), 0, "a failure changes no state: {}", job["plugin"]);
    };
    vec![
        sh("reads_nothing", OK).handle("@megabyte.json"),
        sh("closes_stdin", &format!("exec <&-\n{OK}")).handle("@megabyte.json"),
        sh("closes_its_pipes", "exec <&- >&- 2>&-\nexit 0")
            .handle("@megabyte.json")
            .dead(2, "protocol error: stdout is empty"),
        Case::new("prints_before_it_reads", |name| {
            let script = "sys.stdout.write('{\"status\": \"ok\"' + ' ' * 307200)\nsys.stdout.flush()\n\
                          size = len(sys.stdin.read())\nprint(', \"state_updates\": {\"size\": %d}}' % size)";
            Plugin::bare_python(name, script)
        })
        .handle("@megabyte.json")
        .also(|site, _, _| {
            let size = site.state("prints_before_it_reads")["size"].as_i64().unwrap();
            assert!(size > 1 << 20, "it got the whole request: {size}");
        }),
        sh("holds_the_pipes", &holding("", "held")).also(|site, _, _| {
            let alive = site.plugin_processes().contains(&site.read("held").parse().unwrap());
            assert!(!alive, "what stays in the group is killed");
        }),
        sh("holds_the_pipes_elsewhere", &holding("setsid", "held_elsewhere")).also(|site, _, _| {
            let alive = site.plugin_processes().contains(&site.read("held_elsewhere").parse().unwrap());
            assert!(alive, "it is out of reach, and was not waited for");
        }),
        sh("ignores_sigterm", "trap '' TERM\nwhile :; do sleep 0.05; done")
            .once()
            .timeout_ms(2_000)
            .dead(1, "timed out after 2s")
            .also(|_, _, attempts| {
                assert_eq!((&attempts[0]["status"], &attempts[0]["exit_code"]), (&json!("timed_out"), &json!(null)));
                let duration_ms = attempts[0]["duration_ms"].as_i64().unwrap();
                assert!(duration_ms >= 7_000, "two seconds, SIGTERM, five seconds, SIGKILL: {duration_ms} ms");
            }),
        sh("dies_by_sigkill", "kill -KILL $$").dead(2, "killed by SIGKILL"),
        sh("dies_by_sigsegv", "kill -SEGV $$").dead(2, "killed by SIGSEGV"),
        sh("answers_and_dies", &format!("{ok}; kill -KILL $$")).dead(2, "killed by SIGKILL").also(no_state),
        sh("answers_no_retry_and_dies", &format!("{no_retry}; kill -KILL $$")).dead(1, "killed by SIGKILL: no key"),
        sh("config_error_with_answer", &format!("{ok}; exit 78")).dead(1, "exit code 78 (EX_CONFIG)").also(no_state),
        sh("config_error_with_retry", &format!("{retry}; exit 78")).dead(1, "exit code 78 (EX_CONFIG): no luck"),
        sh("exit_3", "exit 3").dead(2, "exit code 3"),
        sh("exit_3_with_answer", &format!("{ok}; exit 3")).dead(2, "exit code 3").also(no_state),
        sh("exit_3_with_error", &format!("{retry}; exit 3")).dead(2, "exit code 3: no luck"),
        sh("exit_3_with_no_retry", &format!("{no_retry}; exit 3")).dead(1, "exit code 3: no key"),
        sh("exit_3_with_two_answers", &format!("{no_retry}; {no_retry}; exit 3")).dead(2, "exit code 3"),
    ]
}
