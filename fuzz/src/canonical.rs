//! Writes what was read, all of it and without anything that is left to YAML: every text in quotes, every default.
//!
//! Two configurations are the same if they are written the same way.

use std::fmt::Write as _;
use std::time::Duration;

use ductile::config::{Config, Endpoint, LogFormat, LogLevel, NamedSchedule, PluginConfig, PluginRoot, Schedule};
use ductile::plugin::{Access, Manifest};
use serde_json::Value;

/// A configuration, in at most about `most` bytes.
pub(crate) fn config(config: &Config, most: usize) -> Option<String> {
    let service = &config.service;
    let level = match service.log_level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let format = match service.log_format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    let mut plugins = String::new();
    for (name, plugin) in &config.plugins {
        write!(plugins, "{name}: {{{}}}, ", self::plugin(plugin)).ok()?;
        if plugins.len() > most {
            return None;
        }
    }
    let webhooks = config.webhooks.as_ref().map_or("null".to_owned(), |webhooks| {
        let endpoints: String = webhooks.endpoints.iter().map(endpoint).collect();
        format!("{{listen: {}, endpoints: [{endpoints}]}}", text(&webhooks.listen.to_string()))
    });
    let metrics = config
        .metrics
        .map_or("null".to_owned(), |metrics| format!("{{listen: {}}}", text(&metrics.listen.to_string())));
    let routes = config.routes.iter().map(|route| {
        format!("{{from: {}, event_type: {}, to: {}}}, ", text(&route.from), text(&route.event_type), text(&route.to))
    });
    let written = [
        format!("service: {{name: {}, tick_interval: {}, ", text(&service.name), ms(service.tick_interval)),
        format!("log_level: {level}, log_format: {format}, dedupe_ttl: {}, ", ms(service.dedupe_ttl)),
        format!("job_log_retention: {}, ", ms(service.job_log_retention)),
        format!("job_queue_retention: {}, ", ms(service.job_queue_retention)),
        format!("fact_retention: {}, ", ms(service.fact_retention)),
        format!("max_queue_depth: {}, shutdown_grace: {}}}\n", service.max_queue_depth, ms(service.shutdown_grace)),
        format!("state: {{path: {}}}\n", text(config.state_path.to_str()?)),
        roots(&config.plugin_roots)?,
        format!(
            "plugins: {{{plugins}}}\nwebhooks: {webhooks}\nmetrics: {metrics}\nroutes: [{}]\n",
            routes.collect::<String>()
        ),
    ];
    Some(written.concat()).filter(|text| text.len() <= most)
}

/// The default of `plugins_dir` is left out: naming it would say that it must be there.
fn roots(roots: &[PluginRoot]) -> Option<String> {
    let first = roots.first().filter(|root| !root.may_be_missing);
    let first = first.map(|root| Some(format!("plugins_dir: {}\n", text(root.path.to_str()?))));
    let more = roots.iter().skip(1).map(|root| Some(text(root.path.to_str()?) + ", "));
    let more = more.collect::<Option<String>>()?;
    Some(first.unwrap_or_else(|| Some(String::new()))? + &format!("plugin_roots: [{more}]\n"))
}

/// The keys of a schedule.
fn schedule(schedule: &Schedule) -> String {
    let window = schedule.preferred_window.map_or("null".to_owned(), |window| {
        let [start, end] = [window.start, window.end].map(|time| text(&time.format("%H:%M").to_string()));
        format!("{{start: {start}, end: {end}}}")
    });
    let every = schedule.every.as_secs();
    format!("every: {every}s, jitter: {}, preferred_window: {window}", ms(schedule.jitter))
}

fn named(named: &NamedSchedule) -> String {
    let payload: String = named.payload.iter().map(|(name, value)| entry(name, &json(value))).collect();
    let (id, command) = (text(&named.id), named.command.clone());
    format!("{{id: {id}, command: {command}, {}, payload: {{{payload}}}}}, ", schedule(&named.schedule))
}

fn plugin(plugin: &PluginConfig) -> String {
    let PluginConfig { enabled, retry, timeouts, circuit_breaker, max_outstanding_polls, .. } = plugin;
    let uses = plugin.uses.as_deref().map_or("null".to_owned(), text);
    let polled = plugin.schedule.as_ref().map_or("null".to_owned(), |polled| format!("{{{}}}", schedule(polled)));
    let schedules: String = plugin.schedules.iter().map(named).collect();
    let env: String = plugin.env.iter().map(|(name, value)| entry(name, &text(value))).collect();
    let named = timeouts.named.iter().map(|(command, timeout)| entry(command.as_str(), &ms(*timeout)));
    let named: String = named.collect();
    let config: String = plugin.config.iter().map(|(name, value)| entry(name, &json(value))).collect();
    [
        format!("enabled: {enabled}, uses: {uses}, schedule: {polled}, schedules: [{schedules}], "),
        format!("config: {{{config}}}, env: {{{env}}}, "),
        format!("retry: {{max_attempts: {}, backoff_base: {}}}, ", retry.max_attempts, ms(retry.backoff_base)),
        format!("timeouts: {{poll: {}, handle: {}, ", ms(timeouts.poll), ms(timeouts.handle)),
        format!("health: {}, init: {}, {named}}}, ", ms(timeouts.health), ms(timeouts.init)),
        format!("circuit_breaker: {{threshold: {}, ", circuit_breaker.threshold),
        format!("reset_after: {}}}, max_outstanding_polls: {max_outstanding_polls}", ms(circuit_breaker.reset_after)),
    ]
    .concat()
}

