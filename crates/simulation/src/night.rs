//! One night: one seed, one schedule, one verdict. A [`Plan`] is what it is made of, a `Night` is the run in progress.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lab::world::World;
use lab::world::files::MemoryFiles;
use persistent_chat_failover::engine::Pace;
use tokio::time::Interval;

use crate::cast::human::Human;
use crate::cast::{self, Act, edits};
use crate::fate::Fate;
use crate::guards::{Guard, Held};
use crate::moments::Moment;
use crate::operator::{Process, Program};
use crate::plan::{self, Plan};
use crate::truth::liveness;
use crate::world::{Handle, Point, Shared};

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Broken promises; empty: none.
    pub violations: Vec<String>,
    /// How often each promise was checked.
    pub checks: BTreeMap<&'static str, u64>,
    /// How often each fate was dealt.
    pub dealt: BTreeMap<Fate, u64>,
    /// How often each kind of act happened.
    pub acts: BTreeMap<&'static str, u64>,
    /// What has held the operators back.
    pub guards: BTreeMap<Guard, Held>,
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
    /// Every moment of the resources, if the trace is kept.
    pub moments: Vec<Moment>,
    /// Seconds of the run's clock.
    pub seconds: f64,
    /// How often the human on call had to act.
    pub mended: u64,
}

/// The silence that a simulated operator waits for.
const SILENCE: SignedDuration = SignedDuration::from_secs(2);
/// Pause of an operator between two looks while nothing happens.
const POLL: Duration = Duration::from_secs(2);
/// How often everybody else gets a turn.
const TICK: Duration = Duration::from_millis(250);
/// Seconds after the last event and the last fault within which everything must be well.
const PATIENCE: f64 = 900.0;
/// Seconds for which it must stay well, with nothing written to an API server in the second half of them.
const REST: f64 = 14.0;

/// Carries out a plan.
pub fn run(plan: &Plan) -> Verdict {
    let failed = |why: String| Verdict { violations: vec![why], ..Verdict::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let mut night = Night::new(plan)?;
            std::future::poll_fn(|cx| night.poll(cx)).await;
            Ok(night.verdict())
        }),
        Err(e) => Err(format!("no runtime: {e}")),
    };
    ended.unwrap_or_else(failed)
}

/// The run in progress.
struct Night {
    /// Whether a killed operator stays away for long.
    other_takes_over: bool,
    shared: Handle,
    program: Program,
    clock: Interval,
    /// What is still to come of the script.
    script: VecDeque<(f64, Act)>,
    seats: Vec<Seat>,
    graves: Vec<Process>,
    /// Seconds after which nothing new happens.
    quiet_from: f64,
    /// When it is next asked whether all is well.
    next_look: f64,
    well_since: Option<f64>,
    over: bool,
    mended: u64,
}

/// The place of one operator: its process, if it lives, and who looks after it.
struct Seat {
    process: Option<Process>,
    /// When it starts again, if it is dead.
    restart: Option<f64>,
    human: Human,
}

