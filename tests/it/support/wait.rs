//! Waiting for a condition.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Far more than anything takes; only a failing test waits for so long.
const DEADLINE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Looks until `condition` gives something.
///
/// # Panics
/// When it does not within a generous time, with `what` and with what `context` tells then.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, context: impl Fn() -> String, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        if started.elapsed() > DEADLINE {
            panic!("waited {} s in vain for: {what}\n{}", DEADLINE.as_secs(), context());
        }
        sleep(BETWEEN_LOOKS);
    }
}

/// Looks until `condition` is true.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, String::new, || condition().then_some(()));
}
