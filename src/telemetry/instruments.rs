//! What the controller and its workers hold, to be told by.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Instant;

use super::health::Health;
use super::metrics::{Metrics, Name, Resources, Write};
use super::seen::Seen;
use crate::api::v1alpha1::PersistentChatFailoverStatus;
use crate::domain::pool::Pool;
use crate::engine::report::Report;
use crate::engine::wishes::Lead;

/// Metrics and health of one process.
#[derive(Debug)]
pub struct Instruments {
    metrics: Metrics,
    health: Arc<Health>,
    resources: Arc<Resources>,
    workers: AtomicU64,
}

impl Default for Instruments {
    fn default() -> Self {
        let (resources, health) = (Arc::<Resources>::default(), Arc::<Health>::default());
        let metrics = Metrics::new(resources.clone(), health.clone());
        Instruments { metrics, health, resources, workers: AtomicU64::new(0) }
    }
}

impl Instruments {
    /// Who knows whether this replica leads, or stands by. It is asked whenever somebody looks: no answer grows old.
    pub fn led_by(&self, lead: Lead) {
        self.health.led_by(lead);
    }

    /// The watch has listed its resources for the first time.
    pub fn listed(&self) {
        self.health.listed();
    }

    /// A status was to be written.
    pub fn wrote(&self, write: Write) {
        self.metrics.wrote(write);
    }

    /// Times a reconcile.
    pub async fn reconcile<T, E>(&self, reconcile: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let at_work = Reconciling::begin(&self.health);
        let done = reconcile.await;
        drop(at_work);
        self.metrics.reconciled(began.elapsed(), done.is_ok());
        done
    }

    /// A worker begins for a resource. What is shown of the resource is gone when the worker is.
    pub fn watch(self: &Arc<Self>, namespace: &str, name: &str) -> Watched {
        let worker = self.workers.fetch_add(1, Ordering::Relaxed);
        let resource = (namespace.to_string(), name.to_string());
        self.resources.begin(&resource, worker);
        let watched = Watched { all: self.clone(), resource, worker };
        watched.beats(false);
        watched
    }

    /// The metrics, as OpenMetrics text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.metrics.text()
    }

    /// What is known of the process itself.
    pub fn health(&self) -> &Health {
        &self.health
    }
}

/// A reconcile at work: over also when nobody waits for it any more.
struct Reconciling<'a>(&'a Health);

impl<'a> Reconciling<'a> {
    fn begin(health: &'a Health) -> Self {
        health.reconcile_begins();
        Reconciling(health)
    }
}

impl Drop for Reconciling<'_> {
    fn drop(&mut self) {
        self.0.reconcile_ends();
    }
}

/// A resource that a worker looks at. It belongs to the worker: whatever ends that one takes the resource's series away.
#[derive(Debug)]
pub struct Watched {
    all: Arc<Instruments>,
    resource: Name,
    worker: u64,
}

impl Watched {
    /// The engine has told what it saw and does, and that is how the status has changed.
    pub fn told(
        &self,
        pool: &Pool,
        r: &Report<'_>,
        before: &PersistentChatFailoverStatus,
        after: &PersistentChatFailoverStatus,
    ) {
        // What it does may take hours, of which it tells nothing where it cannot look beside it.
        self.beats(r.acting || r.plan.next.writes());
        // Progress tells of the same look again.
        let told = self.change(|seen| {
            let looked_anew = seen.looked != Some(r.situation.at);
            (looked_anew, seen.told(pool, r, before, after))
        });
        let (looked_anew, steps) = told.unwrap_or_default();
        if looked_anew {
            self.all.metrics.looked(r.took);
        }
        self.all.metrics.stepped(&steps);
    }

    /// The engine has stopped unexpectedly, and the status says so.
    pub fn stopped(&self, status: &PersistentChatFailoverStatus) {
        self.beats(false);
        self.change(|seen| seen.stopped(status));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> Option<T> {
        self.all.resources.change(&self.resource, self.worker, change)
    }

    fn beats(&self, acts: bool) {
        let (namespace, name) = &self.resource;
        self.all.health.worker_beats(self.worker, &format!("{namespace}/{name}"), acts);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.all.resources.end(&self.resource, self.worker);
        self.all.health.worker_goes(self.worker);
    }
}
