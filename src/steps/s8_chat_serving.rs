//! After the runbook: configuration is not service. Chat serves when an active server's service runs, when it has a session
//! in the database, and when it says there that it is alive.

use jiff::Timestamp;
use serde::Serialize;

use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::pool::{DataCenter, Pool};
use crate::domain::problem::Reason;
use crate::domain::situation::{Chat, Instance};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::engine::permit::Permit;
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
        Reads { chat: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let target = match v.target() {
            Ok(target) => target,
            Err(p) => return Decision::Blocked(p),
        };
        // A ping from before the recovery came with the backups.
        let since = v.t.recovery.as_ref().map_or(v.t.started, |r| r.at);
        match serving(&v.s.chat, target, v.to(), Some(since)) {
            Ok(message) => Decision::Done(Evidence::new(message)),
            Err(message) => Decision::Wait(Waiting { reason: Reason::WaitingForChat, message, until: None }),
        }
    }

    fn shown(e: &Effect, _pool: &Pool) -> Vec<String> {
        match *e {}
    }

    async fn act<S: Systems>(e: &Effect, _p: &Permit<'_, S>) -> Outcome {
        match *e {}
    }
}

/// Whether chat serves from a data centre's database, and what was seen; otherwise what is missing.
pub fn serving(
    chat: &Chat,
    instance: &Instance,
    here: &DataCenter,
    since: Option<Timestamp>,
) -> Result<String, String> {
    let sessions = instance.sessions.get().map_err(|p| p.what.clone())?;
    let pings = instance.server_identities.get().map_err(|p| p.what.clone())?;
    let mut missing = Vec::new();
    for server in &here.active_servers {
        let name = clean(server);
        match chat.services.get(server).map(super::super::domain::reading::Reading::get) {
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                missing.push(format!("the chat service of {name} does not run"));
                continue;
            }
            Some(Err(p)) => {
                missing.push(format!("{name}: {}", p.what));
                continue;
            }
            None => {
                missing.push(format!("{name} was not looked at"));
                continue;
            }
        }
        if !sessions.iter().any(|s| same_host(&s.host, server)) {
            missing.push(format!("{name} has no session in the database"));
            continue;
        }
        match pings.iter().filter(|(host, _)| same_host(host, server)).map(|(_, at)| *at).max() {
            Some(at) if since.is_none_or(|since| at > since) => {
                return Ok(format!("{name} serves from {}", clean(&instance.server_name)));
            }
            Some(_) => missing.push(format!("{name} has not reported itself alive since the recovery")),
            None => missing.push(format!("{name} has never reported itself alive in this database")),
        }
    }
    Err(missing.join("; "))
}

/// A session shows the machine's name, with or without its domain.
fn same_host(seen: &str, fqdn: &str) -> bool {
    seen.eq_ignore_ascii_case(fqdn)
        || fqdn.split('.').next().is_some_and(|short| seen.eq_ignore_ascii_case(short))
}
