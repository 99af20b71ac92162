//! `ductile run`: one job by hand, through the daemon when there is one.

mod job;
#[cfg(feature = "monitor")]
pub(super) mod later;
mod report;

use std::convert::Infallible;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::change::{NO_DAEMON, attach, daemon};
use super::error::CliError;
use super::pause::paused;
use super::{output, runtime};
use crate::active::{self, Active};
use crate::clock::Clock;
use crate::command::Command;
use crate::config::{self, Minimal, Variables};
use crate::daemon::{DaemonError, Owned, Signals};
use crate::dispatch::{Dispatcher, Stop};
use crate::queue::list::{self, Attempt};
use crate::queue::{Job, Limits};
use crate::scheduler;
use crate::state::lock::{self, Holder, Role};
use crate::state::{Db, Reader, StateDir, publish};
pub(super) use job::runnable;
use job::{enqueue, new_job, payload};
use report::{Next, report, report_duplicate};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With a daemon, the job takes its place in the queue, and the result of its first attempt is shown. Without one, just
this job is run right here, once; whatever else is queued stays there.

Examples:
  ductile run echo
  ductile run notify --command handle --payload '{\"text\": \"hello\"}' --event-type greeting
  generate | ductile run import --command handle --payload -
  ductile run withings --command token_refresh

Exit codes: 0 the attempt succeeded (or, with --detach, the job is on the queue), 1 it did not, 2 usage, 78 configuration.")]
pub(super) struct Args {
    /// The plugin
    plugin: String,
    /// What to ask of it: poll, handle, init, or another command that its manifest declares
    #[arg(long, value_name = "NAME", default_value = "poll")]
    command: Command,
    /// The event's payload for `handle`, or what a plugin of protocol 2 is given with another command: JSON, @FILE,
    /// or - for standard input [default: {}]
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
    // Before the lock is looked at: another user's cannot even be read.
    StateDir::find(&minimal.state_path)?;
    runtime()?.block_on(async {
        let mut signals = Signals::install().map_err(DaemonError::Signals)?;
        if let Some(holder) = daemon(&minimal.state_path)? {
            return with_daemon(&args, payload, holder, &minimal, &mut signals).await;
        }
        match alone(&args, payload.clone(), &path, &mut signals).await {
            // A daemon was faster: then it is its turn.
            Err(CliError::Daemon(DaemonError::Lock(error))) => match daemon(&minimal.state_path)? {
                Some(holder) => with_daemon(&args, payload, holder, &minimal, &mut signals).await,
                None => Err(error.into()),
            },
            result => result,
        }
    })
}

