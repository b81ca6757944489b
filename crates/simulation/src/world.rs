//! What all actors of a run share: the world, the schedule of fates, the trace, and the observer's findings.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lab::tsql::{Event, Progress, batch};
use lab::world::World;
use persistent_chat_failover::domain::problem::Problem;
use persistent_chat_failover::domain::side::{Side, Sides};
use serde::{Deserialize, Serialize};

use crate::cast::edits::Edit;
use crate::chance::Chance;
use crate::cluster::{Cluster, Object};
use crate::fate::{Call, Fate};
use crate::guards::Guards;
use crate::moments::Moment;
use crate::sides;
use crate::truth::Truth;

/// One call of an operator to the outside.
#[derive(Clone, Debug)]
pub struct Point {
    /// Which operator.
    pub who: usize,
    /// What it is, as far as that decides what can befall it.
    pub call: Call,
    /// Whether it can change the world.
    pub writes: bool,
    /// The same in words.
    pub what: String,
}

/// Who decides the fates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fates {
    /// These points have these fates, everything else goes well.
    At(BTreeMap<u64, Fate>),
    /// So many calls in a thousand go wrong, until this moment of the run.
    Random {
        /// For calls that can change the world, and for those that only look.
        per_mille: (u64, u64),
        /// Seconds from the beginning.
        until: f64,
    },
}

/// One operator, as the others see it.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// It is to be killed.
    pub kill: bool,
    /// Its sessions on SQL Servers.
    pub sessions: BTreeSet<(String, u32)>,
    /// What it last reported: the word for what happens next, and the problem if it is blocked.
    pub next: String,
    /// What stands in its way.
    pub blocked: Option<Problem>,
    /// The transition and the digest of what a human would have to agree to.
    pub consent_needed: Option<(String, String)>,
    /// The data centre that it takes for active.
    pub active: Option<Side>,
    /// Seconds that its clock is ahead.
    pub skew: SignedDuration,
    /// Since when it has not held the lease of its cluster.
    pub unled: Option<Timestamp>,
    /// What somebody has asked for in its resource, by side, with the generation; also in one that a cluster which was rolled back has
    /// forgotten. Gone when a status said that it counts no more.
    pub asked: BTreeMap<Side, i64>,
    /// What it has heard of its resource: it cannot obey what it does not know.
    pub heard: Heard,
    /// When its last report came, or its last pause ended: the next look began no earlier.
    pub awake: Option<Timestamp>,
    /// The situation that it last reported, and when the look at it began.
    pub look: Option<(Timestamp, Timestamp)>,
    /// When the last look that it reported began while each side stood.
    pub saw: Sides<Option<Timestamp>>,
}

/// What a process has heard of its resource since it started.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// It has heard of it at all.
    pub anything: bool,
    /// Since when the resource has been suspended.
    pub suspended: Option<Timestamp>,
    /// Which side is to be active, and since when that has been asked for.
    pub wants: Option<(Side, Timestamp)>,
    /// Since when it has been gone.
    pub gone: Option<Timestamp>,
    /// The side that somebody has asked for in it, and of which generation.
    pub said: Option<(Side, i64)>,
    /// What of that was taken up as a switch.
    pub planned: Option<(Side, i64)>,
    /// Whether a human has consented to something in it.
    pub consented: bool,
    /// When a consent or a wish that somebody had uttered was last taken out of it.
    pub withdrawn: Option<Timestamp>,
}

impl Heard {
    /// Since when the other side than this one has been asked for.
    pub fn unwanted(&self, side: Side) -> Option<Timestamp> {
        self.wants.filter(|(wanted, _)| *wanted != side).map(|(_, since)| since)
    }
}

/// Everything shared.
pub struct Shared {
    /// The data centres.
    pub world: World,
    /// Chance of latencies and fates.
    pub chance: Chance,
    /// Who decides the fates.
    pub fates: Fates,
    /// Every call so far, if they are kept.
    pub points: Vec<Point>,
    /// Calls so far.
    pub count: u64,
    /// Operators by number.
    pub operators: Vec<Operator>,
    /// Their clusters.
    pub clusters: Vec<Cluster>,
    /// Whether chat is to stay where it begins in the end, unless it has moved for good by then.
    pub stays: bool,
    /// Changes of resources that humans and GitOps tools are about to make.
    pub edits: Vec<Edit>,
    /// The disk of the copy folder is full for who copies into it.
    pub copy_folder_full: bool,
    /// The side whose Front End and chat ports no operator reaches, although it stands.
    pub filtered: Option<Side>,
    /// The side to whose SQL Servers no operator gets a new connection, although it stands.
    pub walled: Option<Side>,
    /// The side whose folders of log backups are mounted nowhere: every operator sees them empty.
    pub unmounted: Option<Side>,
    /// Sessions whose client is gone or deaf: the server goes on by itself until the moment when it notices.
    pub orphans: VecDeque<(Timestamp, String, u32)>,
    /// Detached cmdlets by shell and command id.
    pub jobs: BTreeMap<(String, String), u64>,
    /// What the observer knows and has found.
    pub truth: Truth,
    /// How often each fate was dealt.
    pub dealt: BTreeMap<Fate, u64>,
    /// How often each kind of act happened.
    pub acts: BTreeMap<&'static str, u64>,
    /// What has held the operators back.
    pub guards: Guards,
    /// The bad ones, by point.
    pub faults: BTreeMap<u64, Fate>,
    /// Digest of everything that happened.
    pub hash: u64,
    /// Everything that happened, if it is kept.
    pub trace: Option<Vec<String>>,
    /// Every status that was stored, if the trace is kept.
    pub moments: Vec<Moment>,
    base: Timestamp,
    started: tokio::time::Instant,
}

