//! Undo a switch: the database is brought back online where it was, with everything that was ever written there.
//!
//! Allowed as long as the other side's database was not recovered. That is seen there; where nothing is to be seen of it, a human must say
//! that it is fenced: it may have been recovered while this side was not to be reached.

use serde::Serialize;

use super::{Reads, Step, View};
use crate::domain::active;
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::Route;
use crate::domain::side::{Place, Seat};
use crate::domain::sql_server::{Database, DatabaseState, Instance};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::management_shell::cmdlets;
use crate::systems::sql_server::{Statement, statements};

/// The step.
pub struct BringSourceOnline;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Recovers the database whose tail was taken.
    Recover(Place),
    /// Starts a chat service that was stopped.
    StartService {
        /// The server.
        host: String,
        /// The service, by the name that it has there.
        service: String,
    },
}

impl Step for BringSourceOnline {
    const ID: StepId = StepId::SourceOnline;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { other: true, lync: true, partner: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        if let Some(there) = v.target_site().live() {
            return Decision::Blocked(recovered(v, there));
        }
        if let Some(live) = v.source().live() {
            // What does not start, or is not to be seen, is started when the side gets its active servers back.
            return match v.service_to_start(Self::ID) {
                Some((host, service)) => Decision::Act(Effect::StartService { host, service }),
                None => Decision::Done(Evidence::new(format!(
                    "The database on {} is live",
                    clean(&live.server_name)
                ))),
            };
        }
        let place = v.transition.facts.tail.as_ref().map_or(Place::Store, |tail| tail.seat.place);
        let partner = v.source().partner(place).unwrap_or(&v.source().store);
        let instance = match partner.answer.instance() {
            Ok(instance) => instance,
            Err(p) => return Decision::Blocked(p.clone()),
        };
        match (instance.database.as_ref().map(|d| d.state), &v.transition.facts.tail) {
            (Some(DatabaseState::Recovering), _) => Decision::Wait(Waiting {
                reason: Reason::InProgress,
                message: format!("{} is recovering", clean(&v.pool.database)),
                until: None,
            }),
            (Some(DatabaseState::Restoring), Some(_)) => match may_be_recovered(v) {
                Ok(()) => Decision::Act(Effect::Recover(place)),
                Err(problem) => Decision::Blocked(problem),
            },
            (Some(DatabaseState::Restoring), None)
            | (
                None
                | Some(
                    DatabaseState::Online
                    | DatabaseState::RecoveryPending
                    | DatabaseState::Suspect
                    | DatabaseState::Emergency
                    | DatabaseState::Offline
                    | DatabaseState::Other(_),
                ),
                _,
            ) => Decision::Blocked(Problem::ask(
                Reason::DatabaseState,
                format!(
                    "{} on {} is {}, and not by this switch",
                    clean(&v.pool.database),
                    clean(&instance.server_name),
                    instance.database.as_ref().map_or("missing", Database::state_text)
                ),
                "Bring it online by hand, or, if it is lost, set spec.activeDataCenter to the other data centre and spec.utteredAt to the \
                 present time: that is a failover",
            )),
        }
    }

    fn shown(e: &Effect, pool: &Pool, _route: Route) -> Vec<String> {
        match e {
            Effect::Recover(_) => vec![statement(pool).shown()],
            Effect::StartService { host, service } => vec![cmdlets::start_service(host, service).shown()],
        }
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        match e {
            Effect::Recover(place) => {
                let undo = |t: &mut Transition| t.facts.tail.iter_mut().for_each(|tail| tail.undone = true);
                match p.intend_everywhere(undo).await {
                    Outcome::Answered => {
                        p.sql(Seat { place: *place, ..p.source() }, &statement(p.pool())).await
                    }
                    // Whoever finds the file later, and not this server, would take it for the end of the log.
                    other @ (Outcome::Refused(_) | Outcome::Unknown(_)) => other,
                }
            }
            Effect::StartService { host, service } => p.start_chat_service(host, service).await,
        }
    }
}

/// Whether it is certain that the other side's database was not recovered.
fn may_be_recovered(v: &View<'_>) -> Result<(), Problem> {
    match v.target() {
        Ok(target) if target.database.as_ref().is_none_or(Database::is_restoring) => Ok(()),
        Ok(target) => Err(recovered(v, target)),
        Err(_) if v.accepted.terms().is_needed() => v.accepted.require(),
        Err(unseen) => Err(unseen),
    }
}

fn recovered(v: &View<'_>, there: &Instance) -> Problem {
    match v.source().live() {
        Some(here) => active::split_brain(v.pool, here, there, v.route.from.pool_state()),
        None => Problem::ask(
            Reason::DatabaseState,
            format!(
                "{} on {} is {}",
                clean(&v.pool.database),
                clean(&there.server_name),
                there.database.as_ref().map_or("missing", Database::state_text)
            ),
            "The switch cannot be undone beside it: find out who recovered it. To go on there, set spec.activeDataCenter to that side again",
        ),
    }
}

fn statement(pool: &Pool) -> Statement {
    let parameters = vec![pool.lock_resource().into(), pool.database.clone().into()];
    Statement::long("RESTORE DATABASE", statements::bring_back_online(), parameters)
}
