//! Polls at their time: when each plugin is due, and putting its poll on the queue.
//!
//! `schedule` and `window` are pure; `store` holds all SQL of the table `schedule`; `tick` is what happens at each
//! heartbeat; [`settled`] alone moves schedule, breaker and init when a job has ended.

mod breaker;
mod init;
mod schedule;
mod store;
mod tick;
mod window;

pub use breaker::{Breaker, BreakerState, breaker_of, open_breakers, reset_breaker};
pub use init::{Inits, Unhealthy, init_started, is_initialized, unhealthy};
pub use store::next_run_of;
pub use tick::{Consequence, Ended, Plan, Plans, Ticked, anything_due, settled, sync, tick};

#[cfg(test)]
mod tests;
