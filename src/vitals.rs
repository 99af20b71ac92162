//! What the running parts report of themselves, for those who ask whether all is well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The latest signs of life, all on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Signs {
    pub started: Instant,
    /// The last tick of the scheduler; the start before the first.
    pub ticked: Instant,
    pub dispatcher: Activity,
}

/// What the dispatcher does.
#[derive(Debug, Clone, Copy)]
pub enum Activity {
    /// Nothing runs since then.
    Idle { since: Instant },
    /// A job runs, with this deadline; `None` beyond what the clock can tell.
    Running { deadline: Option<Instant> },
}

/// Where the parts report.
#[derive(Debug)]
pub struct Vitals {
    signs: Mutex<Signs>,
    dispatcher: Notify,
}

impl Default for Vitals {
    fn default() -> Self {
        let now = Instant::now();
        let signs = Signs { started: now, ticked: now, dispatcher: Activity::Idle { since: now } };
        Self { signs: Mutex::new(signs), dispatcher: Notify::new() }
    }
}

impl Vitals {
    pub fn signs(&self) -> Signs {
        *self.lock()
    }

    pub fn ticked(&self) {
        self.lock().ticked = Instant::now();
    }

    /// A job runs, and may take this long.
    pub fn running(&self, timeout: Duration) {
        self.lock().dispatcher = Activity::Running { deadline: Instant::now().checked_add(timeout) };
        self.dispatcher.notify_one();
    }

    pub fn idle(&self) {
        self.lock().dispatcher = Activity::Idle { since: Instant::now() };
        self.dispatcher.notify_one();
    }

    /// Until the dispatcher has begun or ended something since this was last waited for; for one who waits.
    pub async fn dispatcher_moved(&self) {
        self.dispatcher.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
