//! Schedules: when each is due, and putting its job on the queue.
//!
//! `schedule` and `window` are pure; `store` holds all SQL of the table `schedule`; `tick` is what happens at each
//! heartbeat; [`settled`] alone moves schedule, breaker and init when a job has ended.

mod breaker;
mod init;
mod schedule;
mod store;
mod tick;
mod window;

pub use breaker::{Breaker, BreakerState, breaker_of, breakers_of, open_breakers, reset_breakers, worst};
pub use init::{Inits, Unhealthy, init_started, is_initialized, unhealthy};
pub use store::{NextRun, next_runs_of};
pub use tick::{Consequence, Ended, Plan, Plans, Ticked, anything_due, settled, sync, tick};

#[cfg(test)]
mod tests;
