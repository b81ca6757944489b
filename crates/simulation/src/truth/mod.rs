//! The observer: it sees the whole world, knows what really happened, and says which promise was broken.
//!
//! Here is what it knows; the promises are in a file for each family. Each family is asked at every write of an operator, and
//! answers for the writes that concern it.

mod detached;
pub mod liveness;
mod log_shipping;
mod obedience;
mod order;
mod recovery;
mod seeding;
mod status;
mod switching;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lab::sql::{Database, Instance};
use lab::world::journal::{Effect, Entry, Outcome};
use lab::world::{DataCenterState, World};
use persistent_chat_failover::domain::problem::Problem;
use persistent_chat_failover::domain::route::{Course, Procedure, Route};
use persistent_chat_failover::domain::side::{Side, Sides};

use crate::sides;
use crate::world::Operator;

pub use status::Stored;

/// The longest look: how long after the return of the side that was lost a recovery may still begin that was proved before it, and how
/// long after its loss may be done what was decided while it lived.
const RETURN: SignedDuration = SignedDuration::from_secs(15);
/// How long a change of the resource may take until it is obeyed: one effect that was already decided.
const OBEDIENCE: SignedDuration = SignedDuration::from_secs(2);
/// How long chat is given to end in a planned night.
pub const DRAIN: SignedDuration = SignedDuration::from_secs(3);
/// Broken promises that are kept; what follows the first few says nothing new.
const KEPT: usize = 20;

/// What moves chat to another side: nothing of it has a place in what only keeps a side as it should be.
const MOVES: [&str; 5] = [
    "EXEC sp_delete_log_shipping_secondary_database",
    "RESTORE LOG",
    "RESTORE DATABASE WITH RECOVERY",
    "ALTER USER",
    "Set-CsPersistentChatState",
];

/// What the observer knows.
#[derive(Debug, Default)]
pub struct Truth {
    /// What was broken.
    pub violations: Vec<String>,
    /// How often each promise was checked.
    pub checks: BTreeMap<&'static str, u64>,
    /// How often a human said yes.
    pub consents: u64,
    /// Whether somebody recovered the database by hand.
    pub recovered_by_hand: bool,
    /// When somebody built the mirror by hand.
    pub mirrored_by_hand: Option<Timestamp>,
    /// When somebody set the pool's state by hand.
    pub said_by_hand: Option<Timestamp>,
    /// Whether a RESTORE of a log was refused by a fate: what its server says of a backup need not be so.
    pub refused_a_log: bool,
    /// Whether a changed wish switches while both sides live.
    pub switches: bool,
    /// The newest failover or switch that a record tells of, by its number.
    moving: Option<(u64, Route)>,
    /// Transitions whose end was recorded.
    over: BTreeSet<String>,
    /// Since when no server has been active.
    drained_since: Option<Timestamp>,
    /// When that was last so.
    drained_last: Option<Timestamp>,
    /// Log backups that came late, by path, and when.
    pub arrived: BTreeMap<String, Timestamp>,
    /// When chat was last seen to be live in each data centre.
    live: BTreeMap<String, Timestamp>,
    /// Since when each side's database has been live, and when it was last seen so.
    live_since: Sides<Option<Timestamp>>,
    seen_live: Sides<Option<Timestamp>>,
    /// Since when the database of the other side has been live.
    recovered: Option<Timestamp>,
    /// Since when the pool's state has said that chat has moved.
    moved: Option<Timestamp>,
    /// The side that the pool's state names, and when it last ceased to name each.
    named: Option<Side>,
    left: Sides<Option<Timestamp>>,
    /// Failovers that were begun.
    begun: BTreeSet<String>,
    /// Transitions that were begun or turned back, each with its course.
    courses: BTreeSet<(String, Course)>,
    /// Every server on which the database was seen to be live, with the fork that it was on.
    lives: BTreeSet<(String, String)>,
    /// On which server each side's database was last seen to be live, and when its mirror took over, if that has happened.
    principals: Sides<(Option<String>, Option<Timestamp>)>,
    seen: usize,
    /// How long each side has stood, or been lost.
    power: Sides<Power>,
    /// When the Central Management store was last seen to be up.
    store_up: Option<Timestamp>,
}

/// Since when a side has stood, or been lost.
#[derive(Clone, Copy, Debug, Default)]
struct Power {
    up_since: Option<Timestamp>,
    lost_since: Option<Timestamp>,
    ever_lost: bool,
}

impl Power {
    /// Whether it was lost when something was decided that is done at a moment.
    fn was_lost(self, at: Timestamp) -> bool {
        self.ever_lost && self.up_since.is_none_or(|t| at.duration_since(t) <= RETURN)
    }
    /// Whether it was lost a moment ago.
    fn is_just_lost(self, at: Timestamp) -> bool {
        self.lost_since.is_some_and(|t| at.duration_since(t) <= RETURN)
    }
}

