//! After the runbook: configuration is not service. Chat serves when an active server's service runs, when it has a session
//! in the database, and when it says there that it is alive.

use std::collections::BTreeSet;

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
        match serving(&v.s.chat, target, v.to(), Pings::Advance) {
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

/// What the reports of a chat server in the database must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pings {
    /// They advance before our eyes: those that came with the backups do not.
    Advance,
    /// They exist, and have not stood still for long: enough where nothing was switched.
    NotSilent,
}

/// Whether chat serves from a data centre's database, and what was seen; otherwise what is missing.
pub fn serving(chat: &Chat, instance: &Instance, here: &DataCenter, pings: Pings) -> Result<String, String> {
    let sessions = instance.sessions.get().map_err(|p| p.what.clone())?;
    let reports = instance.server_identities.get().map_err(|p| p.what.clone())?;
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
        let among = |list: &BTreeSet<String>| list.iter().any(|host| same_host(host, server));
        let reported = reports.iter().any(|(host, _)| same_host(host, server));
        let holds = match pings {
            Pings::Advance => among(&instance.advancing),
            Pings::NotSilent => reported && !among(&instance.silent),
        };
        match (holds, reported) {
            (true, _) => return Ok(format!("{name} serves from {}", clean(&instance.server_name))),
            (false, true) => {
                missing.push(format!("{name} has not reported itself alive while it was watched"))
            }
            (false, false) => {
                missing.push(format!("{name} has never reported itself alive in this database"))
            }
        }
    }
    Err(missing.join("; "))
}

/// A session shows the machine's name, with or without its domain.
fn same_host(seen: &str, fqdn: &str) -> bool {
    seen.eq_ignore_ascii_case(fqdn)
        || fqdn.split('.').next().is_some_and(|short| seen.eq_ignore_ascii_case(short))
}
