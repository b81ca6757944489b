//! An API server for each operator, and the operator as the process that it is: a controller that hears of its resource by a
//! watch, one worker for it, and the one writer of its status.
//!
//! What hurts in reality is all here: events come late or are lost until the next list, a list is as old as the cache that
//! answers it, the API server is down for a while, is rolled back to a backup, or is lost and set up anew from a manifest.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, join, select};
use jiff::{SignedDuration, Timestamp};
use lab::scenario::Scenario;
use persistent_chat_failover::api::conditions::{self, Is};
use persistent_chat_failover::api::project;
use persistent_chat_failover::api::project::essence;
use persistent_chat_failover::api::v1alpha1::PersistentChatFailoverStatus as Status;
use persistent_chat_failover::controller::{ECHO, PROGRESS};
use persistent_chat_failover::domain::activity::Active;
use persistent_chat_failover::domain::pool::Pool;
use persistent_chat_failover::domain::problem::Reason;
use persistent_chat_failover::engine::plan::{Goal, Next};
use persistent_chat_failover::engine::run::{Intent, Memory, Pace, Report, drive};
use tokio::sync::watch;

use crate::systems::{SimClock, SimSystems};
use crate::world::{Fate, Handle, Shared};

/// Longest wait for one request, as the controller has it.
const REQUEST: Duration = Duration::from_secs(15);
/// How often a controller looks for events that have arrived.
const BEAT: Duration = Duration::from_millis(200);

/// The resource as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.generation`
    pub generation: i64,
    /// `metadata.resourceVersion`
    pub version: u64,
    /// What of the spec changes in a run.
    pub spec: Goal,
    /// The status, the schema's default if nobody wrote one.
    pub status: Status,
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
    /// It does not answer.
    pub down: bool,
    /// When the last status was stored.
    pub last_status: Option<Timestamp>,
    number: usize,
    version: u64,
    uids: u64,
    highest: i64,
    deaf_until: Option<Timestamp>,
    stored: Vec<(Timestamp, Option<Object>)>,
    events: VecDeque<(Timestamp, Option<Object>)>,
    relist: bool,
}

impl Cluster {
    /// A cluster with its resource.
    pub fn new(number: usize, now: Timestamp) -> Cluster {
        let mut c = Cluster {
            object: None,
            down: false,
            last_status: None,
            number,
            version: 100,
            uids: 0,
            highest: 0,
            deaf_until: None,
            stored: Vec::new(),
            events: VecDeque::new(),
            relist: false,
        };
        c.create("atlanta", now, SignedDuration::ZERO);
        c
    }

    /// The resource is created from a manifest.
    pub fn create(&mut self, desired: &str, now: Timestamp, delay: SignedDuration) {
        self.uids += 1;
        self.version += 1;
        self.down = false;
        self.highest = 1;
        self.object = Some(Object {
            uid: format!("uid-{}-{}", self.number, self.uids),
            generation: 1,
            version: self.version,
            spec: Goal { desired: desired.into(), suspend: false, consent: None },
            // What the schema's default says of an object that nobody has looked at.
            status: Status { observed_generation: -1, ..Status::default() },
        });
        self.changed(now, delay);
    }

