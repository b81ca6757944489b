//! Observe: look at the world and put down what is seen. Every look is bounded in time; what cannot be seen is unknown.

mod files;
pub(super) mod lync;
mod pings;
mod silence;
pub(super) mod site;

use jiff::{SignedDuration, Timestamp};

use files::Cache;
use pings::Pings;
use silence::Ear;

use super::{Clock, World};
use crate::domain::backups::Folders;
use crate::domain::lync::{Lync, PoolState};
use crate::domain::problem::Problem;
use crate::domain::route::Procedure;
use crate::domain::side::{Place, Side, Sides};
use crate::domain::site::{Answer, Site};
use crate::domain::situation::{Moved, Situation};
use crate::domain::transition::Transition;
use crate::steps::Reads;
use crate::systems::Systems;
use crate::systems::sql_server::content::Content;

/// How often chat servers' reports are read where no transition waits for them: the database is one that chat uses.
const REPORTS: SignedDuration = SignedDuration::from_secs(30);

/// How old what is known of the other side may be where nothing that is read anew must fit to it.
const AGE: SignedDuration = SignedDuration::from_secs(10);

/// Looks at the world, and remembers between two looks what one alone cannot show. Losing it costs time only.
#[derive(Default)]
pub struct Observer {
    sites: Sides<Option<(Timestamp, Site)>>,
    ears: Sides<Ear>,
    pings: Pings,
    headers: Cache,
    lync: Option<Lync>,
    /// The newest failover or switch that any look, or the status, has told of.
    moved: Option<Moved>,
    /// When the reports of a side's chat servers were last read.
    read_reports: Sides<Option<Timestamp>>,
    /// The transition for which the newest message was asked for: once, whatever came of it.
    newest_message: Option<String>,
}

/// What one look is at.
#[derive(Clone, Copy, Debug)]
struct Gaze {
    /// The side at work: always seen anew.
    work: Side,
    /// The side whose silence is watched, from all vantage points; none: nobody is to be left.
    watched: Option<Side>,
    /// The side whose folders are looked into.
    copy: Side,
    /// The side across is seen anew; otherwise it may be a little older, or is not needed at all.
    across: Across,
    /// What is asked of the product's own tables on each side.
    content: Sides<Content>,
    /// A copy is being seeded there, whatever stands there now.
    seeded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Across {
    Anew,
    AtMost(SignedDuration),
    NotNeeded,
}

impl Observer {
    /// One that knows what a status tells.
    pub fn knowing(moved: Option<Moved>) -> Observer {
        Observer { moved, ..Observer::default() }
    }

    /// One look at everything that `reads` asks for.
    pub async fn look<S: Systems, C: Clock>(
        &mut self,
        world: &World<'_, S, C>,
        reads: Reads,
        t: Option<&Transition>,
    ) -> Situation {
        let began = world.clock.now();
        let gaze = self.gaze(reads, t, began);
        let looks_across = match gaze.across {
            Across::Anew => true,
            Across::AtMost(age) => {
                let seen = self.sites[gaze.work.other()].as_ref();
                seen.is_none_or(|(at, _)| began.duration_since(*at) >= age)
            }
            Across::NotNeeded => false,
        };
        let (work, across, lync) = futures::join!(
            self.look_at_side(world, gaze, gaze.work, reads),
            async {
                let side = gaze.work.other();
                match looks_across {
                    true => Some(self.look_at_side(world, gaze, side, reads).await),
                    false => None,
                }
            },
            async {
                match reads.lync {
                    true => Some(lync::look_at_lync(world, gaze.work, t).await),
                    false => None,
                }
            }
        );
        let at = world.clock.now();
        let mut folders: Sides<Option<Folders>> = Sides::default();
        for (side, (mut site, files)) in
            std::iter::once((gaze.work, work)).chain(across.map(|seen| (gaze.work.other(), seen)))
        {
            if gaze.content[side].reports {
                self.read_reports[side] = Some(began);
            } else if let Some((_, known)) = &self.sites[side] {
                keep_reports(known, &mut site);
            }
            if let Some(t) = t.filter(|_| gaze.content[side].newest_message && site.live().is_some()) {
                self.newest_message = Some(t.id.clone());
            }
            // As old as the beginning of the look: a call beside it may have hung for a minute since.
            self.sites[side] = Some((began, site));
            if let Some(files) = files {
                folders[side] = Some(files);
            }
        }
        let saw_watched = gaze.watched.filter(|side| *side == gaze.work || looks_across);
        if let Some(side) = saw_watched {
            let newest =
                folders[gaze.copy].as_ref().and_then(|f| silence::newest_backup(f, &world.pool.database));
            if let Some((_, site)) = &self.sites[side] {
                self.ears[side].hear(site, newest, at, world.pace.silence);
            }
        }
        self.lync = lync.or(self.lync.take());
        let seen = Situation {
            at,
            sites: Sides::of(|side| self.site(world, side, at)),
            folders,
            lync: self.lync.clone().unwrap_or_else(Lync::not_looked),
            moved: None,
        };
        self.knows(seen)
    }

    /// What was seen, with the newest failover or switch that was ever known of.
    fn knows(&mut self, seen: Situation) -> Situation {
        self.moved = self.moved.into_iter().chain(seen.newest_moved()).max_by_key(Moved::order);
        Situation { moved: self.moved, ..seen }
    }

