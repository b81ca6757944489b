//! The worker of one resource: the engine's loop, and the one writer of its status.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{Either, select};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::NotWritten;
use super::secrets::ClusterSecrets;
use crate::api::conditions::{self, Is};
use crate::api::project::essence;
use crate::api::v1alpha1::{PersistentChatFailover, PersistentChatFailoverStatus};
use crate::api::{events, project, recording};
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::engine::SystemClock;
use crate::engine::plan::Goal;
use crate::engine::recording::Recording;
use crate::engine::run::{Intent, Memory, Pace, Report, drive};
use crate::systems::real::{RealSystems, Settings};

/// Least time between two writes that only tell progress.
pub const PROGRESS: Duration = Duration::from_secs(5);

/// How long the status may still be written when the engine has ended: whoever stops the process must not wait for an API server
/// that is gone.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How long a write may take to come back through the watch.
pub const ECHO: Duration = Duration::from_secs(3);

/// Longest wait for an event to be written.
const EVENT: Duration = Duration::from_secs(3);

/// A worker.
pub(super) struct Worker {
    /// Of the object that it works for.
    pub uid: String,
    intent: watch::Sender<Intent>,
    /// The status as the API server last showed it.
    stored: watch::Sender<PersistentChatFailoverStatus>,
    task: JoinHandle<()>,
}

impl Worker {
    #[allow(clippy::too_many_arguments)]
    pub fn start(
        client: Client,
        settings: Arc<Settings>,
        key: (String, String),
        uid: String,
        pool: Pool,
        goal: Goal,
        generation: i64,
        status: PersistentChatFailoverStatus,
    ) -> Self {
        let (intent, rx) = watch::channel(Intent { pool: Arc::new(pool), goal, generation, stop: false });
        let api: Api<PersistentChatFailover> = Api::namespaced(client.clone(), &key.0);
        let (u, (stored, seen)) = (uid.clone(), watch::channel(status));
        let task = tokio::spawn(async move { work(client, settings, key, u, api, rx, seen).await });
        Worker { uid, intent, stored, task }
    }

    /// Hands a changed spec over. Returns at once.
    pub fn tell(&self, pool: Pool, goal: Goal, generation: i64, status: PersistentChatFailoverStatus) {
        // Always, not only when it differs from what was shown before: a cluster that was rolled back may show that very status.
        self.stored.send_replace(status);
        self.intent.send_if_modified(|i| {
            let changed = *i.pool != pool || i.goal != goal || i.generation != generation;
            if changed {
                *i = Intent { pool: Arc::new(pool), goal, generation, stop: false };
            }
            changed
        });
    }

    pub fn pool_name(&self) -> String {
        self.intent.borrow().pool.fqdn.clone()
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// No new effect; what runs goes on to its end by itself.
    pub fn retire(self) {
        self.intent.send_modify(|i| i.stop = true);
    }

    /// No new effect; waits until what runs has ended.
    pub async fn stop(self) {
        self.intent.send_modify(|i| i.stop = true);
        if let Err(e) = self.task.await {
            tracing::error!(error = %e, "a worker ended badly");
        }
    }
}

#[allow(clippy::too_many_arguments)]
async fn work(
    client: Client,
    settings: Arc<Settings>,
    key: (String, String),
    uid: String,
    api: Api<PersistentChatFailover>,
    mut intent: watch::Receiver<Intent>,
    stored: watch::Receiver<PersistentChatFailoverStatus>,
) {
    let (next, published) = watch::channel(stored.borrow().clone());
    let reporter = Reporter { controller: super::MANAGER.into(), instance: None };
    let about = ObjectReference {
        api_version: Some("persistentchat.dev/v1alpha1".into()),
        kind: Some("PersistentChatFailover".into()),
        name: Some(key.1.clone()),
        namespace: Some(key.0.clone()),
        uid: Some(uid.clone()),
        ..ObjectReference::default()
    };
    let teller = (Recorder::new(client.clone(), reporter), about);
    let writer = write_status(api.clone(), key.1.clone(), uid.clone(), stored, published, teller);
    // One for all descriptions of the pool: what it keeps must be there when the API server is not.
    let secrets = Arc::new(ClusterSecrets::new(client, &key.0));
    let engine = async {
        let next = Arc::new(next);
        let mut memory = Memory::default();
        loop {
            let wish = intent.borrow().clone();
            if wish.stop {
                break;
            }
            let pool = wish.pool.clone();
            let systems = RealSystems::new(pool.clone(), settings.clone(), secrets.clone());
            let pace = Pace { silence: settings.silence, poll: settings.poll };
            let (tell, silence) = (next.clone(), settings.silence);
            let shown = pool.clone();
            let report = move |r: &Report<'_>| {
                tell.send_modify(|s| {
                    let next = project::status(&shown, r, s);
                    let changed = essence(&next) != essence(s);
                    *s = next;
                    if changed {
                        s.recording = record(&shown, r, silence);
                    }
                });
            };
            let run = drive(&systems, &pool, &SystemClock, pace, &mut memory, &mut intent, &report);
            if let Err(panic) = AssertUnwindSafe(run).catch_unwind().await {
                let what = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                    .unwrap_or_default();
                tracing::error!(pool = pool.fqdn, panic = what, "the worker of a pool stopped unexpectedly");
                let generation = intent.borrow().generation;
                next.send_modify(|s| stalled(s, generation));
                memory = Memory::default();
                // A defect must not become a busy loop; the spec or a minute brings the next try.
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(60)) => {}
                    changed = intent.changed() => if changed.is_err() { break },
                }
            }
        }
    };
    futures::pin_mut!(engine, writer);
    match select(engine, writer).await {
        // The writer ends when the engine, and with it the last sender, is gone: once it has written what is true at the end.
        Either::Left(((), writer)) => {
            if tokio::time::timeout(LAST_WORD, writer).await.is_err() {
                tracing::warn!(
                    resource = key.1,
                    "the last status could not be written: the API server does not answer"
                );
            }
        }
        // Nobody wants to know any more (the object is gone): the engine is told to stop by whoever sees that.
        Either::Right(((), engine)) => engine.await,
    }
}

