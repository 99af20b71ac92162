//! What each thing that a plugin is started with costs: `cargo bench --bench spawns`; half a minute.
//!
//! The same program is started in five ways, each with one thing more than the one before, taking turns; the last is with
//! tokio's process and pipes. Medians of rounds: until the start returns, and until the process was reaped.
//!
//! Then the bare way again, with ever longer work of this thread before: what a start costs on a machine whose other
//! processor has gone to sleep meanwhile.

mod support;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{compile, quantile, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROUNDS: usize = 40;
const PER_ROUND: usize = 60;
const BUSY_US: [u64; 6] = [0, 100, 200, 400, 800, 1600];
const WAYS: [&str; 5] = ["bare", "stderr piped", "its folder", "its environment", "by tokio"];
const VARIABLES: [(&str, &str); 8] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("HOME", "/home/somebody"),
    ("USER", "somebody"),
    ("LOGNAME", "somebody"),
    ("LANG", "C.UTF-8"),
    ("TZ", "UTC"),
    ("DUCTILE_JOB_ID", "00000000-0000-0000-0000-000000000000"),
    ("DUCTILE_INSTANCE", "00000000-0000-0000-0000-000000000000"),
];

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    let (rounds, per_round) =
        if std::env::args().any(|option| option == "--bench") { (ROUNDS, PER_ROUND) } else { (1, 2) };
    let runtime = runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("noop");
    compile(&program);
    let command = |way: usize| {
        let mut command = Command::new(&program);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        if way >= 1 {
            command.stderr(Stdio::piped());
        }
        if way >= 2 {
            command.current_dir(folder.path());
        }
        if way >= 3 {
            command.env_clear().envs(VARIABLES);
        }
        command
    };
    let mut times = vec![(vec![], vec![]); WAYS.len()];
    for _ in 0..rounds {
        for (way, (starts, wholes)) in times.iter_mut().enumerate() {
            for _ in 0..per_round {
                let command = command(way);
                let (start, whole) = if way == 4 { runtime.block_on(by_tokio(command)) } else { by_std(command) };
                starts.push(start);
                wholes.push(whole);
            }
        }
    }
    let mut after = vec![(vec![], vec![]); BUSY_US.len()];
    // Not taking turns: how soon a processor goes to sleep depends on how long it had nothing to do before.
    for (busy, (starts, wholes)) in BUSY_US.into_iter().zip(&mut after) {
        for _ in 0..rounds * per_round / 4 {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(busy) {
                std::hint::spin_loop();
            }
            let (start, whole) = by_std(command(0));
            starts.push(start);
            wholes.push(whole);
        }
    }
    println!("microseconds, medians of {rounds} rounds of {per_round}: until it is started, until it was reaped");
    let names = WAYS.iter().map(|way| (*way).to_owned()).chain(BUSY_US.iter().map(|busy| format!("after {busy} µs")));
    for (name, (mut starts, mut wholes)) in names.zip(times.into_iter().chain(after)) {
        println!("{name:>16} {:>6.0} {:>6.0}", quantile(&mut starts, 0.5), quantile(&mut wholes, 0.5));
    }
}

fn by_std(mut command: Command) -> (f64, f64) {
    let begun = Instant::now();
    let mut child = command.spawn().expect("it starts");
    let start = begun.elapsed();
    child.stdin.take().expect("piped").write_all(&[b'x'; 600]).expect("it reads");
    let mut answer = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut answer).expect("it answers");
    assert!(child.wait().expect("it is ours").success() && !answer.is_empty());
    (start.as_secs_f64() * 1e6, begun.elapsed().as_secs_f64() * 1e6)
}

async fn by_tokio(command: Command) -> (f64, f64) {
    let begun = Instant::now();
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("it starts");
    let start = begun.elapsed();
    child.stdin.take().expect("piped").write_all(&[b'x'; 600]).await.expect("it reads");
    let (mut answer, mut stdout) = (Vec::new(), child.stdout.take().expect("piped"));
    let (status, read) = tokio::join!(child.wait(), stdout.read_to_end(&mut answer));
    assert!(status.expect("it is ours").success() && read.is_ok_and(|bytes| bytes > 0));
    (start.as_secs_f64() * 1e6, begun.elapsed().as_secs_f64() * 1e6)
}
