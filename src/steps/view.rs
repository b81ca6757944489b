//! What a step decides on.

use crate::domain::acceptance::{Acceptance, Asked, terms};
use crate::domain::backups::{Folders, Lsn};
use crate::domain::chain::{self, Chain};
use crate::domain::consent::Consent;
use crate::domain::decision::{Decision, Evidence};
use crate::domain::fencing::{Verdict, verdict};
use crate::domain::links::Link;
use crate::domain::pool::{DataCenter, Pool, Shipping};
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::{Course, Procedure, Route};
use crate::domain::seeding;
use crate::domain::side::Place;
use crate::domain::site::{Answer, Site};
use crate::domain::situation::Situation;
use crate::domain::sql_server::{Database, DatabaseState, Instance};
use crate::domain::step::StepId;
use crate::domain::tail;
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
    /// Whether the copy of the side that is protected continues the live database's log chain. Not known where no side is protected.
    pub continuity: Continuity<'a>,
    /// What is known about the side that is left.
    pub verdict: Verdict,
    /// What a human would have to agree to, and whether one did.
    pub accepted: Acceptance,
}

/// How many log backups may be left when chat is let end, and after how many effects of applying them.
const NEAR: usize = 2;
const TRIED: i32 = 12;

/// What somebody has said about a transition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// A human's yes.
    pub consent: Option<&'a Consent>,
    /// Somebody has asked for it against the world as it is.
    pub is_uttered: bool,
}

/// That a switch is taken back whose target is not to be seen: its database may have been recovered there, by whoever could not reach the
/// side that is left at that time. Only a human knows that it is not, and will not be.
fn may_be_recovered(pool: &Pool, s: &Situation, t: &Transition) -> Option<Verdict> {
    let closed = t.facts.tail.is_some() && s.sites[t.route.from].live().is_none();
    // What turns us away lives: whoever mends that sees whether it was recovered.
    let lives = s.sites[t.route.to].partners().any(|(_, p)| match &p.answer {
        Answer::TurnsAway(_) => true,
        Answer::Speaks(_) | Answer::Silent(_) | Answer::NotAsked(_) => false,
    });
    let closed = closed && !lives;
    let unseen = s.sites[t.route.to].main().err().filter(|_| closed && t.route.course == Course::Back)?;
    let name = clean(pool.name(t.route.to));
    Some(Verdict::Unknown(Problem::ask(
        Reason::SourceUnknown,
        format!(
            "{name} is not to be seen, where the database may have been recovered: {} (here the side that must be fenced is {name})",
            unseen.what
        ),
        "Wait for it, or switch it off for good, and say so by consent",
    )))
}

