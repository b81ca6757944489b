//! Kubernetes: watch the resources, keep one supervised worker for each, write their status.
//!
//! Reconcile only hands the spec to the worker and returns; it never holds long work, so that `suspend` and a consent reach
//! a worker in the middle of an hour-long restore.

mod secrets;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use tokio::sync::{Mutex, watch};

use crate::api::conditions::{self, Is};
use crate::api::convert;
use crate::api::v1alpha1::{PersistentChatFailover, PersistentChatFailoverStatus};
use crate::domain::problem::{Class, Problem, Reason};
use crate::engine::plan::Goal;
use crate::systems::real::Settings;
pub use secrets::{ClusterSecrets, FileSecrets};
use worker::Worker;
pub use worker::{ECHO, PROGRESS};

/// Name under which status is applied. It must never change: fields that another name owns would stay.
pub const MANAGER: &str = "persistent-chat-failover";
/// Longest wait for one request to the API server.
const REQUEST: Duration = Duration::from_secs(15);

/// What reconcile needs.
struct Context {
    client: Client,
    settings: Arc<Settings>,
    workers: Mutex<BTreeMap<(String, String), Worker>>,
}

/// Why a reconcile failed.
#[derive(Debug)]
struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Error {}

/// Runs until `stop` turns true; then no new effect begins, and what runs is let end.
pub async fn run(
    client: Client,
    namespace: Option<String>,
    settings: Settings,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let api: Api<PersistentChatFailover> = match &namespace {
        Some(ns) => Api::namespaced(client.clone(), ns),
        None => Api::all(client.clone()),
    };
    let context =
        Arc::new(Context { client, settings: Arc::new(settings), workers: Mutex::new(BTreeMap::new()) });
    let ended = async move {
        // An error means that nobody can say stop any more: that is a stop as well.
        let _ = stop.wait_for(|s| *s).await;
    };
    Controller::new(api, watcher::Config::default())
        .graceful_shutdown_on(ended)
        .run(
            reconcile,
            |_, e, _| {
                tracing::warn!(error = %e, "reconcile failed, it is tried again");
                Action::requeue(Duration::from_secs(5))
            },
            context.clone(),
        )
        .for_each(|result| async {
            if let Err(e) = result {
                tracing::debug!(error = %e, "controller");
            }
        })
        .await;
    let workers: Vec<Worker> = std::mem::take(&mut *context.workers.lock().await).into_values().collect();
    for worker in workers {
        worker.stop().await;
    }
    Ok(())
}

async fn reconcile(resource: Arc<PersistentChatFailover>, context: Arc<Context>) -> Result<Action, Error> {
    let key = (resource.namespace().unwrap_or_default(), resource.name_any());
    let mut workers = context.workers.lock().await;
    if resource.metadata.deletion_timestamp.is_some() {
        // Stops before the next effect, and undoes nothing.
        if let Some(worker) = workers.remove(&key) {
            worker.retire();
        }
        return Ok(Action::await_change());
    }
    let generation = resource.metadata.generation.unwrap_or(0);
    let seen = resource.status.as_ref().map_or(-1, |s| s.observed_generation);
    let uid = resource.uid().unwrap_or_default();
    if workers.get(&key).is_some_and(|w| w.uid != uid || w.is_over())
        && let Some(worker) = workers.remove(&key)
    {
        worker.retire();
    }
    let described =
        convert::pool(&resource.spec).and_then(|pool| match context.settings.unknown_volumes(&pool) {
            problems if problems.is_empty() => Ok(pool),
            problems => Err(problems),
        });
    let pool = match described {
        Ok(pool) => pool,
        Err(problems) => {
            if let Some(worker) = workers.remove(&key) {
                worker.retire();
            }
            refuse(&context, &resource, together(&problems)).await?;
            return Ok(Action::await_change());
        }
    };
    let other =
        workers.iter().find(|(k, w)| **k != key && w.pool_name() == pool.fqdn).map(|(k, _)| k.clone());
    if let Some((ns, name)) = other {
        let problem = Problem::ask(
            Reason::PoolAlreadyDescribed,
            format!("spec.pool: {} is already described by {ns}/{name}", pool.fqdn),
            "Delete one of the two",
        );
        refuse(&context, &resource, problem).await?;
        return Ok(Action::requeue(Duration::from_secs(60)));
    }
    let goal = Goal {
        desired: resource.spec.active_data_center.clone(),
        suspend: resource.spec.suspend,
        consent: convert::consent(&resource.spec),
    };
    match workers.get(&key) {
        Some(worker) => worker.tell(pool, goal, generation, resource.status.clone().unwrap_or_default()),
        None => {
            if seen != generation {
                // Before any look at the world: whoever waits must see that this generation is not finished.
                accept(&context, &resource, generation).await?;
            }
            let status = current(&context, &resource).await?;
            let worker = Worker::start(
                context.client.clone(),
                context.settings.clone(),
                key.clone(),
                uid,
                pool,
                goal,
                generation,
                status,
            );
            workers.insert(key, worker);
        }
    }
    Ok(Action::requeue(Duration::from_secs(300)))
}

