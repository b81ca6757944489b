//! Kubernetes: watch the resources, keep one supervised worker for each, write their status.
//!
//! Reconcile only hands the spec to the worker and returns; it never holds long work, so that `suspend` and a consent reach
//! a worker in the middle of an hour-long restore.

mod api_server;
pub mod decide;
pub mod lease;
mod object;
pub mod publish;
pub mod rights;
mod secrets;
mod trouble;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use tokio::sync::{Mutex, Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::api::convert;
use crate::api::v1alpha1::{PersistentChatFailover, PersistentChatFailoverStatus};
use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::engine::goal::Goal;
use crate::engine::wishes::{Lead, Wish};
use crate::engine::{Clock as _, SystemClock};
use crate::status::conditions::{ConditionStatus, Conditions};
use crate::systems::settings::Settings;
use crate::telemetry::Instruments;
pub use api_server::MANAGER;
use api_server::{REQUEST, write};
use decide::Reconciled;
use lease::Candidate;
use object::Object;
pub use secrets::{ClusterSecrets, FileSecrets};
use trouble::Teller;
use worker::{Begin, Resource, Worker};

/// How long a resource that has not changed is left alone. Not long: where etcd was restored, a watch that was opened before is told of
/// nothing until etcd has counted up to where it was, and a request for the object is answered at once.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// First looks at one time, where nothing is urgent: a hundred pools that are looked at all at once when an operator starts take more
/// memory than they ever do again.
const AT_ONCE: usize = 8;

/// How often it is looked whether resources are gone.
const GONE: Duration = Duration::from_secs(1);

/// What reconcile needs.
struct Context {
    client: Client,
    settings: Arc<Settings>,
    telemetry: Arc<Instruments>,
    lead: Lead,
    workers: Mutex<BTreeMap<Resource, Worker>>,
    /// Turns of first looks where nothing is urgent.
    turns: Arc<Semaphore>,
    /// A worker has ended: whoever it worked for may need another.
    over: Arc<Notify>,
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

/// How the controller runs.
pub struct Options {
    /// The namespace to work in; none: all.
    pub namespace: Option<String>,
    /// Works only while this one leads; without one there must be no other replica.
    pub candidate: Option<Candidate>,
    /// Who is told.
    pub telemetry: Arc<Instruments>,
}

/// Runs until `stop` turns true; then no new effect begins, and what runs is let end.
pub async fn run(
    client: Client,
    settings: Settings,
    Options { namespace, candidate, telemetry }: Options,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let api: Api<Object> = match &namespace {
        Some(ns) => Api::namespaced(client.clone(), ns),
        None => Api::all(client.clone()),
    };
    let (ended, until, lead) = (watch::Sender::new(false), watch::Sender::new(None), Lead::alone());
    let elected = until.subscribe();
    let (lead, standing) = match candidate {
        None => (lead, None),
        Some(c) => (
            lease::lead(elected.clone()),
            Some(tokio::spawn(lease::stand(client.clone(), c, until, ended.subscribe()))),
        ),
    };
    telemetry.led_by(lead.clone());
    let context = Arc::new(Context {
        client,
        settings: Arc::new(settings),
        telemetry,
        lead: lead.clone(),
        workers: Mutex::new(BTreeMap::new()),
        turns: Arc::new(Semaphore::new(AT_ONCE)),
        over: Arc::default(),
    });
    let asked = stop.clone();
    let stopped = async move {
        // An error means that nobody can say stop any more: that is a stop as well.
        let _ = stop.wait_for(|s| *s).await;
    };
    let controller = Controller::new(api, watcher::Config::default());
    let resources = controller.store();
    let mut teller = Teller::new(namespace);
    let running = controller
        .graceful_shutdown_on(stopped)
        .reconcile_all_on(changes(lead, elected, context.clone()))
        .run(
            |o, c| async move { c.telemetry.clone().reconcile(reconcile(o, c)).await },
            |_, e, _| {
                tracing::warn!(error = %e, "reconcile failed, it is tried again");
                Action::requeue(Duration::from_secs(5))
            },
            context.clone(),
        )
        .for_each(move |result| {
            if let Err(e) = result {
                teller.hears(&e);
            }
            futures::future::ready(())
        });
    // Both in one task: the controller waits for that list as well, and of several tasks that do only the last one is woken.
    let beside = keep_up(&resources, &context, asked);
    futures::pin_mut!(running, beside);
    select(running, beside).await;
    let workers: Vec<Worker> = std::mem::take(&mut *context.workers.lock().await).into_values().collect();
    for worker in workers {
        worker.stop().await;
    }
    // Only now: what ran until the end was still ours.
    ended.send_replace(true);
    match standing {
        Some(task) => task.await.map_err(|e| format!("the election ended badly: {e}")),
        None => Ok(()),
    }
}

/// Tells when the resources have been listed, and then retires, again and again, the workers of those that are not there any more: a
/// controller is told of what is, not of what has been deleted.
///
/// It ends if a stop comes before that list: a controller that waits for it does not hear of the stop, and nothing is at work.
async fn keep_up(resources: &Store<Object>, context: &Context, mut stop: watch::Receiver<bool>) {
    let (listed, stopped) = (resources.wait_until_ready(), stop.wait_for(|s| *s));
    futures::pin_mut!(listed, stopped);
    match select(listed, stopped).await {
        Either::Left((Ok(()), _)) => context.telemetry.listed(),
        Either::Left((Err(_), _)) | Either::Right(_) => return,
    }
    loop {
        tokio::time::sleep(GONE).await;
        let is_there = |r: &Resource| {
            let named = resources.get(&ObjectRef::new(&r.name).within(&r.namespace));
            named.is_some_and(|object| Resource::of(&object) == *r)
        };
        let mut workers = context.workers.lock().await;
        let gone: Vec<Resource> = workers.keys().filter(|r| !is_there(r)).cloned().collect();
        for resource in gone {
            if let Some(worker) = workers.remove(&resource) {
                worker.abandon(&context.client, &resource);
            }
        }
    }
}

/// One for each time that the lead is won or lost, or that a worker has ended. Workers that pause look at it at once.
fn changes(
    lead: Lead,
    elected: watch::Receiver<Option<Instant>>,
    context: Arc<Context>,
) -> impl Stream<Item = ()> + Send + 'static {
    let led = lead.is_held();
    futures::stream::unfold((lead, elected, context, led), |(lead, mut elected, context, led)| async move {
        loop {
            let end = *elected.borrow_and_update();
            if lead.is_held() != led {
                for worker in context.workers.lock().await.values() {
                    worker.wake();
                }
                return Some(((), (lead, elected, context, !led)));
            }
            let runs_out = async {
                match end.filter(|_| led) {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => futures::future::pending().await,
                }
            };
            tokio::select! {
                () = runs_out => {}
                () = context.over.notified() => return Some(((), (lead, elected, context, led))),
                // Nobody stands for election any more, or ever did: the lead stays as it is.
                changed = elected.changed() => if changed.is_err() { return None },
            }
        }
    })
}

async fn reconcile(shown: Arc<Object>, context: Arc<Context>) -> Result<Action, Error> {
    let object = newest(&context, &shown).await?;
    let resource = Resource::of(object.as_ref().unwrap_or(&shown));
    let mut workers = context.workers.lock().await;
    let standing =
        workers.iter().find(|(r, _)| r.has_name_of(&resource)).map(|(r, w)| (r.clone(), w.is_over()));
    let end = |workers: &mut BTreeMap<Resource, Worker>, is_gone: bool| {
        let ended = standing.as_ref().and_then(|(r, _)| Some((r, workers.remove(r)?)));
        match ended {
            Some((r, worker)) if is_gone => worker.abandon(&context.client, r),
            Some((_, worker)) => worker.retire(),
            None => {}
        }
    };
    let Some(object) = object else {
        end(&mut workers, true);
        return Ok(Action::await_change());
    };
    let described = described(&object, &context.settings);
    let other = described.as_ref().ok().and_then(|pool| {
        let same = |(r, w): &(&Resource, &Worker)| !r.has_name_of(&resource) && w.pool_name() == pool.fqdn;
        workers.iter().find(same).map(|(r, _)| format!("{}/{}", r.namespace, r.name))
    });
    let seen = decide::Seen {
        uid: &resource.uid,
        is_gone: object.metadata.deletion_timestamp.is_some(),
        problems: described.as_ref().err().map_or(&[], Vec::as_slice),
        other: other.as_deref(),
        leads: context.lead.is_held(),
    };
    let worker = standing.as_ref().map(|(r, is_over)| decide::Standing { uid: &r.uid, is_over: *is_over });
    let (is_gone, what) = (seen.is_gone, decide::next(&seen, worker.as_ref()));
    match (what, described) {
        (Reconciled::Retire, _) => {
            end(&mut workers, is_gone);
            Ok(Action::await_change())
        }
        (Reconciled::StandBy, _) => Ok(Action::await_change()),
        (Reconciled::Refuse(problem), _) => {
            end(&mut workers, false);
            refuse(&context, &object, &problem).await?;
            Ok(Action::await_change())
        }
        (Reconciled::RefuseBesideAnother(problem), _) => {
            refuse(&context, &object, &problem).await?;
            Ok(Action::requeue(Duration::from_secs(60)))
        }
        (Reconciled::Tell, Ok(pool)) => {
            let wish = wish(&object, pool)?;
            let status = object.status.clone().unwrap_or_default();
            if let Some(worker) = workers.get(&resource) {
                worker.tell(wish, status);
            }
            Ok(Action::requeue(LOOK_AGAIN))
        }
        (Reconciled::Start, Ok(pool)) => {
            let wish = wish(&object, pool)?;
            end(&mut workers, false);
            let worker = start(&context, &object, wish).await?;
            workers.insert(resource, worker);
            Ok(Action::requeue(LOOK_AGAIN))
        }
        (Reconciled::Tell | Reconciled::Start, Err(_)) => {
            Err(Error("a spec that was found wrong was taken for right: a defect of the operator".into()))
        }
    }
}

/// The pool that a resource describes, or all that keeps it from being understood.
fn described(object: &Object, settings: &Settings) -> Result<Pool, Vec<Problem>> {
    let (pool, mut problems) = match convert::pool(&object.spec) {
        Ok(pool) => {
            let problems = settings.unknown_volumes(&pool);
            (Some(pool), problems)
        }
        Err(problems) => (None, problems),
    };
    problems.extend(object.unknown_fields());
    pool.filter(|_| problems.is_empty()).ok_or(problems)
}

/// What a resource asks for.
fn wish(object: &PersistentChatFailover, pool: Pool) -> Result<Wish, Error> {
    // A name that is none of the data centres was refused before: no side may stand in for it.
    let active = pool.side_of(&object.spec.active_data_center).ok_or_else(|| {
        Error("an unknown spec.activeDataCenter was taken for right: a defect of the operator".into())
    })?;
    let goal = Goal {
        active,
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or(0),
        uttered_at: object.spec.uttered_at.as_ref().map(|t| t.0),
        suspend: object.spec.suspend,
        consent: convert::consent(&object.spec),
    };
    Ok(Wish { pool: Arc::new(pool), goal, stop: false })
}

/// A worker begins with what the resource asks for, and with its status as it is now.
async fn start(context: &Context, object: &PersistentChatFailover, wish: Wish) -> Result<Worker, Error> {
    let mut status = object.status.clone().unwrap_or_default();
    if accepted(&mut status, object.metadata.generation.unwrap_or(0), SystemClock.now()) {
        // Before any look at the world: whoever waits must see that this generation is not finished.
        apply(context, object, &status).await?;
    }
    let (client, settings) = (context.client.clone(), context.settings.clone());
    let (lead, over, telemetry) = (context.lead.clone(), context.over.clone(), context.telemetry.clone());
    let urgent = is_urgent(&status, wish.pool.name(wish.goal.active));
    let turns = (!urgent).then(|| context.turns.clone());
    let begin = Begin { lead, over, telemetry, wish, status, turns };
    Ok(Worker::start(client, settings, Resource::of(object), begin))
}

/// Whether something was under way when the status was written, or something else is asked for than was true then.
fn is_urgent(status: &PersistentChatFailoverStatus, wanted: &str) -> bool {
    let runs = status.transition.as_ref().is_some_and(|t| t.ended.is_none());
    runs || status.active_data_center.as_deref().is_some_and(|active| active != wanted)
}

/// The resource as it stands now; none: it is gone.
///
/// What the watch showed is not enough to act on. A watch that was opened before a newer definition of the resource came cuts off the
/// fields that only this one knows, and the answer to a request does not: an order would be read as another one. And the worker
/// before this one may have written a status since, and what it said of a wish counts.
async fn newest(context: &Context, shown: &Object) -> Result<Option<Object>, Error> {
    let api: Api<Object> = Api::namespaced(context.client.clone(), &shown.namespace().unwrap_or_default());
    let got = tokio::time::timeout(REQUEST, api.get_opt(&shown.name_any()))
        .await
        .map_err(|_| Error("the API server does not answer".into()))?;
    got.map_err(|e| Error(e.to_string()))
}

/// Makes a status that speaks of another generation say that this one is not finished: the world is looked at. Whether it did.
pub fn accepted(status: &mut PersistentChatFailoverStatus, generation: i64, now: Timestamp) -> bool {
    if status.observed_generation == generation {
        return false;
    }
    status.observed_generation = generation;
    let text = "The world is being looked at";
    Conditions::of(status, now).reconciling(ConditionStatus::Unknown, Reason::Accepted, text);
    true
}

async fn refuse(
    context: &Context,
    resource: &PersistentChatFailover,
    problem: &Problem,
) -> Result<(), Error> {
    let mut status = resource.status.clone().unwrap_or_default();
    status.observed_generation = resource.metadata.generation.unwrap_or(0);
    Conditions::of(&mut status, SystemClock.now()).stalled(problem.reason, &problem.message());
    if Some(&status) == resource.status.as_ref() {
        return Ok(());
    }
    apply(context, resource, &status).await
}

async fn apply(
    context: &Context,
    resource: &PersistentChatFailover,
    status: &PersistentChatFailoverStatus,
) -> Result<(), Error> {
    let api: Api<PersistentChatFailover> =
        Api::namespaced(context.client.clone(), &resource.namespace().unwrap_or_default());
    write(&api, &resource.name_any(), &resource.uid().unwrap_or_default(), status, &context.telemetry)
        .await
        .map_err(|e| Error(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_runs_or_is_asked_for_is_urgent_and_what_was_never_looked_at_is_not() {
        let status = |active: Option<&str>, ended: Option<&str>| -> PersistentChatFailoverStatus {
            let transition = json!({
                "id": "1", "procedure": "Failover", "from": "atlanta", "to": "seattle", "outcome": "Running", "steps": [],
                "pointOfNoReturn": false, "started": "2026-11-23T09:30:00Z", "ended": ended,
            });
            serde_json::from_value(json!({"activeDataCenter": active, "transition": transition})).unwrap()
        };
        let over = Some("2026-11-23T09:40:00Z");
        assert!(is_urgent(&status(Some("seattle"), None), "seattle"), "it runs");
        assert!(!is_urgent(&status(Some("seattle"), over), "seattle"));
        assert!(is_urgent(&status(Some("atlanta"), over), "seattle"), "another one is asked for");
        assert!(!is_urgent(&PersistentChatFailoverStatus::default(), "seattle"));
    }
}
