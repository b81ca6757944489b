//! Everything that was seen of the world in one look. One serialisable value: a recorded situation makes any incident a test.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backups::Folders;
use super::lync::Lync;
use super::problem::Problem;
use super::route::{Course, Procedure};
use super::side::{Side, Sides};
use super::site::{Answer, Site};
use super::sql_server::{Database, Instance};
use super::transition::Transition;

/// What was seen, all of it at about the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Situation {
    /// When the look was finished, by the operator's clock.
    pub at: Timestamp,
    /// Both sides.
    pub sites: Sides<Site>,
    /// The log backups for each side's copy; absent: not looked at, or the resource names no folders for that side.
    pub folders: Sides<Option<Folders>>,
    /// Lync.
    pub lync: Lync,
    /// The newest failover or switch that is known to say where chat is, also from before: where its record lies may be lost by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

/// A failover or switch that says where chat is: it has moved, or may have, or it was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// [`Transition::number`].
    pub number: u64,
    /// When it began: who does not see the newest record gives its number again.
    pub started: Timestamp,
    /// The side that chat is on by it.
    pub to: Side,
    /// Whether its end was recorded: of one and the same, that is the newer word.
    #[serde(default)]
    pub ended: bool,
    /// When the newest tail of it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Timestamp>,
    /// That tail ends nothing any more: the database that it had closed was recovered, or may have been, and chat is there by that.
    #[serde(default)]
    pub reopened: bool,
}

impl Moved {
    /// Which of two came later.
    pub fn order(&self) -> (u64, i64, i64) {
        // A tail that was taken later is the newer word, and what became of it a newer one.
        let tail = self.tail.map_or(0, Timestamp::as_second);
        let word = if self.ended { i64::MAX } else { 2 * tail + i64::from(self.reopened) };
        // A status has whole seconds only.
        (self.number, self.started.as_second(), word)
    }
    /// Whether it tells of this transition.
    fn is_of(&self, t: &Transition) -> bool {
        (self.number, self.started.as_second()) == (t.number, t.started.as_second())
    }
    /// What is known by a transition itself, if chat is on a side by it.
    fn of(t: &Transition, to: Side) -> Moved {
        let tail = t.facts.tail.as_ref().map(|tail| tail.at);
        Moved { number: t.number, started: t.started, to, ended: t.ended.is_some(), tail, reopened: false }
    }
}

