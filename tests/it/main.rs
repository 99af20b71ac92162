//! The real binary with real plugins, from outside: one file an area. How to write a test is in `support`.

#![allow(clippy::unwrap_used)]

mod cli;
mod crash;
mod hostile;
mod limits;
mod lock;
mod plugins;
mod refusal;
mod run;
mod schedule;
mod shutdown;
mod support;
mod timeout;
