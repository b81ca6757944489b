//! The engine carries a transition forward: observe, decide, permit, act, observe. It knows no step by name.
//!
//! [`drive`] is the loop, and reads top to bottom; [`memory`] is what a process keeps between two looks and decides with; [`act`]
//! carries out what was decided; [`plan`] is the decision itself, a pure function.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod act;
pub mod drive;
pub mod goal;
pub mod memory;
pub mod observe;
pub mod pause;
pub mod plan;
pub mod readiness;
pub mod recording;
pub mod report;
pub mod start;
pub mod survey;
pub mod wishes;

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::pool::Pool;

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

/// How patient the engine is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a side must be silent before it is taken for dead.
    pub silence: SignedDuration,
    /// Pause between two looks while nothing happens.
    pub poll: Duration,
}

/// What the engine works with: handed on as one.
pub struct World<'w, S, C> {
    /// The outside.
    pub systems: &'w S,
    /// The pool.
    pub pool: &'w Pool,
    /// The time.
    pub clock: &'w C,
    /// How patient it is.
    pub pace: Pace,
}
