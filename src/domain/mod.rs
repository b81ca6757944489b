//! The pure heart: what a pool is, what was seen, what follows from it. No I/O, no clock, no randomness, no kube types.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod activity;
pub mod chain;
pub mod consent;
pub mod decision;
pub mod loss;
pub mod pool;
pub mod primary;
pub mod problem;
pub mod reading;
pub mod record;
pub mod situation;
pub mod step;
pub mod text;
pub mod transition;
pub mod witness;
