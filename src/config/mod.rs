//! `config.yaml` after every check: once a [`Config`] exists, nothing downstream checks it again.
//!
//! `load` finds and reads the file; `source` and `raw` hold it as a tree and know where everything stands;
//! `validate` turns the tree into the types below, collecting every problem; `interpolate`, `variables`
//! and `units` read single scalars; `problem` says what is wrong.

mod env_file;
mod interpolate;
mod load;
mod path;
mod problem;
mod raw;
#[cfg(test)]
mod schema;
mod source;
mod units;
mod validate;
mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveTime;

use crate::command::Command;

pub use load::{Loaded, Minimal, find, load, load_minimal};
pub use path::{At, ConfigPath};
pub(crate) use problem::hint;
pub use problem::{ConfigError, Problem};
pub use source::Source;
pub use units::{UnitError, duration};
pub(crate) use validate::wrong_plugin_name;
pub use variables::Variables;

/// The reserved source of the gateway's own events; `from` in a route, never a plugin.
pub const CORE_SOURCE: &str = "ductile";

/// A job ended `dead`.
pub const JOB_DEAD: &str = "job.dead";
/// Scheduled jobs of a plugin have failed too often in a row, and pause.
pub const BREAKER_OPENED: &str = "breaker.opened";
/// They go on.
pub const BREAKER_CLOSED: &str = "breaker.closed";
/// A plugin's `init` failed.
pub const INIT_FAILED: &str = "init.failed";
/// A new configuration was not taken.
pub const RELOAD_REFUSED: &str = "reload.refused";

/// The types of the gateway's own events.
pub const CORE_EVENTS: [&str; 5] = [JOB_DEAD, BREAKER_OPENED, BREAKER_CLOSED, INIT_FAILED, RELOAD_REFUSED];

/// One whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, absolute.
    pub path: PathBuf,
    /// SHA-256 of the file's bytes, lower-case hex: says whether the file has changed.
    pub hash: String,
    pub service: Service,
    /// The database file, absolute; its folder is the state dir.
    pub state_path: PathBuf,
    /// The folders whose sub-folders are plugins, in the order in which they are searched; at least one.
    pub plugin_roots: Vec<PluginRoot>,
    pub plugins: BTreeMap<String, PluginConfig>,
    pub webhooks: Option<Webhooks>,
    pub metrics: Option<Metrics>,
    pub routes: Vec<Route>,
}

/// `service`: the gateway itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub name: String,
    pub tick_interval: Duration,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// How long a succeeded job's dedupe key keeps equal jobs away.
    pub dedupe_ttl: Duration,
    pub job_log_retention: Duration,
    /// Never less than `dedupe_ttl`.
    pub job_queue_retention: Duration,
    /// Of facts; the newest of each type is kept for ever.
    pub fact_retention: Duration,
    pub max_queue_depth: u64,
    /// How long a job in flight may go on after SIGTERM.
    pub shutdown_grace: Duration,
}

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Text,
}

/// `plugins_dir`, or one of `plugin_roots`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRoot {
    /// Absolute.
    pub path: PathBuf,
    /// It is the default of `plugins_dir`, beside `plugin_roots`: nobody has said that it is there.
    pub may_be_missing: bool,
}

/// `plugins.<name>`. Of a disabled plugin only the structure was checked: its `${...}` were not replaced.
#[derive(Clone, PartialEq)]
pub struct PluginConfig {
    pub enabled: bool,
    /// The plugin whose files this one runs, when it is an alias; its own otherwise.
    pub uses: Option<String>,
    /// When it is polled.
    pub schedule: Option<Schedule>,
    /// What else it is asked for at its time; no two have the same id, and none that of `schedule`.
    pub schedules: Vec<NamedSchedule>,
    /// Passed to the plugin as it is.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Added to the allow-listed environment of the plugin's processes.
    pub env: BTreeMap<String, String>,
    pub retry: Retry,
    pub timeouts: Timeouts,
    pub circuit_breaker: CircuitBreaker,
    /// How many jobs of each schedule of the plugin may be queued or running at once, at least 1.
    pub max_outstanding_polls: u32,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            uses: None,
            schedule: None,
            schedules: Vec::new(),
            config: serde_json::Map::new(),
            env: BTreeMap::new(),
            retry: Retry::default(),
            timeouts: Timeouts::default(),
            circuit_breaker: CircuitBreaker::default(),
            max_outstanding_polls: 1,
        }
    }
}

