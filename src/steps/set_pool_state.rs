//! Tell the pool which side it uses, and see that the servers know.

use serde::Serialize;

use super::findings::gate;
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome};
use crate::domain::pool::Pool;
use crate::domain::route::Route;
use crate::domain::serving::replicated;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::management_shell::{Cmdlet, cmdlets};

/// The step.
pub struct SetPoolState;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Sets the state that means the target on this identity, as it was read back.
    Set(String),
}

impl Step for SetPoolState {
    const ID: StepId = StepId::PoolStateSet;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { lync: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let state = match v.situation.lync.state.get() {
            Ok(state) => state,
            Err(p) => return Decision::Blocked(p.clone()),
        };
        if state.side() != Some(v.route.to) {
            if let Some(problem) = gate(v, Self::ID) {
                return Decision::Blocked(problem);
            }
            return Decision::Act(Effect::Set(state.identity.clone()));
        }
        match replicated(&v.situation.lync, v.to()) {
            Ok(()) => Decision::Done(Evidence::new(format!(
                "{} is {}, and the servers know it",
                clean(&state.identity),
                clean(&state.state)
            ))),
            Err(waiting) => Decision::Wait(waiting),
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        let set = |identity: &str| vec![Effect::Set(identity.into())];
        match v.situation.lync.state.get() {
            Ok(state) if state.side() == Some(v.route.to) => vec![],
            Ok(state) => set(&state.identity),
            Err(_) => set(cmdlets::UNREAD),
        }
    }

    fn shown(e: &Effect, _pool: &Pool, route: Route) -> Vec<String> {
        vec![cmdlet(e, route).shown()]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        p.invoke(&cmdlet(e, p.route())).await
    }
}

fn cmdlet(e: &Effect, route: Route) -> Cmdlet {
    let Effect::Set(identity) = e;
    cmdlets::set_state(identity, route.to.pool_state())
}
