//! The metrics, and how they are written down.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::health::Health;
use super::seen::{Attempt, OUTCOMES, Seen, Steps};
use crate::domain::problem::Class;
use crate::domain::route::Procedure;
use crate::domain::step::StepId;
use crate::status::conditions::ConditionStatus;

/// Where buckets of looks and reconciles end, in seconds: a healthy look takes a tenth of one, one at a silent side half a minute.
const SHORT: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];
/// The same of steps: from a statement to a mirror that is seeded over a night.
const LONG: [f64; 11] = [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10800.0, 28800.0, 86400.0];

/// Labels, by name.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What became of writing a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It was written.
    Written,
    /// The object is not there any more.
    Gone,
    /// It was not written, and is tried again.
    Failed,
}

impl Write {
    const ALL: [Write; 3] = [Write::Written, Write::Gone, Write::Failed];
    const fn as_str(self) -> &'static str {
        match self {
            Write::Written => "Written",
            Write::Gone => "Gone",
            Write::Failed => "Failed",
        }
    }
}

const fn reconciled(well: bool) -> &'static str {
    if well { "Done" } else { "Failed" }
}

const fn class(class: Class) -> &'static str {
    match class {
        Class::Retry => "Retry",
        Class::AskHuman => "AskHuman",
        Class::Refuse => "Refuse",
    }
}

/// Namespace and name of a resource.
pub type Name = (String, String);

/// What each resource has shown, with the number of the worker that looks at it.
#[derive(Debug, Default)]
pub struct Resources(Mutex<BTreeMap<Name, (u64, Seen)>>);

impl Resources {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Name, (u64, Seen)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A worker begins. One that worked for an object of the same name is not heard any more.
    pub fn begin(&self, name: &Name, worker: u64) {
        self.all().insert(name.clone(), (worker, Seen::default()));
    }
    /// A worker is gone, and with it everything that it has shown; not what its successor shows.
    pub fn end(&self, name: &Name, worker: u64) {
        let mut all = self.all();
        if all.get(name).is_some_and(|(w, _)| *w == worker) {
            all.remove(name);
        }
    }
    /// What a worker has shown changes.
    pub fn change<T>(&self, name: &Name, worker: u64, change: impl FnOnce(&mut Seen) -> T) -> Option<T> {
        self.all().get_mut(name).filter(|(w, _)| *w == worker).map(|(_, seen)| change(seen))
    }
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    looks: Histogram,
    attempts: Family<Labels<2>, Counter>,
    steps: Family<Labels<1>, Histogram, fn() -> Histogram>,
    reconciles: Family<Labels<1>, Counter>,
    reconcile_durations: Histogram,
    writes: Family<Labels<1>, Counter>,
}

impl Metrics {
    /// All of them. What is counted begins with zero: of a series that begins with one nobody sees the increase.
    pub fn new(resources: Arc<Resources>, health: Arc<Health>) -> Metrics {
        let mut m = Metrics {
            registry: Registry::with_prefix("persistentchat"),
            looks: Histogram::new(SHORT),
            attempts: Family::default(),
            steps: Family::new_with_constructor(|| Histogram::new(LONG)),
            reconciles: Family::default(),
            reconcile_durations: Histogram::new(SHORT),
            writes: Family::default(),
        };
        for step in StepId::ALL {
            Attempt::ALL.iter().for_each(|a| drop(m.attempts.get_or_create(&attempt(*step, *a))));
            drop(m.steps.get_or_create(&[("step", step.as_str())]));
        }
        [true, false]
            .into_iter()
            .for_each(|well| drop(m.reconciles.get_or_create(&outcome(reconciled(well)))));
        Write::ALL.iter().for_each(|w| drop(m.writes.get_or_create(&outcome(w.as_str()))));
        let r = &mut m.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "What runs", version);
        r.register_collector(Box::new(Shown { resources, health }));
        let help = "How long it took to look at a pool";
        r.register_with_unit("look_duration", help, Unit::Seconds, m.looks.clone());
        r.register("step_attempts", "Effects of steps, by how they ended", m.attempts.clone());
        let help = "How long steps took to reach their goals, waiting counted";
        r.register_with_unit("step_duration", help, Unit::Seconds, m.steps.clone());
        r.register("reconciles", "Reconciles, by how they ended", m.reconciles.clone());
        let help = "How long it took to hand a resource to its worker";
        r.register_with_unit("reconcile_duration", help, Unit::Seconds, m.reconcile_durations.clone());
        r.register("status_writes", "Writes of a status, by what became of them", m.writes.clone());
        m
    }

    /// A look was made.
    pub fn looked(&self, took: SignedDuration) {
        // A machine whose clock was set back meanwhile does not know how long it took.
        if !took.is_negative() {
            self.looks.observe(took.as_secs_f64());
        }
    }

    /// What steps have done.
    pub fn stepped(&self, steps: &Steps) {
        for (step, how) in &steps.attempts {
            self.attempts.get_or_create(&attempt(*step, *how)).inc();
        }
        for (step, seconds) in &steps.done {
            self.steps.get_or_create(&[("step", step.as_str())]).observe(*seconds);
        }
    }

    /// A reconcile has ended.
    pub fn reconciled(&self, took: Duration, well: bool) {
        self.reconcile_durations.observe(took.as_secs_f64());
        self.reconciles.get_or_create(&outcome(reconciled(well))).inc();
    }

    /// A status was to be written.
    pub fn wrote(&self, write: Write) {
        self.writes.get_or_create(&outcome(write.as_str())).inc();
    }

    /// Everything, as OpenMetrics text.
    pub fn text(&self) -> Result<String, Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

