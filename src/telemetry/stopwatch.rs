//! How long a look took.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use std::time::Instant;

use crate::engine::{Clock, SystemClock};

/// A clock that remembers when it was asked last. The engine asks it when a look begins and when it has ended, and for nothing between
/// the two; what it tells of the look bears the time of its end. So the look can be timed from outside, and the engine knows nothing of
/// that. Durations come from the machine's other clock, which does not jump.
#[derive(Debug, Default)]
pub struct Stopwatch<C = SystemClock> {
    clock: C,
    /// The last two answers, the last one last.
    asked: Mutex<[Option<(Timestamp, Instant)>; 2]>,
}

impl<C: Clock> Stopwatch<C> {
    /// How long the look took that has ended at this moment. None: it was told before.
    pub fn look_that_ended(&self, at: Timestamp) -> Option<Duration> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let [Some((_, began)), Some((told, ended))] = *asked else { return None };
        if told != at {
            return None;
        }
        *asked = [None, None];
        Some(ended.duration_since(began))
    }
}

impl<C: Clock> Clock for Stopwatch<C> {
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = [asked[1], Some((now, Instant::now()))];
        now
    }
    async fn sleep(&self, d: Duration) {
        self.clock.sleep(d).await;
    }
}
