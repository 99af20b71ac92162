//! The queue: jobs, their states, and every transition between them.
//!
//! `store` holds all SQL of `job_queue` and `job_payload`, `log` that of `job_log`; the other files are the policy.
//! A job that runs is owned by its [`Claimed`] token: only [`claim`], [`claim_one`] and [`adopt`] make one, and only
//! [`finish`] ends an attempt.

mod claim;
mod enqueue;
mod finish;
mod job;
pub mod list;
mod log;
mod retention;
mod store;

pub use claim::{Claimed, adopt, claim, claim_one, due_since, next_retry};
pub use enqueue::{Children, Enqueued, Limits, enqueue, enqueue_children};
pub use finish::{Attempted, Transition, bury, finish};
pub use job::{Job, JobLogStatus, NewJob, Status, SubmittedBy};
pub use retention::{Retention, any_expired, delete_expired};
pub use store::{any_ready, any_retry_set_after, depth, outstanding_polls, pull_back_retries, queued_plugins};

#[cfg(test)]
mod tests;
