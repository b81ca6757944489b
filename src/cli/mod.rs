//! `kubectl pcf`: what is going on, what would be done, what was lost, and a human's yes to it. Nothing but `approve` writes.

pub mod approve;
pub mod arguments;
pub mod cluster;
pub mod completions;
pub mod failure;
pub mod file;
pub mod follow;
pub mod output;
pub mod plan;
pub mod replay;
pub mod report;
pub mod screen;
pub mod status;
pub mod survey;
mod table;
pub mod wait;
pub mod watch;

pub use file::from_file;