/// A handle on everything shared. Never locked across an `await`.
#[derive(Clone)]
pub struct Handle(Arc<Mutex<Shared>>);

impl Handle {
    /// Shares a world. Must be called within the runtime whose clock it follows.
    pub fn new(world: World, seed: u64, fates: Fates, operators: usize, keep: bool) -> Handle {
        let base = world.now;
        let active = sides::from_side(&world.scenario);
        let names = Sides::of(|side| sides::data_center(&world.scenario, side).name.clone());
        Handle(Arc::new(Mutex::new(Shared {
            world,
            chance: Chance::new(seed),
            fates,
            points: Vec::new(),
            count: 0,
            operators: vec![Operator::default(); operators],
            clusters: (0..operators).map(|n| Cluster::new(n, names.clone(), active, base)).collect(),
            stays: false,
            edits: Vec::new(),
            copy_folder_full: false,
            filtered: None,
            walled: None,
            unmounted: None,
            orphans: VecDeque::new(),
            jobs: BTreeMap::new(),
            truth: Truth::default(),
            dealt: BTreeMap::new(),
            acts: BTreeMap::new(),
            guards: Guards::default(),
            faults: BTreeMap::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            trace: keep.then(Vec::new),
            moments: Vec::new(),
            base,
            started: tokio::time::Instant::now(),
        })))
    }

    /// Everything, as it is now by the run's clock.
    pub fn now(&self) -> MutexGuard<'_, Shared> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.advance();
        shared
    }
}

