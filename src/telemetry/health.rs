//! Whether the process is alive and ready. Neither asks whether anything outside answers: a restart would mend nothing there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::wishes::Lead;

/// How late the timer may be. It ticks every second.
const TIMER: Duration = Duration::from_secs(30);
/// How long the controller may have something to do without finishing any of it. Each of its requests is bounded, also where the API
/// server does not answer at all.
const CONTROLLER: Duration = Duration::from_secs(180);
/// How long a worker that carries out nothing may be silent: its longest pause is five minutes, and everything in a look is bounded.
const WORKER: Duration = Duration::from_secs(900);

/// What is known of the process itself.
pub struct Health {
    pulse: Mutex<Pulse>,
    /// The time: a test has one of its own.
    now: Box<dyn Fn() -> Instant + Send + Sync>,
    /// Who knows whether this replica leads.
    lead: OnceLock<Lead>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Health").field(&self.pulse()).finish()
    }
}

#[derive(Debug)]
struct Pulse {
    /// When the timer ticked last.
    timer: Instant,
    /// The watch has listed its resources.
    listed: bool,
    /// Reconciles at work, and since when none of them has ended.
    reconciles: u32,
    none_ended_since: Instant,
    /// Workers, each with its name.
    workers: BTreeMap<u64, Beat>,
}

#[derive(Debug)]
struct Beat {
    name: String,
    /// Since when it is silent; none: it carries something out, which may take hours.
    silent_since: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Health::by(Instant::now)
    }
}

impl Health {
    /// By a clock.
    fn by(clock: impl Fn() -> Instant + Send + Sync + 'static) -> Health {
        let now = clock();
        let pulse = Pulse {
            timer: now,
            listed: false,
            reconciles: 0,
            none_ended_since: now,
            workers: BTreeMap::new(),
        };
        Health { pulse: Mutex::new(pulse), now: Box::new(clock), lead: OnceLock::new() }
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The timer ticks.
    pub fn tick(&self) {
        self.pulse().timer = (self.now)();
    }

    /// The watch has listed its resources.
    pub fn listed(&self) {
        self.pulse().listed = true;
    }

    /// Who knows whether this replica leads. The first one is asked for ever.
    pub fn led_by(&self, lead: Lead) {
        self.lead.get_or_init(|| lead);
    }

    /// Whether this replica leads now, if somebody knows.
    pub fn is_leader(&self) -> Option<bool> {
        self.lead.get().map(Lead::is_held)
    }

    /// A reconcile begins.
    pub fn reconcile_begins(&self) {
        let mut pulse = self.pulse();
        if pulse.reconciles == 0 {
            pulse.none_ended_since = (self.now)();
        }
        pulse.reconciles = pulse.reconciles.saturating_add(1);
    }

    /// A reconcile has ended, by whatever it ended.
    pub fn reconcile_ends(&self) {
        let mut pulse = self.pulse();
        pulse.reconciles = pulse.reconciles.saturating_sub(1);
        pulse.none_ended_since = (self.now)();
    }

    /// A worker gives a sign of life. `acts`: it now carries out something, and is not expected to give another one soon.
    pub fn worker_beats(&self, id: u64, name: &str, acts: bool) {
        let silent_since = (!acts).then(&self.now);
        self.pulse().workers.insert(id, Beat { name: name.into(), silent_since });
    }

    /// A worker is gone.
    pub fn worker_goes(&self, id: u64) {
        self.pulse().workers.remove(&id);
    }

    /// Whether the process does its work, or what is stuck.
    pub fn alive(&self) -> Result<(), String> {
        let (pulse, now) = (self.pulse(), (self.now)());
        let mut stuck = Vec::new();
        if now.duration_since(pulse.timer) > TIMER {
            stuck.push("the timer does not tick".to_string());
        }
        if pulse.reconciles > 0 && now.duration_since(pulse.none_ended_since) > CONTROLLER {
            stuck.push("the controller finishes nothing".into());
        }
        let is_late = |b: &&Beat| b.silent_since.is_some_and(|at| now.duration_since(at) > WORKER);
        stuck.extend(
            pulse.workers.values().filter(is_late).map(|b| format!("the worker of {} is stuck", b.name)),
        );
        if stuck.is_empty() { Ok(()) } else { Err(stuck.join("; ")) }
    }

    /// Whether the process is where it is to be, or what it waits for. A standby knows its resources as well.
    pub fn ready(&self) -> Result<(), String> {
        match self.pulse().listed {
            true => Ok(()),
            false => Err("the resources have not been listed yet".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A process whose clock stands still until somebody says how many seconds later it is.
    fn paused() -> (Health, impl Fn(u64)) {
        let (began, seconds) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let clock = seconds.clone();
        let health = Health::by(move || began + Duration::from_secs(clock.load(Ordering::SeqCst)));
        let later = move |more| {
            seconds.fetch_add(more, Ordering::SeqCst);
        };
        (health, later)
    }

    #[test]
    fn a_timer_that_stands_still_is_not_alive() {
        let (health, later) = paused();
        later(29);
        assert_eq!(health.alive(), Ok(()));
        later(2);
        assert_eq!(health.alive(), Err("the timer does not tick".into()));
        health.tick();
        assert_eq!(health.alive(), Ok(()));
    }

    #[test]
    fn a_controller_that_finishes_nothing_is_not_alive_and_one_that_is_slow_is() {
        let (health, later) = paused();
        later(3600);
        health.tick();
        assert_eq!(health.alive(), Ok(()), "it has nothing to do");
        // Twenty that wait for each other, while the API server answers none of them.
        (0..20).for_each(|_| health.reconcile_begins());
        for _ in 0..19 {
            later(45);
            health.tick();
            assert_eq!(health.alive(), Ok(()));
            health.reconcile_ends();
        }
        later(181);
        health.tick();
        assert_eq!(health.alive(), Err("the controller finishes nothing".into()));
        health.reconcile_ends();
        assert_eq!(health.alive(), Ok(()));
    }

    #[test]
    fn a_worker_may_be_silent_for_hours_while_it_acts_and_not_while_it_looks() {
        let (health, later) = paused();
        health.worker_beats(1, "chat/litware", true);
        health.worker_beats(2, "chat/contoso", false);
        later(901);
        health.tick();
        assert_eq!(health.alive(), Err("the worker of chat/contoso is stuck".into()));
        health.worker_goes(2);
        later(24 * 3600);
        health.tick();
        assert_eq!(health.alive(), Ok(()));
        health.worker_beats(1, "chat/litware", false);
        later(899);
        health.tick();
        assert_eq!(health.alive(), Ok(()));
    }

    #[test]
    fn ready_is_who_has_listed_whether_it_leads_or_stands_by() {
        let health = Health::default();
        assert_eq!(health.ready(), Err("the resources have not been listed yet".into()));
        let (leads, standing) = (Arc::new(AtomicU64::new(0)), Health::default());
        let told = leads.clone();
        standing.led_by(Lead::new(move || told.load(Ordering::SeqCst) == 1));
        assert_eq!(standing.is_leader(), Some(false));
        assert!(standing.ready().is_err(), "a standby must know what it stands by for");
        standing.listed();
        assert_eq!(standing.ready(), Ok(()));
        leads.store(1, Ordering::SeqCst);
        assert_eq!((standing.is_leader(), standing.ready()), (Some(true), Ok(())));
        health.listed();
        assert_eq!(health.ready(), Ok(()));
    }
}
