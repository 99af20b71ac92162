use super::*;
use crate::plugin::protocol::Protocol;

const OK: &str = r#"{"status":"ok","events":[{"type":"t"}],"state_updates":{"a":1}}"#;
const ERROR: &str = r#"{"status":"error","error":"boom","events":[{"type":"t"}]}"#;
const FATAL: &str = r#"{"status":"error","error":"boom","retry":false}"#;
const FATAL_OK: &str = r#"{"status":"ok","retry":false}"#;

/// An exit with a code, as wait(2) gives it.
fn code(code: i32) -> ExitStatus {
    ExitStatus::from_raw(code << 8)
}

fn signal(signal: i32) -> ExitStatus {
    ExitStatus::from_raw(signal)
}

fn outcome(status: ExitStatus, stdout: &str) -> Outcome {
    Ending::Exited { status, response: Response::parse(Protocol::One, stdout) }.outcome()
}

#[test]
fn every_row_of_the_table() {
    for (status, stdout, expected, retryable) in [
        (code(78), "", "exit code 78 (EX_CONFIG)", false),
        (code(78), OK, "exit code 78 (EX_CONFIG)", false),
        (code(78), ERROR, "exit code 78 (EX_CONFIG): boom", false),
        (code(1), "", "exit code 1", true),
        (code(1), "Traceback", "exit code 1", true),
        (code(1), OK, "exit code 1", true),
        (code(1), ERROR, "exit code 1: boom", true),
        (code(1), FATAL, "exit code 1: boom", false),
        (code(1), FATAL_OK, "exit code 1", false),
        (signal(9), "", "killed by SIGKILL", true),
        (signal(11 | 0x80), ERROR, "killed by SIGSEGV: boom", true),
        (signal(15), FATAL, "killed by SIGTERM: boom", false),
        (signal(40), "", "killed by signal 40", true),
        (code(0), "", "protocol error: stdout is empty", true),
        (code(0), "{}", "protocol error: `status` is missing", true),
        (code(0), ERROR, "boom", true),
        (code(0), FATAL, "boom", false),
    ] {
        match outcome(status, stdout) {
            Outcome::Failed { error, retryable: actual } => {
                assert_eq!((error.as_str(), actual), (expected, retryable), "{status:?} {stdout}");
            }
            other => panic!("{status:?} {stdout}: {other:?}"),
        }
    }
    for stdout in [OK, FATAL_OK] {
        assert!(matches!(outcome(code(0), stdout), Outcome::Succeeded(_)), "{stdout}");
    }
    let too_large = Ending::Exited { status: code(0), response: Err(ProtocolError::TooLarge { limit: 10 << 20 }) };
    assert!(
        matches!(too_large.outcome(), Outcome::Failed { error, retryable: true } if error == "protocol error: stdout exceeded 10 MB")
    );
    let late = Ending::TimedOut { after: Duration::from_secs(90) };
    assert!(matches!(late.outcome(), Outcome::TimedOut { error } if error == "timed out after 1m 30s"));
    assert!(matches!(Ending::Interrupted.outcome(), Outcome::Interrupted));
}

#[test]
fn success_carries_the_effects() {
    let Outcome::Succeeded(effects) = outcome(code(0), OK) else { panic!("not a success") };
    assert_eq!(effects.events[0].kind, "t");
    assert_eq!(effects.state_updates.unwrap().get(), r#"{"a":1}"#);
}

#[test]
fn a_long_error_is_cut() {
    let stdout = format!(r#"{{"status":"error","error":"a{}"}}"#, "é".repeat(10_000));
    assert!(matches!(outcome(code(0), &stdout), Outcome::Failed { error, .. } if error.len() == 4_095));
}
