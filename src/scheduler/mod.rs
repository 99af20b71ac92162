//! Polls at their time: when each plugin is due, and putting its poll on the queue.
//!
//! `schedule` and `window` are pure; `store` holds all SQL of the table `schedule`; `tick` is what happens at each
//! heartbeat; [`settled`] moves a schedule when its run has ended.

mod schedule;
mod store;
mod tick;
mod window;

pub use store::next_run_of;
pub use tick::{Plan, Plans, Ticked, anything_due, settled, sync, tick};

#[cfg(test)]
mod tests;
