//! Whose turn it is: answers one after the other, with pauses, so that who asks on and on does not hold up the jobs.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Between two answers at least.
const PAUSE: Duration = Duration::from_millis(10);

/// As many times as long as an answer took is the pause behind it: the jobs' thread is on answers for at most a tenth of
/// its time.
const SHARE: u32 = 9;

/// The order of those who ask.
#[derive(Debug, Default)]
pub struct Turn(Mutex<Option<Instant>>);

impl Turn {
    /// Makes an answer when it is its turn.
    pub(super) async fn take<T>(&self, answer: impl FnOnce() -> T) -> T {
        let mut next = self.0.lock().await;
        if let Some(next) = *next {
            sleep_until(next).await;
        }
        let begun = Instant::now();
        let answer = answer();
        *next = Some(Instant::now() + pause(begun.elapsed()));
        answer
    }
}

fn pause(took: Duration) -> Duration {
    PAUSE.max(took * SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_who_comes_soon_after_another_waits() {
        let turn = Turn::default();
        let start = Instant::now();
        let at = || start.elapsed();
        assert_eq!(turn.take(at).await, Duration::ZERO);
        let (second, third) = tokio::join!(turn.take(at), turn.take(at));
        assert!(second >= PAUSE && third >= second + PAUSE, "{second:?} {third:?}");
        tokio::time::advance(2 * PAUSE).await;
        let before = at();
        assert_eq!(turn.take(at).await, before, "nobody was there a moment before");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_waiting_holds_nobody_up() {
        let turn = Turn::default();
        turn.take(|| ()).await;
        assert!(tokio::time::timeout(PAUSE / 2, turn.take(|| ())).await.is_err());
        tokio::time::advance(PAUSE).await;
        let before = Instant::now();
        turn.take(|| ()).await;
        assert_eq!(Instant::now(), before);
    }

    #[test]
    fn a_long_answer_has_a_long_pause() {
        assert_eq!(pause(Duration::ZERO), PAUSE);
        assert_eq!(pause(Duration::from_millis(1)), PAUSE);
        assert_eq!(pause(Duration::from_millis(20)), Duration::from_millis(180));
    }
}
