//! One run: one seed, one schedule, one verdict.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lab::scenario::Scenario;
use lab::world::World;
use lab::world::files::MemoryFiles;
use persistent_chat_failover::api::{conditions, convert};
use persistent_chat_failover::cli;
use persistent_chat_failover::domain::pool::Pool;
use persistent_chat_failover::domain::problem::Class;
use persistent_chat_failover::engine::run::Pace;
use serde::{Deserialize, Serialize};

use crate::cast::{self, Script};
use crate::chance::Chance;
use crate::cluster::{self, Cluster, Process};
use crate::truth;
use crate::world::{Fate, Fates, Handle, Point, Shared};

/// What a run is made of. As JSON it is what `pcf-soak --plan` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Seed of latencies, fates and the world.
    pub seed: u64,
    /// Who decides the fates.
    pub fates: Fates,
    /// Seconds until which calls may go wrong: it must be well some time after that.
    pub until: f64,
    /// What everybody else does.
    pub script: Script,
    /// What the world is made from.
    pub scenario: Scenario,
    /// How many operators there are.
    pub operators: usize,
    /// Whether a killed operator stays dead as long as another one lives.
    pub other_takes_over: bool,
    /// Backups that are not as they should be.
    pub spoilt: Vec<Spoilt>,
    /// Whether trace and points are kept.
    #[serde(skip)]
    pub keep: bool,
}

/// A backup that is not as it should be; counted from the newest, 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spoilt {
    /// It is gone from the share (and, if it was copied, still in the copy folder).
    Missing(usize),
    /// Its second half is gone.
    Truncated(usize),
    /// A file of another program lies beside the backups.
    Foreign,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Broken promises; empty: none.
    pub violations: Vec<String>,
    /// How often each promise was checked.
    pub checks: BTreeMap<&'static str, u64>,
    /// How often each fate was dealt.
    pub dealt: BTreeMap<Fate, u64>,
    /// How often each kind of act happened.
    pub acts: BTreeMap<&'static str, u64>,
    /// The bad fates, by point: what a replay needs.
    pub faults: BTreeMap<u64, Fate>,
    /// Every call, if kept.
    pub points: Vec<Point>,
    /// How many calls there were.
    pub count: u64,
    /// Entries of the world's journal.
    pub events: usize,
    /// Digest of the trace.
    pub hash: u64,
    /// The trace, if kept.
    pub trace: Vec<String>,
    /// Seconds of the run's clock.
    pub seconds: f64,
    /// How often the human on call had to act.
    pub mended: u64,
}

/// The silence that a simulated operator waits for.
const SILENCE: SignedDuration = SignedDuration::from_secs(2);
/// Pause of an operator between two looks while nothing happens.
const POLL: Duration = Duration::from_secs(2);
/// Seconds within which calls go wrong in a bad night.
const FAULTS: f64 = 60.0;
/// Seconds after the last event and the last fault within which everything must be well.
const PATIENCE: f64 = 900.0;
/// Seconds that the human on call takes to react.
const REACTION: SignedDuration = SignedDuration::from_secs(5);
/// And how long it is then left alone before anything is tried again.
const AGAIN: SignedDuration = SignedDuration::from_secs(20);
/// Seconds for which it must stay well, with nothing written to an API server in the second half of them.
const REST: f64 = 14.0;

/// A small world that fails over in about ten simulated seconds.
pub fn small() -> Scenario {
    Scenario {
        backups: 6,
        copied: 4,
        restored: 3,
        backup_bytes: 64,
        restore_ms: 300,
        recovery_ms: 400,
        mirror_ms: 1500,
        replication_ms: 300,
        cmdlet_ms: 30,
        job_interval_ms: 900_000,
        ..Scenario::default()
    }
}

impl Plan {
    /// A clean failover by one operator.
    pub fn clean(operators: usize) -> Plan {
        Plan {
            seed: 1,
            fates: Fates::At(BTreeMap::new()),
            until: 0.0,
            script: cast::plain(operators),
            scenario: small(),
            operators,
            other_takes_over: false,
            spoilt: vec![],
            keep: false,
        }
    }

