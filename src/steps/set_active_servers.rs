//! Make the chat servers of the active side active, and only them.
//!
//! After a failover it waits for the mirror until the deadline of the policy. Then chat comes first, and the mirror is built beside it.

use jiff::SignedDuration;
use serde::Serialize;

use super::findings::gate;
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::route::{Procedure, Route};
use crate::domain::serving::replicated;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::management_shell::{Cmdlet, cmdlets};

/// The step.
pub struct SetActiveServers;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Starts a chat service that a switch had stopped.
    StartService {
        /// The server.
        host: String,
        /// The service, by the name that it has there.
        service: String,
    },
    /// Replaces the list of active servers of this identity.
    Set {
        /// Identity, as it was read back.
        identity: String,
        /// The servers.
        servers: Vec<String>,
    },
}

impl Step for SetActiveServers {
    const ID: StepId = StepId::ActiveServersSet;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { lync: true, partner: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let service = match v.situation.lync.service.get() {
            Ok(service) => service,
            Err(p) => return Decision::Blocked(p.clone()),
        };
        let wanted = wanted(v);
        if service.active == wanted {
            if let Some((host, service)) = v.service_to_start(Self::ID) {
                return Decision::Act(Effect::StartService { host, service });
            }
            return match replicated(&v.situation.lync, v.to()) {
                Ok(()) => Decision::Done(Evidence::new(format!("Active: {}", clean(&wanted.join(", "))))),
                Err(waiting) => Decision::Wait(waiting),
            };
        }
        if let Some(waiting) = wait_for_mirror(v) {
            return Decision::Wait(waiting);
        }
        if let Some(problem) = gate(v, Self::ID) {
            return Decision::Blocked(problem);
        }
        Decision::Act(Effect::Set { identity: service.identity.clone(), servers: wanted })
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        let wanted = wanted(v);
        let set = |identity: &str| vec![Effect::Set { identity: identity.into(), servers: wanted.clone() }];
        match v.situation.lync.service.get() {
            Ok(service) if service.active == wanted => vec![],
            Ok(service) => set(&service.identity),
            Err(_) => set(cmdlets::UNREAD),
        }
    }

    fn shown(e: &Effect, _pool: &Pool, _route: Route) -> Vec<String> {
        vec![cmdlet(e).shown()]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        match e {
            Effect::StartService { host, service } => p.start_chat_service(host, service).await,
            Effect::Set { .. } => p.invoke(&cmdlet(e)).await,
        }
    }
}

/// The wanted servers, as the topology orders them.
fn wanted(v: &View<'_>) -> Vec<String> {
    let mut wanted = v.to().active_servers.clone();
    wanted.sort();
    wanted
}

fn wait_for_mirror(v: &View<'_>) -> Option<Waiting> {
    // A pool that serves already does not wait: nobody's chat stands still for the mirror.
    let waits = match v.route.procedure {
        Procedure::Failover => !v.mirror_stands(),
        Procedure::Switch | Procedure::Align | Procedure::Protect => false,
    };
    if !waits {
        return None;
    }
    let started =
        v.transition.steps.get(&StepId::MirrorEstablished).and_then(|h| h.started).unwrap_or(v.situation.at);
    let until = v
        .pool
        .policy
        .mirror_deadline
        .and_then(|d| started.checked_add(SignedDuration::try_from(d).ok()?).ok());
    if until.is_some_and(|until| v.situation.at >= until) {
        return None;
    }
    let deadline = until.map_or_else(
        || "without a deadline".to_string(),
        |u| format!("until {}", u.strftime("%H:%M:%S UTC")),
    );
    Some(Waiting {
        reason: Reason::WaitingForMirror,
        message: format!("Waits for the mirror, {deadline} (spec.policy.mirrorDeadline)"),
        // It may be over long before.
        until: None,
    })
}

fn cmdlet(e: &Effect) -> Cmdlet {
    match e {
        Effect::Set { identity, servers } => cmdlets::set_active_servers(identity, servers),
        Effect::StartService { host, service } => cmdlets::start_service(host, service),
    }
}
