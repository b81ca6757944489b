//! Apply every log backup that is not applied yet, in the order of the log chain, always WITH NORECOVERY.

use serde::Serialize;

use super::{Reads, Step, View};
use crate::domain::backups::RedoPoint;
use crate::domain::chain;
use crate::domain::database_files::Move;
use crate::domain::decision::{Decision, Evidence, Left, Outcome, Waiting};
use crate::domain::links::Link;
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::route::Route;
use crate::domain::sql_server::{DatabaseState, wait_for_restores};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::{Damaged, Refused, Transition};
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::sql_server::Statement;
use crate::systems::sql_server::database::{self, LogSet};

/// The step.
pub struct ApplyLogBackups;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Takes a STANDBY copy back to RESTORING: then nobody can be in the way any more.
    LeaveStandby,
    /// Applies one log backup at the redo point that it was chosen for.
    Apply(Link, RedoPoint),
}

impl Step for ApplyLogBackups {
    const ID: StepId = StepId::LogBackupsApplied;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { other: true, files: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        // That it cannot be followed is said last: what stands in the way of every RESTORE comes first.
        let chain = match v.while_restoring() {
            Ok(chain) => Ok(chain),
            Err(Decision::Blocked(p)) => Err(p),
            Err(word) => return word,
        };
        let (target, db) = match (v.target(), v.database()) {
            (Ok(target), Ok(db)) => (target, db),
            (Err(p), _) | (_, Err(p)) => return Decision::Blocked(p),
        };
        match target.restores.get() {
            Err(p) => return Decision::Blocked(p.clone()),
            Ok(running) if !running.is_empty() => return Decision::Wait(wait_for_restores(running)),
            Ok(_) => {}
        }
        if db.standby {
            return Decision::Act(Effect::LeaveStandby);
        }
        if db.state != DatabaseState::Restoring {
            return Decision::Blocked(Problem::ask(
                Reason::DatabaseState,
                format!(
                    "{} on {} is {}, no log backup can be applied",
                    clean(&v.pool.database),
                    clean(&target.server_name),
                    db.state_text()
                ),
                "Find out who changed it; nothing is done until it is RESTORING, or ONLINE by this operator",
            ));
        }
        let chain = match chain {
            Ok(chain) => chain,
            Err(p) => return Decision::Blocked(p),
        };
        if v.is_near() && v.losses_accepted().is_ok() {
            return Decision::Done(Evidence::new(format!(
                "{} log backups are left; they come as fast as they are applied, and the last ones are applied with the tail",
                chain.links.len()
            )));
        }
        match (chain.links.first(), &db.redo) {
            (Some(link), Some(redo))
                if v.is_read_from_copy(link)
                    && !v.folders().is_ok_and(|f| chain::is_fetched_again(v.transition, f, &link.file)) =>
            {
                Decision::Act(Effect::Apply(link.clone(), redo.clone()))
            }
            (Some(link), _) => Decision::Wait(Waiting {
                reason: Reason::InProgress,
                message: format!("{} is being copied", clean(&link.file)),
                until: None,
            }),
            (None, _) => match v.losses_accepted() {
                Err(problem) => Decision::Blocked(problem),
                Ok(()) => Decision::Done(Evidence::new(match &chain.end {
                    Some(end) => {
                        format!("Nothing that can be applied is left; roll forward ends at LSN {}", end.lsn)
                    }
                    None => "Nothing that can be applied is left".into(),
                })),
            },
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        let (Ok(chain), Ok(db)) = (v.while_restoring::<Effect>(), v.database()) else { return vec![] };
        let mut effects = if db.standby { vec![Effect::LeaveStandby] } else { vec![] };
        let mut redo = v.target().ok().and_then(chain::redo_of);
        for link in &chain.links {
            let after = RedoPoint { lsn: link.set.last_lsn, fork: link.set.last_fork.clone() };
            effects.extend(redo.replace(after).map(|at| Effect::Apply(link.clone(), at)));
        }
        effects
    }

    fn progress(v: &View<'_>) -> Option<Left> {
        let chain = v.while_restoring::<Effect>().ok()?;
        Some(Left { pieces: chain.links.len() as i64, unit: "files", restores: true })
    }

    fn shown(e: &Effect, pool: &Pool, route: Route) -> Vec<String> {
        vec![statement(e, &[], pool, route).shown()]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        let plain = p.sql(p.target(), &statement(e, &[], p.pool(), p.route())).await;
        let Effect::Apply(link, _) = e else { return plain };
        let outcome = elsewhere(e, link, plain, p).await;
        let Outcome::Refused(problem) = &outcome else { return outcome };
        match remember(link, problem, p).await {
            None | Some(Outcome::Answered) => outcome,
            Some(other @ (Outcome::Refused(_) | Outcome::Unknown(_))) => other,
        }
    }
}

/// What was refused may add a file to the database, where there is no room for it: it is restored once more with that file beside
/// the copy's own. Only then, for SQL Server puts files where the live database has them, and log shipping lets it.
async fn elsewhere<S: Systems>(e: &Effect, link: &Link, plain: Outcome, p: &Permit<'_, S>) -> Outcome {
    let Outcome::Refused(refused) = &plain else { return plain };
    if !is_about(refused) || NOT_ABOUT_ITS_FILES.contains(&refused.reason) {
        return plain;
    }
    let moves = match p.moves(&path(&link.file, p.pool(), p.route()), link.set.position).await {
        Ok(moves) if moves.is_empty() => return plain,
        Ok(moves) => moves,
        Err(lost) => return lost,
    };
    match p.sql(p.target(), &statement(e, &moves, p.pool(), p.route())).await {
        // A number that nobody knows explains less than what was said before.
        Outcome::Refused(again) if is_about(&again) && again.reason == Reason::EffectFailed => plain,
        outcome @ (Outcome::Answered | Outcome::Refused(_) | Outcome::Unknown(_)) => outcome,
    }
}

/// What a refusal of one log backup may be about, and nothing but that one. What concerns the database or the login is no loss that a
/// human could accept: it stands in the way of the recovery as well.
const ABOUT_THE_BACKUP: [Reason; 5] = [
    Reason::BackupDamaged,
    Reason::BackupRefused,
    Reason::LogChainGap,
    Reason::FolderUnusable,
    Reason::EffectFailed,
];
/// Of these, what no MOVE helps against.
const NOT_ABOUT_ITS_FILES: [Reason; 2] = [Reason::BackupDamaged, Reason::LogChainGap];

/// Whether a refusal is about the backup, and will not pass by itself.
fn is_about(refused: &Problem) -> bool {
    refused.class != Class::Retry && ABOUT_THE_BACKUP.contains(&refused.reason)
}

/// SQL Server read the header but did not restore the backup. Remembered, or it would be tried for ever: then it is stuck for that
/// reason, and a human may accept the loss. What may pass by itself is tried again instead.
async fn remember<S: Systems>(link: &Link, problem: &Problem, p: &Permit<'_, S>) -> Option<Outcome> {
    if !is_about(problem) {
        return None;
    }
    // A file that is gone by now is not remembered: whatever comes in its place is another one.
    let file = p.in_copy_folder(&link.file)?;
    let refused = (problem.reason != Reason::BackupDamaged).then(|| Refused {
        at: p.now(),
        reason: problem.reason,
        fix: problem.fix.clone(),
    });
    let (key, why) = (link.key(), problem.what.clone());
    let note = move |t: &mut Transition| {
        let times = t.facts.damaged.get(&key).map_or(0, |d| d.times) + 1;
        t.facts.damaged.insert(key, Damaged { file, why, times, fetched: false, refused });
    };
    Some(p.intend(note).await)
}

/// A file of the copy folder, as SQL Server names it.
fn path(file: &str, pool: &Pool, route: Route) -> String {
    let folder = pool.sites[route.to].log_shipping.as_ref().map(|s| &s.copy_folder);
    folder.map_or_else(|| file.to_string(), |f| f.file(file))
}

fn statement(e: &Effect, moves: &[Move], pool: &Pool, route: Route) -> Statement {
    match e {
        Effect::LeaveStandby => database::leave_standby(pool),
        Effect::Apply(link, redo) => {
            let files = link.files().map(|file| path(file, pool, route)).collect();
            let set = LogSet { files, position: link.set.position, checksums: link.set.checksums };
            database::restore_log(pool, redo, set, moves)
        }
    }
}
