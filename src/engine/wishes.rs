//! What the resource asks for, as the controller hands it over, also in the middle of an effect.

use std::sync::Arc;

use tokio::sync::watch;

use super::goal::Goal;
use crate::domain::pool::Pool;

/// What the resource says at the moment, and whether to stop.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The pool.
    pub pool: Arc<Pool>,
    /// What is wanted.
    pub goal: Goal,
    /// No new effect; return.
    pub stop: bool,
}

/// Whether this process holds the lease of the operator. A question, not an answer that was sent: a process that stood still for a
/// while must not believe what was true before.
#[derive(Clone)]
pub struct Lead(Arc<dyn Fn() -> bool + Send + Sync>);

impl Lead {
    /// A lead that whoever keeps the lease answers for.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Lead {
        Lead(Arc::new(holds))
    }
    /// The lead of a process that has no other beside it.
    pub fn alone() -> Lead {
        Lead::new(|| true)
    }
    /// Whether the lease is held now.
    pub fn is_held(&self) -> bool {
        (self.0)()
    }
}

/// The wishes of one resource: the newest counts.
#[derive(Clone)]
pub struct Wishes {
    newest: watch::Receiver<Wish>,
    lead: Lead,
}

impl Wishes {
    /// Wishes as they are sent, and who sends them. Whoever sees the lead change sends the newest one again: a pause ends by that.
    pub fn channel(first: Wish, lead: Lead) -> (watch::Sender<Wish>, Wishes) {
        let (sender, newest) = watch::channel(first);
        (sender, Wishes { newest, lead })
    }
    /// The newest wish; none if the engine is to stop, or to begin anew with another description of the pool.
    pub fn read(&mut self, pool: &Pool) -> Option<Wish> {
        let wish = self.newest.borrow_and_update().clone();
        (!wish.stop && *wish.pool == *pool).then_some(wish)
    }
    /// The newest wish, whatever it says.
    pub fn newest(&self) -> Wish {
        self.newest.borrow().clone()
    }
    /// The same to look at, without a copy: asked before every effect.
    pub fn peek<T>(&self, f: impl FnOnce(&Wish) -> T) -> T {
        f(&self.newest.borrow())
    }
    /// Whether this process may begin anything.
    pub fn leads(&self) -> bool {
        self.lead.is_held()
    }
    /// Waits for another wish; an error: nobody is left to have one.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.newest.changed().await
    }
}
