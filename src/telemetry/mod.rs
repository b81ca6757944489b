//! What others may watch of a running operator: metrics, and whether it is alive and ready.
//!
//! Nothing is decided here, and nothing waits for it. [`seen`] makes numbers of what the engine tells and of two statuses that follow each
//! other, as the events do; [`instruments`] is what the controller holds; [`serve`] shows all of it over HTTP, and [`probe`] asks for it.

mod backups;
mod health;
pub mod instruments;
mod metrics;
pub mod probe;
mod seen;
pub mod serve;
#[cfg(test)]
mod tests;

pub use instruments::{Instruments, Watched};
pub use metrics::Write;
