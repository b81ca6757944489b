//! The engine carries a transition forward: observe, decide, permit, act, observe. It knows no step by name.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod observe;
pub mod permit;
pub mod plan;
pub mod recording;
pub mod run;

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

/// The time, and waiting for it. Everything that is timed goes through this, so that a simulation can own it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Waits.
    fn sleep(&self, d: Duration) -> impl Future<Output = ()> + Send;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place where the engine's time comes from
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    #[allow(clippy::disallowed_methods)] // and where it is waited
    async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
    }
}