fn attempt(step: StepId, how: Attempt) -> Labels<2> {
    [("step", step.as_str()), ("outcome", how.as_str())]
}

fn outcome(word: &'static str) -> Labels<1> {
    [("outcome", word)]
}

/// What is true at the moment at which somebody asks.
#[derive(Debug)]
struct Shown {
    resources: Arc<Resources>,
    health: Arc<Health>,
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        if let Some(leads) = self.health.is_leader() {
            let help = "Whether this replica leads (1) or stands by (0).";
            let mut leader = encoder.encode_descriptor("leader", help, None, MetricType::Gauge)?;
            leader.encode_gauge(&i64::from(leads))?;
        }
        let all = self.resources.all();
        GAUGES.iter().try_for_each(|g| g.encode(&mut encoder, &all))?;
        COUNTERS.iter().try_for_each(|c| c.encode(&mut encoder, &all))
    }
}

/// A value of one resource, and what tells it from others of that resource.
type Value<T> = (Vec<(&'static str, String)>, T);

/// A metric of resources.
struct Of<T> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    values: fn(&Seen) -> Vec<Value<T>>,
}

const GAUGES: &[Of<f64>] = &[
    Of {
        name: "last_look_timestamp",
        help: "When the pool was last looked at.",
        unit: Some(Unit::Seconds),
        values: |s| one(s.looked.map(seconds)),
    },
    Of {
        name: "condition",
        help: "Conditions: 1 for the status that holds.",
        unit: None,
        values: |s| s.conditions.iter().flat_map(|(kind, is)| condition(kind, *is)).collect(),
    },
    Of {
        name: "active_data_center",
        help: "Whether a data centre is the active one.",
        unit: None,
        values: |s| {
            s.active.iter().map(|(name, is)| (vec![("data_center", name.clone())], flag(*is))).collect()
        },
    },
    Of {
        name: "transition_running",
        help: "Whether a transition of this procedure runs.",
        unit: None,
        values: |s| if s.looked.is_some() { Procedure::ALL.map(|p| running(s, p)).into() } else { vec![] },
    },
    Of {
        name: "transition_started_timestamp",
        help: "When the transition of this procedure that runs was begun.",
        unit: Some(Unit::Seconds),
        values: |s| s.running.iter().map(|(p, at)| (vec![("procedure", p.clone())], seconds(*at))).collect(),
    },
    Of {
        name: "backup_lag",
        help: "Age of the newest log backup that has arrived at the side that is not active.",
        unit: Some(Unit::Seconds),
        values: |s| one(s.backup_lag()),
    },
    Of {
        name: "expected_loss",
        help: "How much of what was written last a failover would lose.",
        unit: Some(Unit::Seconds),
        values: |s| one(s.expected_loss()),
    },
];

const COUNTERS: &[Of<u64>] = &[
    Of {
        name: "transitions",
        help: "Transitions that have ended.",
        unit: None,
        values: |s| Procedure::ALL.iter().flat_map(|p| OUTCOMES.map(|o| transitions(s, *p, o))).collect(),
    },
    Of {
        name: "problems",
        help: "How often a problem has come up.",
        unit: None,
        values: |s| {
            let labels = |r: &str, c| vec![("reason", r.to_string()), ("class", class(c).to_string())];
            s.problems.iter().map(|((reason, c), n)| (labels(reason.as_str(), *c), *n)).collect()
        },
    },
];

fn one(value: Option<f64>) -> Vec<Value<f64>> {
    value.map(|v| (vec![], v)).into_iter().collect()
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn condition(kind: &'static str, is: ConditionStatus) -> [Value<f64>; 3] {
    [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown].map(|status| {
        let labels = vec![("type", kind.to_string()), ("status", status.as_str().to_string())];
        (labels, flag(status == is))
    })
}

fn running(s: &Seen, procedure: Procedure) -> Value<f64> {
    let runs = s.running.as_ref().is_some_and(|(p, _)| p == procedure.as_str());
    (vec![("procedure", procedure.as_str().to_string())], flag(runs))
}

fn transitions(s: &Seen, procedure: Procedure, outcome: &'static str) -> Value<u64> {
    let ended = s.transitions.get(&(procedure.as_str(), outcome)).copied().unwrap_or_default();
    (vec![("procedure", procedure.as_str().to_string()), ("outcome", outcome.to_string())], ended)
}

impl<T: Number> Of<T> {
    fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        all: &BTreeMap<Name, (u64, Seen)>,
    ) -> Result<(), Error> {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), T::TYPE)?;
        for ((namespace, name), (_, seen)) in all {
            let whose = [("resource_namespace", namespace.clone()), ("resource", name.clone())];
            for (labels, value) in (self.values)(seen) {
                let labels: Vec<(&str, String)> = whose.iter().cloned().chain(labels).collect();
                value.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// What a metric's value is.
trait Number {
    const TYPE: MetricType;
    fn encode(self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), Error>;
}

impl Number for f64 {
    const TYPE: MetricType = MetricType::Gauge;
    fn encode(self, mut encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_gauge(&self)
    }
}

impl Number for u64 {
    const TYPE: MetricType = MetricType::Counter;
    fn encode(self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), Error> {
        prometheus_client::encoding::EncodeMetric::encode(&ConstCounter::new(self), encoder)
    }
}
