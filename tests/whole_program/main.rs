//! The whole program on a real API server. One test program for all of them: they share an API server, and one that waits keeps no other
//! from computing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod aligned;
mod api_server;
mod bad_input;
mod cli;
mod dialects;
mod failover;
mod first_sight;
mod leader;
mod refuses;
mod seed;
mod seed_in_trouble;
mod shells;
mod switch;
mod taken_away;
mod telemetry;
mod undone;
