//! What `config.yaml` may hold, as a JSON Schema for editors. The readers in `validate` do not carry it as types, so it is
//! said here once more, and compared with what they accept.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// What a value with a reference looks like, such as `${NAME}`: what it will be is not known here.
macro_rules! or_reference {
    ($pattern:literal) => {
        concat!("(", $pattern, r")|\$\{")
    };
}

/// A type that is there for its schema alone.
macro_rules! written_as {
    ($name:ident, $($schema:tt)+) => {
        struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($schema)+)
            }
        }
    };
}

written_as!(Text, {"type": "string", "minLength": 1});
written_as!(Name, {"type": "string", "pattern": or_reference!("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")});
written_as!(Duration, {
    "description": "30s, 5m, 2h, 1d, 1w, 500ms; at most ten years",
    "type": "string", "pattern": or_reference!("^[0-9]+(ms|s|m|h|d|w)$")
});
written_as!(Interval, {
    "description": "30s, 5m, 2h, 1d, 1w, or hourly, daily, weekly, monthly (30 days)",
    "type": "string", "pattern": or_reference!("^([0-9]+(ms|s|m|h|d|w)|hourly|daily|weekly|monthly)$")
});
written_as!(TimeOfDay, {
    "description": "\"06:00\"", "type": "string", "pattern": or_reference!("^([01][0-9]|2[0-3]):[0-5][0-9]$")
});
written_as!(Size, {
    "description": "Bytes, or 64KB, 1MB; at most 1GB", "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": or_reference!("^[0-9]+([bB]|[kKmMgG][bB])?$")}
    ]
});
written_as!(Switch, {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": r"\$\{"}]});
written_as!(UpTo100, {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 100}, {"type": "string", "pattern": r"\$\{"}]});
written_as!(UpToAMillion, {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 1_000_000}, {"type": "string", "pattern": r"\$\{"}]
});
written_as!(UpToABillion, {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 1_000_000_000}, {"type": "string", "pattern": r"\$\{"}]
});
written_as!(LogLevel, {"anyOf": [{"enum": ["trace", "debug", "info", "warn", "error"]}, {"type": "string", "pattern": r"\$\{"}]});
written_as!(LogFormat, {"anyOf": [{"enum": ["json", "text"]}, {"type": "string", "pattern": r"\$\{"}]});
written_as!(Address, {"description": "IP:PORT, or localhost:PORT", "type": "string", "pattern": or_reference!(":[0-9]+$")});
written_as!(Header, {"type": "string", "pattern": or_reference!("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")});
written_as!(FilePath, {"type": "string", "minLength": 1, "not": {"pattern": "^~"}});
written_as!(UrlPath, {"type": "string", "pattern": or_reference!("^/"), "not": {"const": "/healthz"}});
written_as!(ScheduledCommand, {
    "type": "string", "not": {"enum": ["init", "health"]}, "pattern": or_reference!("^[A-Za-z][A-Za-z0-9_-]{0,63}$")
});
written_as!(ScheduleId, {"type": "string", "pattern": or_reference!("^[A-Za-z0-9_-]{1,64}$")});
written_as!(Secret, {"anyOf": [Text::json_schema(&mut SchemaGenerator::default()), {
    "type": "array", "minItems": 1, "items": Text::json_schema(&mut SchemaGenerator::default())
}]});
written_as!(Variable, {"type": ["string", "number", "boolean"]});

/// The configuration of ductile, `config.yaml`. `${NAME}`, `${file:PATH}` and `${credential:NAME}` are replaced in texts.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Root {
    service: Option<Service>,
    state: Option<State>,
    /// The first folder with plugins. Default: ./plugins
    plugins_dir: Option<FilePath>,
    /// More folders with plugins, searched after `plugins_dir`.
    plugin_roots: Option<Vec<FilePath>>,
    /// By the name of the plugin's folder, or of an alias.
    #[schemars(extend("propertyNames" = {
        "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", "not": {"enum": ["ductile", "webhook", "cli", "scheduler"]}
    }))]
    plugins: Option<BTreeMap<String, Option<Plugin>>>,
    webhooks: Option<Webhooks>,
    metrics: Option<Metrics>,
    /// Events of one plugin become `handle` jobs of another.
    routes: Option<Vec<Route>>,
}

