//! The worker of one resource: the engine's loop, and the one writer of its status.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::secrets::ClusterSecrets;
use crate::api::conditions::{self, Is};
use crate::api::v1alpha1::{PersistentChatFailover, PersistentChatFailoverStatus};
use crate::api::{events, project};
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::engine::SystemClock;
use crate::engine::plan::Goal;
use crate::engine::run::{Intent, Memory, Pace, Report, drive};
use crate::systems::real::{RealSystems, Settings};

/// Least time between two writes that only tell progress.
pub const PROGRESS: Duration = Duration::from_secs(5);

/// Longest wait for an event to be written.
const EVENT: Duration = Duration::from_secs(3);

/// A worker.
pub(super) struct Worker {
    /// Of the object that it works for.
    pub uid: String,
    intent: watch::Sender<Intent>,
    generation: Arc<watch::Sender<(i64, String)>>,
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
        let desired = goal.desired.clone();
        let (intent, rx) = watch::channel(Intent { pool: Arc::new(pool), goal, stop: false });
        let generation = Arc::new(watch::channel((generation, desired)).0);
        let api: Api<PersistentChatFailover> = Api::namespaced(client.clone(), &key.0);
        let (g, u) = (generation.clone(), uid.clone());
        let task = tokio::spawn(async move { work(client, settings, key, u, api, rx, g, status).await });
        Worker { uid, intent, generation, task }
    }

    /// Hands a changed spec over. Returns at once.
    pub fn tell(&self, pool: Pool, goal: Goal, generation: i64, _status: PersistentChatFailoverStatus) {
        self.generation.send_if_modified(|g| {
            let new = (generation, goal.desired.clone());
            let changed = *g != new;
            *g = new;
            changed
        });
        self.intent.send_if_modified(|i| {
            let changed = *i.pool != pool || i.goal != goal;
            if changed {
                *i = Intent { pool: Arc::new(pool), goal, stop: false };
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
    generation: Arc<watch::Sender<(i64, String)>>,
    status: PersistentChatFailoverStatus,
) {
    let (next, published) = watch::channel(status.clone());
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
    let writer = write_status(api.clone(), key.1.clone(), uid.clone(), status, published, teller);
    let engine = async {
        let next = Arc::new(next);
        let mut memory = Memory::default();
        loop {
            let wish = intent.borrow().clone();
            if wish.stop {
                break;
            }
            let pool = wish.pool.clone();
            let secrets = Arc::new(ClusterSecrets::new(client.clone(), &key.0));
            let systems = RealSystems::new(pool.clone(), settings.clone(), secrets);
            let pace = Pace { silence: settings.silence, poll: settings.poll };
            let (tell, at) = (next.clone(), generation.clone());
            let shown = pool.clone();
            let report = move |r: &Report<'_>| {
                let (generation, desired) = at.borrow().clone();
                tell.send_modify(|s| *s = project::status(&shown, r, s, generation, &desired));
            };
            let run = drive(&systems, &pool, &SystemClock, pace, &mut memory, &mut intent, &report);
            if let Err(panic) = AssertUnwindSafe(run).catch_unwind().await {
                let what = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                    .unwrap_or_default();
                tracing::error!(pool = pool.fqdn, panic = what, "the worker of a pool stopped unexpectedly");
                let (generation, _) = generation.borrow().clone();
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
    // The writer ends when the engine, and with it the last sender, is gone.
    futures::future::join(engine, writer).await;
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

/// What makes a status worth writing at once.
pub fn essence(s: &PersistentChatFailoverStatus) -> Vec<String> {
    let mut e: Vec<String> =
        s.conditions.iter().map(|c| format!("{} {} {}", c.type_, c.status, c.reason)).collect();
    e.push(format!("{} {:?} {:?}", s.observed_generation, s.active_data_center, s.step));
    e.push(
        s.transition
            .as_ref()
            .map(|t| format!("{} {} {}", t.id, t.outcome, t.point_of_no_return))
            .unwrap_or_default(),
    );
    e
}

/// The one writer: writes only what differs from what stands, progress at most once in five seconds.
async fn write_status(
    api: Api<PersistentChatFailover>,
    name: String,
    uid: String,
    mut standing: PersistentChatFailoverStatus,
    mut next: watch::Receiver<PersistentChatFailoverStatus>,
    teller: (Recorder, ObjectReference),
) {
    let mut last =
        tokio::time::Instant::now().checked_sub(PROGRESS).unwrap_or_else(tokio::time::Instant::now);
    let mut open = true;
    while open {
        open = next.changed().await.is_ok();
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
            tracing::warn!(resource = name, error = e, "status");
            if !open || e.contains("not found") || e.contains("UID") {
                return;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            wanted = next.borrow_and_update().clone();
        }
        last = tokio::time::Instant::now();
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
