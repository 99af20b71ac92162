//! `ductile status`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::error::CliError;
use super::{open_reader, output};
use crate::clock::{Clock, Timestamp};
use crate::queue::JobLogStatus;
use crate::queue::list::{self, Counts};
use crate::scheduler;
use crate::state::lock::{self, Role};
use crate::state::publish::{self, Published, Service};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Status {
    /// Whether a daemon runs with this state dir now.
    running: bool,
    /// The process that holds the state dir, a daemon or a `ductile run`.
    holder_pid: Option<i32>,
    service: Service,
    state_path: String,
    queue: Counts,
    plugins: Vec<PluginStatus>,
}

#[derive(Serialize)]
struct PluginStatus {
    #[serde(flatten)]
    published: Published,
    last_run_at: Option<Timestamp>,
    last_status: Option<String>,
    last_error: Option<String>,
    next_run: Option<Timestamp>,
}

pub(super) fn status(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (minimal, reader) = open_reader(config)?;
    let holder = lock::holder(minimal.state_path.parent().unwrap_or(Path::new("/")))?;
    let mut plugins = Vec::new();
    for published in publish::all_plugins(&reader)? {
        let last = list::log(&reader, Some(&published.name), false, 1)?.pop();
        plugins.push(PluginStatus {
            next_run: scheduler::next_run_of(&reader, &published.name)?,
            last_run_at: last.as_ref().map(|last| last.completed_at),
            last_status: last.as_ref().map(|last| last.status.to_string()),
            last_error: last.filter(|last| last.status != JobLogStatus::Succeeded).and_then(|last| last.error),
            published,
        });
    }
    let status = Status {
        running: holder.is_some_and(|holder| holder.role == Role::Start),
        holder_pid: holder.map(|holder| holder.pid),
        service: publish::service(&reader)?,
        state_path: minimal.state_path.display().to_string(),
        queue: list::counts(&reader)?,
        plugins,
    };
    if args.json {
        output::json(&status)?;
    } else {
        print(&status)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(status: &Status) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Status { service, queue, .. } = status;
    match (status.holder_pid, status.running) {
        (Some(pid), true) => {
            let (version, since) = (service.version.as_deref().unwrap_or("?"), service.started_at);
            let up = since.map_or(0, |since| Clock::System.now().since(since).as_millis() as u64);
            let name = service.name.as_deref().unwrap_or("ductile");
            writeln!(out, "service   {name}, ductile {version}, running as PID {pid} for {}", output::duration(up))?;
        }
        (Some(pid), false) => writeln!(out, "service   no daemon; `ductile run` (PID {pid}) holds the state dir")?,
        (None, _) => writeln!(out, "service   no daemon is running; what follows is its last state")?,
    }
    if let Some(listen) = service.listen.as_deref().filter(|_| status.running) {
        writeln!(out, "webhooks  http://{listen}")?;
    }
    writeln!(out, "config    {}", service.config_path.as_deref().unwrap_or("-"))?;
    writeln!(out, "state     {}", status.state_path)?;
    writeln!(
        out,
        "queue     {} queued ({} waiting for a retry), {} running, {} dead",
        queue.queued, queue.waiting, queue.running, queue.dead
    )?;
    if status.plugins.is_empty() {
        writeln!(out, "\nno plugins: `ductile start` has not run yet with any configured")?;
        return Ok(());
    }
    writeln!(out)?;
    let head = ["PLUGIN", "STATE", "EVERY", "LAST RUN", "RESULT", "NEXT RUN", "REASON"];
    output::table(head, status.plugins.iter().map(row))?;
    Ok(())
}

fn row(plugin: &PluginStatus) -> [String; 7] {
    let published = &plugin.published;
    let state = match (published.enabled, published.loaded) {
        (false, _) => "disabled",
        (true, true) => "loaded",
        (true, false) => "not loaded",
    };
    let dash = || "-".to_owned();
    let reason = published.error.as_ref().filter(|_| published.enabled).or(plugin.last_error.as_ref());
    [
        published.name.clone(),
        state.to_owned(),
        published.schedule_every_ms.map_or_else(dash, output::duration),
        output::local_or_dash(plugin.last_run_at),
        plugin.last_status.clone().unwrap_or_else(dash),
        output::local_or_dash(plugin.next_run),
        reason.map_or_else(dash, |reason| output::first_line(reason)),
    ]
}