/// The gateway itself.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Service {
    /// In logs and `status`. Default: ductile
    name: Option<Text>,
    /// How often the scheduler looks at the clock, at least 1s. Default: 60s
    tick_interval: Option<Duration>,
    /// Default: info
    log_level: Option<LogLevel>,
    /// Default: json
    log_format: Option<LogFormat>,
    /// How long the dedupe key of a job that has succeeded keeps equal jobs away. Default: 24h
    dedupe_ttl: Option<Duration>,
    /// How long attempts that ended are kept. Default: 30d
    job_log_retention: Option<Duration>,
    /// How long finished jobs are kept, not less than `dedupe_ttl`. Default: as `job_log_retention`
    job_queue_retention: Option<Duration>,
    /// How long facts are kept, but for the newest of each plugin and type. Default: as `job_log_retention`
    fact_retention: Option<Duration>,
    /// How many jobs may wait. Default: 100000
    max_queue_depth: Option<UpToABillion>,
    /// How long a job may go on after SIGTERM. Default: 30s
    shutdown_grace: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct State {
    /// The database; its folder is the state dir. Default: ./data/ductile.db
    path: Option<FilePath>,
}

/// One plugin, or an alias of one.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Plugin {
    /// Default: true
    enabled: Option<Switch>,
    /// The plugin whose files it runs: makes it an alias.
    uses: Option<Name>,
    /// When it is polled.
    schedule: Option<Schedule>,
    /// What else it is asked for at its time.
    schedules: Option<Vec<NamedSchedule>>,
    /// Passed to the plugin as it is; which keys it knows is in its manifest.
    config: Option<Map<String, Value>>,
    /// Added to the few variables that plugins get.
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": {"pattern": "^DUCTILE_"}}))]
    env: Option<BTreeMap<String, Variable>>,
    retry: Option<Retry>,
    /// How long a process may take, by command. Default: poll 60s, handle 120s, health 10s, init 30s, others 120s
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z][A-Za-z0-9_-]{0,63}$"}))]
    timeouts: Option<BTreeMap<String, Option<Duration>>>,
    circuit_breaker: Option<CircuitBreaker>,
    /// How many jobs of each of its schedules may wait or run at once. Default: 1
    max_outstanding_polls: Option<UpToAMillion>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Schedule {
    every: Interval,
    /// Moves each run by a random time of up to half of this, earlier or later; less than `every`. Default: 0s
    jitter: Option<Duration>,
    preferred_window: Option<Window>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct NamedSchedule {
    /// Unique in its plugin.
    id: ScheduleId,
    /// Default: poll
    command: Option<ScheduledCommand>,
    every: Interval,
    /// Moves each run by a random time of up to half of this, earlier or later; less than `every`. Default: 0s
    jitter: Option<Duration>,
    preferred_window: Option<Window>,
    payload: Option<Map<String, Value>>,
}

/// A time of the day, local time of the machine, the end excluded; overnight when `start` is later.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Window {
    start: TimeOfDay,
    end: TimeOfDay,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Retry {
    /// 1: never again. Default: 4
    max_attempts: Option<UpTo100>,
    /// Before attempt n + 1: backoff_base * 2^(n-1), plus a random time up to backoff_base. Default: 30s
    backoff_base: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct CircuitBreaker {
    /// Dead scheduled jobs in a row that open it. Default: 3
    threshold: Option<UpToAMillion>,
    /// After this time one job shows whether all is well again. Default: 30m
    reset_after: Option<Duration>,
}

/// Signed HTTP deliveries become jobs.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Webhooks {
    listen: Address,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Endpoint {
    /// Literal, unique, not /healthz.
    path: UrlPath,
    plugin: Name,
    /// One, or a list while one replaces the other.
    secret: Secret,
    signature_header: Header,
    /// Default: 1MB
    max_body_size: Option<Size>,
    /// Identifies a delivery; its value becomes the dedupe key.
    dedupe_header: Option<Header>,
    /// Names the event; the type becomes `webhook.<value>`.
    event_header: Option<Header>,
}

/// GET /metrics for Prometheus, without authentication.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Metrics {
    /// Another address than `webhooks.listen`.
    listen: Address,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "for its schema only")]
struct Route {
    /// A plugin, or `ductile` for the gateway's own events.
    from: Name,
    event_type: Text,
    to: Name,
}

fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    crate::schema::committed::<Root>("config", generator, "ductile: config.yaml")
}

mod tests;
