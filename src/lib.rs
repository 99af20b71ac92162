//! ductile: a lightweight, YAML-configured integration gateway.
//!
//! Producers (scheduler, webhooks, routed events, the CLI) put jobs on one SQLite-backed queue; the
//! dispatcher takes them one by one, runs the plugin of each as a process, and settles the result in one
//! transaction. The map, the data flow and the invariants are in ARCHITECTURE.md; the behaviour is in SPEC.md.
//!
//! | module | owns |
//! |---|---|
//! | [`cli`] | the command line, one file for each subcommand |
//! | [`daemon`] | the composition root: start order, heartbeat, signals, shutdown |
//! | [`active`] | one configuration with its plugins, as the running parts use it |
//! | [`dispatch`] | the serial loop: claim, run, settle |
//! | [`scheduler`] | which poll is due when |
//! | [`webhook`] | signed requests to jobs, the health check |
//! | [`metrics`], [`http`] | what Prometheus is told; the HTTP server of both |
//! | [`router`] | from events to jobs; pure |
//! | [`queue`] | jobs, their states, every transition |
//! | [`plugin`] | manifests, trust, the protocol, one child process from spawn to reap |
//! | [`state`] | the state dir, its lock, the database |
//! | [`config`] | `config.yaml`: reading it, checking it, reporting every problem at its line |
//! | [`command`], [`clock`], [`log`] | command names, the time of day, log lines |
//! | [`vitals`], [`health`] | the signs of life of the running parts, and what they mean |
//! | [`counters`] | what the running parts have counted |
//! | [`fault`] | crash points for tests; nothing in a release |

// Both panic when nobody reads: `cli::output` and the log do not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod active;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod counters;
pub mod daemon;
pub mod dispatch;
pub mod fault;
pub mod health;
pub mod http;
pub mod log;
pub mod metrics;
pub mod plugin;
pub mod queue;
pub mod router;
pub mod scheduler;
#[cfg(test)]
mod schema;
pub mod state;
pub mod vitals;
pub mod webhook;
