//! An operator as the process that it is: a controller that hears of its resource by a watch, one worker for it, and the one
//! writer of its status.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, select};
use jiff::{SignedDuration, Timestamp};
use lab::scenario::Scenario;
use persistent_chat_failover::api::convert;
use persistent_chat_failover::api::v1alpha1::PersistentChatFailoverStatus as Status;
use persistent_chat_failover::controller::accepted;
use persistent_chat_failover::controller::decide::{self, Reconciled};
use persistent_chat_failover::controller::publish::{NotWritten, Published, StatusStore, publish};
use persistent_chat_failover::domain::pool::Pool;
use persistent_chat_failover::domain::side::Side;
use persistent_chat_failover::engine::drive::drive;
use persistent_chat_failover::engine::memory::Memory;
use persistent_chat_failover::engine::plan::Next;
use persistent_chat_failover::engine::report::Report;
use persistent_chat_failover::engine::wishes::{Lead, Wish, Wishes};
use persistent_chat_failover::engine::{Pace, World};
use persistent_chat_failover::status;
use tokio::sync::watch;

use crate::cluster::{Cluster, Object, Refused};
use crate::fate::{Call, Fate};
use crate::moments::Decided;
use crate::systems::{SimClock, SimSystems, die};
use crate::truth::Stored;
use crate::world::{Handle, Shared};

/// Longest wait for one request, as the controller has it.
const REQUEST: Duration = Duration::from_secs(15);
/// How long the status may still be written when the engine has ended, as the controller has it.
const LAST_WORD: Duration = Duration::from_secs(5);
/// How often a controller looks for events that have arrived.
const BEAT: Duration = Duration::from_millis(200);

/// A process: one future.
pub type Process = Pin<Box<dyn Future<Output = ()>>>;

/// What is told to the writer: a status, when the look that it comes from began, and what was wanted then.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    status: Status,
    since: Timestamp,
    wanted: Option<Side>,
    /// What it comes from; none, as above.
    decided: Option<Decided>,
}

impl Told {
    /// A status that comes from no look.
    fn unseen(status: Status, since: Timestamp) -> Told {
        Told { status, since, wanted: None, decided: None }
    }
}

impl Published for Told {
    fn status(&self) -> &Status {
        &self.status
    }
}

/// The program that every operator runs, and what it is configured with.
#[derive(Clone)]
pub struct Program {
    /// Everything shared.
    pub shared: Handle,
    /// The pool.
    pub pool: Arc<Pool>,
    /// What the world was made from.
    pub scenario: Scenario,
    /// How it waits.
    pub pace: Pace,
}

