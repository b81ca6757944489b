//! The proofs that the one-way step needs. Each is made by one pure function only, from what is seen now.

use jiff::SignedDuration;

use super::acceptance::Acceptance;
use super::backups::RedoPoint;
use super::chain::{no_redo, of};
use super::fencing::{Verdict, verdict};
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
    pub fn prove(
        s: &Situation,
        database: &str,
        t: &Transition,
        accepted: &Acceptance,
    ) -> Result<Self, Problem> {
        let chain = of(s, database, Some(t))?;
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
            None => Err(no_redo("the target", database)),
        }
    }
    /// Where roll forward stands: the recovery is allowed at this point only.
    pub fn redo(&self) -> &RedoPoint {
        &self.redo
    }
}

/// The proof that nobody writes to the old primary: dead for everyone who looked, or vouched for by a human.
#[derive(Clone, Debug)]
pub struct Fenced(());

impl Fenced {
    /// Makes the proof from what is seen now. The only way to get one.
    pub fn prove(s: &Situation, silence: SignedDuration, accepted: &Acceptance) -> Result<Self, Problem> {
        match verdict(&s.source, s.at, silence) {
            Verdict::Dead => Ok(Fenced(())),
            Verdict::Alive(p) => Err(p),
            Verdict::SilentSoFar(until) => Err(Problem::retry(
                Reason::WaitingForSilence,
                format!("The primary has not been silent for long enough (until {until})"),
                "Nothing to do: it is looked at again",
            )),
            Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => accepted.require().map(|()| Fenced(())),
        }
    }
}