/// Through the queue of the running daemon.
async fn with_daemon(
    args: &Args,
    payload: Option<Box<RawValue>>,
    holder: Holder,
    minimal: &Minimal,
    signals: &mut Signals,
) -> Result<ExitCode, CliError> {
    let (db, reader, _) = attach(holder, &minimal.state_path).await?;
    let id = match submit(args, payload, &db, &reader).await? {
        Submitted::New(id) => id,
        Submitted::Duplicate(existing) => return report_duplicate(args, &reader, existing),
    };
    holder
        .wake()
        .map_err(|error| CliError::Failed(format!("job {id} is queued, but the daemon was not woken: {error}")))?;
    if let Some(paused) = paused(&reader, &args.plugin)? {
        output::message(format_args!("job {id} waits: {paused}"));
    }
    if args.detach {
        output::line(&id.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        ended = ended(&reader, id, args.wait, &minimal.state_path) => {
            let (job, attempts) = ended?;
            report(args, &job, &attempts, Next::Daemon)
        }
        () = signals.stop_requested() => {
            output::message(format_args!("job {id} stays on the queue; see it with `ductile queue --all`"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What came of a job that was to be put on the queue.
enum Submitted {
    New(Uuid),
    /// Nothing was done, in favour of this one.
    Duplicate(Uuid),
}

/// Puts the job on a queue, by what its daemon has published.
async fn submit(args: &Args, payload: Option<Box<RawValue>>, db: &Db, reader: &Reader) -> Result<Submitted, CliError> {
    let Some((dedupe_ttl, max_queue_depth)) = publish::service(reader)?.limits else {
        return Err(CliError::Failed("`ductile start` has not run yet with this database".to_owned()));
    };
    let limits = Limits { dedupe_ttl, max_queue_depth };
    let runnable = runnable(&args.plugin, &args.command, &publish::all_plugins(reader)?)?;
    let job = new_job(args, payload, runnable)?;
    let id = job.id;
    Ok(enqueue(db, job, limits, true).await?.map_or(Submitted::New(id), Submitted::Duplicate))
}

/// Right here, holding the lock.
async fn alone(
    args: &Args,
    payload: Option<Box<RawValue>>,
    path: &Path,
    signals: &mut Signals,
) -> Result<ExitCode, CliError> {
    crate::log::start_on_stderr();
    let loaded = active::load(path, &Variables::process())?;
    for warning in &loaded.warnings {
        output::message(format_args!("warning: {warning}"));
    }
    let active = loaded.active;
    let published = active.published();
    let job = new_job(args, payload, runnable(&args.plugin, &args.command, &published)?)?;
    let (clock, mut rng) = (Clock::System, StdRng::from_rng(&mut rand::rng()));
    let owned = Owned::take(&active, Role::Run, &clock, &mut rng).await?;
    if !args.detach
        && let Some(reason) = held(&owned.db.reader()?, &active, args)?
    {
        owned.db.close().await;
        return Err(CliError::Failed(reason));
    }
    let id = job.id;
    if let Some(existing) = enqueue(&owned.db, job, active.limits, false).await? {
        let code = report_duplicate(args, &owned.db.reader()?, existing);
        owned.db.close().await;
        return code;
    }
    if args.detach {
        output::line(&id.to_string())?;
        output::message(NO_DAEMON);
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
        vitals: Arc::default(),
        counters: Arc::default(),
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
        output::message(format_args!("interrupted: job {id} is back on the queue, the attempt not counted"));
        return Ok(ExitCode::FAILURE);
    }
    let code = report(args, &job, &attempts, Next::Start)?;
    match children {
        0 => {}
        1 => output::message("1 routed job waits on the queue until `ductile start`"),
        _ => output::message(format_args!("{children} routed jobs wait on the queue until `ductile start`")),
    }
    Ok(code)
}

/// Why the job may not be run out of its turn.
fn held(reader: &Reader, active: &Active, args: &Args) -> Result<Option<String>, CliError> {
    let name = &args.plugin;
    if let Some(paused) = paused(reader, name)? {
        return Ok(Some(format!("nothing was added: {paused}")));
    }
    let Some(Some(hash)) = active.plans.inits.get(name) else { return Ok(None) };
    if args.command == Command::Init || scheduler::is_initialized(reader, name, hash)? {
        return Ok(None);
    }
    Ok(Some(format!(
        "the init of plugin `{name}` has not succeeded with its present manifest and configuration; \
         first: `ductile run {name} --command init`"
    )))
}

/// How often the database is looked at for the job's end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The job with its attempts once the first one has ended; with `over`, once it has succeeded or is dead.
async fn ended(reader: &Reader, id: Uuid, over: bool, state_path: &Path) -> Result<(Job, Vec<Attempt>), CliError> {
    let dir = state_path.parent().unwrap_or(Path::new("/"));
    loop {
        // Before the look at the job: what a daemon does last is to settle.
        let gone = matches!(lock::holder(dir), Ok(None));
        let Some((job, attempts)) = list::job_with_attempts(reader, id)? else {
            return Err(CliError::Failed(format!("job {id} is not on the queue any more")));
        };
        if job.completed_at.is_some() || (!attempts.is_empty() && !over) {
            return Ok((job, attempts));
        }
        if gone {
            return Err(CliError::Failed(format!(
                "the daemon has ended; job {id} stays on the queue until the next start"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