    /// A bad night, wholly drawn from a seed.
    pub fn night(seed: u64) -> Plan {
        let mut chance = Chance::new(seed ^ 0x6e69_6768_7400);
        let operators = if chance.happens(500) { 2 } else { 1 };
        let script = cast::night(&mut chance, operators);
        let mut scenario = small();
        scenario.standby = chance.happens(250);
        scenario.restored = u32::try_from(chance.between(1, 6)).unwrap_or(3);
        scenario.copied = scenario.restored.max(u32::try_from(chance.between(1, 6)).unwrap_or(4));
        if chance.happens(300) {
            scenario.job_interval_ms = chance.between(2_000, 30_000);
        }
        scenario.restore_ms = chance.between(50, 3000);
        scenario.recovery_ms = chance.between(50, 5000);
        scenario.mirror_ms = chance.between(200, 20_000);
        scenario.replication_ms = chance.between(50, 10_000);
        let mut spoilt = vec![];
        if chance.happens(120) {
            spoilt.push(Spoilt::Missing(usize::try_from(chance.between(0, 4)).unwrap_or(0)));
        }
        if chance.happens(100) {
            spoilt.push(Spoilt::Truncated(usize::try_from(chance.between(0, 3)).unwrap_or(0)));
        }
        if chance.happens(80) {
            spoilt.push(Spoilt::Foreign);
        }
        let rate = match chance.between(0, 4) {
            0 => (0, 0),
            1 => (30, 2),
            2 => (150, 5),
            _ => (60, 25),
        };
        Plan {
            seed,
            fates: Fates::Random { per_mille: rate, until: FAULTS },
            until: FAULTS,
            script,
            scenario,
            operators,
            other_takes_over: chance.happens(300),
            spoilt,
            keep: false,
        }
    }
}

/// The pool that fits a scenario.
pub fn pool(scenario: &Scenario) -> Result<Pool, String> {
    let text = lab::serve::resource(scenario, "-----BEGIN CERTIFICATE-----", "litware");
    let (resource, _) = cli::from_file(&text)?;
    convert::pool(&resource.spec)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn spoil(world: &mut World, spoilt: &[Spoilt]) {
    let share = world.scenario.backup_share.clone();
    for s in spoilt {
        let names: Vec<String> =
            world.files.list(&share).unwrap_or_default().into_iter().map(|(n, _)| n).rev().collect();
        let path = |n: usize| names.get(n).map(|name| format!(r"{share}\{name}"));
        // A file that is not there cannot be spoilt: then the night is a little better.
        match s {
            Spoilt::Missing(n) => {
                if let Some(p) = path(*n) {
                    let _ = world.files.remove(&p);
                }
            }
            Spoilt::Truncated(n) => {
                if let Some((p, content)) = path(*n).and_then(|p| world.files.read(&p).ok().map(|c| (p, c))) {
                    let _ = world.files.write(&p, &content[..content.len().saturating_sub(20)]);
                }
            }
            Spoilt::Foreign => {
                let _ = world
                    .files
                    .write(&format!(r"{share}\mgc_99990101000000.trn"), b"TAPE of another program");
            }
        }
    }
}

/// Carries out a plan.
pub fn run(plan: &Plan) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime {
        Ok(runtime) => runtime.block_on(night(plan)),
        Err(e) => failed(format!("no runtime: {e}")),
    }
}

fn failed(why: String) -> Verdict {
    Verdict {
        violations: vec![why],
        checks: BTreeMap::new(),
        dealt: BTreeMap::new(),
        acts: BTreeMap::new(),
        faults: BTreeMap::new(),
        points: vec![],
        count: 0,
        events: 0,
        hash: 0,
        trace: vec![],
        seconds: 0.0,
        mended: 0,
    }
}

