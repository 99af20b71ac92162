//! The real binary with real plugins, from outside: one file an area. How to write a test is in `support`.

#![allow(clippy::unwrap_used)]

mod alias;
mod backup;
mod by_hand;
mod by_others;
mod check;
mod cli;
mod contract;
mod core_events;
mod cost;
mod crash;
#[cfg(feature = "fault-injection")]
mod crash_walk;
mod disk_full;
mod follow;
mod hostile;
mod init;
mod kit;
mod limits;
mod lock;
mod metrics;
#[cfg(feature = "monitor")]
mod monitor;
mod new_folder;
mod notify;
mod pause;
mod plugins;
#[cfg(feature = "fault-injection")]
mod power_loss;
mod protocol_2;
mod queue;
mod refusal;
mod reload;
mod roots;
mod run;
mod schedule;
mod schedules;
mod schema;
mod shutdown;
mod status;
mod storm;
mod support;
mod tidy;
mod timeout;
mod tutorial;
mod wake;
mod webhook;
mod webhook_kills;
