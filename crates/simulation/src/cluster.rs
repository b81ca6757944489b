//! An API server for each operator.
//!
//! What hurts in reality is all here: events come late or are lost until the next list, a list is as old as the cache that
//! answers it, the API server is down for a while, is rolled back to a backup, or is lost and set up anew from a manifest.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use persistent_chat_failover::api::v1alpha1::PersistentChatFailoverStatus as Status;
use persistent_chat_failover::domain::consent::Consent;
use persistent_chat_failover::domain::route::Procedure;
use persistent_chat_failover::domain::side::{Side, Sides};
use persistent_chat_failover::engine::goal::Goal;

/// How long a lease is held that cannot be renewed.
pub const LEASE: SignedDuration = SignedDuration::from_secs(10);

/// What of the spec changes in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// `activeDataCenter`
    pub active: Side,
    /// `utteredAt`
    pub uttered_at: Option<Timestamp>,
    /// `suspend`
    pub suspend: bool,
    /// `consent`
    pub consent: Option<Consent>,
}

/// The resource as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.generation`
    pub generation: i64,
    /// `metadata.resourceVersion`
    pub version: u64,
    /// Its spec.
    pub spec: Spec,
    /// The side that somebody has asked for by changing this very object, and of which generation; gone when a status said that it
    /// counts no more. Nothing of it is stored: it is what the observer knows.
    pub said: Option<(Side, i64)>,
    /// The status, the schema's default if nobody wrote one.
    pub status: Status,
}

impl Object {
    /// What it asks for.
    pub fn goal(&self) -> Goal {
        let Spec { active, uttered_at, suspend, consent } = self.spec.clone();
        Goal { active, uid: self.uid.clone(), generation: self.generation, uttered_at, suspend, consent }
    }
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The API server does not answer.
    Down,
    /// There is no such object.
    NotFound,
    /// 409: it is not the version, or not the object, that the request was made for.
    Conflict,
    /// 422: a rule of the schema forbids it.
    Rule,
}

/// The API server of one cluster, as far as this one resource goes.
#[derive(Debug)]
pub struct Cluster {
    /// The resource.
    pub object: Option<Object>,
    /// It does not answer, since then.
    pub down: Option<Timestamp>,
    /// When the last status was stored.
    pub last_status: Option<Timestamp>,
    number: usize,
    /// Names of the data centres, as a status has them.
    names: Sides<String>,
    version: u64,
    uids: u64,
    highest: i64,
    deaf_until: Option<Timestamp>,
    stored: Vec<(Timestamp, Option<Object>)>,
    events: VecDeque<(Timestamp, Option<Object>)>,
    relist: bool,
}

impl Cluster {
    /// A cluster with its resource, which asks for a data centre.
    pub fn new(number: usize, names: Sides<String>, active: Side, now: Timestamp) -> Cluster {
        let mut c = Cluster {
            object: None,
            down: None,
            last_status: None,
            number,
            names,
            version: 100,
            uids: 0,
            highest: 0,
            deaf_until: None,
            stored: Vec::new(),
            events: VecDeque::new(),
            relist: false,
        };
        c.create(active, now, SignedDuration::ZERO);
        c
    }

    /// The resource is created from a manifest.
    pub fn create(&mut self, active: Side, now: Timestamp, delay: SignedDuration) {
        self.uids += 1;
        self.version += 1;
        self.down = None;
        self.highest = 1;
        self.object = Some(Object {
            uid: format!("uid-{}-{}", self.number, self.uids),
            generation: 1,
            version: self.version,
            spec: Spec { active, uttered_at: None, suspend: false, consent: None },
            said: None,
            // What the schema's default says of an object that nobody has looked at.
            status: Status { observed_generation: -1, ..Status::default() },
        });
        self.changed(now, delay);
    }

    /// Everything is lost; nobody answers until something is created again.
    pub fn lose(&mut self, now: Timestamp) {
        self.object = None;
        self.goes_down(now);
        self.stored.push((now, None));
        self.relist = true;
    }

    /// It does not answer any more.
    pub fn goes_down(&mut self, now: Timestamp) {
        self.down = self.down.or(Some(now));
    }

    /// Since when the operator of this cluster has not held its lease, if that is so: it is renewed as long as the API server answers.
    pub fn lease_ended(&self, now: Timestamp) -> Option<Timestamp> {
        self.down.map(|since| since + LEASE).filter(|end| *end <= now)
    }

    /// A backup is played back: spec and status as they were, and a version that is lower than what watchers have seen.
    pub fn roll_back(&mut self, now: Timestamp, seconds: f64) -> bool {
        let then = now - SignedDuration::from_secs_f64(seconds.max(0.0));
        let old = self.stored.iter().rev().find(|(at, o)| *at <= then && o.is_some());
        let Some((_, Some(old))) = old.cloned() else { return false };
        self.version = old.version;
        self.highest = self.highest.max(old.generation);
        self.object = Some(old.clone());
        self.stored.push((now, Some(old)));
        self.relist = true;
        true
    }