#[allow(clippy::disallowed_methods)] // the controller is outside of what a simulation runs
fn stalled(s: &mut PersistentChatFailoverStatus, generation: i64) {
    let message = "The worker of this pool stopped unexpectedly: a defect of the operator. It is tried again in a minute; see its log";
    let now = jiff::Timestamp::now();
    conditions::remove(&mut s.conditions, conditions::RECONCILING);
    conditions::set(
        &mut s.conditions,
        conditions::READY,
        Is::False,
        Reason::InternalError,
        message,
        generation,
        now,
    );
    conditions::set(
        &mut s.conditions,
        conditions::STALLED,
        Is::True,
        Reason::InternalError,
        message,
        generation,
        now,
    );
}

/// Records a decision that changed something, in the log and for the status: any incident can be decided again.
fn record(pool: &Pool, r: &Report<'_>, silence: SignedDuration) -> Option<String> {
    let recording = Recording::new(pool, r.goal, silence, r.situation, r.plan.transition.as_ref());
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

/// The one writer: writes only what differs from what stands, progress at most once in five seconds.
async fn write_status(
    api: Api<PersistentChatFailover>,
    name: String,
    uid: String,
    mut stored: watch::Receiver<PersistentChatFailoverStatus>,
    mut next: watch::Receiver<PersistentChatFailoverStatus>,
    teller: (Recorder, ObjectReference),
) {
    let mut last =
        tokio::time::Instant::now().checked_sub(PROGRESS).unwrap_or_else(tokio::time::Instant::now);
    let mut standing = stored.borrow_and_update().clone();
    let (mut open, mut watched, mut compare) = (true, true, None);
    while open {
        let at = compare.unwrap_or(last);
        tokio::select! {
            changed = next.changed() => open = changed.is_ok(),
            changed = stored.changed(), if watched => {
                watched = changed.is_ok();
                compare = Some(last + ECHO);
                continue;
            }
            // What our own writes brought about has come back by now; what still differs is somebody else's doing: a cluster that was
            // restored from a backup shows an old status.
            () = tokio::time::sleep_until(at), if compare.is_some() => {
                compare = None;
                standing = stored.borrow_and_update().clone();
            }
        }
        let mut wanted = next.borrow_and_update().clone();
        if wanted == standing {
            continue;
        }
        if essence(&wanted) == essence(&standing) && open {
            tokio::select! {
                () = tokio::time::sleep_until(last + PROGRESS) => {}
                changed = next.wait_for(|s| essence(s) != essence(&standing)) => open = changed.is_ok(),
            }
            wanted = next.borrow_and_update().clone();
        }
        // A write that fails is tried again with what is true by then; the failover itself never waits for it.
        while let Err(e) = super::write(&api, &name, &uid, &wanted).await {
            tracing::warn!(resource = name, error = %e, "status");
            match e {
                NotWritten::Gone => return,
                NotWritten::Failed(_) if !open => return,
                NotWritten::Failed(_) => {}
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            wanted = next.borrow_and_update().clone();
        }
        last = tokio::time::Instant::now();
        compare = compare.map(|_| last + ECHO);
        tell(&teller, events::between(&standing, &wanted)).await;
        standing = wanted;
    }
}

/// Events are for those who watch; that one is lost changes nothing.
async fn tell((recorder, about): &(Recorder, ObjectReference), told: Vec<events::Told>) {
    for t in told {
        let event = Event {
            type_: if t.warning { EventType::Warning } else { EventType::Normal },
            reason: t.reason,
            note: Some(t.note),
            action: "Reconcile".into(),
            secondary: None,
        };
        match tokio::time::timeout(EVENT, recorder.publish(&event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(error = %e, "an event could not be written"),
            Err(_) => tracing::warn!("an event could not be written: the API server does not answer"),
        }
    }
}
