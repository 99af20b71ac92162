//! Whole attempts with plugins in sh.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::config::{CircuitBreaker, PluginConfig, Retry, Timeouts};

const MANIFEST: &str = "name: echo\nprotocol: 1\nentrypoint: run\ncommands: [poll, handle]\n";

struct Fixture {
    dir: tempfile::TempDir,
    plugin: Plugin,
}

impl Fixture {
    fn new(program: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("echo");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("manifest.yaml"), MANIFEST).unwrap();
        fs::write(folder.join("run"), program).unwrap();
        fs::set_permissions(folder.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        let environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap()), ("TOKEN".into(), "t".into())];
        let plugin = Plugin::load(dir.path(), "echo", settings(), environment, &mut Vec::new()).unwrap();
        Self { dir, plugin }
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("echo/run")
    }

    async fn run(&self, command: Command) -> Attempt {
        let call = Call {
            job_id: Uuid::from_u128(1),
            instance: Uuid::from_u128(2),
            command,
            state: raw(r#"{"seen":9223372036854775808}"#),
            payload: Some(raw(r#"{"type":"t"}"#)),
            now: Timestamp::from_millis(0),
        };
        let limits = Limits { grace: Duration::from_millis(50), ..Limits::default() };
        run_within(&self.plugin, call, &Cancel::default(), &limits).await
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn settings() -> PluginConfig {
    let long = Duration::from_secs(600);
    PluginConfig {
        enabled: true,
        schedule: None,
        config: serde_json::Map::from_iter([("url".to_owned(), "u".into())]),
        env: BTreeMap::new(),
        retry: Retry { max_attempts: 1, backoff_base: long },
        timeouts: Timeouts {
            poll: Duration::from_millis(50),
            handle: long,
            health: long,
            init: long,
            named: BTreeMap::new(),
        },
        circuit_breaker: CircuitBreaker { threshold: 1, reset_after: long },
        uses: None,
        schedules: Vec::new(),
        max_outstanding_polls: 1,
    }
}

fn failure(attempt: &Attempt) -> (&str, bool) {
    match &attempt.outcome {
        Outcome::Failed { error, retryable } => (error, *retryable),
        other => panic!("no failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_gets_its_request_its_folder_and_no_more_environment_than_it_should() {
    let fixture = Fixture::new(concat!(
        "#!/bin/sh\ncat >request; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort >environment; echo hm >&2\n",
        r#"echo '{"status":"ok","events":[{"type":"seen"}],"logs":[{"message":"hi"}]}'"#
    ));
    let attempt = fixture.run(Command::Handle).await;
    let Outcome::Succeeded(effects) = &attempt.outcome else { panic!("{attempt:?}") };
    assert_eq!(effects.events.len(), 1);
    assert_eq!(attempt.logs.as_deref(), Some(r#"[{"level":"info","message":"hi"}]"#));
    assert_eq!((attempt.stderr.as_str(), attempt.exit_code, attempt.signal), ("hm\n", Some(0), None));
    assert!(attempt.stdout.starts_with(r#"{"status":"ok""#) && attempt.stdout.ends_with("}\n"));

    let folder = fixture.dir.path().join("echo");
    let expected = concat!(
        r#"{"protocol":1,"job_id":"00000000-0000-0000-0000-000000000001","command":"handle","config":{"url":"u"},"#,
        r#""state":{"seen":9223372036854775808},"event":{"type":"t"},"deadline_at":"1970-01-01T00:10:00.000Z"}"#,
        "\n"
    );
    assert_eq!(fs::read_to_string(folder.join("request")).unwrap(), expected);
    let environment = fs::read_to_string(folder.join("environment")).unwrap();
    let names: Vec<_> = environment.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(names, ["DUCTILE_INSTANCE", "DUCTILE_JOB_ID", "PATH", "TOKEN"]);
    assert!(environment.contains("DUCTILE_JOB_ID=00000000-0000-0000-0000-000000000001\n"));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    for (program, reason) in [
        ("#!/no/such/interpreter -x\n", "the interpreter `/no/such/interpreter` of its `#!` line is probably missing"),
        ("#!/bin/sh\r\n", r"the interpreter `/bin/sh\r` of its `#!` line is probably missing"),
        ("echo hello\n", "a script needs a `#!` line"),
    ] {
        let attempt = Fixture::new(program).run(Command::Handle).await;
        let (error, retryable) = failure(&attempt);
        assert!(retryable && error.starts_with("cannot start `/") && error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_program_that_is_being_written_is_waited_for() {
    let fixture = Fixture::new("#!/bin/sh\necho '{\"status\":\"ok\"}'\n");
    let writer = fs::OpenOptions::new().append(true).open(fixture.program()).unwrap();
    let (attempt, ()) = tokio::join!(fixture.run(Command::Handle), async {
        tokio::task::yield_now().await;
        drop(writer);
    });
    assert!(matches!(attempt.outcome, Outcome::Succeeded(_)), "{attempt:?}");
}

#[tokio::test]
async fn a_plugin_that_is_no_longer_trusted_is_not_started() {
    let fixture = Fixture::new("#!/bin/sh\ntouch ran\n");
    fs::set_permissions(fixture.program(), fs::Permissions::from_mode(0o777)).unwrap();
    let attempt = fixture.run(Command::Handle).await;
    let (error, retryable) = failure(&attempt);
    assert!(retryable && error.contains("may be written by every user"), "{error}");
    assert!(!fixture.dir.path().join("echo/ran").exists());
}

#[tokio::test]
async fn what_is_no_response_is_kept_for_the_reader() {
    for (program, expected, stdout) in [
        ("exit 0", "protocol error: stdout is empty", ""),
        (
            "printf 'a\\377b'",
            "protocol error: stdout is not valid UTF-8: invalid utf-8 sequence of 1 bytes from index 1",
            "a\u{fffd}b",
        ),
        ("echo '[]'", "protocol error: stdout must be a JSON object, not an array", "[]\n"),
        ("echo '{}'; exit 78", "exit code 78 (EX_CONFIG)", "{}\n"),
        ("echo half; kill -9 $$", "killed by SIGKILL", "half\n"),
    ] {
        let attempt = Fixture::new(&format!("#!/bin/sh\n{program}\n")).run(Command::Handle).await;
        assert_eq!(failure(&attempt).0, expected);
        assert_eq!(attempt.stdout, stdout);
    }
    let attempt = Fixture::new("#!/bin/sh\nhead -c 12000000 /dev/zero | tr '\\0' x\n").run(Command::Handle).await;
    assert_eq!(failure(&attempt), ("protocol error: stdout exceeded 10 MB", true));
    assert!(attempt.stdout.ends_with("xxx\n[cut: 65536 of 12000000 bytes kept]"));
}

#[tokio::test]
async fn a_deadline_and_a_cancelled_attempt_are_no_failures() {
    let attempt = Fixture::new("#!/bin/sh\necho said; sleep 600\n").run(Command::Poll).await;
    assert!(matches!(&attempt.outcome, Outcome::TimedOut { error } if error == "timed out after 50ms"));
    assert_eq!(attempt.signal, Some(15));

    let fixture = Fixture::new("#!/bin/sh\ntouch ran\n");
    let cancel = Cancel::default();
    cancel.terminate.cancel();
    let call = Call {
        job_id: Uuid::nil(),
        instance: Uuid::nil(),
        command: Command::Handle,
        state: raw("{}"),
        payload: None,
        now: Timestamp::from_millis(0),
    };
    let attempt = run(&fixture.plugin, call, &cancel).await;
    assert!(matches!(attempt.outcome, Outcome::Interrupted));
    assert!(!fixture.dir.path().join("echo/ran").exists());
}
