//! The worker of one resource: the engine's loop, and the one writer of its status.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{Either, select};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

use super::publish::{NotWritten, StatusStore, publish};
use super::secrets::ClusterSecrets;
use crate::api::convert;
use crate::api::v1alpha1::{PersistentChatFailover, PersistentChatFailoverStatus};
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::engine::drive::drive;
use crate::engine::memory::Memory;
use crate::engine::recording::Recording;
use crate::engine::report::Report;
use crate::engine::wishes::{Lead, Wish, Wishes};
use crate::engine::{Clock as _, Pace, SystemClock, World};
use crate::status::conditions::Conditions;
use crate::status::events::{self, Announcement};
use crate::status::{self, essence, recording};
use crate::systems::real::RealSystems;
use crate::systems::settings::Settings;
use crate::telemetry::{Instruments, Watched};

/// How long the status may still be written when the engine has ended: whoever stops the process must not wait for an API server
/// that is gone.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Longest wait for an event to be written.
const EVENT: Duration = Duration::from_secs(3);
/// Longest wait for the turn of a first look: what is lost may not have shown in any status yet.
const FIRST_TURN: Duration = Duration::from_secs(10);
/// How long a pool is left alone after a defect of ours: it must not become a busy loop.
const AFTER_A_PANIC: Duration = Duration::from_secs(60);

/// The object that a worker works for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resource {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Resource {
    pub fn of(object: &PersistentChatFailover) -> Self {
        Resource {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        }
    }
    /// Whether both are called the same: one may be the successor of the other.
    pub fn has_name_of(&self, other: &Resource) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
    fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("persistentchat.dev/v1alpha1".into()),
            kind: Some("PersistentChatFailover".into()),
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// A worker.
pub(super) struct Worker {
    wishes: watch::Sender<Wish>,
    /// The status as the API server last showed it.
    stored: watch::Sender<PersistentChatFailoverStatus>,
    task: JoinHandle<()>,
}

/// What a worker begins with.
pub(super) struct Begin {
    pub wish: Wish,
    pub status: PersistentChatFailoverStatus,
    pub lead: Lead,
    /// Is told when it has ended.
    pub over: Arc<Notify>,
    pub telemetry: Arc<Instruments>,
    /// Turns of first looks, of which it waits for one; none: it looks at once.
    pub turns: Option<Arc<Semaphore>>,
}

impl Worker {
    pub fn start(client: Client, settings: Arc<Settings>, resource: Resource, begin: Begin) -> Self {
        let Begin { wish, status, lead, over, telemetry, turns } = begin;
        let (sender, mut wishes) = Wishes::channel(wish, lead);
        let (stored, seen) = watch::channel(status);
        let cluster = Cluster::of(&client, resource, wishes.clone(), telemetry);
        let task = tokio::spawn(async move {
            let turn = match turns {
                Some(turns) => first_turn(turns, wishes.changed()).await,
                None => None,
            };
            work(client, settings, cluster, (wishes, turn), seen).await;
            over.notify_one();
        });
        Worker { wishes: sender, stored, task }
    }

    /// Hands a changed spec over. Returns at once.
    pub fn tell(&self, wish: Wish, status: PersistentChatFailoverStatus) {
        // Always, not only when it differs from what was shown before: a cluster that was rolled back may show that very status.
        self.stored.send_replace(status);
        self.wishes.send_if_modified(|w| {
            let changed = *w.pool != *wish.pool || w.goal != wish.goal;
            if changed {
                *w = wish;
            }
            changed
        });
    }

    /// The lease was won or lost: a worker that pauses looks at it.
    pub fn wake(&self) {
        self.wishes.send_modify(|_| {});
    }

    pub fn pool_name(&self) -> String {
        self.wishes.borrow().pool.fqdn.clone()
    }

    /// It has ended, by whatever it ended: nobody hears its wishes any more.
    pub fn is_over(&self) -> bool {
        self.wishes.is_closed()
    }

    /// No new effect; what runs goes on to its end by itself.
    pub fn retire(self) {
        self.wishes.send_modify(|w| w.stop = true);
    }