    /// Everything is lost; nobody answers until something is created again.
    pub fn lose(&mut self, now: Timestamp) {
        self.object = None;
        self.down = true;
        self.stored.push((now, None));
        self.relist = true;
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

    /// Reads the resource.
    pub fn get(&self) -> Result<Object, Refused> {
        if self.down { Err(Refused::Down) } else { self.object.clone().ok_or(Refused::NotFound) }
    }

    /// Writes the spec. With a version: only over exactly that one.
    pub fn put(
        &mut self,
        now: Timestamp,
        spec: Goal,
        over: Option<u64>,
        delay: SignedDuration,
    ) -> Result<(), Refused> {
        let mut o = self.get()?;
        if over.is_some_and(|v| v != o.version) {
            return Err(Refused::Conflict);
        }
        // The rule of the schema: past the point of no return the transition can only go on.
        if let Some(t) = &o.status.transition
            && t.outcome == "Running"
            && t.point_of_no_return
            && spec.desired != t.to
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
        self.object = Some(o);
        self.last_status = Some(now);
        // Nobody's decision depends on the event of a status: it is stored, not told.
        self.stored.push((now, self.object.clone()));
        Ok(())
    }

    /// The highest generation that this object ever had.
    pub fn highest_generation(&self) -> i64 {
        self.highest
    }

    /// The list that a watch begins with: as old as the cache that answers; what came after it follows as events.
    pub fn list(&mut self, now: Timestamp, age: SignedDuration) -> Result<Option<Object>, Refused> {
        if self.down {
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
        if self.down || self.deaf_until.is_some_and(|t| now < t) {
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

/// A process: one future.
pub type Process = Pin<Box<dyn Future<Output = ()>>>;

/// What is told to the writer: a status, when the look that it comes from began, and what was wanted then.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    status: Status,
    since: Timestamp,
    desired: String,
}

struct Worker {
    uid: String,
    intent: watch::Sender<Intent>,
    /// The status as the API server last showed it.
    stored: watch::Sender<Status>,
}

/// An operator's process, from its start until it is killed.
pub fn operator(shared: Handle, who: usize, pool: Arc<Pool>, scenario: Scenario, pace: Pace) -> Process {
    Box::pin(async move {
        let born: Rc<RefCell<Vec<Process>>> = Rc::default();
        let control = control(shared.clone(), who, pool, scenario, pace, born.clone());
        futures::pin_mut!(control);
        let mut workers: Vec<Process> = Vec::new();
        std::future::poll_fn(|cx| {
            let killed = || shared.now().processes.get(who).is_some_and(|p| p.kill);
            // It ends only when it is killed.
            let _ = control.as_mut().poll(cx);
            workers.append(&mut born.borrow_mut());
            // What was killed within one of its parts does nothing in another any more.
            workers.retain_mut(|w| killed() || w.as_mut().poll(cx).is_pending());
            Poll::Pending
        })
        .await
    })
}

/// The controller: hears of the resource, and hands it to the worker.
async fn control(
    shared: Handle,
    who: usize,
    pool: Arc<Pool>,
    scenario: Scenario,
    pace: Pace,
    born: Rc<RefCell<Vec<Process>>>,
) {
    let mut worker: Option<Worker> = None;
    let mut again: Option<Timestamp> = None;
    let mut pending = loop {
        let listed = ask(&shared, who, "list the resource", false, |s, now| {
            let age = if s.chance.happens(150) { s.chance.between(0, 5000) } else { 0 };
            let age = SignedDuration::from_millis(i64::try_from(age).unwrap_or(0));
            s.clusters.get_mut(who).map_or(Err(Refused::NotFound), |c| c.list(now, age))
        });
        if let Ok(o) = listed.await {
            break Some(o);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    loop {
        let (event, now) = {
            let mut s = shared.now();
            let now = s.time();
            (s.clusters.get_mut(who).and_then(|c| c.event(now)), now)
        };
        if event.is_some() {
            (pending, again) = (event, None);
        }
        if again.is_none_or(|t| t <= now)
            && let Some(o) = pending.take()
            && reconcile(&shared, who, &pool, &scenario, pace, &born, &mut worker, o.as_ref()).await.is_err()
        {
            pending = Some(o);
            again = Some(now + SignedDuration::from_secs(5));
        }
        tokio::time::sleep(BEAT).await;
    }
}

#[allow(clippy::too_many_arguments)] // as the controller's own: what it has, and what it is told
async fn reconcile(
    shared: &Handle,
    who: usize,
    pool: &Arc<Pool>,
    scenario: &Scenario,
    pace: Pace,
    born: &Rc<RefCell<Vec<Process>>>,
    worker: &mut Option<Worker>,
    o: Option<&Object>,
) -> Result<(), Refused> {
    let retire = |worker: &mut Option<Worker>| {
        if let Some(w) = worker.take() {
            w.intent.send_modify(|i| i.stop = true);
            shared.now().hears(who, None);
        }
    };
    let Some(o) = o else {
        retire(worker);
        return Ok(());
    };
    if worker.as_ref().is_some_and(|w| w.uid != o.uid) {
        retire(worker);
    }
    if let Some(w) = worker {
        shared.now().hears(who, Some(&o.spec));
        w.stored.send_replace(o.status.clone());
        w.intent.send_if_modified(|i| {
            let changed = i.goal != o.spec || i.generation != o.generation;
            if changed {
                *i = intent(pool, &o.spec, o.generation);
            }
            changed
        });
        return Ok(());
    }
    if o.status.observed_generation != o.generation {
        let now = shared.now().time();
        let told = Told { status: accepted(o, now), since: now, desired: String::new() };
        write(shared, who, &o.uid, &told).await?;
    }
    let current = ask(shared, who, "get the resource", false, |s, _| {
        s.clusters.get(who).map_or(Err(Refused::NotFound), Cluster::get)
    });
    let status = current.await?.status;
    shared.now().hears(who, Some(&o.spec));
    let (intent, rx) = watch::channel(intent(pool, &o.spec, o.generation));
    let (stored, seen) = watch::channel(status);
    *worker = Some(Worker { uid: o.uid.clone(), intent, stored });
    let systems = SimSystems { shared: shared.clone(), who, scenario: scenario.clone() };
    born.borrow_mut().push(work(systems, pool.clone(), pace, o.uid.clone(), seen, rx));
    Ok(())
}

fn intent(pool: &Arc<Pool>, spec: &Goal, generation: i64) -> Intent {
    Intent { pool: pool.clone(), goal: spec.clone(), generation, stop: false }
}

/// The status that says that a generation is not finished, before any look at the world.
fn accepted(o: &Object, now: Timestamp) -> Status {
    let mut status = Status { observed_generation: o.generation, ..o.status.clone() };
    conditions::remove(&mut status.conditions, conditions::STALLED);
    for (kind, is) in [(conditions::READY, Is::Unknown), (conditions::RECONCILING, Is::True)] {
        let text = "The world is being looked at";
        conditions::set(&mut status.conditions, kind, is, Reason::Accepted, text, o.generation, now);
    }
    status
}

/// One worker: the engine's loop, and the one writer of the status.
fn work(
    systems: SimSystems,
    pool: Arc<Pool>,
    pace: Pace,
    uid: String,
    stored: watch::Receiver<Status>,
    mut intent: watch::Receiver<Intent>,
) -> Process {
    Box::pin(async move {
        let (shared, who) = (systems.shared.clone(), systems.who);
        let now = shared.now().time();
        let first = Told { status: stored.borrow().clone(), since: now, desired: String::new() };
        let (next, published) = watch::channel(first);
        let writer = write_status(&shared, who, &uid, stored, published);
        let engine = async {
            let clock = SimClock { shared: shared.clone(), who };
            let mut memory = Memory::default();
            let (tell, shared, pool) = (next, shared.clone(), pool);
            let shown = pool.clone();
            let report = move |r: &Report<'_>| {
                let since = shared.now().reported(who, r.situation.at);
                note(&mut shared.now(), who, r);
                tell.send_modify(|t| {
                    t.status = project::status(&shown, r, &t.status);
                    (t.since, t.desired) = (since, r.goal.desired.clone());
                });
            };
            drive(&systems, &pool, &clock, pace, &mut memory, &mut intent, &report).await;
        };
        join(engine, writer).await;
    })
}

/// What the others see of a process.
fn note(s: &mut Shared, who: usize, r: &Report<'_>) {
    let Some(p) = s.processes.get_mut(who) else { return };
    p.active = match &r.plan.active {
        Active::In(name) => Some(name.clone()),
        Active::Between | Active::SplitBrain(_) | Active::RecoveredByOthers { .. } | Active::Unknown(_) => {
            None
        }
    };
    p.consent_needed = match (&r.plan.transition, &r.plan.consent_needed) {
        (Some(t), Some(statement)) => Some((t.id.clone(), statement.digest())),
        (None, _) | (_, None) => None,
    };
    let (next, blocked) = match &r.plan.next {
        Next::Settled => ("Settled".to_string(), None),
        Next::Act(e) => (format!("Act {:?}", e.iter().map(|e| e.step()).collect::<Vec<_>>()), None),
        Next::Finish => ("Finish".into(), None),
        Next::Wait(w) => (format!("Wait {:?}", w.reason), None),
        Next::Blocked(p) => (format!("Blocked {:?}: {}", p.reason, p.what), Some(p.clone())),
    };
    p.blocked = blocked;
    if p.next != next {
        p.next = next.clone();
        s.tell(&format!("operator {who}: {next}"));
    }
}

/// The one writer, step for step as the worker's own: only what differs from what stands, progress at most once in five seconds.
async fn write_status(
    shared: &Handle,
    who: usize,
    uid: &str,
    mut stored: watch::Receiver<Status>,
    mut next: watch::Receiver<Told>,
) {
    let mut last = tokio::time::Instant::now().checked_sub(PROGRESS);
    let mut standing = stored.borrow_and_update().clone();
    let (mut open, mut watched, mut compare) = (true, true, None);
    while open {
        let at = compare.unwrap_or_else(tokio::time::Instant::now);
        // In a fixed order: the same seed must give the same night.
        tokio::select! {
            biased;
            changed = next.changed() => open = changed.is_ok(),
            changed = stored.changed(), if watched => {
                watched = changed.is_ok();
                compare = Some(last.unwrap_or_else(tokio::time::Instant::now) + ECHO);
                continue;
            }
            () = tokio::time::sleep_until(at), if compare.is_some() => {
                compare = None;
                standing = stored.borrow_and_update().clone();
            }
        }
        let mut wanted = next.borrow_and_update().clone();
        if wanted.status == standing {
            continue;
        }
        if essence(&wanted.status) == essence(&standing) && open {
            let due = last.map_or_else(tokio::time::Instant::now, |l| l + PROGRESS);
            {
                let sleep = tokio::time::sleep_until(due);
                let changed = next.wait_for(|t| essence(&t.status) != essence(&standing));
                futures::pin_mut!(sleep, changed);
                if let Either::Right((changed, _)) = select(sleep, changed).await {
                    open = changed.is_ok();
                }
            }
            wanted = next.borrow_and_update().clone();
        }
        while let Err(e) = write(shared, who, uid, &wanted).await {
            if !open || matches!(e, Refused::NotFound | Refused::Conflict) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            wanted = next.borrow_and_update().clone();
        }
        let now = tokio::time::Instant::now();
        last = Some(now);
        compare = compare.map(|_| now + ECHO);
        standing = wanted.status;
    }
}

async fn write(shared: &Handle, who: usize, uid: &str, told: &Told) -> Result<(), Refused> {
    ask(shared, who, "write the status", true, |s, now| {
        let Some(c) = s.clusters.get_mut(who) else { return Err(Refused::NotFound) };
        c.put_status(now, uid, &told.status)?;
        let highest = c.highest_generation();
        s.truth.stored(&s.world, who, &told.status, &told.desired, told.since, now, highest);
        let ready = told.status.conditions.iter().map(|c| format!("{}={}", c.type_, c.status));
        let ready: Vec<String> = ready.take(3).collect();
        s.tell(&format!(
            "        status of operator {who}: active {:?} {}",
            told.status.active_data_center,
            ready.join(" ")
        ));
        Ok(())
    })
    .await
}

/// One request to the API server: it passes the same point as every other call.
async fn ask<T>(
    shared: &Handle,
    who: usize,
    what: &str,
    writes: bool,
    f: impl FnOnce(&mut Shared, Timestamp) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let die = || {
        if let Some(p) = shared.now().processes.get_mut(who) {
            p.kill = true;
        }
        std::future::pending::<Result<T, Refused>>()
    };
    let (fate, latency) = shared.now().point(who, writes, || format!("API server: {what}"));
    tokio::time::sleep(latency).await;
    match fate {
        Fate::KillBefore => return die().await,
        Fate::FailBefore => return Err(Refused::Down),
        Fate::Ok | Fate::AnswerLost | Fate::Hang | Fate::KillDuring | Fate::KillAfter => {}
    }
    let result = {
        let mut s = shared.now();
        let now = s.time();
        f(&mut s, now)
    };
    match fate {
        Fate::KillDuring | Fate::KillAfter => die().await,
        Fate::AnswerLost => Err(Refused::Down),
        Fate::Hang => {
            tokio::time::sleep(REQUEST).await;
            Err(Refused::Down)
        }
        Fate::Ok | Fate::FailBefore | Fate::KillBefore => result,
    }
}
