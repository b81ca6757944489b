//! Everything that must hold before anything is touched.
//!
//! All findings are told at once. Each names the step that it gates: a Central Management store that is still being moved
//! does not hold up the log backups. The step itself is done when nothing gates
//! everything.

use serde::Serialize;

use super::findings::{Finding, findings, together};
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::fencing::Verdict;
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::route::{Procedure, Route};
use crate::domain::step::StepId;
use crate::domain::tail;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::permit::Permit;
use crate::systems::Systems;

/// The step.
pub struct Preflight;

/// It only looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {}

impl Step for Preflight {
    const ID: StepId = StepId::PreflightPassed;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads::ALL
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        if v.is_beyond() {
            return Decision::Done(Evidence::new("Passed before the database was recovered"));
        }
        if let Some(word) = while_the_other_side_may_live(v) {
            return word;
        }
        let (now, later): (Vec<Finding>, Vec<Finding>) =
            findings(v).into_iter().partition(|f| f.gates == Self::ID);
        if let Some(problem) = together(&now, &later) {
            return Decision::Blocked(problem);
        }
        // A loss that shows later is for the steps that it concerns: applying the log, and recovery.
        let begun = v.transition.attempts(StepId::LogShippingRemoved) > 0;
        let asks = v.route.procedure == Procedure::Failover && !begun;
        if let (true, Err(problem)) = (asks, v.accepted.require()) {
            return Decision::Blocked(problem);
        }
        // In the middle of a switch chat stands still: whoever is to agree is asked before it.
        if let (Procedure::Switch, Err(problem)) = (v.route.procedure, v.accepted.require_before_recovery()) {
            return Decision::Blocked(problem);
        }
        let mut message = "Nothing stands in the way of the first steps".to_string();
        for f in &later {
            message.push_str(&format!("; holds up {}: {}", f.gates.as_str(), f.problem.what));
        }
        Decision::Done(Evidence::new(message))
    }

    fn ahead(_v: &View<'_>) -> Vec<Effect> {
        vec![]
    }

    fn is_own(_t: &Transition) -> bool {
        true
    }

    fn shown(e: &Effect, _pool: &Pool, _route: Route) -> Vec<String> {
        match *e {}
    }

    async fn act<S: Systems>(e: &Effect, _p: &Permit<'_, S>) -> Outcome {
        match *e {}
    }
}

/// A switch leaves a side that lives, until the tail of its log is taken.
fn while_it_may_be_lost(v: &View<'_>) -> Option<Decision<Effect>> {
    let unseen = v.live_source().err().filter(|_| v.tail().is_none())?;
    let speaks = v.source().instances().next().is_some();
    if v.transition.facts.tail.is_some() && speaks {
        return Some(Decision::Blocked(tail::not_seen(v.pool, v.transition)));
    }
    Some(Decision::Blocked(match &v.verdict {
        Verdict::Alive(why) => why.clone(),
        Verdict::Dead | Verdict::SilentSoFar(_) | Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => {
            unseen
        }
    }))
}

/// The side that is left comes first: nothing else matters while it may live. What leaves no side does not ask.
fn while_the_other_side_may_live(v: &View<'_>) -> Option<Decision<Effect>> {
    match v.route.procedure {
        Procedure::Protect | Procedure::Align => return None,
        Procedure::Switch => return while_it_may_be_lost(v),
        Procedure::Failover => {}
    }
    match &v.verdict {
        Verdict::Alive(p) => Some(Decision::Blocked(p.clone())),
        Verdict::SilentSoFar(until) => Some(Decision::Wait(Waiting {
            reason: Reason::WaitingForSilence,
            message: format!(
                "{} does not answer; it is watched until {until} before it is taken for dead",
                clean(&v.from().name)
            ),
            until: None,
        })),
        Verdict::Dead | Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => None,
    }
}