fn endpoint(endpoint: &Endpoint) -> String {
    let secrets: String = endpoint.secrets.iter().map(|secret| text(secret) + ", ").collect();
    let header = |name: &Option<String>| name.as_deref().map_or("null".to_owned(), text);
    [
        format!("{{path: {}, plugin: {}, secret: [{secrets}], ", text(&endpoint.path), text(&endpoint.plugin)),
        format!("signature_header: {}, ", text(&endpoint.signature_header)),
        format!("max_body_size: {}, ", endpoint.max_body_size),
        format!("dedupe_header: {}, ", header(&endpoint.dedupe_header)),
        format!("event_header: {}}}, ", header(&endpoint.event_header)),
    ]
    .concat()
}

/// A manifest. One that declares no known command gets one that nobody knows: some must be there.
pub(crate) fn manifest(manifest: &Manifest) -> Option<String> {
    let optional = |value: &Option<String>| value.as_deref().map_or("null".to_owned(), literal);
    let flag = |value: Option<bool>| value.map_or("null".to_owned(), |value| value.to_string());
    let list = |names: &[String]| names.iter().map(|name| literal(name) + ", ").collect::<String>();
    let mut commands = String::new();
    for declared in &manifest.commands {
        let access = match declared.access {
            None => "null",
            Some(Access::Read) => "read",
            Some(Access::Write) => "write",
        };
        let (command, description) = (&declared.command, optional(&declared.description));
        write!(commands, "{{name: {command}, type: {access}, description: {description}, ").ok()?;
        write!(commands, "idempotent: {}, ", flag(declared.idempotent)).ok()?;
        write!(commands, "retry_safe: {}, ", flag(declared.retry_safe)).ok()?;
        let free = |value: &Option<Value>| value.as_ref().map_or("null".to_owned(), json_literal);
        write!(commands, "input_schema: {}, ", free(&declared.input_schema)).ok()?;
        write!(commands, "output_schema: {}, ", free(&declared.output_schema)).ok()?;
        write!(commands, "values: {}}}, ", free(&declared.values)).ok()?;
    }
    let facts = manifest.fact_outputs.iter().map(|output| {
        let (command, fact_type) = (&output.when.command, literal(&output.fact_type));
        format!("{{when: {{command: {command}}}, from: state_updates, fact_type: {fact_type}}}, ")
    });
    let facts: String = facts.collect();
    if commands.is_empty() {
        commands.push_str("unknown");
    }
    let keys = manifest.config_keys.as_ref().map_or("null".to_owned(), |keys| {
        format!("{{required: [{}], optional: [{}]}}", list(&keys.required), list(&keys.optional))
    });
    let version = manifest.manifest_version.map_or("null".to_owned(), |version| version.to_string());
    let stopwatch = manifest.stopwatch.as_ref().map_or("null".to_owned(), json_literal);
    let written = [
        format!("manifest_spec: {}\nmanifest_version: {version}\n", optional(&manifest.manifest_spec)),
        format!("concurrency_safe: {}\nstopwatch: {stopwatch}\n", flag(manifest.concurrency_safe)),
        format!("fact_outputs: [{facts}]\n"),
        format!("name: {}\nversion: {}\n", literal(&manifest.name), optional(&manifest.version)),
        format!("protocol: {}\nentrypoint: {}\n", manifest.protocol, literal(manifest.entrypoint.to_str()?)),
        format!("description: {}\n", optional(&manifest.description)),
        format!("commands: [{commands}]\nconfig_keys: {keys}\n"),
    ];
    Some(written.concat())
}

fn ms(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn entry(name: &str, value: &str) -> String {
    // Marked as a key: without that YAML wants it to be short.
    format!("? {} : {value}, ", literal(name))
}

/// As [`json`], where nothing is replaced.
fn json_literal(value: &Value) -> String {
    written(value, &literal)
}

fn json(value: &Value) -> String {
    written(value, &text)
}

fn written(value: &Value, text: &dyn Fn(&str) -> String) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(value) => text(value),
        Value::Array(elements) => {
            let elements: String = elements.iter().map(|element| written(element, text) + ", ").collect();
            format!("[{elements}]")
        }
        Value::Object(members) => {
            let members: String = members.iter().map(|(name, value)| entry(name, &written(value, text))).collect();
            format!("{{{members}}}")
        }
    }
}

/// A value in which references would be replaced, if there were any.
fn text(value: &str) -> String {
    literal(&value.replace("${", "$${"))
}

/// In quotes, and whatever might mean something to YAML by its number.
fn literal(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            ' '..='~' if c != '"' && c != '\\' => quoted.push(c),
            _ => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}