impl Situation {
    /// The newest failover or switch that these records tell of and that says where chat is.
    pub fn newest_moved(&self) -> Option<Moved> {
        let told = |t: &Transition| match t.ended {
            Some(ended) => Some(Moved::of(t, if ended.aborted { t.route.from } else { t.route.to })),
            // Where its target is not to be seen, nobody knows whether that was recovered: what lives is seen.
            None if self.ends_nothing(t) && self.sites[t.route.to].live().is_none() => {
                Some(Moved { reopened: true, ..Moved::of(t, t.route.from) })
            }
            None => self.is_past(t).then(|| Moved::of(t, t.route.to)),
        };
        let moves = self.transitions().into_iter().filter(|t| t.route.procedure.moves_chat());
        moves.filter_map(told).max_by_key(Moved::order)
    }
    /// Whether chat is known to be elsewhere by what came since, although no record that is to be seen tells of it: the side is lost by now
    /// where that record lies. It may be the end of the same one, that was taken back. Who went on with it would bring chat back to an old
    /// database.
    pub fn is_overtaken(&self, t: &Transition) -> bool {
        // One that was being taken back ends where it began, and what came later went to where it had meant to go.
        let elsewhere = |moved: &Moved| moved.to != t.route.to || t.route.course == Course::Back;
        let Some(moved) = self.moved.filter(elsewhere) else { return false };
        match (moved.is_of(t), moved.ended) {
            (true, true) => t.ended.is_none(),
            (true, false) => !self.ends_nothing(t) && has_void_tail(t, moved),
            (false, _) => moved.order() > Moved::of(t, t.route.to).order(),
        }
    }
    /// Whether it is known of a switch's tail that it ends nothing any more, or may not: the database was brought back online where it was,
    /// by somebody, or by us as the record says.
    fn ends_nothing(&self, t: &Transition) -> bool {
        t.facts.tail.as_ref().is_some_and(|tail| tail.undone) || self.is_reopened(t)
    }
    /// The server whose database's log ends in a switch's tail, or is about to; absent: there is no tail, or the server does not speak.
    pub fn ended_by_tail(&self, t: &Transition) -> Option<&Instance> {
        let tail = t.facts.tail.as_ref()?;
        self.sites[t.route.from].partner(tail.seat.place)?.answer.instance().ok()
    }
    /// Whether the database whose log a switch has closed by its tail takes changes again, on a fork of its own: somebody has recovered it
    /// where it was. What our own hand does to it stands in the record.
    fn is_reopened(&self, t: &Transition) -> bool {
        let Some(tail) = &t.facts.tail else { return false };
        let db = self.ended_by_tail(t).and_then(|i| i.database.as_ref()).filter(|db| db.is_live());
        db.and_then(|db| db.fork.as_ref()).is_some_and(|fork| !fork.eq_ignore_ascii_case(&tail.fork))
    }
    /// The side that the pool uses, as its state says. Where only the replica of a Management Shell host told it, since the Central
    /// Management store is down, and a failover or switch is known that no record in sight tells of, it is what that one says: the replica
    /// of a side that comes back still says what was true when that was lost.
    pub fn used(&self) -> Option<Side> {
        let state = self.lync.state.known()?;
        let unseen = self.moved.filter(|moved| {
            state.of_replica && self.newest_moved().is_none_or(|seen| seen.order() < moved.order())
        });
        unseen.map(|moved| moved.to).or(state.side())
    }
    /// Why it is not certain which side the pool uses: only a replica tells, and the other side, where the record of a later failover or
    /// switch would lie, is not to be seen. A side that comes back alone still says what was true when it was lost.
    pub fn hearsay(&self) -> Option<&Problem> {
        let state = self.lync.state.known()?;
        let other = state.of_replica.then(|| self.used()).flatten()?.other();
        self.sites[other].unseen()
    }
    /// The transitions of the pool that the records tell of, the newest first. A record lies on every partner of a side that could be
    /// reached when it was written; the copy that was written last counts.
    pub fn transitions(&self) -> Vec<&Transition> {
        let mut newest: BTreeMap<&str, &Transition> = BTreeMap::new();
        let instances = Side::BOTH.into_iter().flat_map(|side| self.sites[side].instances());
        let records = instances.filter_map(|(_, i)| i.records.known()).flatten();
        for t in records.map(|r| &r.transition) {
            let slot = newest.entry(&t.id).or_insert(t);
            if t.revision > slot.revision {
                *slot = t;
            }
        }
        let mut all: Vec<&Transition> = newest.into_values().collect();
        all.sort_by(|a, b| (b.number, b.started, &b.id).cmp(&(a.number, a.started, &a.id)));
        all
    }
    /// Whether a server answers and does not let itself be looked at: it refuses the login, say, or is not asked again yet.
    pub fn turns_away(&self) -> bool {
        self.sites.iter().flat_map(|(_, site)| site.partners()).any(|(_, p)| match &p.answer {
            Answer::TurnsAway(_) | Answer::NotAsked(_) => true,
            Answer::Speaks(_) | Answer::Silent(_) => false,
        })
    }
    /// The servers whose chat services a transition has stopped, and did not start again itself.
    pub fn stopped_services(&self) -> impl Iterator<Item = &String> {
        self.transitions().into_iter().flat_map(|t| &t.facts.stopped_services)
    }
    /// A transition as its record has it.
    pub fn recorded(&self, id: &str) -> Option<&Transition> {
        self.transitions().into_iter().find(|t| t.id == id)
    }
    /// The failover or switch that is not over. What a later one has overtaken is.
    pub fn open_move(&self) -> Option<&Transition> {
        let newest = self.transitions().into_iter().find(|t| t.route.procedure.moves_chat());
        newest.filter(|t| t.ended.is_none() && !self.is_overtaken(t))
    }
    /// What protects the other side or sets right this one (`active`), and is not over. What a later failover or switch has overtaken is.
    pub fn open(&self, procedure: Procedure, active: Side) -> Option<&Transition> {
        let all = self.transitions();
        // One that was taken back has left everything where it was, a cmdlet that runs as well.
        let overtakes =
            |t: &&Transition| t.route.procedure.moves_chat() && !t.ended.is_some_and(|ended| ended.aborted);
        let since = all.iter().position(overtakes).unwrap_or(all.len());
        let is_meant =
            |t: &&Transition| t.ended.is_none() && t.route.procedure == procedure && t.route.home() == active;
        all.into_iter().take(since).find(is_meant)
    }
    /// Whether a switch whose recovery was intended may be taken back nevertheless, by a human's word: its target is not to be seen, and the
    /// pool uses the other side, so nobody has chatted there.
    pub fn may_be_taken_back(&self, t: &Transition) -> bool {
        t.route.procedure == Procedure::Switch
            && t.facts.adopted_fork.is_none()
            && self.sites[t.route.to].main().is_err()
            && self.used() == Some(t.route.from)
    }
    /// Whether a transition's point of no return was, or may have been, passed. The intent of a recovery alone does not pass it:
    /// whoever wrote it may have died, or looked once more and held back, before the statement was sent. A database that waits for
    /// log backups has not been recovered.
    pub fn is_past(&self, t: &Transition) -> bool {
        match t.route.procedure {
            Procedure::Protect | Procedure::Align => false,
            Procedure::Failover | Procedure::Switch => {
                let database = self.sites[t.route.to].main().ok().and_then(|i| i.database.as_ref());
                let restoring = database.is_some_and(Database::is_restoring);
                t.facts.adopted_fork.is_some() || (t.facts.recovery.is_some() && !restoring)
            }
        }
    }
}

/// Whether the tail of a transition is the one that is known to end nothing any more, and not one that was taken since.
fn has_void_tail(t: &Transition, moved: Moved) -> bool {
    let second = |at: Option<Timestamp>| at.map(Timestamp::as_second);
    moved.reopened && second(t.facts.tail.as_ref().map(|tail| tail.at)) <= second(moved.tail)
}
