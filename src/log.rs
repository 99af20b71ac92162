//! Log lines on stdout: one JSON object each, or text for a terminal.
//!
//! Every line has `timestamp`, `level`, `component` and `message`, then the event's own fields. The component is the
//! module that speaks.

use std::any::Any;
use std::fmt::{self, Write};
use std::io::BufWriter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;

use crate::clock::Clock;
use crate::config::{LogFormat, LogLevel};

/// Lines that may wait for whoever reads them. More are dropped and counted: a reader that has stopped must not stop
/// the daemon.
const MOST_WAITING: usize = 10_000;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
static SET_LEVEL: OnceLock<Box<dyn Fn(LogLevel) -> bool + Send + Sync>> = OnceLock::new();
static AS_TEXT: AtomicBool = AtomicBool::new(false);

/// Starts logging to stdout, through a thread of its own. Panics of any thread are logged too. What still waits is
/// written when the guard is dropped. Only the first call has an effect.
pub fn start(level: LogLevel, format: LogFormat) -> WorkerGuard {
    // The thread flushes when no more lines wait: those which came together are written together.
    let stdout = BufWriter::new(std::io::stdout());
    let (out, guard) = NonBlockingBuilder::default().buffered_lines_limit(MOST_WAITING).finish(stdout);
    let _ = DROPPED.set(out.error_counter());
    set_format(format);
    let (level, handle) = reload::Layer::new(filter(level));
    let _ = SET_LEVEL.set(Box::new(move |level| handle.reload(filter(level)).is_ok()));
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false).event_format(Line(None)).with_writer(out);
    let subscriber = tracing_subscriber::registry().with(level).with(lines);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            let reason = panic_message(panic.payload());
            tracing::error!(place, reason, "panic: please report this");
        }));
    }
    guard
}

/// What is logged from now on, and how.
pub fn set(level: LogLevel, format: LogFormat) {
    set_format(format);
    if !SET_LEVEL.get().is_some_and(|set_level| set_level(level)) {
        tracing::warn!("the log's level was not changed");
    }
}

fn set_format(format: LogFormat) {
    AS_TEXT.store(format == LogFormat::Text, Ordering::Relaxed);
}

/// Starts logging warnings to stderr as text, for commands whose stdout is their result. The dispatcher is silent: the
/// command itself says how its job has gone.
pub fn start_on_stderr() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .event_format(Line(Some(LogFormat::Text)))
        .with_writer(std::io::stderr)
        .finish()
        .with(
            Targets::new().with_default(LevelFilter::WARN).with_target("ductile::dispatch::outcome", LevelFilter::OFF),
        );
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// How many lines were dropped since the start.
pub fn dropped_lines() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

/// The text of a panic.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// An error and its causes, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// With `None` the format can be set while it is in use.
struct Line(Option<LogFormat>);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let as_text = match self.0 {
            Some(format) => format == LogFormat::Text,
            None => AS_TEXT.load(Ordering::Relaxed),
        };
        match as_text {
            false => fields.write_json(&mut out, event.metadata()),
            true => fields.write_text(&mut out, event.metadata()),
        }
    }
}

/// `ductile::dispatch::settle` speaks for `dispatch`; other crates speak for themselves.
fn component<'m>(metadata: &Metadata<'m>) -> &'m str {
    let mut modules = metadata.target().split("::");
    match (modules.next(), modules.next()) {
        (Some("ductile"), Some(module)) => module,
        (Some(crate_name), _) => crate_name,
        (None, _) => "ductile",
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn write_json(self, out: &mut Writer<'_>, metadata: &Metadata<'_>) -> fmt::Result {
        let now = Clock::System.now();
        let message = Value::String(self.message);
        write!(out, r#"{{"timestamp":"{now}","level":"{}","component":"{}""#, level(metadata), component(metadata))?;
        write!(out, r#","message":{message}"#)?;
        for (name, value) in self.others {
            write!(out, r#","{name}":{value}"#)?;
        }
        writeln!(out, "}}")
    }

    fn write_text(self, out: &mut Writer<'_>, metadata: &Metadata<'_>) -> fmt::Result {
        // The same clock as in the fields: UTC.
        write!(out, "{} {:5} {}: {}", Clock::System.now(), level(metadata), component(metadata), self.message)?;
        for (name, value) in self.others {
            match value {
                Value::String(text) if is_plain(&text) => write!(out, " {name}={text}")?,
                value => write!(out, " {name}={value}")?,
            }
        }
        writeln!(out)
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '=')
}

fn level(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.push((field.name(), value));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            _ => self.put(field, value.into()),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.put(field, format!("{value:?}").into()),
        }
    }
}