    /// What this look is at: by the transition, or, where none runs, by what a failover to the side that is not active would need.
    fn gaze(&self, reads: Reads, t: Option<&Transition>, at: Timestamp) -> Gaze {
        let content = Sides::of(|side| self.content_of(side, reads, t, at));
        let across = match (reads.other, reads.lync) {
            // While Lync is looked at, the other side is looked at anew: what both say must fit together.
            (true, true) => Across::Anew,
            (true, false) => Across::AtMost(AGE),
            (false, _) => Across::NotNeeded,
        };
        let Some(t) = t else {
            let active = self.active();
            return Gaze {
                work: active.other(),
                watched: Some(active),
                copy: active.other(),
                across,
                content,
                seeded: false,
            };
        };
        let (from, to) = (t.route.from, t.route.to);
        match t.route.procedure {
            // What is done on one side is decided by what is true on the other at the same moment.
            Procedure::Switch => {
                let across = if reads.other { Across::Anew } else { across };
                let watched = if t.route.home() == to { Some(from) } else { None };
                Gaze { work: t.route.home(), watched, copy: to, across, content, seeded: false }
            }
            Procedure::Failover => {
                Gaze { work: to, watched: Some(from), copy: to, across, content, seeded: false }
            }
            Procedure::Align => {
                Gaze { work: to, watched: None, copy: to.other(), across, content, seeded: false }
            }
            // Both halves of log shipping must fit together.
            Procedure::Protect => {
                let seeded = t.has_begun_to_seed();
                Gaze { work: from, watched: None, copy: to, across: Across::Anew, content, seeded }
            }
        }
    }

    /// What is asked of the product's own tables on a side: its chat servers' reports where a transition waits for them, otherwise from
    /// time to time; the newest message once, between the recovery of a database and its use.
    fn content_of(&self, side: Side, reads: Reads, t: Option<&Transition>, at: Timestamp) -> Content {
        let is_waited_for = t.is_some_and(|t| t.route.to == side) && reads.lync;
        let newest_message = t.is_some_and(|t| {
            t.route.to == side
                && t.facts.loss.as_ref().is_some_and(|l| l.newest_message.is_none())
                && self.newest_message.as_ref() != Some(&t.id)
        });
        Content {
            reports: is_waited_for
                || self.read_reports[side].is_none_or(|last| at.duration_since(last) >= REPORTS),
            newest_message,
        }
    }

    /// The side that the pool used when it was last asked.
    fn active(&self) -> Side {
        let state = self.lync.as_ref().and_then(|l| l.state.known());
        state.and_then(PoolState::side).unwrap_or(Side::Primary)
    }

    /// A side, and the folders of its copy.
    async fn look_at_side<S: Systems, C: Clock>(
        &self,
        world: &World<'_, S, C>,
        gaze: Gaze,
        side: Side,
        reads: Reads,
    ) -> (Site, Option<Folders>) {
        let d = &world.pool.sites[side];
        let known = self.sites[side].as_ref().map(|(_, site)| site.clone());
        let mut site = known.unwrap_or_else(|| site::unseen(d));
        let (main, was_live) = (site.main_place(), site.live().is_some());
        // The partner of the instance at work may be slow to say that it is not there: it is asked only where somebody needs it.
        let needs_both = side != gaze.work || reads.partner;
        let places: &[Place] = if needs_both { &[Place::Store, Place::Mirror] } else { &[main] };
        let elsewhere = async {
            match gaze.watched == Some(side) {
                true => Some(site::look_from_elsewhere(world, side).await),
                false => None,
            }
        };
        let ((), elsewhere) = futures::join!(
            site::look_at_partners(world, side, places, gaze.content[side], &mut site),
            elsewhere
        );
        // What was live here a moment ago may be so on its partner now; and what is a mirror, or is not to be seen at all, says where the
        // principal may be.
        let elsewhere_perhaps = was_live
            || site.main().map_or(true, |i| i.database.as_ref().is_some_and(|db| db.mirroring.is_some()));
        if !needs_both && elsewhere_perhaps && site.live().is_none() {
            site::look_at_partners(world, side, &[main.other()], gaze.content[side], &mut site).await;
        }
        if let Some((shell, ports)) = elsewhere {
            (site.from_the_other_shell, site.ports) = (shell, ports);
        }
        let mut folders = None;
        if let (true, true, Answer::Speaks(i)) = (reads.files, side == gaze.copy, &site.store.answer) {
            match files::look_at_folders(world, (side, gaze.seeded), i, &self.headers).await {
                Ok(seen) => folders = seen,
                Err(problem) => site.store.answer = lost(problem),
            }
        }
        (site, folders)
    }

    /// A side as it is known now, with what was watched of it.
    fn site<S: Systems, C: Clock>(&mut self, world: &World<'_, S, C>, side: Side, at: Timestamp) -> Site {
        let known = self.sites[side].as_ref().map(|(_, site)| site.clone());
        let mut site = known.unwrap_or_else(|| site::unseen(&world.pool.sites[side]));
        site.silence = self.ears[side].told(world.pace.silence);
        for partner in std::iter::once(&mut site.store).chain(&mut site.mirror) {
            if let Answer::Speaks(i) = &mut partner.answer {
                self.pings.watch(i, at);
            }
        }
        site
    }
}

/// Reports that were not read anew are what they were.
fn keep_reports(known: &Site, site: &mut Site) {
    for partner in std::iter::once(&mut site.store).chain(&mut site.mirror) {
        let Answer::Speaks(i) = &mut partner.answer else { continue };
        let mut before =
            known.instances().map(|(_, known)| known).filter(|known| known.server_name == i.server_name);
        if let (Some(before), None) = (before.next(), i.server_identities.known()) {
            i.server_identities = before.server_identities.clone();
        }
    }
}

/// A server that was lost while its files were looked at was not seen.
fn lost(problem: Problem) -> Answer {
    Answer::TurnsAway(problem)
}
