//! `ductile run`: one job by hand, through the daemon when there is one.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::check::load_active;
use super::error::CliError;
use super::{logs, output, runtime};
use crate::clock::Clock;
use crate::command::Command;
use crate::config::{self, Minimal, Variables};
use crate::daemon::{DaemonError, Owned, Signals};
use crate::dispatch::{Dispatcher, Stop};
use crate::fault::crash_point;
use crate::plugin::Envelope;
use crate::queue::list::{self, Attempt};
use crate::queue::{self, Enqueued, Job, Limits, NewJob, Status, SubmittedBy};
use crate::state::lock::{self, Holder, Role};
use crate::state::publish::{self, Published};
use crate::state::{Db, Reader, StateDir, Tx};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With a daemon, the job takes its place in the queue, and the result of its first attempt is shown. Without one, just
this job is run right here, once; whatever else is queued stays there.

Examples:
  ductile run echo
  ductile run notify --command handle --payload '{\"text\": \"hello\"}' --event-type greeting
  generate | ductile run import --command handle --payload -

Exit codes: 0 the attempt succeeded (or, with --detach, the job is on the queue), 1 it did not, 2 usage, 78 configuration.")]
pub(super) struct Args {
    /// The plugin
    plugin: String,
    /// What to ask of it: poll, handle, health or init
    #[arg(long, value_name = "NAME", default_value = "poll")]
    command: Command,
    /// The event's payload for `handle`: JSON, @FILE, or - for standard input [default: {}]
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// The event's type for `handle` [default: cli]
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Do nothing if a job with this key has succeeded within `service.dedupe_ttl`
    #[arg(long, value_name = "KEY")]
    dedupe_key: Option<String>,
    /// Wait until the job has succeeded or is dead, not only for its first attempt; needs a daemon for its retries
    #[arg(long, conflicts_with = "detach")]
    wait: bool,
    /// Only put the job on the queue and print its id
    #[arg(long)]
    detach: bool,
    /// Show the job and its attempts as JSON
    #[arg(long, conflicts_with = "detach")]
    json: bool,
}

pub(super) fn run(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let path = config::find(config)?;
    let minimal = config::load_minimal(&path)?;
    let payload = payload(&args)?;
    StateDir::check(&minimal.state_path)?;
    runtime()?.block_on(async {
        let mut signals = Signals::install().map_err(DaemonError::Signals)?;
        if let Some(holder) = daemon(&minimal)? {
            return with_daemon(&args, payload, holder, &minimal, &mut signals).await;
        }
        match alone(&args, payload.clone(), &path, &mut signals).await {
            // A daemon was faster: then it is its turn.
            Err(CliError::Daemon(DaemonError::Lock(error))) => match daemon(&minimal)? {
                Some(holder) => with_daemon(&args, payload, holder, &minimal, &mut signals).await,
                None => Err(error.into()),
            },
            result => result,
        }
    })
}

/// The daemon of this state dir, if one runs.
fn daemon(minimal: &Minimal) -> Result<Option<Holder>, CliError> {
    let dir = minimal.state_path.parent().unwrap_or(Path::new("/"));
    Ok(lock::holder(dir)?.filter(Holder::is_daemon))
}

/// How long a daemon that has just been started may take until it can be asked for jobs.
const STARTING: Duration = Duration::from_secs(10);

