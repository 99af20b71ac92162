//! `ductile plugins`.

mod facts;
mod manifest;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::value::RawValue;

use super::error::CliError;
use super::logs::{Detail, write_attempt};
use super::output::Paint;
use super::{no_daemon, open_reader, output};
use crate::clock::Timestamp;
use crate::config::DEFAULT_SCHEDULE;
use crate::queue::list::{self, Attempt};
use crate::scheduler;
use crate::state::publish::{self, Published, Scheduled};
use crate::state::{Reader, plugin_state};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What the daemon made of the configured plugins when it read its configuration; `ductile check`
reads it now.

Examples:
  ductile plugins                        which are loaded, and why not
  ductile plugins feed                   one of them: all that it declares, and its last attempt
  ductile plugins feed --facts           what it has stated as facts, the newest last")]
pub(super) struct Args {
    /// Only this plugin, in detail
    name: Option<String>,
    /// What it has stated as facts, the newest last
    #[arg(long, requires = "name")]
    facts: bool,
    /// The most facts, the newest
    #[arg(long, value_name = "N", requires = "facts", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Detailed {
    #[serde(flatten)]
    published: Published,
    /// All that it declares; `null` when it is not loaded.
    manifest: Option<Box<RawValue>>,
    next_run: Option<Timestamp>,
    /// Bytes of JSON that it remembers.
    state_bytes: usize,
    last_attempt: Option<Attempt>,
}

pub(super) fn plugins(args: &Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    if let Some(name) = args.name.as_deref().filter(|_| args.facts) {
        return facts::facts(name, args.limit, args.json, config);
    }
    let (minimal, reader) = open_reader(config)?;
    let plugins = publish::all_plugins(&reader)?;
    let service = publish::service(&reader)?;
    let Some(started) = service.started_at else {
        return Err(CliError::Failed(
            "`ductile start` has not run yet with this database; `ductile check` looks at the plugins without it"
                .to_owned(),
        ));
    };
    let found = args.name.as_deref().map(|name| detailed(&reader, name, &plugins)).transpose()?;
    match &found {
        Some(plugin) if args.json => output::json(plugin)?,
        None if args.json => output::json(&plugins)?,
        Some(plugin) => print(plugin)?,
        None if plugins.is_empty() => output::message("no plugins are configured"),
        None => {
            let head = ["PLUGIN", "USES", "STATE", "VERSION", "COMMANDS", "EVERY", "REASON"];
            output::painted_table(head, plugins.iter().map(row))?;
        }
    }
    if !args.json && found.is_none() {
        for plugin in plugins.iter().filter(|plugin| plugin.enabled) {
            for warning in &plugin.warnings {
                output::message(format_args!("warning: plugin `{}`: {}", plugin.name, output::first_line(warning)));
            }
        }
    }
    if !args.json && no_daemon(&minimal) {
        let started = output::local(started);
        output::message(format_args!("no daemon is running; this is what the last one found, started {started}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The plugin of this name.
pub(super) fn configured<'a>(known: &'a [Published], name: &str) -> Result<&'a Published, CliError> {
    known.iter().find(|plugin| plugin.name == name).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|plugin| plugin.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        CliError::Usage(format!("plugin `{name}` is not configured; configured are: {names}"))
    })
}

fn detailed(reader: &Reader, name: &str, plugins: &[Published]) -> Result<Detailed, CliError> {
    let mut published = configured(plugins, name)?.clone();
    Ok(Detailed {
        manifest: published.manifest.clone().and_then(|json| RawValue::from_string(json).ok()),
        next_run: next_run(reader, &mut published)?,
        state_bytes: plugin_state::read(reader, name)?.len(),
        last_attempt: list::log(reader, Some(name), false, 1)?.pop(),
        published,
    })
}