/// Whether a copy continues the live database's log chain.
pub enum Continuity<'a> {
    /// It does, on this instance: log backups of the live database can be applied to it.
    Continues(&'a Instance),
    /// It is on the live database's path, and the newest log backups are not to be seen yet: they may have been taken since the folders were
    /// looked into. Where one is missing, a later one shows that.
    Behind(&'a Instance),
    /// It will, once the tail of the switch is applied by which chat left there.
    LacksTail(&'a Instance, tail::Unapplied),
    /// It does not, or there is none. Why.
    Broken(String),
    /// Nobody can say now. Why.
    Unknown(String),
}

/// Whether the copy at the store of the side that is protected is of the same family and fork as the live database (or of the fork that a
/// switch of ours made from it at the end of its log: "the old primary is left RESTORING and can be rolled forward from the new one"), and
/// no log backup is missing between its redo point and the next one.
fn continuity<'a>(
    pool: &Pool,
    s: &'a Situation,
    t: &Transition,
    chain: Result<&Chain, &Problem>,
) -> Continuity<'a> {
    let route = t.route;
    let (standby, live) = match (s.sites[route.to].store.answer.instance(), s.sites[route.from].live()) {
        (Ok(standby), Some(live)) => (standby, live),
        (Err(p), _) => return Continuity::Unknown(p.what.clone()),
        (Ok(_), None) => return Continuity::Unknown("no live database is to be seen".into()),
    };
    let (name, server) = (clean(&pool.database), clean(&standby.server_name));
    let Some(copy) = &standby.database else { return Continuity::Broken(format!("{server} holds no copy")) };
    let Some(db) = &live.database else {
        return Continuity::Unknown("no live database is to be seen".into());
    };
    let is_open = |(place, i): &(Place, &Instance)| {
        *place != Place::Store && i.database.as_ref().is_some_and(seeding::is_open)
    };
    if let Some((_, open)) = s.sites[route.to].instances().find(is_open) {
        return Continuity::Broken(format!("{name} on {} is open", clean(&open.server_name)));
    }
    if copy.state == DatabaseState::Recovering {
        return Continuity::Unknown(format!("{name} on {server} is {}", copy.state_text()));
    }
    if !copy.is_restoring() || copy.mirroring.is_some() {
        let what =
            format!("{name} on {server} is {}, not a copy that waits for log backups", copy.state_text());
        return Continuity::Broken(what);
    }
    if let Ok(running) = standby.restores.get()
        && let Some(restore) = running.iter().find(|r| r.command == "RESTORE DATABASE")
    {
        return Continuity::Unknown(format!("a restore runs on {server} ({:.0} %)", restore.percent));
    }
    if copy.redo.is_none() && !copy.standby {
        return Continuity::Broken(format!("the restore of {name} on {server} was not finished"));
    }
    let broken = || {
        Continuity::Broken(format!("the copy on {server} does not continue the live database's log chain"))
    };
    let differ = |a: &Option<String>, b: &Option<String>| match (a, b) {
        (Some(a), Some(b)) => !a.eq_ignore_ascii_case(b),
        (None, _) | (_, None) => false,
    };
    if differ(&copy.family, &db.family) {
        return broken();
    }
    let chain = match chain {
        Ok(chain) => chain,
        Err(p) => return Continuity::Unknown(p.what.clone()),
    };
    let (Some(end), Some(fork)) = (&chain.end, &db.fork) else {
        return Continuity::Unknown(format!("the recovery fork of {name} is not to be seen"));
    };
    let reaches = db.last_log_backup.is_none_or(|next| next <= end.lsn);
    let on_its_path = end.fork.eq_ignore_ascii_case(fork) || tail::leads(s, end, db);
    let lacks = || tail::unapplied(pool, s, t, copy, db).filter(|_| on_its_path && chain.links.is_empty());
    match (on_its_path, reaches, s.folders[route.to].as_ref()) {
        (true, true, _) => Continuity::Continues(standby),
        (true, false, _) if let Some(tail) = lacks() => Continuity::LacksTail(standby, tail),
        (true, false, _) if chain.gap.is_none() && chain.stuck.is_empty() => Continuity::Behind(standby),
        // What is missing may lie where nobody has looked.
        (_, _, Some(f)) if f.unread == 0 && f.share.known().is_some() && f.copy.known().is_some() => broken(),
        (_, _, _) => Continuity::Unknown("the folders of log backups were not read".into()),
    }
}

