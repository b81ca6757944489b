//! The pure heart: what a pool is, what was seen, what follows from it. No I/O, no clock, no randomness, no kube types.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

// Data.
pub mod backups;
pub mod belief;
pub mod consent;
pub mod decision;
pub mod links;
pub mod log_shipping;
pub mod lync;
pub mod pool;
pub mod problem;
pub mod reading;
pub mod record;
pub mod route;
pub mod seed;
pub mod side;
pub mod site;
pub mod situation;
pub mod sql_server;
pub mod step;
pub mod tail;
pub mod text;
pub mod transition;
pub mod wish;

// Judgement on them.
pub mod acceptance;
pub mod active;
pub mod chain;
pub mod database_files;
pub mod fencing;
mod lacking;
mod lives;
pub mod loss;
pub mod premises;
pub mod proofs;
pub mod seeding;
pub mod serving;
