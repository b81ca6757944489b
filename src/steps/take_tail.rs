//! Take the tail of the log: the last log backup of the side that is left, by which its database ends (`BACKUP LOG … WITH NORECOVERY`:
//! "backs up the tail of the log and leaves the database in the RESTORING state"). From then on nobody can write there, and the other side
//! can be brought to exactly that point. It can be undone until the other side's database is recovered.
//!
//! First the mirroring is removed: a principal of a mirror cannot be taken to RESTORING. Then the jobs that back up the log are switched off
//! on both partners: one that ran in between would only be one more backup in the chain, but one that runs afterwards, from a database that
//! was recovered by mistake, would write into the same share.

use serde::Serialize;

use super::findings::{gate, no_fork};
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::route::Route;
use crate::domain::side::{Place, Seat};
use crate::domain::sql_server::{Instance, wait_for_restores};
use crate::domain::step::StepId;
use crate::domain::tail;
use crate::domain::text::clean;
use crate::domain::transition::Tail;
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::sql_server::{Statement, agent, database};

/// The step.
pub struct TakeTail;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Disables the job that backs up the log on one of the partners.
    DisableJob(Place, String),
    /// Removes the mirroring of the database that is left.
    RemoveMirroring,
    /// Takes the tail of the database of this fork into this file of the share.
    Take {
        /// The file.
        file: String,
        /// `recovery_fork_guid`.
        fork: String,
        /// The folder that the server's own log backups go to: the same share, perhaps by another name.
        folder: String,
    },
}

impl Step for TakeTail {
    const ID: StepId = StepId::TailTaken;
    type Effect = Effect;

    fn reads() -> Reads {
        // What was copied and applied before it is to be seen to be done still.
        Reads::ALL
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        if v.is_beyond() {
            return Decision::Done(Evidence::new("It was taken before the database was recovered"));
        }
        if let Some(end) = v.tail() {
            return Decision::Done(Evidence::new(format!(
                "The log of {} ends at LSN {end}: nothing can be written there any more",
                clean(&v.from().name)
            )));
        }
        let live = match (v.live_source(), &v.transition.facts.tail) {
            (Ok(live), _) => live,
            (Err(_), Some(_)) if v.source().instances().next().is_some() => {
                return Decision::Blocked(tail::not_seen(v.pool, v.transition));
            }
            (Err(p), _) => return Decision::Blocked(p),
        };
        if let Some(problem) = gate(v, Self::ID) {
            return Decision::Blocked(problem);
        }
        // First of all: what is told of a mirror's own jobs is told once it is none any more.
        if live.database.as_ref().is_some_and(|db| db.mirroring.is_some()) {
            return Decision::Act(Effect::RemoveMirroring);
        }
        match without_jobs(v) {
            Ok(()) => take(v, live),
            Err(word) => word,
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        let (Some(live), None, false) = (v.source().live(), v.tail(), v.is_beyond()) else { return vec![] };
        let jobs = v.source().instances().filter_map(|(place, i)| Some((place, i.log_backup_job()?)));
        let mut effects: Vec<Effect> = jobs
            .filter(|(_, job)| job.enabled)
            .map(|(place, job)| Effect::DisableJob(place, job.id.clone()))
            .collect();
        let Some(db) = &live.database else { return effects };
        effects.splice(..0, db.mirroring.as_ref().map(|_| Effect::RemoveMirroring));
        let (file, folder) = (file(v), folder(v, live));
        effects.extend(db.fork.as_ref().map(|fork| Effect::Take { file, fork: fork.clone(), folder }));
        effects
    }

    fn shown(e: &Effect, pool: &Pool, _route: Route) -> Vec<String> {
        vec![statement(e, pool).shown()]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        let statement = statement(e, p.pool());
        let seat = match e {
            Effect::DisableJob(place, _) => Seat { place: *place, ..p.source() },
            Effect::RemoveMirroring | Effect::Take { .. } => p.source(),
        };
        if let Effect::Take { file, fork, .. } = e {
            let tail = Tail { at: p.now(), seat, fork: fork.clone(), file: file.clone(), undone: false };
            // On both sides: whoever finds the database closed knows by whom, and can bring it back, even if the other side is lost then.
            match p.intend_everywhere(move |t| t.facts.tail = Some(tail)).await {
                Outcome::Answered => {}
                other @ (Outcome::Refused(_) | Outcome::Unknown(_)) => return other,
            }
        }
        p.sql(seat, &statement).await
    }
}

/// No job backs up the log on either partner; otherwise what is to be done about it.
fn without_jobs(v: &View<'_>) -> Result<(), Decision<Effect>> {
    for (place, i) in v.source().instances() {
        without_log_backups(i, |job| Effect::DisableJob(place, job))?;
    }
    Ok(())
}

/// No job backs up the log of an instance for log shipping; otherwise what is to be done about it, or waited for.
pub(super) fn without_log_backups<E>(
    i: &Instance,
    disable: impl FnOnce(String) -> E,
) -> Result<(), Decision<E>> {
    if let Some(p) = i.primary_half.get().err().or(i.jobs.get().err()) {
        return Err(Decision::Blocked(p.clone()));
    }
    match i.log_backup_job() {
        Some(job) if job.enabled => Err(Decision::Act(disable(job.id.clone()))),
        Some(job) if job.running => {
            let message = format!("A log backup still runs on {}", clean(&i.server_name));
            Err(Decision::Wait(Waiting::for_job(message)))
        }
        Some(_) | None => Ok(()),
    }
}

fn take(v: &View<'_>, live: &Instance) -> Decision<Effect> {
    match live.restores.get() {
        Err(p) => return Decision::Blocked(p.clone()),
        Ok(running) if !running.is_empty() => return Decision::Wait(wait_for_restores(running)),
        Ok(_) => {}
    }
    match live.database.as_ref().and_then(|db| db.fork.clone()) {
        Some(fork) => Decision::Act(Effect::Take { file: file(v), fork, folder: folder(v, live) }),
        None => Decision::Blocked(no_fork(live)),
    }
}

/// Where the server writes its own log backups, if they reach the target's copy from there; else the share by the name that the resource has.
fn folder(v: &View<'_>, live: &Instance) -> String {
    let share = v.to().log_shipping.as_ref().map(|s| &s.backup_share);
    let half = live.primary_half.known().and_then(Option::as_ref);
    let own = half.filter(|h| share.is_some_and(|s| s.is(h.backup_share()) || s.is(h.backup_directory())));
    let own = own.map(|h| h.backup_directory().to_string()).filter(|folder| !folder.is_empty());
    own.or_else(|| share.map(|s| s.path.clone())).unwrap_or_default()
}

/// A name that no other attempt had: what a failed one has left behind is not taken for this one's.
fn file(v: &View<'_>) -> String {
    let attempts = v.transition.attempts(TakeTail::ID);
    format!("{}_tail_{}_{attempts}.trn", v.pool.database, v.transition.id)
}

fn statement(e: &Effect, pool: &Pool) -> Statement {
    match e {
        Effect::DisableJob(_, id) => agent::enable_job(pool, id, false),
        Effect::RemoveMirroring => database::remove_mirroring(pool),
        Effect::Take { file, fork, folder } => {
            database::take_tail(pool, fork, format!(r"{}\{file}", folder.trim_end_matches('\\')))
        }
    }
}
