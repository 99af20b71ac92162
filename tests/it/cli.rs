//! What a person or a script at the command line relies on.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site, find_line, log_lines, wait_until};

const COMMANDS: &[&str] = &[
    "start",
    "run",
    "check",
    "status",
    "reload",
    "reset",
    "pause",
    "resume",
    "queue",
    "logs",
    "plugins",
    "plugin",
    "init",
    "backup",
    "completions",
    #[cfg(feature = "monitor")]
    "monitor",
];

/// A daemon's site after one success, one death, and one job that waits for its retry.
fn with_history() -> Site {
    let mut site = Site::with(Plugin::sh(
        "good",
        "echo careful >&2; echo '{\"status\": \"ok\", \"logs\": [{\"level\": \"info\", \"message\": \"done\"}]}'",
    ));
    site.plugin(Plugin::sh("dead", "exit 78")).plugin(Plugin::sh("waits", "exit 1").set("retry: {backoff_base: 1h}"));
    let daemon = site.start();
    site.cli(["run", "good"]).expect_code(0);
    site.cli(["run", "dead"]).expect_code(1);
    site.cli(["run", "waits"]).expect_code(1);
    daemon.stop();
    site
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn help_of_every_command_explains_it() {
    let site = Site::new();
    let all = site.cli(["--help"]).expect_code(0);
    for command in COMMANDS {
        assert!(all.stdout.lines().any(|line| line.trim_start().starts_with(command)), "{command}");
        for flag in ["--help", "-h"] {
            let help =
                site.cli([command, flag]).expect_code(0).expect_stdout("Usage: ductile ").expect_stdout("--config");
            assert_eq!(help.stderr, "");
        }
    }
    for act in ["show", "trace", "retry", "cancel", "purge"] {
        let help = site.cli(["queue", act, "--help"]).expect_code(0).expect_stdout("Examples:");
        assert!(help.stdout.contains(&format!("Usage: ductile queue {act}")), "{help:?}");
    }
    for act in ["new", "test"] {
        let help = site.cli(["plugin", act, "--help"]).expect_code(0).expect_stdout("Examples:");
        assert!(help.stdout.contains(&format!("Usage: ductile plugin {act}")), "{help:?}");
    }
    site.cli(["--version"]).expect_code(0).expect_stdout(env!("CARGO_PKG_VERSION"));
}

#[test]
fn usage_errors_exit_with_2_and_say_what_is_wrong() {
    let site = Site::with(Plugin::sh("work", OK));
    for (arguments, message) in [
        (&[][..], "Usage"),
        (&["strat"], "start"),
        (&["run"], "PLUGIN"),
        (&["queue", "--status", "lost"], "lost"),
        (&["queue", "--all", "--status", "dead"], "--all"),
        (&["logs", "--limit", "many"], "many"),
        (&["run", "work", "--jsn"], "--json"),
        (&["status", "one", "extra"], "extra"),
        (&["queue", "--all", "show", "0199f3c2"], "--all"),
        (&["queue", "show"], "JOB"),
        (&["queue", "trace", "0199f3c2", "--limit", "0"], "0"),
        (&["plugins", "echo", "--facts", "--limit", "0"], "0"),
        (&["logs", "--since", "2 hours"], "is not a duration"),
        (&["plugins", "none", "extra"], "extra"),
        (&["backup"], "FILE"),
        (&["completions", "dos"], "dos"),
    ] {
        let ran = site.cli(arguments).expect_code(2).expect_stderr(message);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn flags_may_stand_before_and_after_positional_arguments() {
    let site = with_history();
    for arguments in [
        ["--config", "config.yaml", "logs", "good", "--json"],
        ["logs", "--config", "config.yaml", "--json", "good"],
        ["logs", "good", "--json", "--config", "config.yaml"],
        ["logs", "--json", "good", "-c", "config.yaml"],
    ] {
        let logs = site.cli(arguments).expect_code(0).json();
        assert_eq!(logs.as_array().unwrap().len(), 1);
    }
    site.cli(["run", "--json", "--wait", "good"]).expect_code(0);
    site.cli(["run", "good", "--command", "handle", "--json"]).expect_code(0);
}

#[test]
fn the_configuration_is_found_by_flag_variable_and_folder() {
    let mut site = with_history();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = site.path("config.yaml").to_str().unwrap().to_owned();
    let in_other_folder = |site: &Site, arguments: &[&str]| {
        let mut command = site.command(arguments);
        crate::support::Process::spawn(command.current_dir(elsewhere.path()), "").wait()
    };
    in_other_folder(&site, &["status"]).expect_code(78).expect_stderr("no configuration file; looked for");
    in_other_folder(&site, &["status", "--config", &path]).expect_code(0);
    site.env("DUCTILE_CONFIG", &path);
    in_other_folder(&site, &["status"]).expect_code(0);
    site.clear_env();
    let user = site.path("xdg");
    std::fs::create_dir_all(user.join("ductile")).unwrap();
    std::os::unix::fs::symlink(&path, user.join("ductile/config.yaml")).unwrap();
    site.env("XDG_CONFIG_HOME", user.to_str().unwrap());
    // Found, and its paths are relative to where it was found.
    in_other_folder(&site, &["status"]).expect_code(1).expect_stderr("xdg/ductile/state/ductile.db");
}

#[test]
fn status_as_json_has_service_queue_and_plugins() {
    let site = with_history();
    let status = site.cli(["status", "--json"]).expect_code(0).json();
    assert_eq!(keys(&status), ["holder_pid", "plugins", "queue", "running", "service", "state_path"]);
    assert_eq!((&status["running"], &status["holder_pid"]), (&json!(false), &Value::Null));
    let queue = json!({
        "queued": 1, "waiting": 1, "running": 0, "dead": 1,
        "paused_since": null, "oldest_waits_since": null, "running_job": null,
    });
    assert_eq!(status["queue"], queue);
    assert_eq!(
        (&status["service"]["name"], &status["service"]["version"]),
        (&json!("ductile"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let plugins = status["plugins"].as_array().unwrap();
    let names: Vec<_> = plugins.iter().map(|plugin| plugin["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dead", "good", "waits"]);
    assert_eq!(
        (&plugins[0]["last_status"], &plugins[0]["last_error"]),
        (&json!("failed"), &json!("exit code 78 (EX_CONFIG)"))
    );
    assert_eq!((&plugins[1]["last_status"], &plugins[1]["last_error"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(plugins[1]["commands"], json!(["poll", "handle"]));
    let text = site.cli(["status"]).expect_code(0);
    assert!(text.stdout.contains("no daemon is running") && text.stdout.contains("1 dead"), "{text:?}");
}

#[test]
fn queue_shows_what_was_asked_for() {
    let site = with_history();
    let jobs = |arguments: &[&str]| {
        let ran = site.cli(["queue", "--json"].iter().chain(arguments)).expect_code(0).json();
        ran.as_array().unwrap().clone()
    };
    let plugins = |arguments: &[&str]| -> Vec<String> {
        jobs(arguments).iter().map(|job| job["plugin"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(plugins(&[]), ["waits"]);
    assert_eq!(plugins(&["--all"]), ["good", "dead", "waits"]);
    assert_eq!(plugins(&["--status", "dead"]), ["dead"]);
    assert_eq!(plugins(&["--plugin", "good", "--all"]), ["good"]);
    assert_eq!(plugins(&["--plugin", "none"]), [""; 0]);
    let job = jobs(&[]).remove(0);
    for key in [
        "id",
        "plugin",
        "command",
        "status",
        "attempt",
        "max_attempts",
        "submitted_by",
        "dedupe_key",
        "parent_job_id",
        "source_event_id",
        "hops",
        "created_at",
        "started_at",
        "completed_at",
        "next_retry_at",
        "last_error",
    ] {
        assert!(job.get(key).is_some(), "{key} in {job}");
    }
    let created = job["created_at"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z'), "{created}");
    let text = site.cli(["queue", "--status", "dead"]).expect_code(0);
    assert!(text.stdout.contains("exit code 78") && text.stdout.contains("1/4"), "{text:?}");
    let none = site.cli(["queue", "--status", "running"]).expect_code(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no such jobs\n"));
}

#[test]
fn logs_show_what_was_asked_for() {
    let site = with_history();
    let all = site.cli(["logs", "--json"]).expect_code(0).json();
    let all = all.as_array().unwrap();
    let plugins: Vec<_> = all.iter().map(|attempt| attempt["plugin"].as_str().unwrap()).collect();
    assert_eq!(plugins, ["good", "dead", "waits"]);
    for key in [
        "job_id",
        "attempt",
        "plugin",
        "command",
        "submitted_by",
        "status",
        "started_at",
        "completed_at",
        "duration_ms",
        "exit_code",
        "error",
        "result",
        "response",
        "logs",
        "stderr",
    ] {
        assert!(all[0].get(key).is_some(), "{key} in {}", all[0]);
    }
    assert_eq!((&all[0]["stderr"], &all[0]["logs"][0]["message"]), (&json!("careful\n"), &json!("done")));
    let count = |arguments: &[&str]| {
        let ran = site.cli(["logs", "--json"].iter().chain(arguments)).expect_code(0).json();
        ran.as_array().unwrap().len()
    };
    assert_eq!((count(&["--failed"]), count(&["dead"]), count(&["--limit", "1"]), count(&["none"])), (2, 1, 1, 0));
    let text = site.cli(["logs"]).expect_code(0).stdout;
    assert!(text.contains("careful") && text.contains("done") && text.contains("exit code 78"), "{text}");
}

#[test]
fn run_as_json_has_the_job_and_its_attempts() {
    let site = with_history();
    let ran = site.cli(["run", "good", "--json"]).expect_code(0).json();
    assert_eq!(keys(&ran), ["attempts", "duplicate", "job"]);
    assert_eq!(ran["duplicate"], false);
    assert_eq!((&ran["job"]["status"], &ran["attempts"][0]["status"]), (&json!("succeeded"), &json!("succeeded")));
    let ran = site.cli(["run", "dead", "--json"]).expect_code(1);
    assert_eq!(ran.json()["job"]["status"], "dead");
    assert!(ran.stderr.contains("is dead after attempt 1 of 4"), "{ran:?}");
}

#[test]
fn check_says_what_is_valid_and_reads_an_environment_file() {
    let site = Site::with(Plugin::sh("work", OK).env("T", "\"${TOKEN}\""));
    site.cli(["check"]).expect_code(78).expect_stderr("`${TOKEN}` is not set");
    std::fs::write(site.path("env"), "# a comment\nTOKEN=\"a b\"\n").unwrap();
    let ran = site.cli(["check", "--env-file", "env"]).expect_code(0).expect_stdout("is valid; plugins enabled: 1");
    assert_eq!(ran.stderr, "");
    site.cli(["check", "--env-file", "none"]).expect_code(78).expect_stderr("none");
}

#[test]
fn a_cycle_of_routes_is_legal_and_told() {
    let mut site = Site::with(Plugin::sh("b", OK));
    site.plugin(Plugin::sh("a", OK)).plugin(Plugin::sh("c", OK));
    site.route("b", "x", "c").route("c", "x", "a").route("a", "y", "b").route("a", "z", "b").route("c", "x", "c");
    let checked = site.cli(["check"]).expect_code(0).expect_stdout("is valid");
    let daemon = site.start();
    let warned = daemon.stop().stdout;
    for cycle in ["`a` -> `b` -> `c` -> `a`", "`c` -> `c`"] {
        assert_eq!(checked.stderr.matches(&format!("warning: `routes`: {cycle} is a cycle")).count(), 1, "{checked:?}");
        assert!(warned.contains(cycle), "{warned}");
    }
    assert_eq!(checked.stderr.lines().count(), 2, "{checked:?}");
}

#[test]
fn json_log_lines_have_their_fields_and_jobs_their_start_and_end() {
    let site = Site::with(Plugin::sh("work", "echo moan >&2; echo '{\"status\": \"ok\"}'"));
    let daemon = site.start();
    let id = site.detach(["work"]);
    site.wait_job(&id, "succeeded");
    let log = log_lines(&daemon.stop().stdout);
    assert!(log.len() >= 5, "{log:#?}");
    for line in &log {
        for key in ["timestamp", "level", "component", "message"] {
            assert!(line[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {line}");
        }
        chrono::DateTime::parse_from_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
    }
    let started = find_line(&log, "INFO", "job started").unwrap();
    assert_eq!(
        (&started["plugin"], &started["job_id"], &started["component"]),
        (&json!("work"), &json!(id), &json!("dispatch"))
    );
    assert_eq!((&started["command"], &started["attempt"]), (&json!("poll"), &json!(1)));
    let ended = find_line(&log, "INFO", "job succeeded").unwrap();
    assert_eq!((&ended["plugin"], &ended["job_id"]), (&json!("work"), &json!(id)));
    assert!(ended["duration_ms"].is_u64(), "{ended}");
    let stderr = find_line(&log, "WARN", "plugin wrote to stderr").unwrap();
    assert_eq!((&stderr["stderr"], &stderr["job_id"]), (&json!("moan\n"), &json!(id)));
}

#[test]
fn text_log_lines_are_one_a_line_with_level_and_component() {
    let mut site = Site::with(Plugin::sh("work", "printf 'one\\ntwo\\n' >&2; echo '{\"status\": \"ok\"}'"));
    site.service("log_format", "text");
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    wait_until("the job's end in the log", || daemon.0.stdout().contains("job succeeded"));
    let log = daemon.stop().stdout;
    for line in log.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        assert!(
            chrono::DateTime::parse_from_rfc3339(words[0]).is_ok()
                && ["INFO", "WARN"].contains(&words[1])
                && words[2].ends_with(':'),
            "{line}"
        );
    }
    assert!(log.contains("dispatch: job succeeded plugin=work job_id="), "{log}");
    assert!(log.contains(r#"stderr="one\ntwo\n""#), "{log}");
}

#[test]
fn the_log_level_holds_back_what_is_less_severe() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.service("log_level", "debug");
    site.start().stop();
    site.service("log_level", "error");
    let daemon = site.spawn(["start"]);
    site.wait_rows("SELECT 1 FROM service WHERE stopped_at IS NULL AND pid IS NOT NULL");
    site.cli(["run", "work"]).expect_code(0);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let ran = daemon.wait().expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

/// The writing end of a pipe that nobody reads.
fn broken_pipe() -> OwnedFd {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_went_away_causes_no_panic() {
    let site = with_history();
    let job = site.row("SELECT id FROM job_queue WHERE plugin = 'dead'", ())["id"].as_str().unwrap().to_owned();
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["queue", "--all"],
        &["logs"],
        &["logs", "--json"],
        &["logs", "--follow"],
        &["plugins"],
        &["queue", "show", &job],
        &["queue", "trace", &job],
        &["completions", "bash"],
        &["check"],
        &["check", "--deep"],
        &["run", "good"],
        &["run", "good", "--json"],
        &["--help"],
    ] {
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let mut command = site.command(arguments);
        let status =
            command.stdout(broken_pipe()).stderr(stderr.reopen().unwrap()).stdin(Stdio::null()).status().unwrap();
        let said = std::fs::read_to_string(stderr.path()).unwrap();
        assert!(!said.contains("panic"), "{arguments:?}: {said}");
        assert!(status.code().is_some_and(|code| code <= 1), "{arguments:?}: {status} {said}");
        assert!(!said.contains("roken pipe"), "its reader knows: {arguments:?}: {said}");
    }
}

#[test]
fn nobody_to_read_messages_causes_no_panic() {
    let site = with_history();
    for (arguments, code) in [
        (&["queue", "--status", "running"][..], 0),
        (&["run", "dead"], 1),
        (&["run", "none"], 2),
        (&["check", "--config", "none"], 78),
    ] {
        let mut command = site.command(arguments);
        let status = command.stdout(broken_pipe()).stderr(broken_pipe()).stdin(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_daemon_whose_log_nobody_reads_goes_on() {
    let site = Site::with(Plugin::sh("work", "echo moan >&2; echo '{\"status\": \"ok\"}'"));
    let mut command = site.command(["start"]);
    let mut daemon = command.stdout(broken_pipe()).stderr(broken_pipe()).stdin(Stdio::null()).spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(daemon.id().try_into().unwrap());
    site.wait_rows("SELECT 1 FROM service WHERE stopped_at IS NULL AND pid IS NOT NULL");
    let ids = [site.detach(["work"]), site.detach(["work"])];
    let ended = ids.map(|id| site.wait_job(&id, "succeeded"));
    assert!(ended.iter().all(|job| job["attempt"] == 1), "{ended:?}");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

#[test]
fn plugins_shows_what_the_daemon_made_of_each() {
    let mut site = with_history();
    site.plugin(Plugin::sh("off", OK).set("enabled: false")).plugin(Plugin::sh("bad", OK));
    site.plugin(Plugin::sh("good", OK).set("schedule: {every: 1h}").env("TOKEN", "\"${SECRET_TOKEN}\""));
    std::fs::remove_file(site.path("plugins/bad/run")).unwrap();
    site.env("SECRET_TOKEN", "x");
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_log WHERE plugin = 'good' AND submitted_by = 'scheduler'");
    site.clear_env();
    let table = site.cli(["plugins"]).expect_code(0);
    assert_eq!(table.stderr, "");
    let folder = site.path("").canonicalize().unwrap().display().to_string();
    let table = table.stdout.replace(folder.trim_end_matches('/'), "SITE");
    insta::assert_snapshot!(table, @r"
    PLUGIN  USES  STATE       VERSION  COMMANDS     EVERY  REASON
    bad     -     not loaded  -        -            -      `SITE/plugins/bad/run` is missing
    dead    -     loaded      1.0.0    poll handle  -      -
    good    -     loaded      1.0.0    poll handle  1h     -
    off     -     disabled    1.0.0    poll handle  -      -
    waits   -     loaded      1.0.0    poll handle  -      -
    ");
    let all = site.cli(["plugins", "--json"]).expect_code(0).json();
    assert_eq!(all.as_array().unwrap().len(), 5);
    assert_eq!((&all[0]["loaded"], &all[3]["enabled"]), (&json!(false), &json!(false)));

    let one = site.cli(["plugins", "good"]).expect_code(0);
    assert!(one.stdout.starts_with("plugin    good\nstate     loaded\nversion   1.0.0\n"), "{one:?}");
    assert!(one.stdout.contains("good poll  succeeded"), "{one:?}");
    let one = site.cli(["plugins", "good", "--json"]).expect_code(0).json();
    assert_eq!((&one["name"], &one["state_bytes"]), (&json!("good"), &json!(2)));
    assert!(one["next_run"].is_string() && one["last_attempt"]["status"] == "succeeded", "{one}");
    site.cli(["plugins", "bad"]).expect_code(0).expect_stdout("is missing").expect_stdout("it has not run yet");
    site.cli(["plugins", "none"]).expect_code(2).expect_stderr("configured are: bad, dead, good, off, waits");

    daemon.stop();
    site.cli(["plugins"]).expect_code(0).expect_stderr("no daemon is running; this is what the last one found");
    site.cli(["plugins", "good"]).expect_code(0).expect_stderr("no daemon is running");
}

#[test]
fn plugins_of_a_database_that_no_daemon_has_used_are_not_known() {
    let site = Site::with(Plugin::sh("work", OK));
    site.cli(["plugins"]).expect_code(1).expect_stderr("no database at ");
    site.cli(["run", "work"]).expect_code(0);
    for arguments in [&["plugins"][..], &["plugins", "work"], &["plugins", "--json"]] {
        let ran = site.cli(arguments).expect_code(1).expect_stderr("`ductile start` has not run yet");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn completions_of_each_shell_know_the_commands() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = site.cli(["completions", shell]).expect_code(0).stdout;
        assert!(COMMANDS.iter().all(|command| script.contains(command)) && script.contains("dry-run"), "{shell}");
    }
    let script = site.path("completions.bash");
    std::fs::write(&script, site.cli(["completions", "bash"]).stdout).unwrap();
    let bash = std::process::Command::new("bash").arg("-n").arg(script).output().unwrap();
    assert!(bash.status.success(), "{bash:?}");
}

/// Runs `ductile` with these arguments on a terminal of its own. What it printed there.
fn on_a_terminal(site: &Site, arguments: &[&str]) -> String {
    let binary = env!("CARGO_BIN_EXE_ductile");
    let script = "import os, pty, sys\nsys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let command = site.command(arguments);
    let mut python = std::process::Command::new("python3");
    python.args(["-c", script, binary]).args(arguments).current_dir(site.path("")).env_clear();
    python.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = crate::support::Process::spawn(&mut python, "").wait().expect_code(0);
    ran.stdout
}

#[test]
fn colours_are_for_terminals_whose_user_wants_them() {
    let mut site = with_history();
    site.env("TERM", "xterm");
    let red = "\u{1b}[31m";
    for arguments in [&["queue", "--status", "dead"][..], &["logs", "dead"]] {
        assert!(on_a_terminal(&site, arguments).contains(red), "{arguments:?}");
        assert!(!site.cli(arguments).stdout.contains('\u{1b}'), "{arguments:?}");
        assert!(!on_a_terminal(&site, &[arguments, &["--json"]].concat()).contains('\u{1b}'), "{arguments:?}");
    }
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        site.clear_env().env(name, value);
        assert!(!on_a_terminal(&site, &["logs", "dead"]).contains('\u{1b}'), "{name}");
    }
}
