//! Let chat end on the side that is left: whoever writes a message there sees it arrive, or is told that chat has stopped.
//!
//! An empty list of active servers lets nobody in; a server that was removed keeps the sessions that it has (`Set-CsPersistentChatActiveServer`).
//! They are given time until the deadline of the policy; then the services are stopped. The tail of the log holds whatever was written,
//! so nothing depends on this for its safety: it ends what people are at in an orderly way.

use jiff::SignedDuration;
use serde::Serialize;

use super::findings::gate;
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::route::Route;
use crate::domain::serving::with_sessions;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::management_shell::{Cmdlet, cmdlets};

/// How often services are told to stop, in all, before a human is asked.
const STOPS: i32 = 8;

/// The step.
pub struct DrainChat;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Empties the list of active servers of this identity, as it was read back.
    Clear(String),
    /// Stops the chat service of a server, by the name that it has there.
    StopService {
        /// The server.
        host: String,
        /// The service.
        service: String,
    },
}

impl Step for DrainChat {
    const ID: StepId = StepId::ChatDrained;
    type Effect = Effect;

    fn reads() -> Reads {
        // What was copied and applied before it is to be seen to be done still.
        Reads::ALL
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        if v.is_beyond() || v.tail().is_some() {
            return Decision::Done(Evidence::new("Chat had ended before the tail of the log was taken"));
        }
        let live = match v.live_source() {
            Ok(live) => live,
            Err(p) => return Decision::Blocked(p),
        };
        let service = match v.situation.lync.service.get() {
            Ok(service) => service,
            Err(p) => return Decision::Blocked(p.clone()),
        };
        if !service.active.is_empty() {
            return match gate(v, Self::ID) {
                Some(problem) => Decision::Blocked(problem),
                None => Decision::Act(Effect::Clear(service.identity.clone())),
            };
        }
        let sessions = match live.sessions.get() {
            Ok(sessions) => sessions,
            Err(p) => return Decision::Blocked(p.clone()),
        };
        let servers = v.from().servers.iter().chain(&v.to().servers);
        match &with_sessions(sessions, servers)[..] {
            [] => Decision::Done(Evidence::new(format!(
                "No server is active, and none has a session in the database on {}",
                clean(&live.server_name)
            ))),
            chatting => outlive(v, chatting),
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        match v.situation.lync.service.get() {
            _ if v.is_beyond() || v.tail().is_some() => vec![],
            Ok(service) if service.active.is_empty() => vec![],
            Ok(service) => vec![Effect::Clear(service.identity.clone())],
            Err(_) => vec![Effect::Clear(cmdlets::UNREAD.into())],
        }
    }

    fn shown(e: &Effect, _pool: &Pool, _route: Route) -> Vec<String> {
        vec![cmdlet(e).shown()]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        // How long chat stands still, and which services are to run again: known before it is done.
        let now = p.now();
        let known = p.transition().facts;
        let written = match e {
            Effect::Clear(_) if known.chat_stopped.is_some() => Outcome::Answered,
            Effect::Clear(_) => p.intend_everywhere(move |t| t.facts.chat_stopped = Some(now)).await,
            Effect::StopService { host, .. } if known.stopped_services.contains(host) => Outcome::Answered,
            Effect::StopService { host, .. } => {
                let host = host.clone();
                p.intend_everywhere(move |t| _ = t.facts.stopped_services.insert(host)).await
            }
        };
        match written {
            Outcome::Answered => p.invoke(&cmdlet(e)).await,
            Outcome::Refused(_) | Outcome::Unknown(_) => written,
        }
    }
}

/// Sessions that are there although no server is active: they are waited for until the deadline, then their services are stopped.
fn outlive(v: &View<'_>, chatting: &[&String]) -> Decision<Effect> {
    let told = chatting.iter().map(|s| clean(s)).collect::<Vec<_>>().join(", ");
    // Somebody else may have emptied the list.
    let begun = v.transition.steps.get(&StepId::ChatDrained).and_then(|h| h.started);
    let since = v.transition.facts.chat_stopped.or(begun).unwrap_or(v.situation.at);
    let deadline = v.pool.policy.drain_deadline.and_then(|d| SignedDuration::try_from(d).ok());
    let until = deadline.and_then(|d| since.checked_add(d).ok());
    if until.is_none_or(|until| v.situation.at < until) {
        let shown = until.map_or_else(
            || "without a deadline".to_string(),
            |u| format!("until {}, then the services are stopped", u.strftime("%H:%M:%S UTC")),
        );
        return Decision::Wait(Waiting {
            reason: Reason::WaitingForSessions,
            message: format!(
                "Sessions of {told} are still open; they are waited for {shown} (spec.policy.drainDeadline)"
            ),
            // It may be over long before.
            until: None,
        });
    }
    let lync = &v.situation.lync;
    let mut stopped = Vec::new();
    for host in chatting {
        let by_hand = |what: String| {
            Decision::Blocked(Problem::ask(
                Reason::ChatDoesNotEnd,
                what,
                format!(
                    "Stop the Persistent Chat service on {} by hand. To go back, set spec.activeDataCenter back: nothing is lost",
                    clean(host)
                ),
            ))
        };
        match (lync.services.get(*host).map(Reading::get), lync.service_names.get(*host)) {
            (Some(Ok(Some(true))), Some(_)) if v.transition.attempts(StepId::ChatDrained) > STOPS => {
                return by_hand(format!("The chat service of {} does not stop", clean(host)));
            }
            (Some(Ok(Some(true))), Some(service)) => {
                return Decision::Act(Effect::StopService {
                    host: (*host).clone(),
                    service: service.clone(),
                });
            }
            // What it has left behind in the database is ended when the tail is taken.
            (Some(Ok(Some(false))), _) => stopped.push(clean(host)),
            (Some(Ok(_)) | None, _) => {
                return by_hand(format!(
                    "{} does not show which of its services is the chat service",
                    clean(host)
                ));
            }
            (Some(Err(p)), _) => return by_hand(format!("{}: {}", clean(host), p.what)),
        }
    }
    Decision::Done(Evidence::new(format!(
        "The chat services of {} are stopped; their sessions are ended when the tail of the log is taken",
        stopped.join(", ")
    )))
}

fn cmdlet(e: &Effect) -> Cmdlet {
    match e {
        Effect::Clear(identity) => cmdlets::set_active_servers(identity, &[]),
        Effect::StopService { host, service } => cmdlets::stop_service(host, service),
    }
}
