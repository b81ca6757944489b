//! Every moment of a resource: what a tool that watches it would ever have seen, and what had been decided when it was written.

use jiff::Timestamp;
use persistent_chat_failover::domain::route::Procedure;
use persistent_chat_failover::domain::side::Side;
use persistent_chat_failover::engine::plan::Next;
use persistent_chat_failover::engine::report::Report;

use crate::cluster::Object;
use crate::world::Shared;

/// A moment of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Whose it is.
    pub who: usize,
    /// The resource, as it was stored then.
    pub object: Object,
    /// What its status comes from; none: it was not written by an operator that had looked.
    pub decided: Option<Decided>,
}

/// What was decided when a status was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The generation that it was decided for.
    pub generation: i64,
    /// The side that was wanted.
    pub wanted: Side,
    /// The side that was active, if that was certain.
    pub active: Option<Side>,
    /// What was carried out, if anything.
    pub procedure: Option<Procedure>,
    /// What was to happen next.
    pub next: Next,
}

impl Decided {
    /// What a report says.
    pub fn of(r: &Report<'_>) -> Decided {
        Decided {
            generation: r.goal.generation,
            wanted: r.goal.active,
            active: r.plan.active.side(),
            procedure: r.plan.transition.as_ref().map(|t| t.route.procedure),
            next: r.plan.next.clone(),
        }
    }
}

impl Shared {
    /// Keeps a status that was stored just now, if anything is kept.
    pub fn keep(&mut self, who: usize, decided: Option<&Decided>) {
        let at = self.time();
        if self.trace.is_none() {
            return;
        }
        if let Some(object) = self.clusters.get(who).and_then(|c| c.object.clone()) {
            self.moments.push(Moment { at, who, object, decided: decided.cloned() });
        }
    }

    /// The moments that were kept, and among them those at which no operator wrote: what was made, changed, or played back.
    pub fn moments(&mut self) -> Vec<Moment> {
        if self.trace.is_none() {
            return Vec::new();
        }
        let mut all = std::mem::take(&mut self.moments);
        for (who, cluster) in self.clusters.iter().enumerate() {
            for (at, object) in cluster.history() {
                let Some(object) = object else { continue };
                let is_kept = |m: &Moment| m.who == who && m.object == *object;
                if !all.iter().any(is_kept) {
                    all.push(Moment { at: *at, who, object: object.clone(), decided: None });
                }
            }
        }
        all.sort_by_key(|m| (m.at, m.object.version));
        all
    }
}
