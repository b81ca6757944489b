//! What a step decides on.

use jiff::SignedDuration;

use crate::domain::acceptance::{self, Acceptance};
use crate::domain::chain::{self, Chain};
use crate::domain::consent::Consent;
use crate::domain::decision::{Decision, Evidence};
use crate::domain::fencing::{self, Verdict};
use crate::domain::pool::{DataCenter, Pool};
use crate::domain::problem::{Problem, Reason};
use crate::domain::situation::Situation;
use crate::domain::sql_server::{Database, Instance};
use crate::domain::transition::Transition;

/// What a step decides on: a situation, the transition, and what follows from both.
pub struct View<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// What was seen.
    pub s: &'a Situation,
    /// What has been done.
    pub t: &'a Transition,
    /// The log chain from the target's redo point.
    pub chain: Result<Chain, Problem>,
    /// What is known about the primary.
    pub verdict: Verdict,
    /// What a human would have to agree to, and whether one did.
    pub accepted: Acceptance,
    /// How long the primary must be silent.
    pub silence: SignedDuration,
}

impl<'a> View<'a> {
    /// Puts the view together.
    pub fn new(
        pool: &'a Pool,
        s: &'a Situation,
        t: &'a Transition,
        consent: Option<&Consent>,
        silence: SignedDuration,
    ) -> Self {
        let chain = chain::of(s, &pool.database, Some(t));
        let verdict = fencing::verdict(&s.source, s.at, silence);
        let terms = acceptance::terms(chain.as_ref().ok(), &verdict, &s.source, pool.policy.consent, None);
        let accepted = Acceptance::of(terms, t, consent);
        View { pool, s, t, chain, verdict, accepted, silence }
    }
    /// The data centre that becomes active.
    pub fn to(&self) -> &DataCenter {
        &self.pool.backup
    }
    /// The instance that becomes primary, or why it could not be read.
    pub fn target(&self) -> Result<&Instance, Problem> {
        self.s.target.get().map_err(Clone::clone)
    }
    /// Its database, or what is wrong.
    pub fn database(&self) -> Result<&Database, Problem> {
        let target = self.target()?;
        target.database.as_ref().ok_or_else(|| {
            Problem::ask(
                Reason::DatabaseState,
                format!("{} has no database {}", target.server_name, self.pool.database),
                "Set up log shipping again from a full backup of the primary",
            )
        })
    }
    /// Whether the database is beyond the reach of log backups.
    pub fn is_beyond(&self) -> bool {
        self.s.is_past(self.t)
    }
    /// Whether the database of the target was recovered by us and is live.
    pub fn is_recovered(&self) -> bool {
        self.is_beyond() && self.database().is_ok_and(Database::is_live)
    }
    /// The log chain while log backups can be applied; otherwise what a step that needs it says.
    pub fn while_restoring<E>(&self) -> Result<&Chain, Decision<E>> {
        if self.is_beyond() {
            return Err(Decision::Done(Evidence::new(
                "The database was recovered; no log backup can be applied any more",
            )));
        }
        self.chain.as_ref().map_err(|p| Decision::Blocked(p.clone()))
    }
    /// Whether the live side has the mirror that the resource names (or names none), and nobody is building one.
    pub fn mirror_stands(&self) -> bool {
        let looked_after = self.t.open_job().is_some() && self.s.chat.mirror_job.is_some();
        self.to().mirror.is_none() || (!looked_after && self.database().is_ok_and(Database::has_safe_mirror))
    }
    /// The copy on the mirror-to-be that building the mirror may replace: one that waits for log backups, of the same family as far as
    /// a server shows that of a database that is not open. Everything else there is somebody's data.
    pub fn replaceable(&self) -> Option<&Database> {
        let copy = self.s.target_mirror.as_ref()?.known()?.database.as_ref()?;
        let family = self.database().ok().and_then(|d| d.family.clone());
        let same = match (&copy.family, &family) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            (None, _) | (_, None) => true,
        };
        (copy.is_restoring() && !copy.standby && same).then_some(copy)
    }
}