    /// Events are lost for a while; then the watch begins anew with a list.
    pub fn deafen(&mut self, until: Timestamp) {
        self.deaf_until = Some(until);
        self.relist = true;
    }

    fn changed(&mut self, now: Timestamp, delay: SignedDuration) {
        self.stored.push((now, self.object.clone()));
        let last = self.events.back().map_or(now, |(at, _)| *at);
        // Events may be late, never out of order.
        self.events.push_back(((now + delay).max(last), self.object.clone()));
    }

    /// What was ever stored, and when; none: it was gone then.
    pub fn history(&self) -> &[(Timestamp, Option<Object>)] {
        &self.stored
    }

    /// Reads the resource.
    pub fn get(&self) -> Result<Object, Refused> {
        if self.down.is_some() { Err(Refused::Down) } else { self.object.clone().ok_or(Refused::NotFound) }
    }

    /// Writes the spec. With a version: only over exactly that one.
    pub fn put(
        &mut self,
        now: Timestamp,
        spec: Spec,
        over: Option<u64>,
        delay: SignedDuration,
    ) -> Result<(), Refused> {
        let mut o = self.get()?;
        if over.is_some_and(|v| v != o.version) {
            return Err(Refused::Conflict);
        }
        // The rule of the schema: past the point of no return the transition can only go on. What was set back before may stay so.
        if let Some(t) = &o.status.transition
            && t.outcome == "Running"
            && t.point_of_no_return
            && [Procedure::Failover, Procedure::Switch].iter().any(|p| t.procedure == p.as_str())
            && spec.active != o.spec.active
            && self.names[spec.active] != t.to
        {
            return Err(Refused::Rule);
        }
        if o.spec == spec {
            return Ok(());
        }
        self.version += 1;
        o.version = self.version;
        o.generation += 1;
        self.highest = self.highest.max(o.generation);
        if spec.active != o.spec.active || spec.uttered_at != o.spec.uttered_at {
            o.said = Some((spec.active, o.generation));
        }
        o.spec = spec;
        self.object = Some(o);
        self.changed(now, delay);
        Ok(())
    }

    /// Applies a whole status, bound to the object's uid.
    pub fn put_status(&mut self, now: Timestamp, uid: &str, status: &Status) -> Result<(), Refused> {
        let mut o = self.get()?;
        if o.uid != uid {
            return Err(Refused::Conflict);
        }
        self.version += 1;
        o.version = self.version;
        o.status = status.clone();
        o.said = o.said.filter(|said| !self.is_spent(status, uid, *said));
        self.object = Some(o);
        self.last_status = Some(now);
        // Nobody's decision depends on the event of a status: it is stored, not told.
        self.stored.push((now, self.object.clone()));
        Ok(())
    }

    /// Whether a status says of what somebody asked for that it counts no more.
    pub fn is_spent(&self, status: &Status, uid: &str, (side, generation): (Side, i64)) -> bool {
        status.wish.as_ref().is_some_and(|w| {
            let same = w.uid == uid && w.active_data_center == self.names[side] && w.generation >= generation;
            same && !["Accepted", "Planned"].contains(&w.state.as_str())
        })
    }

    /// Whether a status says of what somebody asked for that it is being made true as a switch.
    pub fn is_planned(&self, status: &Status, uid: &str, (side, generation): (Side, i64)) -> bool {
        status.wish.as_ref().is_some_and(|w| {
            let same = w.uid == uid && w.active_data_center == self.names[side] && w.generation >= generation;
            same && w.state == "Planned"
        })
    }

    /// The highest generation that this object ever had.
    pub fn highest_generation(&self) -> i64 {
        self.highest
    }

    /// The list that a watch begins with: as old as the cache that answers; what came after it follows as events.
    pub fn list(&mut self, now: Timestamp, age: SignedDuration) -> Result<Option<Object>, Refused> {
        if self.down.is_some() {
            return Err(Refused::Down);
        }
        let then = now - age;
        let at = self.stored.iter().rposition(|(t, _)| *t <= then).unwrap_or(0);
        self.events.clear();
        self.relist = false;
        let seen = self.stored.get(at).and_then(|(_, o)| o.clone());
        let spec = |o: &Option<Object>| o.as_ref().map(|o| (o.uid.clone(), o.spec.clone()));
        let mut last = spec(&seen);
        for (_, o) in self.stored.iter().skip(at + 1) {
            if spec(o) != last {
                last = spec(o);
                self.events.push_back((now, o.clone()));
            }
        }
        Ok(seen)
    }

    /// The next event that has arrived: the resource, or that it is gone.
    pub fn event(&mut self, now: Timestamp) -> Option<Option<Object>> {
        if self.down.is_some() || self.deaf_until.is_some_and(|t| now < t) {
            self.relist = true;
            return None;
        }
        if self.relist {
            self.relist = false;
            self.events.clear();
            return Some(self.object.clone());
        }
        if self.events.front().is_some_and(|(at, _)| *at <= now) {
            return self.events.pop_front().map(|(_, o)| o);
        }
        None
    }
}
