//! Step 5: tell the pool that it has failed over, and see that the servers know.

use serde::Serialize;

use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::engine::permit::Permit;
use crate::systems::Systems;
use crate::systems::management_shell::{Cmdlet, cmdlets};

/// The step.
pub struct SetPoolState;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Sets `FailedOver` on this identity, as it was read back.
    Set(String),
}

impl Step for SetPoolState {
    const ID: StepId = StepId::PoolStateSet;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { chat: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let state = match v.s.chat.state.get() {
            Ok(state) => state,
            Err(p) => return Decision::Blocked(p.clone()),
        };
        if !state.is_failed_over() {
            return Decision::Act(Effect::Set(state.identity.clone()));
        }
        match replicated(v) {
            Ok(()) => Decision::Done(Evidence::new(format!(
                "{} is FailedOver, and the servers know it",
                clean(&state.identity)
            ))),
            Err(waiting) => Decision::Wait(waiting),
        }
    }

    fn shown(e: &Effect, _pool: &Pool) -> Vec<String> {
        vec![cmdlet(e).shown()]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        p.invoke(&cmdlet(e)).await
    }
}

fn cmdlet(e: &Effect) -> Cmdlet {
    let Effect::Set(identity) = e;
    cmdlets::set_state(identity, "FailedOver")
}

/// Whether every wanted server that is up has the newest configuration. A server that is down cannot have it, and another
/// data centre's never will.
pub fn replicated(v: &View<'_>) -> Result<(), Waiting> {
    let wait = |message: String| Waiting { reason: Reason::WaitingForReplication, message, until: None };
    let replicas = v.s.chat.replicas.get().map_err(|p| wait(p.what.clone()))?;
    let up = v
        .to()
        .active_servers
        .iter()
        .filter(|s| v.s.chat.services.get(*s).is_some_and(|r| r.known().is_some()));
    let behind: Vec<String> = up.filter(|s| replicas.get(*s) != Some(&true)).map(|s| clean(s)).collect();
    if behind.is_empty() {
        Ok(())
    } else {
        Err(wait(format!("Lync's configuration has not yet reached {}", behind.join(", "))))
    }
}
