//! Step 0: everything that must hold before anything is touched.
//!
//! All findings are told at once. Each names the step that it gates: a Central Management store that is still being moved
//! does not hold up the log backups. The step itself is done when nothing gates step 1.

use serde::Serialize;

use super::findings::{Finding, findings, together};
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::fencing::Verdict;
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::step::StepId;
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
        // The primary comes first: nothing else matters while it may live.
        match &v.verdict {
            Verdict::Alive(p) => return Decision::Blocked(p.clone()),
            Verdict::SilentSoFar(until) => {
                return Decision::Wait(Waiting {
                    reason: Reason::WaitingForSilence,
                    message: format!(
                        "The primary does not answer; it is watched until {until} before it is taken for dead"
                    ),
                    until: None,
                });
            }
            Verdict::Dead | Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => {}
        }
        let (now, later): (Vec<Finding>, Vec<Finding>) =
            findings(v).into_iter().partition(|f| f.gates == Self::ID);
        if let Some(problem) = together(&now, &later) {
            return Decision::Blocked(problem);
        }
        // A loss that shows later is for the steps that it concerns: applying the log, and recovery.
        let begun = v.t.attempts(StepId::LogShippingRemoved) > 0;
        if let (false, Err(problem)) = (begun, v.accepted.require()) {
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

    fn shown(e: &Effect, _pool: &Pool) -> Vec<String> {
        match *e {}
    }

    async fn act<S: Systems>(e: &Effect, _p: &Permit<'_, S>) -> Outcome {
        match *e {}
    }
}