fn together(problems: &[Problem]) -> Problem {
    let lead = problems.iter().find(|p| p.class == Class::AskHuman).or(problems.first());
    let what: Vec<&str> = problems.iter().map(|p| p.what.as_str()).collect();
    let mut fixes: Vec<&str> = problems.iter().map(|p| p.fix.as_str()).collect();
    fixes.dedup();
    Problem::ask(lead.map_or(Reason::InvalidSpec, |p| p.reason), what.join("; "), fixes.join("; "))
}

async fn current(
    context: &Context,
    resource: &PersistentChatFailover,
) -> Result<PersistentChatFailoverStatus, Error> {
    let api: Api<PersistentChatFailover> =
        Api::namespaced(context.client.clone(), &resource.namespace().unwrap_or_default());
    let got = tokio::time::timeout(REQUEST, api.get(&resource.name_any()))
        .await
        .map_err(|_| Error("the API server does not answer".into()))?;
    Ok(got.map_err(|e| Error(e.to_string()))?.status.unwrap_or_default())
}

async fn accept(context: &Context, resource: &PersistentChatFailover, generation: i64) -> Result<(), Error> {
    let mut status = resource.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    conditions::remove(&mut status.conditions, conditions::STALLED);
    let now = now();
    conditions::set(
        &mut status.conditions,
        conditions::READY,
        Is::Unknown,
        Reason::Accepted,
        "The world is being looked at",
        generation,
        now,
    );
    conditions::set(
        &mut status.conditions,
        conditions::RECONCILING,
        Is::True,
        Reason::Accepted,
        "The world is being looked at",
        generation,
        now,
    );
    apply(&context.client, resource, &status).await
}

async fn refuse(context: &Context, resource: &PersistentChatFailover, problem: Problem) -> Result<(), Error> {
    let generation = resource.metadata.generation.unwrap_or(0);
    let mut status = resource.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    let now = now();
    conditions::remove(&mut status.conditions, conditions::RECONCILING);
    conditions::set(
        &mut status.conditions,
        conditions::READY,
        Is::False,
        problem.reason,
        &problem.message(),
        generation,
        now,
    );
    conditions::set(
        &mut status.conditions,
        conditions::STALLED,
        Is::True,
        problem.reason,
        &problem.message(),
        generation,
        now,
    );
    if Some(&status) == resource.status.as_ref() {
        return Ok(());
    }
    apply(&context.client, resource, &status).await
}

#[allow(clippy::disallowed_methods)] // the controller is outside of what a simulation runs
fn now() -> Timestamp {
    Timestamp::now()
}

async fn apply(
    client: &Client,
    resource: &PersistentChatFailover,
    status: &PersistentChatFailoverStatus,
) -> Result<(), Error> {
    let api: Api<PersistentChatFailover> =
        Api::namespaced(client.clone(), &resource.namespace().unwrap_or_default());
    write(&api, &resource.name_any(), &resource.uid().unwrap_or_default(), status)
        .await
        .map_err(|e| Error(e.to_string()))
}

/// Applies a whole status. Bound to the object's uid: a status of a deleted object must not land on its successor.
pub(crate) async fn write(
    api: &Api<PersistentChatFailover>,
    name: &str,
    uid: &str,
    status: &PersistentChatFailoverStatus,
) -> Result<(), NotWritten> {
    let body = serde_json::json!({
        "apiVersion": "persistentchat.dev/v1alpha1",
        "kind": "PersistentChatFailover",
        "metadata": {"name": name, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    match tokio::time::timeout(REQUEST, api.patch_status(name, &params, &Patch::Apply(&body))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(s))) if s.code == 404 && s.reason == "NotFound" => Err(NotWritten::Gone),
        // The name is another object's by now.
        Ok(Err(kube::Error::Api(s))) if s.code == 409 && s.message.contains("UID") => Err(NotWritten::Gone),
        Ok(Err(e)) => Err(NotWritten::Failed(e.to_string())),
        Err(_) => Err(NotWritten::Failed("the API server does not answer".into())),
    }
}

/// Why a status was not written.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// The object is not there any more: nobody will ever read it.
    Gone,
    /// It may go well another time: no answer, no right, no space.
    Failed(String),
}

impl std::fmt::Display for NotWritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotWritten::Gone => f.write_str("cannot write the status: the resource is gone"),
            NotWritten::Failed(why) => write!(f, "cannot write the status: {why}"),
        }
    }
}