    /// The same, for its resource is gone: whoever watches the namespace is told what that leaves.
    pub fn abandon(self, client: &Client, resource: &Resource) {
        let announcement = {
            let wish = self.wishes.borrow();
            let named = wish.pool.name(wish.goal.active);
            events::deleted(&wish.pool.fqdn, named, &self.stored.borrow())
        };
        tracing::warn!(resource = resource.name, namespace = resource.namespace, "{}", announcement.note);
        let (recorder, about) = (recorder(client), resource.reference());
        tokio::spawn(async move { announce(&recorder, &about, announcement).await });
        self.retire();
    }

    /// No new effect; waits until what runs has ended.
    pub async fn stop(self) {
        self.wishes.send_modify(|w| w.stop = true);
        if let Err(e) = self.task.await {
            tracing::error!(error = %e, "a worker ended badly");
        }
    }
}

/// The status of one object on the API server, and its events.
struct Cluster {
    api: Api<PersistentChatFailover>,
    resource: Resource,
    recorder: Recorder,
    wishes: Wishes,
    telemetry: Arc<Instruments>,
}

impl Cluster {
    fn of(client: &Client, resource: Resource, wishes: Wishes, telemetry: Arc<Instruments>) -> Cluster {
        Cluster {
            api: Api::namespaced(client.clone(), &resource.namespace),
            recorder: recorder(client),
            resource,
            wishes,
            telemetry,
        }
    }
}

impl StatusStore<PersistentChatFailoverStatus> for Cluster {
    async fn put(&self, wanted: &PersistentChatFailoverStatus) -> Result<(), NotWritten> {
        if !self.wishes.leads() {
            return Err(NotWritten::NotLeading);
        }
        let Resource { name, uid, .. } = &self.resource;
        super::api_server::write(&self.api, name, uid, wanted, &self.telemetry).await
    }

    async fn tell(&self, before: &PersistentChatFailoverStatus, after: &PersistentChatFailoverStatus) {
        let about = self.resource.reference();
        let pool = self.wishes.peek(|wish| wish.pool.fqdn.clone());
        for announcement in events::between(&pool, before, after) {
            announce(&self.recorder, &about, announcement).await;
        }
    }
}

fn recorder(client: &Client) -> Recorder {
    let reporter = Reporter { controller: super::api_server::MANAGER.into(), instance: None };
    Recorder::new(client.clone(), reporter)
}

/// Writes an event. That it could not be written hinders nothing.
async fn announce(recorder: &Recorder, about: &ObjectReference, announcement: Announcement) {
    let event = Event {
        type_: if announcement.warning { EventType::Warning } else { EventType::Normal },
        reason: announcement.reason,
        note: Some(announcement.note),
        action: announcement.action,
        secondary: None,
    };
    match tokio::time::timeout(EVENT, recorder.publish(&event, about)).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::warn!(error = %e, "an event could not be written"),
        Err(_) => tracing::warn!("an event could not be written: the API server does not answer"),
    }
}

/// Waits for a turn to look for the first time, no longer than a few seconds. What is asked for meanwhile does not wait.
async fn first_turn<T>(
    turns: Arc<Semaphore>,
    changed: impl Future<Output = T>,
) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        turn = tokio::time::timeout(FIRST_TURN, turns.acquire_owned()) => turn.ok()?.ok(),
        _ = changed => None,
    }
}

async fn work(
    client: Client,
    settings: Arc<Settings>,
    cluster: Cluster,
    (wishes, turn): (Wishes, Option<OwnedSemaphorePermit>),
    stored: watch::Receiver<PersistentChatFailoverStatus>,
) {
    let (next, published) = watch::channel(stored.borrow().clone());
    if let Some(turn) = turn {
        let mut first = published.clone();
        // The first report is the end of the first look; that there will be none ends it as well.
        tokio::spawn(async move {
            let _ = first.changed().await;
            drop(turn);
        });
    }
    let resource = &cluster.resource;
    let watched = cluster.telemetry.watch(&resource.namespace, &resource.name);
    let writer = publish(&cluster, stored, published);
    // One for all descriptions of the pool: what it keeps must be there when the API server is not.
    let secrets = Arc::new(ClusterSecrets::new(client, &resource.namespace));
    let engine = run_engine(settings, secrets, wishes, next, &watched);
    futures::pin_mut!(engine, writer);
    match select(engine, writer).await {
        // The writer ends when the engine, and with it the last sender, is gone: once it has written what is true at the end.
        Either::Left(((), writer)) => {
            if tokio::time::timeout(LAST_WORD, writer).await.is_err() {
                tracing::warn!(
                    resource = resource.name,
                    "the last status could not be written: the API server does not answer"
                );
            }
        }
        // Nobody wants to know any more (the object is gone): the engine is told to stop by whoever sees that.
        Either::Right(((), engine)) => engine.await,
    }
}