/// Notes when each of the plugin's schedules runs next; the first of these times.
pub(super) fn next_run(reader: &Reader, plugin: &mut Published) -> Result<Option<Timestamp>, CliError> {
    let next_runs = scheduler::next_runs_of(reader, &plugin.name)?;
    for schedule in &mut plugin.schedules {
        schedule.next_run = next_runs.iter().find(|next| next.schedule == schedule.id).map(|next| next.next_run);
    }
    // One that an open breaker holds stays where it is.
    for next in &next_runs {
        if scheduler::breaker_of(reader, &plugin.name, &next.command)?.opened_at.is_none() {
            return Ok(Some(next.next_run));
        }
    }
    Ok(next_runs.first().map(|next| next.next_run))
}

/// How often its schedules run, the shortest interval first; `-` without any.
pub(super) fn every(plugin: &Published) -> String {
    let mut intervals: Vec<_> = plugin.schedules.iter().map(|schedule| schedule.every_ms).collect();
    intervals.sort_unstable();
    intervals.dedup();
    match intervals.as_slice() {
        [] => "-".to_owned(),
        intervals => intervals.iter().map(|every| output::duration(*every)).collect::<Vec<_>>().join(" "),
    }
}

/// One line for each schedule of a plugin that has more than the one without an id.
pub(super) fn write_schedules(out: &mut impl Write, plugin: &Published) -> io::Result<()> {
    if plugin.schedules.iter().all(|schedule| schedule.id == DEFAULT_SCHEDULE && schedule.command == "poll") {
        return Ok(());
    }
    for Scheduled { id, command, every_ms, next_run } in &plugin.schedules {
        let (every, next_run) = (output::duration(*every_ms), output::local_or_dash(*next_run));
        writeln!(out, "schedule  {id}: {command} every {every}, next run {next_run}")?;
    }
    Ok(())
}

/// Whether it runs, in two words, and how that looks.
fn state(plugin: &Published) -> (&'static str, Paint) {
    match (plugin.enabled, plugin.loaded) {
        (false, _) => ("disabled", Paint::Dim),
        (true, true) => ("loaded", Paint::Plain),
        (true, false) => ("not loaded", Paint::Bad),
    }
}

fn row(plugin: &Published) -> (Paint, [String; 7]) {
    let (state, paint) = state(plugin);
    let dash = || "-".to_owned();
    let reason = plugin.error.as_ref().filter(|_| plugin.enabled);
    let cells = [
        plugin.name.clone(),
        plugin.uses.clone().unwrap_or_else(dash),
        state.to_owned(),
        plugin.version.as_deref().map_or_else(dash, output::first_line),
        if plugin.commands.is_empty() { dash() } else { plugin.commands.join(" ") },
        every(plugin),
        reason.map_or_else(dash, |reason| output::first_line(reason)),
    ];
    (paint, cells)
}

fn print(plugin: &Detailed) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Detailed { published, .. } = plugin;
    let (state, paint) = state(published);
    let mut line = |label: &str, value: &str| writeln!(out, "{label:9} {value}");
    line("plugin", &published.name)?;
    line("state", &paint.on(state, output::colours()))?;
    if let Some(error) = &published.error {
        line("reason", &output::first_line(error))?;
    }
    if let Some(uses) = &published.uses {
        line("uses", uses)?;
    }
    line("version", &published.version.as_deref().map_or_else(|| "-".to_owned(), output::first_line))?;
    if let Some(folder) = &published.folder {
        line("folder", &output::first_line(folder))?;
    }
    for warning in &published.warnings {
        line("warning", &output::first_line(warning))?;
    }
    line("protocol", &published.protocol.map_or_else(|| "-".to_owned(), |protocol| protocol.to_string()))?;
    line("commands", &if published.commands.is_empty() { "-".to_owned() } else { published.commands.join(" ") })?;
    line("attempts", &format!("up to {}", published.max_attempts))?;
    line("every", &every(published))?;
    line("next run", &output::local_or_dash(plugin.next_run))?;
    line("remembers", &format!("{} bytes", plugin.state_bytes))?;
    write_schedules(&mut out, published)?;
    if let Some(manifest) = &plugin.manifest {
        manifest::write(&mut out, manifest.get())?;
    }
    match &plugin.last_attempt {
        None => writeln!(out, "\nit has not run yet"),
        Some(attempt) => {
            writeln!(out)?;
            write_attempt(&mut out, attempt, Detail::Short, output::colours())
        }
    }
}
