//! Keeps the service manager informed: ready, what runs, alive as long as there is progress, stopping.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::notify::Manager;
use crate::active::Active;
use crate::clock::{Clock, Timestamp};
use crate::command::Command;
use crate::health::{Reading, Trouble};
use crate::queue::Status;
use crate::queue::list::{self, Filter};
use crate::state::{Db, Reader};
use crate::vitals::Vitals;

/// The parts of the watchdog's time in which it is fed once: a few may be lost.
const FEEDS: u32 = 4;
/// Between two looks when there is no watchdog.
const WITHOUT_WATCHDOG: Duration = Duration::from_secs(30);
/// The least time between two texts, however fast jobs come and go.
const BETWEEN_TEXTS: Duration = Duration::from_secs(1);
/// What an end may take beyond `shutdown_grace`: 5 s for the plugin to end when it is told to, requests that have
/// begun, and the last writes.
const BEYOND_GRACE: Duration = Duration::from_secs(30);

/// Tells the service manager how things are, until the daemon has ended.
#[derive(Debug)]
pub(super) struct Watchdog {
    pub(super) manager: Arc<Manager>,
    pub(super) db: Db,
    pub(super) reader: Reader,
    pub(super) active: watch::Receiver<Arc<Active>>,
    pub(super) clock: Clock,
    pub(super) vitals: Arc<Vitals>,
    /// The end begins.
    pub(super) stopping: CancellationToken,
}

impl Watchdog {
    /// Begins with READY, so it is to be started last.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        if !self.manager.listens() {
            return;
        }
        let patience = sd_notify::watchdog_enabled().filter(|time| !time.is_zero());
        let mut beat = tokio::time::interval(patience.map_or(WITHOUT_WATCHDOG, |time| time / FEEDS));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.manager.ready().await;
        let (mut stopping, mut told) = (false, String::new());
        let mut next_text = Instant::now();
        loop {
            let moved = async {
                tokio::time::sleep_until(next_text).await;
                self.vitals.dispatcher_moved().await;
            };
            let mut beats = false;
            tokio::select! {
                // An idle daemon begins and ends its end at once.
                biased;
                () = self.stopping.cancelled(), if !stopping => {
                    stopping = true;
                    let grace = self.active.borrow().registry.config().service.shutdown_grace;
                    self.manager.stopping(grace.saturating_add(BEYOND_GRACE)).await;
                }
                () = ended.cancelled() => return,
                _ = beat.tick() => beats = true,
                () = moved => {}
            }
            let active = Arc::clone(&self.active.borrow_and_update());
            let reading = Reading::take(&self.db, &self.reader, &active, &self.clock, &self.vitals);
            if let Some(patience) = patience.filter(|_| beats) {
                feed(&self.manager, &reading, patience, stopping).await;
            }
            let text = self.text(&reading, &active, stopping);
            if text != told {
                self.manager.status(&text).await;
                told = text;
            }
            next_text = Instant::now() + BETWEEN_TEXTS;
        }
    }

    fn text(&self, reading: &Reading, active: &Active, stopping: bool) -> String {
        let filter = Filter { statuses: vec![Status::Running], plugin: None, limit: 1 };
        // If it cannot be read, the reading says so.
        let running = list::jobs(&self.reader, &filter).ok().and_then(|mut jobs| jobs.pop());
        let now = Now {
            stopping,
            // Without ticks and claims the loops stand still, as they should.
            troubles: if stopping { Vec::new() } else { reading.troubles() },
            queued: reading.queue.as_ref().ok().map(|queue| queue.depth),
            paused: reading.queue.as_ref().is_ok_and(|queue| queue.paused),
            open_breakers: reading.queue.as_ref().map_or(0, |queue| queue.open_breakers),
            running: running.map(|job| (job.plugin, job.command, job.started_at)),
            not_loaded: active.registry.entries().filter(|entry| entry.enabled && entry.loaded.is_err()).count(),
        };
        now.to_string()
    }
}

/// The watchdog's own time is the patience: what stands still for longer is not fed any more, and the manager
/// ends us when that has lasted as long again. An end has the manager's own timeout.
async fn feed(manager: &Manager, reading: &Reading, patience: Duration, stopping: bool) {
    match reading.standstill(patience).filter(|_| !stopping) {
        None => manager.alive().await,
        Some(reason) => tracing::error!(%reason, "no progress: the service manager's watchdog is not fed"),
    }
}

/// What there is to say, the most urgent first. Times instead of durations: the text changes only when something
/// happens.
struct Now {
    stopping: bool,
    troubles: Vec<Trouble>,
    /// `None`: cannot be read.
    queued: Option<u64>,
    running: Option<(String, Command, Option<Timestamp>)>,
    paused: bool,
    not_loaded: usize,
    open_breakers: usize,
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stopping {
            f.write_str("stopping; ")?;
        }
        if self.paused {
            f.write_str("paused; ")?;
        }
        for trouble in &self.troubles {
            write!(f, "degraded: {trouble}; ")?;
        }
        match self.queued {
            Some(queued) => write!(f, "{queued} queued, ")?,
            None => f.write_str("queue unknown, ")?,
        }
        match &self.running {
            Some((plugin, command, since)) => {
                write!(f, "running {plugin} {command}")?;
                if let Some(since) = since {
                    write!(f, " since {since}")?;
                }
            }
            None => f.write_str("nothing runs")?,
        }
        match self.not_loaded {
            0 => {}
            1 => f.write_str("; 1 plugin is not loaded")?,
            count => write!(f, "; {count} plugins are not loaded")?,
        }
        match self.open_breakers {
            0 => Ok(()),
            1 => f.write_str("; the breaker of 1 plugin is open"),
            count => write!(f, "; the breakers of {count} plugins are open"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_the_most_urgent_first() {
        let idle = Now {
            stopping: false,
            troubles: Vec::new(),
            queued: Some(0),
            running: None,
            paused: false,
            not_loaded: 0,
            open_breakers: 0,
        };
        assert_eq!(idle.to_string(), "0 queued, nothing runs");
        let since = Timestamp::from_millis(1_763_695_733_120);
        let busy = Now {
            queued: Some(12),
            running: Some(("backup".to_owned(), Command::Poll, Some(since))),
            not_loaded: 1,
            ..idle
        };
        assert_eq!(
            busy.to_string(),
            "12 queued, running backup poll since 2025-11-21T03:28:53.120Z; 1 plugin is not loaded"
        );
        let full = Now { troubles: vec![Trouble::WriteFailed], not_loaded: 2, running: None, ..busy };
        assert_eq!(
            full.to_string(),
            "degraded: the last write failed; 12 queued, nothing runs; 2 plugins are not loaded"
        );
        let paused = Now { paused: true, troubles: Vec::new(), not_loaded: 0, open_breakers: 1, ..full };
        assert_eq!(paused.to_string(), "paused; 12 queued, nothing runs; the breaker of 1 plugin is open");
        let full = Now { paused: false, open_breakers: 0, ..paused };
        let end = Now { stopping: true, troubles: Vec::new(), queued: None, not_loaded: 0, ..full };
        assert_eq!(end.to_string(), "stopping; queue unknown, nothing runs");
    }
}