impl<'a> View<'a> {
    /// Puts the view together.
    pub fn new(pool: &'a Pool, situation: &'a Situation, transition: &'a Transition, said: Said<'_>) -> Self {
        let route = transition.route;
        let chain = chain::of(situation, route.to, &pool.database, Some(transition));
        let verdict = verdict(pool, situation, route.from);
        // A switch loses nothing: no loss and no silence is there to be accepted. But it may be over already where nobody sees it.
        let unseen = may_be_recovered(pool, situation, transition);
        let (losses, left, site) = match route.procedure {
            Procedure::Switch => (None, unseen.as_ref().unwrap_or(&Verdict::Dead), route.to),
            Procedure::Failover => (chain.as_ref().ok(), &verdict, route.from),
            // They leave no side, and go on by themselves; but what is overwritten is asked for.
            Procedure::Protect | Procedure::Align => (None, &Verdict::Dead, route.from),
        };
        let continuity = match route.procedure {
            Procedure::Protect => continuity(pool, situation, transition, chain.as_ref()),
            Procedure::Switch | Procedure::Failover | Procedure::Align => {
                Continuity::Unknown("no side is protected".into())
            }
        };
        let overwrites = match continuity {
            Continuity::Broken(_) => seeding::overwritten(pool, situation, transition),
            Continuity::Continues(_)
            | Continuity::Behind(_)
            | Continuity::LacksTail(..)
            | Continuity::Unknown(_) => vec![],
        };
        let asked = Asked {
            chain: losses,
            verdict: left,
            site: &situation.sites[site],
            policy: pool.policy.consent,
            is_uttered: said.is_uttered || !route.procedure.moves_chat(),
            adopt: None,
            overwrites,
        };
        let accepted = Acceptance::of(terms(&asked), transition, said.consent);
        View { pool, situation, transition, route, chain, continuity, verdict, accepted }
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
        target.database.as_ref().ok_or_else(|| chain::no_copy(target, &self.pool.database))
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
    /// That what cannot be applied was accepted as lost, if there is any. A switch loses nothing.
    pub fn losses_accepted(&self) -> Result<(), Problem> {
        let stuck = self.chain.as_ref().ok().and_then(|c| c.stuck.first());
        match (self.route.procedure, stuck) {
            (Procedure::Switch, stuck) => self.reaches_the_source(stuck.map(|s| &s.problem)),
            (Procedure::Failover | Procedure::Protect | Procedure::Align, _) => self.accepted.require(),
        }
    }
    /// Whether a switch is as near to a source that chat still writes to as it comes: where log backups are taken as fast as they are
    /// restored the last one is never applied. What is left is applied with the tail.
    pub fn is_near(&self) -> bool {
        let left = self.chain.as_ref().map_or(usize::MAX, |c| c.links.len());
        self.route.procedure == Procedure::Switch
            && self.source().live().is_some()
            && left <= NEAR
            && self.transition.attempts(StepId::LogBackupsApplied) >= TRIED
    }
    /// That the chain leads up to where the source's next log backup begins, or its tail ends: then nothing is lost, whatever else lies in
    /// the folders.
    fn reaches_the_source(&self, stuck: Option<&Problem>) -> Result<(), Problem> {
        let end = self.chain.as_ref().ok().and_then(|c| c.end.as_ref()).map(|end| end.lsn);
        let next = || self.source().live()?.database.as_ref()?.last_log_backup;
        let (Some(end), Some(up_to)) = (end, self.tail().or_else(next)) else {
            let unseen = || self.live_source().err();
            return Err(stuck.cloned().or_else(unseen).unwrap_or_else(|| self.no_log_backup()));
        };
        match (end >= up_to, stuck) {
            (true, _) => Ok(()),
            (false, Some(stuck)) => Err(Problem {
                fix: format!(
                    "{}. A switch leaves out no log backup: mend it, or set spec.activeDataCenter back",
                    stuck.fix.trim_end_matches('.')
                ),
                ..stuck.clone()
            }),
            (false, None) => Err(Problem::retry(
                Reason::LogChainGap,
                format!(
                    "The log backups that are to be seen end at LSN {end}, the next one of the live database begins at {up_to}"
                ),
                "It is looked at again. If it stays so, somebody backs up the log into another folder: copy that backup into the backup share",
            )),
        }
    }
    fn no_log_backup(&self) -> Problem {
        Problem::ask(
            Reason::DatabaseState,
            format!(
                "The live database in {} shows no log backup that could follow",
                clean(&self.from().name)
            ),
            "Take a full backup of it; then log backups can be taken again",
        )
    }
    /// Where the tail of the log ends that this switch has taken; none: it has not, or nobody sees that it has.
    pub fn tail(&self) -> Option<Lsn> {
        tail::taken(self.situation, self.transition, &self.pool.database)
    }
    /// The live database of the side that is left, or that none is to be seen there.
    pub fn live_source(&self) -> Result<&'a Instance, Problem> {
        self.source().live().ok_or_else(|| {
            Problem::retry(
                Reason::DatabaseState,
                format!("No live database was seen in {}", clean(&self.from().name)),
                "It is looked at again",
            )
        })
    }
    /// Whether the copy stands where a seed of this transition has brought it, or further on: what it lacks from there on is not mended by
    /// seeding it once more.
    pub fn is_seeded(&self) -> bool {
        let live = self.live_source().ok().and_then(|i| i.database.as_ref()?.fork.as_ref());
        let standby = self.target_site().store.answer.instance().ok().and_then(|i| i.database.as_ref());
        let seed = self.transition.facts.seed.as_ref();
        seed.zip(standby)
            .zip(live)
            .is_some_and(|((seed, copy), fork)| seeding::is_restored_into(seed, copy, fork))
    }
    /// Whether this transition seeds a copy: a human has agreed to what that overwrites.
    pub fn seeds(&self) -> bool {
        let begun = self.transition.has_begun_to_seed();
        let agreed = !self.accepted.terms().overwrites.is_empty() && self.accepted.accepted().is_some();
        self.route.procedure == Procedure::Protect && (begun || agreed)
    }
    /// A chat service that was stopped by us and does not run: by this transition anywhere, or by an earlier one on a server that is to
    /// serve. The server, and how the service is called there. What cannot be seen of it, or did not start after this many effects of the
    /// step that starts it, holds up nothing: whoever makes that side active again starts what does not run.
    pub fn service_to_start(&self, step: StepId) -> Option<(String, String)> {
        const STARTS: i32 = 8;
        if self.transition.attempts(step) >= STARTS {
            return None;
        }
        let lync = &self.situation.lync;
        let serves = &self.pool.sites[self.route.home()].active_servers;
        let earlier = self.situation.stopped_services().filter(|host| serves.contains(host));
        let mut stopped = self.transition.facts.stopped_services.iter().chain(earlier);
        stopped.find_map(|host| Some((host.clone(), lync.service_at_rest(host)?.clone())))
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
