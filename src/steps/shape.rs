//! The shape that all steps have.

use std::fmt::Debug;
use std::future::Future;

use serde::Serialize;

use super::view::View;
use crate::domain::decision::{Decision, Left, Outcome};
use crate::domain::pool::Pool;
use crate::domain::route::Route;
use crate::domain::step::StepId;
use crate::domain::transition::Transition;
use crate::permit::Permit;
use crate::systems::Systems;

/// One step.
pub trait Step {
    /// Which one.
    const ID: StepId;
    /// Whether it cannot be undone.
    const ONE_WAY: bool = false;
    /// What it can do to the world. Effects are decided again after a restart, never replayed.
    type Effect: Clone + Debug + PartialEq + Serialize + Send + Sync;
    /// What it must have seen to decide.
    fn reads() -> Reads;
    /// Its word on what was seen. Pure.
    fn decide(v: &View<'_>) -> Decision<Self::Effect>;
    /// What it would still do, in order, as far as that can be known now: what a plan on paper shows. What follows is not known before the
    /// first effect has shown itself, unless a step says more.
    fn ahead(v: &View<'_>) -> Vec<Self::Effect> {
        match Self::decide(v) {
            Decision::Act(effect) => vec![effect],
            Decision::Done(_) | Decision::Wait(_) | Decision::Blocked(_) => vec![],
        }
    }
    /// How much is left of what it does piece by piece; none: it has no pieces, or nobody can tell.
    fn progress(_v: &View<'_>) -> Option<Left> {
        None
    }
    /// Whether its goal was reached by this operator. What only looks is always its own.
    fn is_own(t: &Transition) -> bool {
        t.attempts(Self::ID) > 0
    }
    /// The exact statements and cmdlets of an effect, for a human to read.
    fn shown(e: &Self::Effect, pool: &Pool, route: Route) -> Vec<String>;
    /// Carries out one effect.
    fn act<S: Systems>(e: &Self::Effect, p: &Permit<'_, S>) -> impl Future<Output = Outcome> + Send;
}

/// Parts of the world that a step must have seen, by the role that they play in its transition. The side at work is always seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The other side, from all vantage points.
    pub other: bool,
    /// Both folders of the target's copy, and headers of the backups that matter.
    pub files: bool,
    /// The partner of the live principal: the mirror, or the mirror-to-be.
    pub partner: bool,
    /// Lync: topology, Central Management store, replicas, services.
    pub lync: bool,
}

impl Reads {
    /// Everything.
    pub const ALL: Reads = Reads { other: true, files: true, partner: true, lync: true };
    /// Whether these are at least as much as others.
    pub fn covers(self, other: Reads) -> bool {
        self.and(other) == self
    }
    /// Both.
    pub fn and(self, other: Reads) -> Reads {
        Reads {
            other: self.other || other.other,
            files: self.files || other.files,
            partner: self.partner || other.partner,
            lync: self.lync || other.lync,
        }
    }
}
