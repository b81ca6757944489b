//! Recover the database. The point of no return: no log backup can be applied afterwards.
//!
//! It needs three proofs, each made by one pure function only: the chain is complete (or a stated loss accepted), the side that is
//! left is dead (or vouched to be fenced), and consent where the policy asks for it. The intent is in the record before the
//! statement is sent; the statement itself checks lock, state, redo point and fork once more in its own batch. What it cannot
//! check (the folders, the silence of the other side) is looked at again at the last moment: a look can take a minute when something
//! hangs, and what it saw first may be over by its end.

use serde::Serialize;

use super::findings::gate;
use super::{Reads, Step, View};
use crate::domain::active;
use crate::domain::backups::{Lsn, RedoPoint};
use crate::domain::chain::Chain;
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::loss;
use crate::domain::pool::Pool;
use crate::domain::premises::Premises;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::proofs::{CompleteChain, Fenced};
use crate::domain::route::{Procedure, Route};
use crate::domain::sql_server::{Database, DatabaseState, Instance};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::{Loss, RecoveryIntent, Transition};
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::sql_server::{Statement, statements};

/// The step.
pub struct RecoverDatabase;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Recovers the database.
    Recover {
        /// At this redo point.
        redo: RedoPoint,
        /// The last log backup that was restored into it ends there, by the restore history.
        restored: Option<Lsn>,
        /// With this loss; a switch has none.
        loss: Option<Box<Loss>>,
        /// If this still holds.
        premises: Box<Premises>,
    },
    /// Lets everybody in.
    SetMultiUser,
    /// Maps a user of the database to the login of its name.
    MapUser(String),
}

/// The three proofs. A value of this type is the only way to [`Effect::Recover`].
struct Recover {
    chain: CompleteChain,
    _source: Fenced,
}

impl Recover {
    fn prove(v: &View<'_>) -> Result<Self, Problem> {
        let chain = CompleteChain::prove(v.pool, v.situation, v.transition, &v.accepted)?;
        let source = Fenced::prove(v.pool, v.situation, v.transition, &v.accepted)?;
        v.accepted.require_before_recovery()?;
        Ok(Recover { chain, _source: source })
    }
}

impl Step for RecoverDatabase {
    const ID: StepId = StepId::DatabaseOnline;
    const ONE_WAY: bool = true;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads::ALL
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let (target, db) = match (v.target(), v.database()) {
            (Ok(target), Ok(db)) => (target, db),
            (Err(p), _) | (_, Err(p)) => return Decision::Blocked(p),
        };
        if db.is_live() {
            return after_recovery(v, target, db);
        }
        match db.state {
            DatabaseState::Recovering => Decision::Wait(Waiting {
                reason: Reason::InProgress,
                message: format!("{} is recovering", clean(&v.pool.database)),
                until: None,
            }),
            DatabaseState::Restoring => {
                if let Some(problem) = gate(v, Self::ID) {
                    return Decision::Blocked(problem);
                }
                match Recover::prove(v) {
                    Ok(proofs) => {
                        let chain = v.chain.clone().unwrap_or_default();
                        Decision::Act(Effect::Recover {
                            redo: proofs.chain.redo().clone(),
                            restored: target.last_restored_log(),
                            loss: lost(v, &chain),
                            premises: Box::new(Premises::of(v.pool, v.situation, v.transition)),
                        })
                    }
                    Err(problem) => Decision::Blocked(problem),
                }
            }
            DatabaseState::Online
            | DatabaseState::RecoveryPending
            | DatabaseState::Suspect
            | DatabaseState::Emergency
            | DatabaseState::Offline
            | DatabaseState::Other(_) => Decision::Blocked(Problem::ask(
                Reason::DatabaseState,
                format!(
                    "{} on {} is {}",
                    clean(&v.pool.database),
                    clean(&target.server_name),
                    db.state_text()
                ),
                "Look into the error log of SQL Server; the log backups are still there, another copy can be restored from them",
            )),
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        match (v.database(), v.chain.as_ref().map(|c| (c, c.end.clone()))) {
            (Ok(db), Ok((chain, Some(end)))) if !db.is_live() => {
                let (loss, premises) = (lost(v, chain), Box::default());
                vec![Effect::Recover { redo: end, restored: None, loss, premises }]
            }
            (Ok(_) | Err(_), Ok(_) | Err(_)) => vec![],
        }
    }

    fn is_own(t: &Transition) -> bool {
        t.facts.recovery.is_some() && t.facts.adopted_fork.is_none()
    }

