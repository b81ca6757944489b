//! Everything that was seen of the world in one look. One serialisable value: a recorded situation makes any incident a test.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backups::Folders;
use super::lync::{Lync, PoolState};
use super::route::Procedure;
use super::side::{Side, Sides};
use super::site::Site;
use super::sql_server::Database;
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
    /// The newest failover or switch that is known of, also from before: where its record lies may be lost by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

/// A failover or switch by which chat has moved, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// [`Transition::number`].
    pub number: u64,
    /// When it began: who does not see the newest record gives its number again.
    pub started: Timestamp,
    /// Where to.
    pub to: Side,
}

impl Moved {
    /// Which of two came later.
    pub fn order(&self) -> (u64, Timestamp) {
        (self.number, self.started)
    }
}

impl Situation {
    /// The newest failover or switch that these records tell of and by which chat has moved, or may have.
    pub fn newest_moved(&self) -> Option<Moved> {
        let has_moved = |t: &&Transition| match t.ended {
            Some(ended) => t.route.procedure.moves_chat() && !ended.aborted,
            None => self.is_past(t),
        };
        let newest = self.transitions().into_iter().find(has_moved);
        newest.map(|t| Moved { number: t.number, started: t.started, to: t.route.to })
    }
    /// Whether chat is known to have moved elsewhere since, although no record that is to be seen tells of it: the side is lost by now where
    /// that record lies. Who went on with the older one would bring chat back to an old database.
    pub fn is_overtaken(&self, t: &Transition) -> bool {
        self.moved.is_some_and(|moved| moved.order() > (t.number, t.started) && moved.to != t.route.to)
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
        let used = self.lync.state.known().and_then(PoolState::side);
        t.route.procedure == Procedure::Switch
            && t.facts.adopted_fork.is_none()
            && self.sites[t.route.to].main().is_err()
            && used == Some(t.route.from)
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