/// Carries out a plan within its runtime.
async fn night(plan: &Plan) -> Verdict {
    let pool = match pool(&plan.scenario) {
        Ok(pool) => Arc::new(pool),
        Err(e) => return failed(e),
    };
    let base = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_760_000_000);
    let mut world = match World::new(plan.scenario.clone(), Box::new(MemoryFiles::default()), base) {
        Ok(world) => world,
        Err(e) => return failed(e),
    };
    spoil(&mut world, &plan.spoilt);
    let operators = plan.operators;
    let shared = Handle::new(world, plan.seed, plan.fates.clone(), operators, plan.keep);
    let pace = Pace { silence: SILENCE, poll: POLL };
    let start = |who| cluster::operator(shared.clone(), who, pool.clone(), plan.scenario.clone(), pace);
    let mut processes: Vec<Option<Process>> = (0..operators).map(|who| Some(start(who))).collect();
    let mut restart: Vec<Option<f64>> = vec![None; operators];
    let mut humans = vec![Human::default(); operators];
    let mut script = plan.script.iter().cloned().collect::<VecDeque<_>>();
    let quiet_from = plan.script.iter().map(|(t, _)| *t).fold(plan.until, f64::max);
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let mut mended = 0u64;
    let mut graves: Vec<Process> = Vec::new();
    let (mut next_look, mut ended, mut well_since) = (0.0, false, None);
    std::future::poll_fn(|cx| {
        loop {
            let mut again = false;
            while tick.poll_tick(cx).is_ready() {
                let mut s = shared.now();
                let seconds = s.seconds();
                while script.front().is_some_and(|(at, _)| *at <= seconds) {
                    if let Some((_, a)) = script.pop_front() {
                        cast::act(&mut s, &a);
                    }
                }
                cast::edit(&mut s);
                if seconds >= next_look {
                    next_look = seconds + 1.0;
                    for (who, human) in humans.iter_mut().enumerate() {
                        mended += u64::from(look_after(&mut s, who, human, &restart));
                    }
                    // In the morning somebody takes away what still suspends: a cluster that was rolled back may say so again.
                    if script.is_empty() && !cast::edits_wait(&s) && seconds > quiet_from {
                        let forgotten = |c: &Cluster| c.object.as_ref().is_some_and(|o| o.spec.suspend);
                        for who in 0..operators {
                            if s.clusters.get(who).is_some_and(forgotten) {
                                cast::act(&mut s, &cast::Act::Suspend(who, false));
                                mended += 1;
                            }
                        }
                    }
                    let calm = script.is_empty() && !cast::edits_wait(&s) && seconds > quiet_from;
                    let restless =
                        if calm { unrest(&s, operators, &restart) } else { vec!["not yet".into()] };
                    // Well, and for a while: then it must have come to rest.
                    let since = *well_since.get_or_insert(seconds);
                    if !restless.is_empty() {
                        well_since = None;
                    } else if seconds - since >= REST {
                        let from = s.time() - SignedDuration::from_secs_f64(REST / 2.0);
                        let last = |who: usize| s.clusters.get(who).and_then(|c| c.last_status);
                        let writes: Vec<usize> =
                            (0..operators).filter(|who| last(*who).is_some_and(|t| t > from)).collect();
                        // A write whose answer was lost is made again; after that it must be quiet.
                        ended = writes.is_empty() || seconds - since >= 5.0 * REST;
                        if ended {
                            s.truth.at_rest(&writes);
                        }
                    }
                    if !ended && seconds > quiet_from + PATIENCE {
                        ended = true;
                        let broken = format!(
                            "it ends: {PATIENCE} s after the last fault it is not well: {}",
                            restless.join("; ")
                        );
                        s.truth.violations.push(broken);
                    }
                }
                for (who, at) in restart.iter_mut().enumerate() {
                    if at.is_some_and(|t| t <= seconds) {
                        *at = None;
                        s.tell(&format!("operator {who} starts again"));
                        again = true;
                        if let Some(slot) = processes.get_mut(who) {
                            *slot = Some(start(who));
                        }
                    }
                }
                drop(s);
                if ended {
                    return Poll::Ready(());
                }
            }
            for who in 0..operators {
                let Some(slot) = processes.get_mut(who) else { continue };
                if let Some(f) = slot
                    && f.as_mut().poll(cx).is_ready()
                {
                    *slot = None;
                }
                let mut s = shared.now();
                if s.processes.get(who).is_some_and(|p| p.kill) {
                    // kill -9: nothing of it runs any more, not even its destructors, until the run is over.
                    graves.extend(slot.take());
                    s.bury(who);
                    let away = plan.other_takes_over && operators > 1;
                    let wait = if away { 120_000 } else { s.chance.between(200, 6000) };
                    let at = s.seconds() + wait as f64 / 1000.0;
                    if let Some(r) = restart.get_mut(who) {
                        *r = Some(at);
                    }
                }
            }
            if !again {
                return Poll::Pending;
            }
        }
    })
    .await;
    let mut guard = shared.now();
    let world_events = guard.world.journal.entries().len();
    let s = &mut *guard;
    s.truth.at_end(&s.world);
    let verdict = Verdict {
        violations: s.truth.violations.clone(),
        checks: s.truth.checks.clone(),
        dealt: s.dealt.clone(),
        acts: s.acts.clone(),
        faults: s.faults.clone(),
        points: std::mem::take(&mut s.points),
        count: s.count,
        events: world_events,
        hash: s.hash,
        trace: s.trace.take().unwrap_or_default(),
        seconds: s.seconds(),
        mended,
    };
    // Only now may the dead close their connections: it takes the lock, and changes nothing that was judged.
    drop(guard);
    drop((graves, processes));
    verdict
}

