//! The queue: jobs, their states, and every transition between them.
//!
//! `store` holds the SQL of `job_queue` and `job_payload`, `over` that of the jobs that are over, `log` that of `job_log`, `hold` that of `pause`; the other files are the policy.
//! A job that runs is owned by its [`Claimed`] token: only [`claim`], [`claim_one`] and [`adopt`] make one, and only
//! [`finish`] ends an attempt.

mod by_hand;
mod claim;
mod enqueue;
mod finish;
mod hold;
mod job;
pub mod list;
mod log;
mod over;
mod retention;
mod stats;
mod store;
pub mod tree;

pub use by_hand::{Forgotten, retry};
pub use claim::{Claimed, adopt, claim, claim_one, due_since, next_retry};
pub use enqueue::{Children, Enqueued, Limits, enqueue, enqueue_beyond_limit, enqueue_children};
pub use finish::{Attempted, Transition, bury, cancel, finish};
pub use hold::{Pauses, pause, pauses, resume};
pub use job::{Job, JobLogStatus, NewJob, Status, SubmittedBy};
pub use over::{ended, last_success};
pub use retention::{Retention, any_expired, delete_expired};
pub use stats::{Stats, stats};
pub use store::{
    QueuedInit, any_ready, any_retry_set_after, depth, init_runs, newest, oldest_ready, outstanding,
    outstanding_of_schedule, pull_back_retries, queued_inits, queued_plugins,
};

#[cfg(test)]
mod tests;
