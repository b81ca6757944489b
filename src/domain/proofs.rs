//! The proofs that the one-way step needs. Each is made by one pure function only, from what is seen now.

use super::acceptance::Acceptance;
use super::backups::RedoPoint;
use super::chain::{no_redo, of};
use super::fencing::{Verdict, verdict};
use super::pool::Pool;
use super::problem::{Problem, Reason};
use super::route::Procedure;
use super::situation::Situation;
use super::tail;
use super::text::clean;
use super::transition::Transition;

/// That nothing applicable is left, and whatever cannot be applied was accepted as lost.
#[derive(Clone, Debug)]
pub struct CompleteChain {
    redo: RedoPoint,
}

impl CompleteChain {
    /// Makes the proof from what is seen now. The only way to get one.
    pub fn prove(pool: &Pool, s: &Situation, t: &Transition, accepted: &Acceptance) -> Result<Self, Problem> {
        let chain = of(s, t.route.to, &pool.database, Some(t))?;
        if let Some(link) = chain.links.first() {
            return Err(Problem::retry(
                Reason::InProgress,
                format!(
                    "{} log backups are not applied yet, the next is {}",
                    chain.links.len(),
                    clean(&link.file)
                ),
                "They are applied before the database is recovered",
            ));
        }
        // A switch leaves nothing out: it ends at the tail, whatever else lies in the folders.
        if t.route.procedure != Procedure::Switch && !chain.stuck.is_empty() {
            accepted.require()?;
        }
        let redo = chain.end.ok_or_else(|| no_redo("the target", &pool.database))?;
        match t.route.procedure {
            Procedure::Switch => up_to_the_tail(pool, s, t, redo),
            Procedure::Failover | Procedure::Protect | Procedure::Align => Ok(CompleteChain { redo }),
        }
    }
    /// Where roll forward stands: the recovery is allowed at this point only.
    pub fn redo(&self) -> &RedoPoint {
        &self.redo
    }
}

/// A switch loses nothing: its target stands where the tail of the side that is left ends, on its fork.
fn up_to_the_tail(
    pool: &Pool,
    s: &Situation,
    t: &Transition,
    redo: RedoPoint,
) -> Result<CompleteChain, Problem> {
    match tail::taken(s, t, &pool.database) {
        Some(end) if end == redo.lsn => Ok(CompleteChain { redo }),
        Some(end) if end < redo.lsn => Err(Problem::ask(
            Reason::DatabaseState,
            format!(
                "The copy stands at LSN {}, beyond the tail of the log, which ends at {end}: it holds what the database that is left has not \
                 got, an older one that has taken the place of the one that was backed up",
                redo.lsn
            ),
            "Set spec.activeDataCenter back, so that this is done: the database comes online where it was, and a new copy of it can be seeded",
        )),
        Some(end) => Err(Problem::retry(
            Reason::InProgress,
            format!("The copy stands at LSN {}, the tail of the log ends at {end}", redo.lsn),
            "Nothing to do: it is applied before the database is recovered. To go back, set spec.activeDataCenter back",
        )),
        None => Err(tail::not_seen(pool, t)),
    }
}

/// The proof that nobody writes to the side that is left: dead for everyone who looked, vouched for by a human, or left RESTORING by the
/// tail of its log.
#[derive(Clone, Debug)]
pub struct Fenced(());

impl Fenced {
    /// Makes the proof from what is seen now. The only way to get one.
    pub fn prove(pool: &Pool, s: &Situation, t: &Transition, accepted: &Acceptance) -> Result<Self, Problem> {
        if t.route.procedure == Procedure::Switch {
            return match tail::taken(s, t, &pool.database) {
                Some(_) => Ok(Fenced(())),
                None => Err(tail::not_seen(pool, t)),
            };
        }
        match verdict(pool, s, t.route.from) {
            Verdict::Dead => Ok(Fenced(())),
            Verdict::Alive(p) => Err(p),
            Verdict::SilentSoFar(until) => Err(Problem::retry(
                Reason::WaitingForSilence,
                format!("The side that is left has not been silent for long enough (until {until})"),
                "Nothing to do: it is looked at again",
            )),
            Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => accepted.require().map(|()| Fenced(())),
        }
    }
}