impl Program {
    /// A process, from its start until it is killed.
    pub fn start(&self, who: usize) -> Process {
        let program = self.clone();
        Box::pin(async move {
            let born: Rc<RefCell<Vec<Process>>> = Rc::default();
            let shared = program.shared.clone();
            let control = control(Controller { program, who, born: born.clone(), worker: None });
            futures::pin_mut!(control);
            let mut workers: Vec<Process> = Vec::new();
            std::future::poll_fn(|cx| {
                let killed = || shared.now().operators.get(who).is_some_and(|o| o.kill);
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
}

/// Whether an operator holds the lease of its cluster.
fn holds_lease(shared: &Handle, who: usize) -> bool {
    shared.now().operators.get(who).is_some_and(|o| o.unled.is_none())
}

/// What hears of the resource, and what it has made of that.
struct Controller {
    program: Program,
    who: usize,
    /// Workers that were started since somebody looked.
    born: Rc<RefCell<Vec<Process>>>,
    worker: Option<Worker>,
}

/// What its controller holds of a worker.
struct Worker {
    uid: String,
    wishes: watch::Sender<Wish>,
    /// The status as the API server last showed it.
    stored: watch::Sender<Status>,
}

impl Worker {
    /// It has ended by itself: nobody hears its wishes any more.
    fn is_over(&self) -> bool {
        self.wishes.is_closed()
    }
}

/// The controller: hears of the resource, and hands it to the worker.
async fn control(mut controller: Controller) {
    let (shared, who) = (controller.program.shared.clone(), controller.who);
    let mut again: Option<Timestamp> = None;
    let mut led = true;
    // What was last heard: a worker that has ended by itself is followed by another.
    let mut last: Option<Object> = None;
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
        if pending.is_none() && controller.worker.as_ref().is_some_and(|w| w.is_over()) {
            pending = Some(last.clone());
        }
        let leads = holds_lease(&shared, who);
        if leads != led {
            led = leads;
            controller.wake();
        }
        if again.is_none_or(|t| t <= now)
            && let Some(o) = pending.take()
        {
            last.clone_from(&o);
            if controller.reconcile(o.as_ref()).await.is_err() {
                pending = Some(o);
                again = Some(now + SignedDuration::from_secs(5));
            }
        }
        tokio::time::sleep(BEAT).await;
    }
}

impl Controller {
    /// Carries out what the product decides on what was heard of the resource.
    async fn reconcile(&mut self, o: Option<&Object>) -> Result<(), Refused> {
        let seen = decide::Seen {
            uid: o.map_or("", |o| &o.uid),
            is_gone: o.is_none(),
            // The scenario's pool, which nobody edits and nobody else describes.
            problems: &[],
            other: None,
            leads: holds_lease(&self.program.shared, self.who),
        };
        let standing = self.worker.as_ref().map(|w| decide::Standing { uid: &w.uid, is_over: w.is_over() });
        match (decide::next(&seen, standing.as_ref()), o) {
            (Reconciled::Tell, Some(o)) => {
                self.tell(o);
                Ok(())
            }
            (Reconciled::Start, Some(o)) => {
                self.retire();
                self.start(o).await
            }
            (Reconciled::StandBy, _) => Ok(()),
            (Reconciled::Retire | Reconciled::Refuse(_) | Reconciled::RefuseBesideAnother(_), _)
            | (Reconciled::Tell | Reconciled::Start, None) => {
                self.retire();
                Ok(())
            }
        }
    }

    /// The lease was lost or won: the worker looks at it.
    fn wake(&self) {
        if let Some(w) = &self.worker {
            w.wishes.send_modify(|_| {});
        }
    }

    /// The worker is told what the resource says now.
    fn tell(&self, o: &Object) {
        let Some(w) = &self.worker else { return };
        self.program.shared.now().hears(self.who, Some(o));
        w.stored.send_replace(o.status.clone());
        w.wishes.send_if_modified(|wish| {
            let goal = o.goal();
            let changed = wish.goal != goal;
            if changed {
                wish.goal = goal;
            }
            changed
        });
    }

    /// A worker begins.
    async fn start(&mut self, o: &Object) -> Result<(), Refused> {
        let Program { shared, pool, scenario, pace } = &self.program;
        let who = self.who;
        let store = Store { shared: shared.clone(), who, uid: o.uid.clone() };
        let current = ask(shared, who, "get the resource", false, |s, _| {
            s.clusters.get(who).map_or(Err(Refused::NotFound), Cluster::get)
        });
        let current = current.await?;
        // A status may have said since that what was asked for counts no more.
        let said = o.said.filter(|said| current.generation != o.generation || current.said == Some(*said));
        shared.now().hears(who, Some(&Object { said, ..o.clone() }));
        let (mut status, now) = (current.status, shared.now().time());
        if accepted(&mut status, o.generation, now) {
            store.write(&Told::unseen(status.clone(), now)).await?;
        }
        let lead = {
            let shared = shared.clone();
            Lead::new(move || holds_lease(&shared, who))
        };
        let (wishes, wish) = Wishes::channel(self.wish(o), lead);
        let (stored, seen) = watch::channel(status);
        let systems = SimSystems { shared: shared.clone(), who, scenario: scenario.clone() };
        let process =
            work(Work { store, systems, pool: pool.clone(), pace: *pace, stored: seen, wishes: wish });
        self.born.borrow_mut().push(Box::pin(process));
        self.worker = Some(Worker { uid: o.uid.clone(), wishes, stored });
        Ok(())
    }

    /// The worker is told to stop, if there is one.
    fn retire(&mut self) {
        if let Some(w) = self.worker.take() {
            w.wishes.send_modify(|wish| wish.stop = true);
            self.program.shared.now().hears(self.who, None);
        }
    }

    fn wish(&self, o: &Object) -> Wish {
        Wish { pool: self.program.pool.clone(), goal: o.goal(), stop: false }
    }
}

/// What one worker is made of.
struct Work {
    store: Store,
    systems: SimSystems,
    pool: Arc<Pool>,
    pace: Pace,
    stored: watch::Receiver<Status>,
    wishes: Wishes,
}

/// One worker: the engine's loop, and the one writer of the status.
async fn work(work: Work) {
    let Work { store, systems, pool, pace, stored, mut wishes } = work;
    let (shared, who) = (systems.shared.clone(), systems.who);
    let now = shared.now().time();
    let first = Told::unseen(stored.borrow().clone(), now);
    let heard = convert::last_wish(&pool, Some(&first.status));
    let moved = convert::moved(&pool, Some(&first.status));
    let (next, published) = watch::channel(first);
    let writer = publish(&store, stored, published);
    let engine = async {
        let clock = SimClock { shared: shared.clone(), who };
        let mut memory = Memory::new(heard, moved);
        // When the engine ends, so does this, and with it the writer.
        let next = next;
        let tell = |r: &Report<'_>| {
            let since = shared.now().reported(who, r.situation.at);
            note(&mut shared.now(), who, &pool, r);
            next.send_modify(|t| {
                t.status = status::status(&pool, r, &t.status);
                (t.since, t.wanted) = (since, Some(r.goal.active));
                t.decided = Some(Decided::of(r));
            });
        };
        let world = World { systems: &systems, pool: &pool, clock: &clock, pace };
        drive(world, &mut memory, &mut wishes, &tell).await;
    };
    futures::pin_mut!(engine, writer);
    match select(engine, writer).await {
        Either::Left(((), writer)) => {
            if tokio::time::timeout(LAST_WORD, writer).await.is_err() {
                shared.now().tell(&format!("operator {who}: its last status could not be written"));
            }
        }
        // Nobody wants to know any more: the engine is told to stop by whoever sees that.
        Either::Right(((), engine)) => engine.await,
    }
}

/// What the others see of a process.
fn note(s: &mut Shared, who: usize, pool: &Pool, r: &Report<'_>) {
    s.guards.report(who, pool, r);
    let Some(p) = s.operators.get_mut(who) else { return };
    p.active = r.plan.active.side();
    p.consent_needed = match (&r.plan.transition, &r.plan.consent_needed) {
        (Some(t), Some(terms)) => Some((t.id.clone(), terms.digest())),
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

/// The status of one object on the operator's API server.
struct Store {
    shared: Handle,
    who: usize,
    uid: String,
}

impl Store {
    async fn write(&self, told: &Told) -> Result<(), Refused> {
        let who = self.who;
        ask(&self.shared, who, "write the status", true, |s, now| {
            let Some(c) = s.clusters.get_mut(who) else { return Err(Refused::NotFound) };
            c.put_status(now, &self.uid, &told.status)?;
            let highest = c.highest_generation();
            s.keep(who, told.decided.as_ref());
            let Some(c) = s.clusters.get_mut(who) else { return Err(Refused::NotFound) };
            if let Some(p) = s.operators.get_mut(who) {
                let planned = p.heard.said.filter(|said| c.is_planned(&told.status, &self.uid, *said));
                p.heard.planned = planned.or(p.heard.planned);
                p.heard.said = p.heard.said.filter(|said| !c.is_spent(&told.status, &self.uid, *said));
                p.asked.retain(|side, n| !c.is_spent(&told.status, &self.uid, (*side, *n)));
            }
            s.truth.stored(&Stored {
                world: &s.world,
                who,
                status: &told.status,
                wanted: told.wanted,
                since: told.since,
                now,
                highest,
            });
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
}

impl StatusStore<Told> for Store {
    async fn put(&self, wanted: &Told) -> Result<(), NotWritten> {
        if !holds_lease(&self.shared, self.who) {
            return Err(NotWritten::NotLeading);
        }
        self.write(wanted).await.map_err(|e| match e {
            Refused::NotFound | Refused::Conflict => NotWritten::Gone,
            Refused::Down | Refused::Rule => NotWritten::Failed(format!("{e:?}")),
        })
    }

    /// Nobody here reads events.
    async fn tell(&self, _: &Status, _: &Status) {}
}

/// One request to the API server: it passes the same point as every other call.
async fn ask<T>(
    shared: &Handle,
    who: usize,
    what: &str,
    writes: bool,
    f: impl FnOnce(&mut Shared, Timestamp) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let (fate, latency) = shared.now().point(who, (Call::Other, writes), || format!("API server: {what}"));
    tokio::time::sleep(latency).await;
    match fate {
        Fate::KillBefore => return die(shared, who).await,
        Fate::FailBefore => return Err(Refused::Down),
        Fate::Ok | Fate::AnswerLost | Fate::Hang | Fate::KillDuring | Fate::KillAfter | Fate::Sql(_) => {}
    }
    let result = {
        let mut s = shared.now();
        let now = s.time();
        f(&mut s, now)
    };
    match fate {
        Fate::KillDuring | Fate::KillAfter => die(shared, who).await,
        Fate::AnswerLost => Err(Refused::Down),
        Fate::Hang => {
            tokio::time::sleep(REQUEST).await;
            Err(Refused::Down)
        }
        Fate::Ok | Fate::FailBefore | Fate::KillBefore | Fate::Sql(_) => result,
    }
}