impl Night {
    /// Its first moment. Must be called within the runtime whose clock it follows.
    fn new(plan: &Plan) -> Result<Night, String> {
        let base = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_760_000_000);
        let mut world = World::new(plan.scenario.clone(), Box::new(MemoryFiles::default()), base)?;
        plan.spoilt.iter().for_each(|s| s.spoil(&mut world));
        // As its dialect has it: hosts and instances may have other names there than in the plan.
        let scenario = world.scenario.clone();
        let pool = Arc::new(plan::pool(&scenario, plan.switches)?);
        let shared = Handle::new(world, plan.seed, plan.fates.clone(), plan.operators, plan.keep);
        shared.now().stays = plan.stays;
        shared.now().truth.switches = plan.switches;
        let program =
            Program { shared: shared.clone(), pool, scenario, pace: Pace { silence: SILENCE, poll: POLL } };
        let seat = |who| Seat { process: Some(program.start(who)), restart: None, human: Human::default() };
        Ok(Night {
            other_takes_over: plan.other_takes_over,
            shared,
            seats: (0..plan.operators).map(seat).collect(),
            program,
            clock: tokio::time::interval(TICK),
            script: plan.script.iter().cloned().collect(),
            graves: Vec::new(),
            quiet_from: plan.script.iter().map(|(t, _)| *t).fold(plan.until, f64::max),
            next_look: 0.0,
            well_since: None,
            over: false,
            mended: 0,
        })
    }

    fn is_over(&self) -> bool {
        self.over
    }

    /// Goes on until everybody waits.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut started = false;
            while self.clock.poll_tick(cx).is_ready() {
                started |= self.tick();
                if self.is_over() {
                    return Poll::Ready(());
                }
            }
            for who in 0..self.seats.len() {
                self.poll_operator(who, cx);
            }
            if !started {
                return Poll::Pending;
            }
        }
    }

    /// Everybody but the operators gets a turn. Whether an operator was started.
    fn tick(&mut self) -> bool {
        let shared = self.shared.clone();
        let mut s = shared.now();
        let seconds = s.seconds();
        while self.script.front().is_some_and(|(at, _)| *at <= seconds) {
            if let Some((_, a)) = self.script.pop_front() {
                cast::act(&mut s, &a);
            }
        }
        edits::carry_out(&mut s);
        if seconds >= self.next_look {
            self.next_look = seconds + 1.0;
            self.look(&mut s);
        }
        self.start_again(&mut s)
    }

    /// Once a second: whoever is on call looks, and it is asked whether all is well.
    fn look(&mut self, s: &mut Shared) {
        for (who, seat) in self.seats.iter_mut().enumerate() {
            self.mended += u64::from(seat.human.look_after(s, who, seat.restart.is_some()));
        }
        if self.is_quiet(s) {
            self.end_suspensions(s);
        }
        let restless = if self.is_quiet(s) {
            let dead: Vec<bool> = self.seats.iter().map(|seat| seat.restart.is_some()).collect();
            liveness::unrest(s, &dead)
        } else {
            vec!["not yet".into()]
        };
        self.judge(s, &restless);
    }

    /// Whether nothing new happens any more.
    fn is_quiet(&self, s: &Shared) -> bool {
        self.script.is_empty() && !edits::remain(s) && s.seconds() > self.quiet_from
    }

    /// In the morning somebody takes away what still suspends: a cluster that was rolled back may say so again.
    fn end_suspensions(&mut self, s: &mut Shared) {
        for who in 0..self.seats.len() {
            let object = s.clusters.get(who).and_then(|c| c.object.as_ref());
            if object.is_some_and(|o| o.spec.suspend) {
                cast::act(s, &Act::Suspend(who, false));
                self.mended += 1;
            }
        }
    }

    /// It is over when it has been well for a while, or has not become well in time.
    fn judge(&mut self, s: &mut Shared, restless: &[String]) {
        let seconds = s.seconds();
        // Well, and for a while: then it must have come to rest.
        let since = *self.well_since.get_or_insert(seconds);
        if !restless.is_empty() {
            self.well_since = None;
        } else if seconds - since >= REST {
            let from = s.time() - SignedDuration::from_secs_f64(REST / 2.0);
            let last = |who: usize| s.clusters.get(who).and_then(|c| c.last_status);
            let writing: Vec<usize> =
                (0..self.seats.len()).filter(|who| last(*who).is_some_and(|t| t > from)).collect();
            // A write whose answer was lost is made again; after that it must be quiet.
            self.over = writing.is_empty() || seconds - since >= 5.0 * REST;
            if self.over {
                liveness::at_rest(&mut s.truth, &writing);
            }
        }
        if !self.over && seconds > self.quiet_from + PATIENCE {
            self.over = true;
            let broken =
                format!("it ends: {PATIENCE} s after the last fault it is not well: {}", restless.join("; "));
            s.truth.violations.push(broken);
        }
    }

    /// Starts the operators whose time has come. Whether there was one.
    fn start_again(&mut self, s: &mut Shared) -> bool {
        let seconds = s.seconds();
        let mut started = false;
        for (who, seat) in self.seats.iter_mut().enumerate() {
            if seat.restart.is_some_and(|t| t <= seconds) {
                s.tell(&format!("operator {who} starts again"));
                (seat.restart, seat.process) = (None, Some(self.program.start(who)));
                started = true;
            }
        }
        started
    }

    /// An operator goes on until it waits, or is killed.
    fn poll_operator(&mut self, who: usize, cx: &mut Context<'_>) {
        let several = self.seats.len() > 1;
        let Some(seat) = self.seats.get_mut(who) else { return };
        if let Some(process) = &mut seat.process
            && process.as_mut().poll(cx).is_ready()
        {
            seat.process = None;
        }
        let mut s = self.shared.now();
        if s.operators.get(who).is_some_and(|o| o.kill) {
            // kill -9: nothing of it runs any more, not even its destructors, until the run is over.
            self.graves.extend(seat.process.take());
            s.bury(who);
            let away = self.other_takes_over && several;
            let wait = if away { 120_000 } else { s.chance.between(200, 6000) };
            seat.restart = Some(s.seconds() + wait as f64 / 1000.0);
        }
    }

    /// What came of it.
    fn verdict(self) -> Verdict {
        let mut guard = self.shared.now();
        let s = &mut *guard;
        let events = s.world.journal.entries().len();
        s.truth.at_end(&s.world);
        let verdict = Verdict {
            violations: s.truth.violations.clone(),
            checks: s.truth.checks.clone(),
            dealt: s.dealt.clone(),
            acts: s.acts.clone(),
            guards: s.guards.all(),
            faults: s.faults.clone(),
            points: std::mem::take(&mut s.points),
            count: s.count,
            events,
            hash: s.hash,
            moments: s.moments(),
            trace: s.trace.take().unwrap_or_default(),
            seconds: s.seconds(),
            mended: self.mended,
        };
        // Only now may the dead close their connections: it takes the lock, and changes nothing that was judged.
        drop(guard);
        drop((self.graves, self.seats));
        verdict
    }
}
