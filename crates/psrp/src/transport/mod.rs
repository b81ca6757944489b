//! What carries fragments: WS-Management over HTTP ([`wsman`]) or the lines of server mode ([`server_mode`]).
//!
//! Everything above is the same for both: runspace pool, pipelines, streams, deadlines.

pub(crate) mod connection;
pub mod orphans;
pub mod server_mode;
pub mod wsman;

use std::future::Future;
use std::pin::Pin;

use uuid::Uuid;

use crate::error::Error;

/// What a transport does meanwhile.
pub(crate) type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// What came for a pipeline, or for the pool.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Whole fragments, in order. None is no error: there was nothing yet.
    pub fragments: Vec<Vec<u8>>,
    /// Whether the transport says that the pipeline has ended.
    pub done: bool,
}

/// A way to one runspace pool.
pub(crate) trait Transport: Send + Sync {
    /// Creates the pool. `opening` holds the fragments of SESSION_CAPABILITY and INIT_RUNSPACEPOOL.
    fn open(&self, pool: Uuid, opening: Vec<u8>) -> Doing<'_, ()>;
    /// Starts a pipeline with the fragments of CREATE_PIPELINE. [`Error::NotBegun`] if nothing of it was sent.
    fn begin(&self, pipeline: Uuid, fragments: Vec<Vec<u8>>) -> Doing<'_, ()>;
    /// Waits for what comes for a pipeline, or for the pool if none is named. At most one at a time for each.
    fn receive(&self, of: Option<Uuid>) -> Doing<'_, Received>;
    /// Tells a pipeline to stop. Its final state still comes through [`Transport::receive`].
    fn stop(&self, pipeline: Uuid) -> Doing<'_, ()>;
    /// Frees a pipeline on the server; one that still runs is ended by it, without a word. Nothing is received for it any more.
    fn finish(&self, pipeline: Uuid) -> Doing<'_, ()>;
    /// Closes the pool with all that runs in it, and what belongs to the transport.
    fn close(&self) -> Doing<'_, ()>;
    /// Deletes what other starts of the same process have left on the server; how many there were.
    fn tidy(&self) -> Doing<'_, usize>;
    /// Why nothing can be done through it any more; none while it works, as far as is known.
    fn broken(&self) -> Option<Error>;
    /// Whether the server sends unasked. Then the pool's messages come all the time, and a pipeline's end is its final state;
    /// otherwise both are asked for, and the end is told by [`Received::done`].
    fn pushes(&self) -> bool;
}
