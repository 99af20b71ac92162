//! `ductile status`.

mod health;
pub(super) mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::error::CliError;
use super::plugins::{configured, next_run};
use super::{open_reader, output};
use crate::clock::{Clock, Timestamp};
use crate::command::Command;
use crate::queue::list::{self, Counts, Filter};
use crate::queue::{self, Job, JobLogStatus, Pauses, Stats};
use crate::scheduler::{self, BreakerState, Unhealthy};
use crate::state::Reader;
use crate::state::lock::{self, Holder, Role};
use crate::state::publish::{self, Published, Service};
use health::Health;

/// What the numbers of a plugin are about.
const LATELY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "RATE and P50/P95 are of the attempts of the last 24 hours. --health runs the command `health` of every \
loaded plugin that declares it, right here and at once; it reads the whole configuration, secrets too.

Exit codes: 0, or with --health 1 when a plugin is not well."
)]
pub(super) struct Args {
    /// Just this plugin, with all there is to know of it
    plugin: Option<String>,
    /// Ask the plugins that declare `health` how they are
    #[arg(long)]
    health: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// When this was so.
    #[serde(skip)]
    pub(super) at: Timestamp,
    /// Whether a daemon runs with this state dir now.
    pub(super) running: bool,
    /// The process that holds the state dir, a daemon or a `ductile run`.
    pub(super) holder_pid: Option<i32>,
    pub(super) service: Service,
    pub(super) state_path: String,
    pub(super) queue: Queue,
    pub(super) plugins: Vec<PluginStatus>,
}

#[derive(Debug, Serialize)]
pub(super) struct Queue {
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) paused_since: Option<Timestamp>,
    /// When the first of the jobs that wait for nothing but their turn was enqueued.
    pub(super) oldest_waits_since: Option<Timestamp>,
    pub(super) running_job: Option<Job>,
}

#[derive(Debug, Serialize)]
pub(super) struct PluginStatus {
    #[serde(flatten)]
    pub(super) published: Published,
    pub(super) paused_since: Option<Timestamp>,
    /// Its `init` waits, and until it has run its other jobs do.
    pub(super) init_pending: bool,
    /// Set when its `init` has failed.
    pub(super) unhealthy: Option<Unhealthy>,
    pub(super) last_run_at: Option<Timestamp>,
    pub(super) last_status: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) next_run: Option<Timestamp>,
    pub(super) breaker: Breaker,
    pub(super) last_24h: Option<Stats>,
    /// Only when it was asked for, and the plugin declares `health`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<Health>,
}

#[derive(Debug, Serialize)]
pub(super) struct Breaker {
    pub(super) state: BreakerState,
    /// The scheduled command that it is for: the one that is worst off of several; `None` without a schedule.
    pub(super) command: Option<String>,
    /// Jobs in a row that ended dead.
    pub(super) failures: u32,
    pub(super) opened_at: Option<Timestamp>,
}

impl Breaker {
    fn of(worst: Option<(Command, scheduler::Breaker)>) -> Self {
        let command = worst.as_ref().map(|(command, _)| command.to_string());
        let breaker = worst.map(|(_, breaker)| breaker).unwrap_or_default();
        Self { state: breaker.state(), command, failures: breaker.failures, opened_at: breaker.opened_at }
    }
}

pub(super) fn status(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (minimal, reader) = open_reader(config)?;
    let holder = lock::holder(minimal.state_path.parent().unwrap_or(Path::new("/")))?;
    let only = args.plugin.as_deref();
    let published = published(&reader, only)?;
    let mut health = if args.health { health::ask(config, &reader, only)? } else { BTreeMap::new() };
    let well = health.values().all(|health| health.ok);
    let mut status = Status::read(&reader, &minimal.state_path, holder, published, Some(LATELY))?;
    for plugin in &mut status.plugins {
        plugin.health = health.remove(&plugin.published.name);
    }
    match only {
        _ if args.json => output::json(&status)?,
        Some(_) => print::plugin(&status, args.health)?,
        None => print::all(&status, args.health)?,
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn published(reader: &Reader, only: Option<&str>) -> Result<Vec<Published>, CliError> {
    let all = publish::all_plugins(reader)?;
    match only {
        Some(only) => Ok(vec![configured(&all, only)?.clone()]),
        None => Ok(all),
    }
}

impl Status {
    /// Of these plugins, with their numbers of the time since `lately` ago.
    pub(super) fn read(
        reader: &Reader,
        state_path: &Path,
        holder: Option<Holder>,
        published: Vec<Published>,
        lately: Option<Duration>,
    ) -> Result<Self, CliError> {
        let at = Clock::System.now();
        let since = lately.map(|lately| at.before(lately));
        let pauses = queue::pauses(reader)?;
        let inits: BTreeSet<_> = queue::queued_inits(reader)?.into_iter().map(|init| init.plugin).collect();
        let plugins = published.into_iter().map(|plugin| {
            let init_pending = inits.contains(&plugin.name);
            plugin_status(reader, plugin, &pauses, init_pending, since)
        });
        Ok(Self {
            at,
            running: holder.is_some_and(|holder| holder.role == Role::Start),
            holder_pid: holder.map(|holder| holder.pid),
            service: publish::service(reader)?,
            state_path: state_path.display().to_string(),
            plugins: plugins.collect::<Result<_, _>>()?,
            queue: queue(reader, &pauses)?,
        })
    }
}

fn plugin_status(
    reader: &Reader,
    mut published: Published,
    pauses: &Pauses,
    init_pending: bool,
    since: Option<Timestamp>,
) -> Result<PluginStatus, CliError> {
    let next_run = next_run(reader, &mut published)?;
    let name = &published.name;
    let last = list::log(reader, Some(name), false, 1)?.pop();
    let breaker = scheduler::worst(scheduler::breakers_of(reader, name)?);
    Ok(PluginStatus {
        paused_since: pauses.plugins.get(name).copied(),
        init_pending,
        unhealthy: scheduler::unhealthy(reader, name)?,
        next_run,
        last_run_at: last.as_ref().map(|last| last.completed_at),
        last_status: last.as_ref().map(|last| last.status.to_string()),
        last_error: last.filter(|last| last.status != JobLogStatus::Succeeded).and_then(|last| last.error),
        breaker: Breaker::of(breaker),
        last_24h: since.map(|since| queue::stats(reader, name, since)).transpose()?.flatten(),
        health: None,
        published,
    })
}

fn queue(reader: &Reader, pauses: &Pauses) -> Result<Queue, CliError> {
    let running = Filter { statuses: vec![queue::Status::Running], plugin: None, limit: 1 };
    Ok(Queue {
        counts: list::counts(reader)?,
        paused_since: pauses.queue,
        oldest_waits_since: queue::oldest_ready(reader)?,
        running_job: list::jobs(reader, &running)?.pop(),
    })
}