/// A write of an operator, and the world at its moment.
struct Write<'a> {
    world: &'a World,
    entry: &'a Entry,
    operator: &'a Operator,
    /// The instance that may be written to.
    instance: Option<&'a Instance>,
    /// Its copy of the database.
    database: Option<&'a Database>,
    /// Whether that copy is live.
    recovered: bool,
    /// Whether the write is one of the record's.
    record: bool,
    /// Whether it is one of those by which chat moves to another side.
    moves: bool,
    /// The side that it is made on; none: on a server that is no SQL Server or Management Shell of the pool.
    side: Option<Side>,
    /// The side whose database chat uses: the pool's state says so, and it is live.
    active: Option<Side>,
    /// Whether the side that is left was dead when this was decided.
    fenced: bool,
    /// The failover or switch that runs; looked for where the policy lets chat switch.
    moving: Option<Route>,
    /// The side where chat is to be in the end by that; else the one that the night begins without.
    there: Side,
}

impl Write<'_> {
    /// The write in a few words.
    fn told(&self) -> String {
        let e = self.entry;
        format!("{} {} at {}", e.name, e.target.as_deref().unwrap_or(""), e.time)
    }
    /// Whether it undoes a switch.
    fn is_return(&self) -> bool {
        self.switch().is_some_and(|r| r.course == Course::Back && self.side == Some(r.from))
    }
    /// The switch that runs.
    fn switch(&self) -> Option<Route> {
        self.moving.filter(|route| route.procedure == Procedure::Switch)
    }
    /// Whether the pool's state says that chat has moved.
    fn pool_state_is_set(&self) -> bool {
        self.world.chat.master.pool_state.eq_ignore_ascii_case(self.there.pool_state())
    }
}

/// Whether something that somebody did by hand came just before a moment: who had looked before that could not know it.
fn just(done: Option<Timestamp>, at: Timestamp) -> bool {
    done.is_some_and(|done| at.duration_since(done) < OBEDIENCE)
}

impl Truth {
    fn check(&mut self, promise: &'static str, holds: bool, what: impl FnOnce() -> String) {
        *self.checks.entry(promise).or_default() += 1;
        if !holds {
            self.broken(format!("{promise}: {}", what()));
        }
    }

    /// Whether the database was ever seen to be live on a server, on a fork (in lower case).
    fn was_live(&self, host: &str, fork: &str) -> bool {
        self.lives.contains(&(host.to_string(), fork.to_string()))
    }

    /// Whether a side was lost a moment ago.
    fn has_just_lost(&self, side: Side, at: Timestamp) -> bool {
        self.power[side].is_just_lost(at)
    }

    /// Whether a side was lost after a moment: who began to look then cannot know it.
    fn was_lost_since(&self, side: Side, at: Timestamp) -> bool {
        self.power[side].lost_since.is_some_and(|lost| lost >= at)
    }

    /// Whether a side that stands or was lost since stood at a moment.
    pub fn stood_at(&self, side: Side, at: Timestamp) -> bool {
        self.power[side].lost_since.is_none_or(|lost| lost >= at)
    }

    /// Whether a side is lost whose database went live again when nobody looked: no look of this operator saw it.
    fn went_live_unseen(&self, side: Side, operator: &Operator) -> bool {
        let since = self.live_since[side].filter(|_| self.power[side].lost_since.is_some());
        since.is_some_and(|since| operator.saw[side].is_none_or(|saw| saw < since))
    }

    /// A promise is broken.
    pub fn broken(&mut self, how: String) {
        if self.violations.len() < KEPT {
            self.violations.push(how);
        }
    }

    /// Looks at everything that is new in the journal.
    pub fn look(&mut self, w: &World, operators: &[Operator], now: Timestamp, told: &mut Vec<String>) {
        self.look_at_sides(w, now);
        self.look_at_chat(w, now);
        let entries = w.journal.entries();
        while let Some(e) = entries.get(self.seen) {
            self.seen += 1;
            if e.effect == Effect::Read {
                continue;
            }
            told.push(format!(
                "        {} {} {} by {} ",
                e.server,
                e.name,
                e.target.as_deref().unwrap_or(""),
                e.client
            ));
            let who = operator(e).and_then(|n| n.parse::<usize>().ok());
            if let (Some(operator), Effect::Write) = (who.and_then(|n| operators.get(n)), e.effect) {
                self.judge(w, e, operator);
            }
        }
    }

    fn judge(&mut self, world: &World, entry: &Entry, operator: &Operator) {
        let record = Some(entry).filter(|e| self.switches && is_record(e)).and_then(document);
        let told = record.as_ref().and_then(switching::moving);
        self.moving = match (told, self.moving) {
            (Some(new), Some(old)) if new.0 < old.0 => Some(old),
            (new, old) => new.or(old),
        };
        let moving = self.moving.map(|(_, route)| route);
        let there = moving.map_or(sides::to_side(&world.scenario), |route| route.to);
        let store = world.sql.get(&sides::data_center(&world.scenario, there).sql_server);
        let instance = sides::principal(world, there).or(store);
        let side = sides::of_host(&world.scenario, &entry.server);
        let database = instance.and_then(|i| i.databases.get(&world.scenario.database.to_lowercase()));
        let write = Write {
            world,
            entry,
            operator,
            instance,
            database,
            recovered: database.is_some_and(Database::is_live),
            record: is_record(entry),
            moves: MOVES.contains(&entry.name.as_str())
                && !switching::is_tail_of_an_earlier_one(world, entry),
            side,
            active: sides::active(world),
            fenced: self.power[there.other()].was_lost(entry.time),
            moving,
            there,
        };
        if self.switches {
            switching::judge(self, &write);
        }
        obedience::judge(self, &write);
        order::judge(self, &write);
        recovery::judge(self, &write);
        detached::judge(self, &write);
        log_shipping::judge(self, &write);
        seeding::judge(self, &write);
    }

