//! Library of the operator that fails Persistent Chat over between data centres.

pub mod api;
pub mod cli;
pub mod controller;
pub mod domain;
pub mod engine;
pub mod permit;
pub mod procedures;
pub mod status;
pub mod steps;
pub mod systems;
pub mod telemetry;