/// Drives the pool, anew whenever its description changes, until a wish says stop.
async fn run_engine(
    settings: Arc<Settings>,
    secrets: Arc<ClusterSecrets>,
    mut wishes: Wishes,
    next: watch::Sender<PersistentChatFailoverStatus>,
    watched: &Watched,
) {
    let fresh = |next: &watch::Sender<PersistentChatFailoverStatus>, pool: &Pool| {
        let status = next.borrow();
        Memory::new(convert::last_wish(pool, Some(&status)), convert::moved(pool, Some(&status)))
    };
    let mut memory = fresh(&next, &wishes.newest().pool);
    let mut closing: Vec<JoinHandle<()>> = Vec::new();
    loop {
        closing.retain(|task| !task.is_finished());
        let wish = wishes.newest();
        // Without the lease nothing is begun; what was in hand has been carried to its end.
        if wish.stop || !wishes.leads() {
            break;
        }
        let pool = wish.pool;
        let systems = RealSystems::new(pool.clone(), settings.clone(), secrets.clone());
        let pace = Pace { silence: settings.silence, poll: settings.poll };
        let world = World { systems: &systems, pool: &pool, clock: &SystemClock, pace };
        let tell = |r: &Report<'_>| {
            next.send_modify(|s| {
                let projected = status::status(&pool, r, s);
                let changed = essence(&projected) != essence(s);
                watched.told(&pool, r, s, &projected);
                *s = projected;
                if changed {
                    s.recording = record(&pool, r);
                }
            });
        };
        let run = drive(world, &mut memory, &mut wishes, &tell);
        let run = AssertUnwindSafe(run).catch_unwind().await;
        // Beside the next round, which may be urgent; only who ends waits for it.
        closing.push(tokio::spawn(async move { systems.close().await }));
        if let Err(panic) = run {
            let what = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default();
            tracing::error!(pool = pool.fqdn, panic = what, "the worker of a pool stopped unexpectedly");
            let generation = wishes.newest().goal.generation;
            next.send_modify(|s| stalled(s, generation));
            watched.stopped(&next.borrow());
            memory = fresh(&next, &pool);
            // The spec or a minute brings the next try.
            tokio::select! {
                () = tokio::time::sleep(AFTER_A_PANIC) => {}
                changed = wishes.changed() => if changed.is_err() { break },
            }
        }
    }
    for closed in closing {
        if let Err(e) = closed.await {
            tracing::error!(error = %e, "closing the systems of a pool ended badly");
        }
    }
}

fn stalled(s: &mut PersistentChatFailoverStatus, generation: i64) {
    let message = "The worker of this pool stopped unexpectedly: a defect of the operator. It is tried again in a minute; see its log";
    s.observed_generation = generation;
    Conditions::of(s, SystemClock.now()).stalled(Reason::InternalError, message);
}

/// Records a decision that changed something, in the log and for the status: any incident can be decided again.
fn record(pool: &Pool, r: &Report<'_>) -> Option<String> {
    let recording = Recording::new(pool, r.goal, r.heard, r.situation, r.plan.transition.as_ref());
    match recording::pack(&recording) {
        Ok(packed) => {
            tracing::info!(pool = pool.fqdn, recording = packed, "decided");
            (packed.len() <= recording::LONGEST).then_some(packed)
        }
        Err(e) => {
            tracing::warn!(pool = pool.fqdn, error = e, "a decision could not be recorded");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_first_look_waits_for_its_turn_unless_something_is_asked_for() {
        let turns = Arc::new(Semaphore::new(1));
        let first = first_turn(turns.clone(), std::future::pending::<()>()).await;
        assert!(first.is_some() && turns.available_permits() == 0);
        assert!(first_turn(turns.clone(), async {}).await.is_none(), "it goes on without one");
        drop(first);
        assert!(first_turn(turns, std::future::pending::<()>()).await.is_some());
    }
}
