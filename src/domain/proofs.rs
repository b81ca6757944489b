//! The proofs that the one-way step needs. Each is made by one pure function only, from what is seen now.

use super::acceptance::Acceptance;
use super::backups::RedoPoint;
use super::chain::{no_redo, of};
use super::fencing::{Verdict, verdict};
use super::pool::Pool;
use super::problem::{Problem, Reason};
use super::situation::Situation;
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
        if !chain.stuck.is_empty() {
            accepted.require()?;
        }
        match chain.end {
            Some(redo) => Ok(CompleteChain { redo }),
            None => Err(no_redo("the target", &pool.database)),
        }
    }
    /// Where roll forward stands: the recovery is allowed at this point only.
    pub fn redo(&self) -> &RedoPoint {
        &self.redo
    }
}

/// The proof that nobody writes to the side that is left: dead for everyone who looked, or vouched for by a human.
#[derive(Clone, Debug)]
pub struct Fenced(());

impl Fenced {
    /// Makes the proof from what is seen now. The only way to get one.
    pub fn prove(pool: &Pool, s: &Situation, t: &Transition, accepted: &Acceptance) -> Result<Self, Problem> {
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
