//! An operator as the process that it is: a controller that hears of its resource by a watch, one worker for it, and the one
//! writer of its status.

use std::cell::RefCell;
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

use crate::cluster::{Cluster, Object, Refused};
use crate::systems::{SimClock, SimSystems};
use crate::truth::Stored;
use crate::world::{Fate, Handle, Shared};

/// Longest wait for one request, as the controller has it.
const REQUEST: Duration = Duration::from_secs(15);
/// How often a controller looks for events that have arrived.
const BEAT: Duration = Duration::from_millis(200);

/// A process: one future.
pub type Process = Pin<Box<dyn Future<Output = ()>>>;

/// What is told to the writer: a status, when the look that it comes from began, and what was wanted then.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    status: Status,
    since: Timestamp,
    desired: String,
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
    intent: watch::Sender<Intent>,
    /// The status as the API server last showed it.
    stored: watch::Sender<Status>,
}

/// The controller: hears of the resource, and hands it to the worker.
async fn control(mut controller: Controller) {
    let (shared, who) = (controller.program.shared.clone(), controller.who);
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
            && controller.reconcile(o.as_ref()).await.is_err()
        {
            pending = Some(o);
            again = Some(now + SignedDuration::from_secs(5));
        }
        tokio::time::sleep(BEAT).await;
    }
}

impl Controller {
    /// Makes of what was heard of the resource what the worker has to know.
    async fn reconcile(&mut self, o: Option<&Object>) -> Result<(), Refused> {
        let Some(o) = o else {
            self.retire();
            return Ok(());
        };
        if self.worker.as_ref().is_some_and(|w| w.uid != o.uid) {
            self.retire();
        }
        let (shared, who) = (&self.program.shared, self.who);
        if let Some(w) = &self.worker {
            shared.now().hears(who, Some(&o.spec));
            w.stored.send_replace(o.status.clone());
            w.intent.send_if_modified(|i| {
                let changed = i.goal != o.spec || i.generation != o.generation;
                if changed {
                    *i = intent(&self.program.pool, &o.spec, o.generation);
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
        self.worker = Some(self.start(o, status));
        Ok(())
    }

    /// A worker begins.
    fn start(&self, o: &Object, status: Status) -> Worker {
        let Program { shared, pool, scenario, pace } = &self.program;
        let (intent, wish) = watch::channel(intent(pool, &o.spec, o.generation));
        let (stored, seen) = watch::channel(status);
        let systems = SimSystems { shared: shared.clone(), who: self.who, scenario: scenario.clone() };
        let process = work(Work {
            systems,
            pool: pool.clone(),
            pace: *pace,
            uid: o.uid.clone(),
            stored: seen,
            intent: wish,
        });
        self.born.borrow_mut().push(Box::pin(process));
        Worker { uid: o.uid.clone(), intent, stored }
    }

    /// The worker is told to stop, if there is one.
    fn retire(&mut self) {
        if let Some(w) = self.worker.take() {
            w.intent.send_modify(|i| i.stop = true);
            self.program.shared.now().hears(self.who, None);
        }
    }
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

/// What one worker is made of.
struct Work {
    systems: SimSystems,
    pool: Arc<Pool>,
    pace: Pace,
    uid: String,
    stored: watch::Receiver<Status>,
    intent: watch::Receiver<Intent>,
}

/// One worker: the engine's loop, and the one writer of the status.
async fn work(work: Work) {
    let Work { systems, pool, pace, uid, stored, mut intent } = work;
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
}

/// What the others see of a process.
fn note(s: &mut Shared, who: usize, r: &Report<'_>) {
    let Some(p) = s.operators.get_mut(who) else { return };
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
        s.truth.stored(&Stored {
            world: &s.world,
            who,
            status: &told.status,
            desired: &told.desired,
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

/// One request to the API server: it passes the same point as every other call.
async fn ask<T>(
    shared: &Handle,
    who: usize,
    what: &str,
    writes: bool,
    f: impl FnOnce(&mut Shared, Timestamp) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let die = || {
        shared.now().kill(who);
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