impl PluginConfig {
    /// Id, command, times and payload of everything that is scheduled, `schedule` first.
    pub fn all_schedules(&self) -> impl Iterator<Item = NamedSchedule> {
        let default = self.schedule.clone().map(|schedule| NamedSchedule {
            id: DEFAULT_SCHEDULE.to_owned(),
            command: Command::Poll,
            schedule,
            payload: serde_json::Map::new(),
        });
        default.into_iter().chain(self.schedules.iter().cloned())
    }
}

/// Neither `config` nor `env`: secrets may be in both.
impl std::fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginConfig")
            .field("enabled", &self.enabled)
            .field("uses", &self.uses)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

/// The id of `plugins.<name>.schedule`.
pub const DEFAULT_SCHEDULE: &str = "default";

/// The source of the events that schedules send.
pub const SCHEDULER_SOURCE: &str = "scheduler";

/// One of `plugins.<name>.schedules`: what the plugin is asked for, and when.
#[derive(Clone, PartialEq)]
pub struct NamedSchedule {
    /// Unique in its plugin.
    pub id: String,
    pub command: Command,
    pub schedule: Schedule,
    /// Empty when there is none.
    pub payload: serde_json::Map<String, serde_json::Value>,
}

/// Not the payload: secrets may be in it.
impl std::fmt::Debug for NamedSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedSchedule")
            .field("id", &self.id)
            .field("command", &self.command)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

/// When a plugin is asked: `plugins.<name>.schedule`, or the same keys of one of its `schedules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Whole seconds, at least one.
    pub every: Duration,
    /// Each run is moved by a random time in `[-jitter/2, +jitter/2]`; less than `every`.
    pub jitter: Duration,
    pub preferred_window: Option<Window>,
}

/// A daily span of the machine's local time, `[start, end)`; overnight when `start > end`; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start: NaiveTime,
    pub end: NaiveTime,
}

/// `plugins.<name>.retry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// At least 1, which means no retry.
    pub max_attempts: u32,
    /// The delay before attempt `n + 1` is `backoff_base * 2^(n-1) + uniform(0, backoff_base)`.
    pub backoff_base: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: 4, backoff_base: Duration::from_secs(30) }
    }
}

/// `plugins.<name>.timeouts`, by command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    pub poll: Duration,
    pub handle: Duration,
    pub health: Duration,
    pub init: Duration,
    /// Of commands with other names.
    pub named: BTreeMap<Command, Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let [poll, handle, health, init] = [60, 120, 10, 30].map(Duration::from_secs);
        Self { poll, handle, health, init, named: BTreeMap::new() }
    }
}

impl Timeouts {
    /// How long a process for `command` may take.
    pub fn of(&self, command: &Command) -> Duration {
        /// Unless it is set: as long as `handle` has by default.
        const NAMED: Duration = Duration::from_secs(120);
        match command {
            Command::Poll => self.poll,
            Command::Handle => self.handle,
            Command::Health => self.health,
            Command::Init => self.init,
            Command::Named(_) => self.named.get(command).copied().unwrap_or(NAMED),
        }
    }
}

/// `plugins.<name>.circuit_breaker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Dead scheduled jobs in a row that open it, at least 1.
    pub threshold: u32,
    pub reset_after: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { threshold: 3, reset_after: Duration::from_secs(30 * 60) }
    }
}

/// The path of the health check, which no endpoint may have.
pub const HEALTH_PATH: &str = "/healthz";

/// `webhooks`.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhooks {
    pub listen: std::net::SocketAddr,
    pub endpoints: Vec<Endpoint>,
}

/// One of `webhooks.endpoints`.
#[derive(Clone, PartialEq)]
pub struct Endpoint {
    /// Literal, starting with `/`; unique; never `/healthz`.
    pub path: String,
    pub plugin: String,
    /// At least one; more than one while a secret is being rotated. Never logged.
    pub secrets: Vec<String>,
    /// Lower case.
    pub signature_header: String,
    /// Bytes.
    pub max_body_size: u64,
    /// Lower case.
    pub dedupe_header: Option<String>,
    /// Lower case.
    pub event_header: Option<String>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("path", &self.path).field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

/// `metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Never that of [`Webhooks`].
    pub listen: std::net::SocketAddr,
}

/// One of `routes`: events of `event_type` from plugin `from` become jobs of plugin `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub from: String,
    pub event_type: String,
    pub to: String,
}