    /// Which side stands, and since when.
    fn look_at_sides(&mut self, w: &World, now: Timestamp) {
        for side in Side::BOTH {
            let name = &sides::data_center(&w.scenario, side).name;
            let power = &mut self.power[side];
            if w.data_centers.get(name) == Some(&DataCenterState::Lost) {
                let lost_since = power.lost_since.or(Some(now));
                *power = Power { up_since: None, lost_since, ever_lost: true };
            } else if power.up_since.is_none() {
                (power.up_since, power.lost_since) = (Some(now), None);
            }
        }
    }

    /// Where chat is live, and since when the other side's database.
    fn look_at_chat(&mut self, w: &World, now: Timestamp) {
        for (host, _) in w.chat.servers.values().filter_map(|c| c.session.as_ref()) {
            if let Some(d) = w.data_center_of(host) {
                match self.live.get_mut(d) {
                    Some(at) => *at = now,
                    None => drop(self.live.insert(d.into(), now)),
                }
            }
        }
        let there = sides::to_side(&w.scenario);
        let key = w.scenario.database.to_lowercase();
        for (host, i) in &w.sql {
            if let Some(db) = i.databases.get(&key).filter(|db| db.is_live())
                && !self.lives.iter().any(|(h, f)| h == host && f.eq_ignore_ascii_case(&db.fork))
            {
                self.lives.insert((host.clone(), db.fork.to_lowercase()));
            }
        }
        let mut live = false;
        for side in Side::BOTH {
            let since = self.live_since[side].or(Some(now));
            self.live_since[side] = since.filter(|_| sides::principal(w, side).is_some());
        }
        for side in Side::BOTH {
            let Some(principal) = sides::principal(w, side) else { continue };
            live |= side == there;
            self.seen_live[side] = Some(now);
            let (host, took_over) = &mut self.principals[side];
            if host.as_ref() == Some(&principal.host) {
                continue;
            }
            if host.is_some() {
                *took_over = Some(now);
            }
            *host = Some(principal.host.clone());
        }
        let named = Side::of_pool_state(&w.chat.master.pool_state);
        if let Some(was) = self.named.filter(|was| named != Some(*was)) {
            self.left[was] = Some(now);
        }
        self.named = named;
        self.recovered = if live { self.recovered.or(Some(now)) } else { None };
        self.store_up = if lab::chat::central_management_is_up(w) { Some(now) } else { self.store_up };
        let drained = w.chat.master.active.is_empty();
        self.drained_last = if drained { Some(now) } else { self.drained_last };
        self.drained_since = if drained { self.drained_since.or(Some(now)) } else { None };
        self.moved = if sides::has_moved(w) { self.moved.or(Some(now)) } else { None };
    }

    /// Judges what a human is called with who is to restore a copy anew: it names the error that asks for that (3441, the only one of
    /// them that is met here), whichever the server sent first.
    pub fn called_for_a_full_restore(&mut self, problem: &Problem) {
        let promise = "who is to restore a copy anew is told the error that asks for it";
        self.check(promise, problem.what.contains("3441"), || problem.what.clone());
    }

    /// What must hold of the whole journal when a run has ended.
    pub fn at_end(&mut self, w: &World) {
        recovery::at_end(self, w);
    }
}

/// Whether a write is one of the record's.
fn is_record(e: &Entry) -> bool {
    e.text.contains("persistent_chat_failover")
}

/// The record as this operator wrote it last; where a server is named, as it was carried out there. A copy elsewhere is no record: nobody
/// may ever see that server again.
fn last_record(write: &Write<'_>, server: Option<&str>) -> Option<serde_json::Value> {
    let e = write.entry;
    let entries = write.world.journal.entries();
    let mut before = entries.iter().rev().filter(|x| x.seq < e.seq && x.effect == Effect::Write);
    let is_there = |x: &Entry| server.is_none_or(|s| x.server == s && x.outcome == Outcome::Ok);
    document(before.find(|x| operator(x) == operator(e) && is_record(x) && is_there(x))?)
}

/// What a write of the record writes.
fn document(e: &Entry) -> Option<serde_json::Value> {
    serde_json::from_str(e.parameters.get("@p5")?).ok()
}

/// The number of the operator that an entry of the journal is of: `operator-0` of a shell, `program (operator-0)` of a session.
fn operator(e: &Entry) -> Option<String> {
    e.client.split("operator-").nth(1).map(|n| n.trim_end_matches(')').to_string())
}
