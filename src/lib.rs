//! ductile: a lightweight, YAML-configured integration gateway.
//!
//! Producers (scheduler, webhooks, routed events, the CLI) put jobs on one SQLite-backed queue; the
//! dispatcher takes them one by one, runs the plugin of each as a process, and settles the result in one
//! transaction. The map, the data flow and the invariants are in ARCHITECTURE.md; the behaviour is in SPEC.md.
//!
//! | module | owns |
//! |---|---|
//! | [`clock`] | the time of day, real or simulated |
//! | [`command`] | the names of what a plugin can be asked to do |
//! | [`config`] | `config.yaml`: reading it, checking it, reporting every problem at its line |

pub mod clock;
pub mod command;
pub mod config;
pub mod plugin;
