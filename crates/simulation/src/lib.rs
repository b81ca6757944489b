//! Deterministic simulation: the real engine, steps, procedures and domain over the lab's world in process.
//!
//! The same T-SQL and cmdlet front ends answer as over the wire; only the wire is left out. One seed decides schedule,
//! latencies and fates. A run is one runtime with a paused clock, no sockets, no threads, no spawn; a process is one future.
//! kill -9 means that it is never polled again, and that not even its destructors run before the run is over.

pub mod cast;
pub mod chance;
pub mod cluster;
pub mod fate;
pub mod guards;
pub mod interrupted;
pub mod moments;
pub mod night;
pub mod operator;
pub mod plan;
pub mod shrink;
pub mod sides;
pub mod systems;
pub mod truth;
pub mod world;

/// A night asks for memory millions of times and keeps little of it: with the system's allocator a quarter of its time goes there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