impl Shared {
    /// The run's time.
    pub fn time(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap_or_default();
        self.base.checked_add(elapsed).unwrap_or(self.base)
    }
    /// The side where chat is to be in the end.
    pub fn end(&self) -> Side {
        let (w, there) = (&self.world, sides::to_side(&self.world.scenario));
        if self.truth.switches {
            // Where everybody who is left asks for it; and if they do not agree, where chat is.
            let objects = self.clusters.iter().filter_map(|c| c.get().ok());
            let asked: BTreeSet<Side> = objects.map(|o| o.spec.active).collect();
            let agreed = asked.first().filter(|_| asked.len() == 1).copied();
            return agreed.or_else(|| sides::active(w)).unwrap_or(if self.stays {
                there.other()
            } else {
                there
            });
        }
        let moved = sides::has_moved(w) || sides::principal(w, there).is_some();
        if self.stays && !moved { there.other() } else { there }
    }
    /// Seconds since the run began.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn advance(&mut self) {
        let now = self.time();
        let news = self.world.advance(now) || !self.orphans.is_empty();
        for (o, c) in self.operators.iter_mut().zip(&self.clusters) {
            o.unled = c.lease_ended(now);
        }
        let mut left = VecDeque::new();
        while let Some((until, host, id)) = self.orphans.pop_front() {
            let mut ignored: Vec<Event> = Vec::new();
            batch::step(&mut self.world, &host, id, &mut ignored);
            if until <= now {
                lab::sql::logout(&mut self.world, &host, id);
            } else {
                left.push_back((until, host, id));
            }
        }
        self.orphans = left;
        if news {
            self.observe();
        }
    }

    /// Lets the observer look at what is new.
    pub fn observe(&mut self) {
        let now = self.time();
        let mut told = Vec::new();
        self.truth.look(&self.world, &self.operators, now, &mut told);
        for line in told {
            self.tell(&line);
        }
    }

    /// A process hears of its resource, or that it is gone.
    pub fn hears(&mut self, who: usize, object: Option<&Object>) {
        let now = self.time();
        let Some(p) = self.operators.get_mut(who) else { return };
        // Its first look begins no earlier than it can know what to look at.
        p.awake = p.awake.or(Some(now));
        let (h, spec) = (&mut p.heard, object.map(|o| &o.spec));
        let said = object.and_then(|o| o.said);
        let consented = spec.is_some_and(|s| s.consent.is_some());
        if (h.consented && !consented) || (h.said.is_some() && h.said != said) {
            h.withdrawn = Some(now);
        }
        h.planned = h.planned.filter(|_| h.said == said);
        (h.said, h.consented) = (said, consented);
        p.asked.extend(h.said);
        let since = |holds: bool, before: Option<Timestamp>| holds.then(|| before.unwrap_or(now));
        h.anything = true;
        h.gone = since(spec.is_none(), h.gone);
        h.suspended = since(spec.is_some_and(|s| s.suspend), h.suspended);
        let wants = spec.map(|s| (s.active, now));
        h.wants = h.wants.filter(|(side, _)| wants.is_some_and(|(new, _)| new == *side)).or(wants);
    }

    /// A process reports a situation: when the look at it began.
    pub fn reported(&mut self, who: usize, situation: Timestamp) -> Timestamp {
        let now = self.time();
        let Some(p) = self.operators.get_mut(who) else { return now };
        let began = match p.look {
            Some((at, began)) if at == situation => began,
            Some(_) | None => p.awake.unwrap_or(now),
        };
        (p.look, p.awake) = (Some((situation, began)), Some(now));
        for side in Side::BOTH {
            if self.truth.stood_at(side, began) {
                p.saw[side] = Some(began);
            }
        }
        began
    }

    /// Notes what happened.
    pub fn tell(&mut self, what: &str) {
        let line = format!("{:9.3} {what}", self.seconds());
        for b in line.bytes() {
            self.hash = (self.hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(line);
        }
    }

    /// The one place that every call of an operator passes: draws its latency and its fate.
    pub fn point(
        &mut self,
        who: usize,
        (call, writes): (Call, bool),
        what: impl FnOnce() -> String,
    ) -> (Fate, Duration) {
        let index = self.count;
        self.count += 1;
        let latency = Duration::from_millis(self.chance.between(1, 25));
        let seconds = self.seconds();
        // Drawn whoever decides, so that a replay of listed fates meets the same chance.
        let (dice, which) = (self.chance.between(0, 1000), self.chance.number());
        let fate = match &self.fates {
            Fates::At(map) => map.get(&index).copied().filter(|fate| fate.fits(call)).unwrap_or(Fate::Ok),
            Fates::Random { per_mille, until } => {
                let rate = if writes { per_mille.0 } else { per_mille.1 };
                if dice < rate && seconds < *until { Fate::drawn(call, which) } else { Fate::Ok }
            }
        };
        if fate != Fate::Ok {
            self.faults.insert(index, fate);
        }
        *self.dealt.entry(fate).or_default() += 1;
        if fate != Fate::Ok || writes || self.trace.is_some() {
            let shown: String = what().chars().take(110).collect();
            if fate != Fate::Ok || writes {
                self.tell(&format!("#{index} operator {who}: {shown} => {fate:?}"));
            }
            if self.trace.is_some() {
                self.points.push(Point { who, call, writes, what: shown });
            }
        }
        (fate, latency)
    }

    /// A process is to be killed: it is never polled again.
    pub fn kill(&mut self, who: usize) {
        if let Some(o) = self.operators.get_mut(who) {
            o.kill = true;
        }
    }

    /// A process is killed: its sessions end when their servers notice.
    pub fn bury(&mut self, who: usize) {
        let now = self.time();
        let Some(process) = self.operators.get_mut(who) else { return };
        process.kill = false;
        (process.heard, process.awake, process.look) = (Heard::default(), None, None);
        (process.next, process.blocked) = (String::new(), None);
        let sessions = std::mem::take(&mut process.sessions);
        // Most connections are closed by the dying machine at once; some linger, with their locks.
        for (host, id) in sessions {
            let linger = if self.chance.happens(250) { self.chance.between(500, 9000) } else { 0 };
            let until = now + SignedDuration::from_millis(i64::try_from(linger).unwrap_or(0));
            self.orphans.push_back((until, host, id));
        }
        self.tell(&format!("operator {who} is dead"));
    }

    /// A session whose client does not listen any more.
    pub fn abandon(&mut self, who: usize, host: &str, id: u32, seconds: i64) {
        let until = self.time() + SignedDuration::from_secs(seconds);
        if let Some(p) = self.operators.get_mut(who) {
            p.sessions.remove(&(host.to_string(), id));
        }
        self.orphans.push_back((until, host.into(), id));
    }

    /// Lets a session's batch go on.
    pub fn step(&mut self, host: &str, id: u32, out: &mut Vec<Event>) -> Progress {
        batch::step(&mut self.world, host, id, out)
    }
}
