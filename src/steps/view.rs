//! What a step decides on.

use crate::domain::acceptance::{Acceptance, Asked, terms};
use crate::domain::backups::Folders;
use crate::domain::chain::{self, Chain};
use crate::domain::consent::Consent;
use crate::domain::decision::{Decision, Evidence};
use crate::domain::fencing::{Verdict, verdict};
use crate::domain::links::Link;
use crate::domain::pool::{DataCenter, Pool, Shipping};
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::Route;
use crate::domain::site::Site;
use crate::domain::situation::Situation;
use crate::domain::sql_server::{Database, Instance};
use crate::domain::text::clean;
use crate::domain::transition::Transition;

/// A situation, the transition, and what follows from both. Direction is here and in the route, nowhere else.
pub struct View<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// What was seen.
    pub situation: &'a Situation,
    /// What has been done.
    pub transition: &'a Transition,
    /// Where it goes.
    pub route: Route,
    /// The log chain from the target's redo point.
    pub chain: Result<Chain, Problem>,
    /// What is known about the side that is left.
    pub verdict: Verdict,
    /// What a human would have to agree to, and whether one did.
    pub accepted: Acceptance,
}

/// What somebody has said about a transition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// A human's yes.
    pub consent: Option<&'a Consent>,
    /// Somebody has asked for it against the world as it is.
    pub is_uttered: bool,
}

impl<'a> View<'a> {
    /// Puts the view together.
    pub fn new(pool: &'a Pool, situation: &'a Situation, transition: &'a Transition, said: Said<'_>) -> Self {
        let route = transition.route;
        let chain = chain::of(situation, route.to, &pool.database, Some(transition));
        let verdict = verdict(pool, situation, route.from);
        let asked = Asked {
            chain: chain.as_ref().ok(),
            verdict: &verdict,
            site: &situation.sites[route.from],
            policy: pool.policy.consent,
            is_uttered: said.is_uttered,
            adopt: None,
        };
        let accepted = Acceptance::of(terms(&asked), transition, said.consent);
        View { pool, situation, transition, route, chain, verdict, accepted }
    }
    /// The data centre that is left, or whose database is the live one.
    pub fn from(&self) -> &'a DataCenter {
        &self.pool.sites[self.route.from]
    }
    /// The data centre that the transition is about.
    pub fn to(&self) -> &'a DataCenter {
        &self.pool.sites[self.route.to]
    }
    /// The side that is left, or whose database is the live one, as it was seen.
    pub fn source(&self) -> &'a Site {
        &self.situation.sites[self.route.from]
    }
    /// The side that the transition is about, as it was seen.
    pub fn target_site(&self) -> &'a Site {
        &self.situation.sites[self.route.to]
    }
    /// The instance there that is worked on, or why it could not be read.
    pub fn target(&self) -> Result<&'a Instance, Problem> {
        self.target_site().main().map_err(Clone::clone)
    }
    /// Its database, or what is wrong.
    pub fn database(&self) -> Result<&'a Database, Problem> {
        let target = self.target()?;
        target.database.as_ref().ok_or_else(|| {
            Problem::ask(
                Reason::DatabaseState,
                format!("{} has no database {}", clean(&target.server_name), clean(&self.pool.database)),
                "Set up log shipping again from a full backup of the live database",
            )
        })
    }
    /// The folders over which log backups reach the target's copy, as they were seen.
    pub fn folders(&self) -> Result<&'a Folders, Problem> {
        let seen = self.situation.folders[self.route.to].as_ref();
        seen.ok_or_else(crate::domain::reading::not_looked)
    }
    /// The same, as the resource describes them.
    pub fn shipping(&self) -> Result<&'a Shipping, Problem> {
        let to = self.to();
        to.log_shipping.as_ref().ok_or_else(|| {
            Problem::ask(
                Reason::InvalidSpec,
                format!("{}.logShipping is missing", to.field()),
                format!("Say in it how log backups reach the copy in {}", clean(&to.name)),
            )
        })
    }
    /// Whether the database is beyond the reach of log backups.
    pub fn is_beyond(&self) -> bool {
        self.situation.is_past(self.transition)
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
    /// Whether SQL Server has read the headers of all files of a link where they were copied to.
    pub fn is_read_from_copy(&self, link: &Link) -> bool {
        self.folders()
            .is_ok_and(|f| link.files().all(|file| f.headers.get(file).is_some_and(|h| h.from_copy)))
    }
    /// Whether the live side has the mirror that the resource names (or names none), and nobody is building one.
    pub fn mirror_stands(&self) -> bool {
        let looked_after = self.transition.open_job().is_some() && self.situation.lync.mirror_job.is_some();
        self.to().mirror.is_none() || (!looked_after && self.database().is_ok_and(Database::has_safe_mirror))
    }
    /// The copy on the mirror-to-be that building the mirror may replace: one that waits for log backups, of the same family as far as
    /// a server shows that of a database that is not open. Everything else there is somebody's data.
    pub fn replaceable(&self) -> Option<&'a Database> {
        let partner = self.target_site().partner_of_main()?;
        let copy = partner.answer.instance().ok()?.database.as_ref()?;
        let family = self.database().ok().and_then(|d| d.family.clone());
        let same = match (&copy.family, &family) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            (None, _) | (_, None) => true,
        };
        (copy.is_restoring() && !copy.standby && same).then_some(copy)
    }
}