/// The human on call of one operator.
#[derive(Clone, Default)]
struct Human {
    /// What stands in the way, and since when it is waited for.
    sees: Option<(Timestamp, String)>,
}

/// The human on call: reacts to what has stood for a while.
fn look_after(s: &mut Shared, who: usize, human: &mut Human, restart: &[Option<f64>]) -> bool {
    let now = s.time();
    let dead = restart.get(who).is_some_and(Option::is_some);
    // What the operator cannot write, nobody can read.
    let silent = s.clusters.get(who).is_none_or(|c| c.down || c.object.is_none());
    let blocked = s.processes.get(who).filter(|_| !dead && !silent).and_then(|p| p.blocked.clone());
    let suspended = s.processes.get(who).is_some_and(|p| p.heard.suspended.is_some());
    let Some(problem) = blocked.filter(|p| p.class != Class::Retry && !suspended) else {
        human.sees = None;
        return false;
    };
    match &human.sees {
        Some((since, what)) if *what == problem.what => {
            if now.duration_since(*since) < REACTION {
                return false;
            }
            // Whether it helped is seen after a while: an operator that waits for a human looks again once a minute.
            human.sees = Some((now + AGAIN, problem.what.clone()));
            match cast::mend(s, who, &problem) {
                Some(_) => true,
                None => {
                    let line = format!(
                        "blocked without a fix that a human knows: {:?} {} / {}",
                        problem.reason, problem.what, problem.fix
                    );
                    if s.truth.violations.len() < 20 {
                        s.truth.violations.push(line);
                    }
                    false
                }
            }
        }
        Some(_) | None => {
            human.sees = Some((now, problem.what.clone()));
            false
        }
    }
}

/// What is missing for chat to be live in the second data centre, with every operator that lives knowing it, telling it and at
/// rest; empty: nothing.
fn unrest(s: &Shared, operators: usize, restart: &[Option<f64>]) -> Vec<String> {
    let mut out = truth::missing(&s.world);
    let mut somebody = false;
    for who in 0..operators {
        // Who is dead is no burden to others; whom no API server answers cannot be told what is wanted.
        let dead = restart.get(who).is_some_and(Option::is_some);
        let stored = s.clusters.get(who).and_then(|c| c.get().ok());
        let (Some(p), Some(o), false) = (s.processes.get(who), stored, dead) else { continue };
        somebody = true;
        if p.next != "Settled" || p.active.as_deref() != Some("seattle") {
            out.push(format!("operator {who} takes {:?} for active and is at {:?}", p.active, p.next));
            continue;
        }
        let ready = o.status.conditions.iter().any(|c| c.type_ == conditions::READY && c.status == "True");
        if !ready || o.status.active_data_center.as_deref() != Some("seattle") {
            out.push(format!("the status of operator {who} does not say what it knows"));
        }
    }
    if !somebody {
        out.push("no operator lives".into());
    }
    out
}
