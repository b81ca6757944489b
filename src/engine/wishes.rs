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

/// The wishes of one resource: the newest counts.
#[derive(Clone, Debug)]
pub struct Wishes(watch::Receiver<Wish>);

impl Wishes {
    /// Wishes as they are sent, and who sends them.
    pub fn channel(first: Wish) -> (watch::Sender<Wish>, Wishes) {
        let (sender, receiver) = watch::channel(first);
        (sender, Wishes(receiver))
    }
    /// The newest wish; none if the engine is to stop, or to begin anew with another description of the pool.
    pub fn read(&mut self, pool: &Pool) -> Option<Wish> {
        let wish = self.0.borrow_and_update().clone();
        (!wish.stop && *wish.pool == *pool).then_some(wish)
    }
    /// The newest wish, whatever it says.
    pub fn newest(&self) -> Wish {
        self.0.borrow().clone()
    }
    /// The same to look at, without a copy: asked before every effect.
    pub fn peek<T>(&self, f: impl FnOnce(&Wish) -> T) -> T {
        f(&self.0.borrow())
    }
    /// Waits for another wish; an error: nobody is left to have one.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.0.changed().await
    }
}