/// Waits until the daemon has published its plugins.
async fn attach(holder: Holder, minimal: &Minimal) -> Result<(Db, Reader, Limits), CliError> {
    let deadline = Instant::now() + STARTING;
    loop {
        let attached = Db::attach(&minimal.state_path).and_then(|db| Ok((db.reader()?, db)));
        let error = match attached {
            Ok((reader, db)) => {
                let service = publish::service(&reader)?;
                if let Some((dedupe_ttl, max_queue_depth)) = service.limits.filter(|_| service.pid == Some(holder.pid))
                {
                    return Ok((db, reader, Limits { dedupe_ttl, max_queue_depth }));
                }
                CliError::Failed(format!("the daemon (PID {}) is still starting; try again", holder.pid))
            }
            Err(error) => error.into(),
        };
        if Instant::now() > deadline || !holder.is_daemon() {
            return Err(error);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Through the queue of the running daemon.
async fn with_daemon(
    args: &Args,
    payload: Option<Box<RawValue>>,
    holder: Holder,
    minimal: &Minimal,
    signals: &mut Signals,
) -> Result<ExitCode, CliError> {
    let (db, reader, limits) = attach(holder, minimal).await?;
    let known = publish::all_plugins(&reader)?;
    let max_attempts = runnable(args, &known)?;
    let job = new_job(args, payload, max_attempts);
    let id = job.id;
    if let Some(existing) = enqueue(&db, job, limits).await? {
        return report_duplicate(args, &reader, existing);
    }
    holder
        .wake()
        .map_err(|error| CliError::Failed(format!("job {id} is queued, but the daemon was not woken: {error}")))?;
    if args.detach {
        output::line(&id.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        job = ended(&reader, id, args.wait, &minimal.state_path) => {
            let job = job?;
            let attempts = list::attempts(&reader, id)?;
            report(args, &job, &attempts, Next::Daemon)
        }
        () = signals.stop_requested() => {
            eprintln!("job {id} stays on the queue; see it with `ductile queue --all`");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Right here, holding the lock.
async fn alone(
    args: &Args,
    payload: Option<Box<RawValue>>,
    path: &Path,
    signals: &mut Signals,
) -> Result<ExitCode, CliError> {
    crate::log::start_on_stderr();
    let loaded = load_active(Some(path), &Variables::process())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let active = loaded.active;
    let published = active.published();
    let max_attempts = runnable(args, &published)?;
    let (clock, mut rng) = (Clock::System, StdRng::from_rng(&mut rand::rng()));
    let owned = Owned::take(&active, Role::Run, &clock, &mut rng).await?;
    let job = new_job(args, payload, max_attempts);
    let id = job.id;
    if let Some(existing) = enqueue(&owned.db, job, active.limits).await? {
        let code = report_duplicate(args, &owned.db.reader()?, existing);
        owned.db.close().await;
        return code;
    }
    if args.detach {
        output::line(&id.to_string())?;
        eprintln!("no daemon is running: the job waits on the queue until `ductile start`");
        owned.db.close().await;
        return Ok(ExitCode::SUCCESS);
    }
    let (_sender, receiver) = watch::channel(Arc::clone(&active));
    let stop = Stop::default();
    let mut dispatcher = Dispatcher {
        db: owned.db.clone(),
        active: receiver,
        clock,
        rng,
        wake: Arc::new(Notify::new()),
        instance: owned.instance,
        stop: stop.clone(),
    };
    let interrupt = async {
        signals.stop_requested().await;
        stop.job.terminate.cancel();
        signals.stop_requested().await;
        stop.job.kill.cancel();
        std::future::pending::<Infallible>().await
    };
    let ran = tokio::select! {
        ran = dispatcher.run_one(id) => ran,
        never = interrupt => match never {},
    };
    ran?;
    let reader = owned.db.reader()?;
    let found = (list::job(&reader, id)?, list::attempts(&reader, id)?, list::children(&reader, id)?);
    drop(reader);
    owned.db.close().await;
    let (Some(job), attempts, children) = found else {
        return Err(CliError::Failed(format!("job {id} is not on the queue any more")));
    };
    if attempts.is_empty() {
        eprintln!("interrupted: job {id} is back on the queue, the attempt not counted");
        return Ok(ExitCode::FAILURE);
    }
    let code = report(args, &job, &attempts, Next::Start)?;
    match children {
        0 => {}
        1 => eprintln!("1 routed job waits on the queue until `ductile start`"),
        _ => eprintln!("{children} routed jobs wait on the queue until `ductile start`"),
    }
    Ok(code)
}

/// The attempts that a job of the plugin gets, if the plugin can run the command.
fn runnable(args: &Args, known: &[Published]) -> Result<u32, CliError> {
    let name = &args.plugin;
    let Some(plugin) = known.iter().find(|plugin| plugin.name == *name) else {
        let names: Vec<_> = known.iter().map(|plugin| plugin.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(CliError::Usage(format!("plugin `{name}` is not configured; configured are: {names}")));
    };
    if !plugin.enabled {
        return Err(CliError::Usage(format!("plugin `{name}` is disabled (`plugins.{name}.enabled`)")));
    }
    if let Some(error) = &plugin.error {
        return Err(CliError::Failed(format!("plugin `{name}` is not loaded: {error}")));
    }
    let command = args.command;
    if !plugin.commands.iter().any(|declared| declared == command.as_str()) {
        let declared = plugin.commands.join(", ");
        return Err(CliError::Usage(format!(
            "plugin `{name}` has no command `{command}`; its manifest declares: {declared}"
        )));
    }
    Ok(plugin.max_attempts)
}

/// The JSON of `--payload`, checked.
fn payload(args: &Args) -> Result<Option<Box<RawValue>>, CliError> {
    let event_options = args.payload.is_some() || args.event_type.is_some();
    if args.command != Command::Handle {
        return match event_options {
            true => Err(CliError::Usage("--payload and --event-type are for `--command handle` only".to_owned())),
            false => Ok(None),
        };
    }
    let (text, from) = match args.payload.as_deref() {
        None => ("{}".to_owned(), String::new()),
        Some("-") => (io::read_to_string(io::stdin())?, "standard input".to_owned()),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| CliError::Failed(format!("payload file `{file}` cannot be read: {error}")))?;
                (text, format!("`{file}`"))
            }
            None => (text.to_owned(), "`--payload`".to_owned()),
        },
    };
    let payload = RawValue::from_string(text.trim().to_owned());
    payload.map(Some).map_err(|error| CliError::Usage(format!("{from} is not JSON: {error}")))
}

fn new_job(args: &Args, payload: Option<Box<RawValue>>, max_attempts: u32) -> NewJob {
    let event_id = payload.is_some().then(Uuid::new_v4);
    let payload = payload.zip(event_id).map(|(payload, event_id)| {
        Envelope {
            kind: args.event_type.as_deref().unwrap_or("cli"),
            payload: &payload,
            dedupe_key: args.dedupe_key.as_deref(),
            source: "cli",
            timestamp: Clock::System.now(),
            event_id,
        }
        .to_json()
    });
    NewJob {
        id: Uuid::now_v7(),
        plugin: args.plugin.clone(),
        command: args.command,
        payload: payload.map(Into::into),
        max_attempts,
        submitted_by: SubmittedBy::Cli,
        dedupe_key: args.dedupe_key.clone(),
        parent_job_id: None,
        source_event_id: event_id,
        hops: 0,
        stillborn: None,
    }
}

/// Puts the job on the queue, unless there is one already that has succeeded: that one.
async fn enqueue(db: &Db, job: NewJob, limits: Limits) -> Result<Option<Uuid>, CliError> {
    let now = Clock::System.now();
    let enqueue = move |tx: &Tx<'_>| {
        let enqueued = queue::enqueue(tx, &job, limits, now)?;
        crash_point!("enqueue.uncommitted");
        Ok(enqueued)
    };
    let enqueued = db.write(enqueue).await?;
    crash_point!("enqueue.committed");
    match enqueued {
        Enqueued::Inserted => Ok(None),
        Enqueued::Duplicate(existing) => Ok(Some(existing)),
        Enqueued::QueueFull => {
            let most = limits.max_queue_depth;
            Err(CliError::Failed(format!(
                "the queue is full ({most} jobs, `service.max_queue_depth`); nothing was added"
            )))
        }
    }
}

/// How often the database is looked at for the job's end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The job once its first attempt has ended; with `over`, once it has succeeded or is dead.
async fn ended(reader: &Reader, id: Uuid, over: bool, state_path: &Path) -> Result<Job, CliError> {
    let dir = state_path.parent().unwrap_or(Path::new("/"));
    loop {
        let Some(job) = list::job(reader, id)? else {
            return Err(CliError::Failed(format!("job {id} is not on the queue any more")));
        };
        let first_is_over = !list::attempts(reader, id)?.is_empty();
        if job.completed_at.is_some() || (first_is_over && !over) {
            return Ok(job);
        }
        if lock::holder(dir)?.is_none() {
            return Err(CliError::Failed(format!(
                "the daemon has ended; job {id} stays on the queue until the next start"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Who runs what is still to be run.
#[derive(Clone, Copy)]
enum Next {
    /// The daemon, when it is due.
    Daemon,
    /// Nobody, until a daemon is started.
    Start,
}

#[derive(Serialize)]
struct Report<'a> {
    /// Whether the job is an older one, in whose favour nothing was done.
    duplicate: bool,
    job: &'a Job,
    attempts: &'a [Attempt],
}

fn report_duplicate(args: &Args, reader: &Reader, existing: Uuid) -> Result<ExitCode, CliError> {
    eprintln!("nothing to do: a job with this dedupe key has already succeeded");
    match list::job(reader, existing)?.filter(|_| args.json) {
        Some(job) => {
            let attempts = list::attempts(reader, existing)?;
            output::json(&Report { duplicate: true, job: &job, attempts: &attempts })?;
        }
        None => output::line(&existing.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows how the job has gone so far; success if it has succeeded.
fn report(args: &Args, job: &Job, attempts: &[Attempt], next: Next) -> Result<ExitCode, CliError> {
    if args.json {
        output::json(&Report { duplicate: false, job, attempts })?;
    } else {
        let mut out = io::stdout().lock();
        for attempt in attempts {
            logs::write_attempt(&mut out, attempt)?;
        }
    }
    match job.status {
        Status::Succeeded => return Ok(ExitCode::SUCCESS),
        Status::Dead => {
            let reason = output::first_line(job.last_error.as_deref().unwrap_or("no reason given"));
            eprintln!("job {} is dead after attempt {} of {}: {reason}", job.id, job.attempt, job.max_attempts);
        }
        Status::Queued | Status::Running => {
            let when = match (next, job.next_retry_at) {
                (Next::Start, _) => "once `ductile start` runs".to_owned(),
                (Next::Daemon, Some(at)) => format!("at {}", output::local(at)),
                (Next::Daemon, None) => "when its turn comes".to_owned(),
            };
            eprintln!("job {} is tried again {when}, attempt {} of {}", job.id, job.attempt, job.max_attempts);
        }
    }
    Ok(ExitCode::FAILURE)
}