    fn shown(e: &Effect, pool: &Pool, _route: Route) -> Vec<String> {
        vec![statement(e, pool).shown()]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        if let Effect::Recover { redo, restored, loss, premises } = e {
            let (redo, restored) = (redo.clone(), *restored);
            let (loss, now) = (loss.as_deref().cloned(), p.now());
            let intent = move |t: &mut Transition| {
                t.facts.recovery = Some(RecoveryIntent { at: now, redo, restored });
                t.facts.loss = loss;
            };
            // Of a switch the other side must know: without it, it may be brought back online there.
            let written = match p.route().procedure {
                Procedure::Switch => p.intend_everywhere(intent).await,
                Procedure::Failover | Procedure::Protect | Procedure::Align => p.intend(intent).await,
            };
            match written {
                Outcome::Answered => {}
                // Without the intent in the record nobody could tell this recovery from somebody else's.
                Outcome::Refused(_) | Outcome::Unknown(_) => return written,
            }
            if let Err(problem) = p.still_so(premises).await {
                return Outcome::Refused(problem);
            }
        }
        let done = p.sql(p.target(), &statement(e, p.pool())).await;
        match (e, done) {
            // A user without a login, or whose login has another user here, cannot be mapped: that keeps nobody else from chat.
            (Effect::MapUser(user), Outcome::Refused(problem)) if problem.class != Class::Retry => {
                let user = user.clone();
                p.intend(move |t| _ = t.facts.unmapped_users.insert(user, problem.what)).await
            }
            (Effect::MapUser(_) | Effect::Recover { .. } | Effect::SetMultiUser, done) => done,
        }
    }
}

/// What is lost; a switch loses nothing.
fn lost(v: &View<'_>, chain: &Chain) -> Option<Box<Loss>> {
    match v.route.procedure {
        Procedure::Switch => None,
        Procedure::Failover | Procedure::Protect | Procedure::Align => {
            Some(Box::new(loss::expected(v.situation, v.transition, chain)))
        }
    }
}

fn after_recovery(v: &View<'_>, target: &Instance, db: &Database) -> Decision<Effect> {
    if let Some((_, problem)) = active::recovered_elsewhere(v.pool, v.situation, v.transition) {
        return Decision::Blocked(problem);
    }
    if db.user_access != 0 {
        return Decision::Act(Effect::SetMultiUser);
    }
    let users = match target.orphaned_users.get() {
        Ok(users) => users,
        Err(p) if p.class == Class::Retry => return Decision::Blocked(p.clone()),
        // The database is open; that its users cannot be compared must not keep chat down.
        Err(p) => {
            return Decision::Done(Evidence::new(format!(
                "{} on {} is ONLINE and open for writing; its users could not be compared with the logins: {}",
                clean(&v.pool.database),
                clean(&target.server_name),
                p.message()
            )));
        }
    };
    let unmapped = &v.transition.facts.unmapped_users;
    if let Some(user) = users.iter().find(|u| u.has_login && !unmapped.contains_key(&u.name)) {
        return Decision::Act(Effect::MapUser(user.name.clone()));
    }
    let mut message = format!(
        "{} on {} is ONLINE and open for writing",
        clean(&v.pool.database),
        clean(&target.server_name)
    );
    let (left, users): (Vec<_>, Vec<_>) = users.iter().partition(|u| unmapped.contains_key(&u.name));
    for why in left.iter().filter_map(|u| unmapped.get(&u.name)) {
        message.push_str(&format!("; a user could not be mapped to its login: {}", clean(why)));
    }
    if !users.is_empty() {
        let names: Vec<String> = users.iter().map(|u| clean(&u.name)).collect();
        message
            .push_str(&format!("; no login of this instance stands behind the users {}", names.join(", ")));
    }
    Decision::Done(Evidence::new(message))
}

fn statement(e: &Effect, pool: &Pool) -> Statement {
    let lock = pool.lock_resource();
    match e {
        Effect::Recover { redo, .. } => Statement::long(
            "RESTORE DATABASE",
            statements::recover(),
            vec![
                lock.into(),
                pool.database.clone().into(),
                redo.lsn.to_string().into(),
                redo.fork.clone().into(),
            ],
        ),
        Effect::SetMultiUser => {
            Statement::write("ALTER", statements::set_multi_user(&pool.database), vec![lock.into()])
        }
        Effect::MapUser(user) => {
            Statement::write("ALTER", statements::map_user(&pool.database, user), vec![lock.into()])
        }
    }
}
