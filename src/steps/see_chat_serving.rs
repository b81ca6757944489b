//! Configuration is not service. Chat serves when an active server's service runs, when it has a session
//! in the database, and when it says there that it is alive.

use serde::Serialize;

use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::route::{Procedure, Route};
use crate::domain::serving::{Pings, serving};
use crate::domain::step::StepId;
use crate::domain::transition::Transition;
use crate::permit::Permit;
use crate::systems::Systems;

/// The step.
pub struct ChatServing;

/// It only looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {}

impl Step for ChatServing {
    const ID: StepId = StepId::ChatServing;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { lync: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let target = match v.target() {
            Ok(target) => target,
            Err(p) => return Decision::Blocked(p),
        };
        // Where nothing was switched, a report that has not stood still is enough.
        let pings = match v.route.procedure {
            Procedure::Failover | Procedure::Switch => Pings::Advance,
            Procedure::Align | Procedure::Protect => Pings::NotSilent,
        };
        match serving(&v.situation.lync, target, v.to(), pings) {
            Ok(message) => Decision::Done(Evidence::new(message)),
            Err(message) => Decision::Wait(Waiting { reason: Reason::WaitingForChat, message, until: None }),
        }
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
