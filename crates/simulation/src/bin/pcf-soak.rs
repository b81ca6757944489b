//! `pcf-soak`: many bad nights, every crash point with every fate, and what came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use persistent_chat_failover::domain::problem::Reason;
use persistent_chat_failover::domain::side::Side;
use persistent_chat_failover::domain::step::StepId;
use simulation::fate::Fate;
use simulation::guards::{Guard, Held};
use simulation::interrupted;
use simulation::night::{Verdict, run};
use simulation::plan::{Kind, Plan};
use simulation::shrink;
use simulation::world::Fates;

/// Simulates failovers: random nights by seed, or every crash point with every fate.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// No new seed after so many minutes; 0: no limit.
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Every crash point of a clean run with every fate, continued by the same and by another operator.
    #[arg(long)]
    exhaustive: bool,
    /// Everything that can befall a pool, at every second of a clean night of each kind.
    #[arg(long)]
    interrupted: bool,
    /// Of the exhaustive runs only every so many-th point that does not write; points that write are never left out. Of the interrupted
    /// nights every so many-th, beginning with that of the number of the first seed.
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// Of the exhaustive runs only those of this kind.
    #[arg(long)]
    kind: Option<Kind>,
    /// Nights of a planned switch.
    #[arg(long)]
    planned: bool,
    /// Nights in which the side that was lost comes back.
    #[arg(long, conflicts_with = "planned")]
    returning: bool,
    /// Weeks: one disaster, return, switch or piece of work after the other, and people who do steps by hand.
    #[arg(long, conflicts_with_all = ["planned", "returning"])]
    weeks: bool,
    /// Each seed twice: the same seed must give the same trace.
    #[arg(long)]
    twice: bool,
    /// Shows the trace of one seed, its smallest plan that breaks the same promise if it breaks one, and ends.
    #[arg(long)]
    trace: Option<u64>,
    /// The same for a plan: a file, or the JSON itself.
    #[arg(long)]
    plan: Option<String>,
    /// Does not look for a smaller plan.
    #[arg(long)]
    no_shrink: bool,
    /// Ends with the first seed that shows a violation.
    #[arg(long)]
    until_failure: bool,
    /// Threads.
    #[arg(long)]
    jobs: Option<usize>,
}

impl Arguments {
    /// The kinds of clean nights that are wanted, begun on either side.
    fn kinds(&self) -> impl Iterator<Item = (Kind, Side)> {
        Kind::on_both_sides().filter(|(kind, _)| self.kind.is_none_or(|only| *kind == only))
    }

    /// The night of a seed.
    fn night(&self, seed: u64) -> Plan {
        match (self.planned, self.returning, self.weeks) {
            (true, _, _) => Plan::planned_night(seed),
            (false, true, _) => Plan::returning_night(seed),
            (false, false, true) => Plan::weeks(seed),
            (false, false, false) => Plan::bad_night(seed),
        }
    }
}

/// A night with nothing else in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Clean {
    kind: Kind,
    begins: Side,
    operators: usize,
}

impl Clean {
    fn plan(self) -> Plan {
        Plan::clean(self.kind, self.begins, self.operators)
    }
}

/// What all runs came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    events: u64,
    calls: u64,
    seconds: f64,
    mended: u64,
    dealt: BTreeMap<Fate, u64>,
    acts: BTreeMap<&'static str, u64>,
    guards: BTreeMap<Guard, Held>,
    checks: BTreeMap<&'static str, u64>,
    failures: Vec<(String, Plan, Vec<String>)>,
    reached: u64,
    differing: Vec<u64>,
    /// The digests of all traces, combined in a way that does not depend on who was done first.
    digest: u64,
}

impl Sum {
    fn add(&mut self, name: String, plan: &Plan, v: Verdict) {
        self.runs += 1;
        self.events += v.events as u64;
        self.calls += v.count;
        self.seconds += v.seconds;
        self.mended += v.mended;
        self.digest = self.digest.wrapping_add(v.hash.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (f, n) in v.dealt {
            *self.dealt.entry(f).or_default() += n;
        }
        for (a, n) in v.acts {
            *self.acts.entry(a).or_default() += n;
        }
        for (guard, held) in v.guards {
            let all = self.guards.entry(guard).or_default();
            all.times += held.times;
            all.alone += held.alone;
        }
        for (c, n) in v.checks {
            *self.checks.entry(c).or_default() += n;
        }
        if !v.violations.is_empty() {
            self.failures.push((name, plan.clone(), v.violations));
        }
    }
}

fn main() -> ExitCode {
    let a = Arguments::parse();
    let one = match (&a.trace, &a.plan) {
        (Some(seed), _) => Some(Ok(a.night(*seed))),
        (None, Some(text)) => Some(read(text)),
        (None, None) => None,
    };
    match one {
        Some(Ok(plan)) => return trace(&plan, !a.no_shrink),
        Some(Err(e)) => {
            eprintln!("pcf-soak: {e}");
            return ExitCode::FAILURE;
        }
        None => {}
    }
    let jobs = a.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let began = Instant::now();
    let sum = Mutex::new(Sum::default());
    let exists = match (a.exhaustive, a.interrupted) {
        (true, _) => exhaustive(&a, jobs, &sum),
        (false, true) => interrupted_nights(&a, jobs, &sum),
        (false, false) => nights(&a, jobs, &sum),
    };
    let Ok(mut sum) = sum.into_inner() else { return ExitCode::FAILURE };
    sum.failures.sort_by(|a, b| a.0.cmp(&b.0));
    println!(
        "{} runs, {} events, {} calls, {:.0} s simulated in {:.0} s, {} fixes by humans",
        sum.runs,
        sum.events,
        sum.calls,
        sum.seconds,
        began.elapsed().as_secs_f64(),
        sum.mended
    );
    println!("digest of the traces: {:016x}", sum.digest);
    if let Some(exists) = exists {
        println!("crash points: {exists} exist, {} reached", sum.reached);
    }
    for (fate, n) in &sum.dealt {
        println!("  {n:>9} calls: {fate:?}");
    }
    for (act, n) in &sum.acts {
        println!("  {n:>9} times: {act}");
    }
    for (check, n) in &sum.checks {
        println!("  {n:>9} checks: {check}");
    }
    show_guards(&sum.guards);
    for (name, plan, violations) in sum.failures.iter().take(20) {
        println!("VIOLATION {name}: {}", violations.first().map_or("", String::as_str));
        // Nights have their seed; what the exhaustive runs vary has none.
        if (a.exhaustive || a.interrupted)
            && let Ok(json) = serde_json::to_string(plan)
        {
            println!("  pcf-soak --plan '{json}'");
        }
    }
    if !sum.differing.is_empty() {
        println!("VIOLATION the same seed gave another trace: {:?}", sum.differing);
    }
    println!("{} violations", sum.failures.len() + sum.differing.len());
    let reached = exists.is_none_or(|n| n == sum.reached);
    if sum.failures.is_empty() && sum.differing.is_empty() && reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What held operators back, and what never did.
fn show_guards(guards: &BTreeMap<Guard, Held>) {
    for ((step, reason), Held { times, alone }) in guards {
        let step = step.map_or("no step", StepId::as_str);
        println!("  {times:>9} times, {alone:>9} alone: {step}, {}", reason.as_str());
    }
    let told: BTreeSet<Reason> = guards.keys().map(|(_, reason)| *reason).collect();
    // Those before tell what goes well.
    let hold_back = Reason::ALL.iter().skip_while(|r| **r != Reason::Suspended);
    let never: Vec<&str> = hold_back.filter(|r| !told.contains(r)).map(|r| r.as_str()).collect();
    println!("  has held back nothing: {}", never.join(", "));
}

/// A plan from its JSON or from a file: the plan itself, or a regression that holds one.
fn read(text: &str) -> Result<Plan, String> {
    let json =
        if text.trim_start().starts_with('{') { Ok(text.to_string()) } else { std::fs::read_to_string(text) };
    let json = json.map_err(|e| format!("{text}: {e}"))?;
    serde_json::from_str(&json)
        .or_else(|e| {
            serde_json::from_str::<simulation::shrink::Regression>(&json).map(|r| r.plan).map_err(|_| e)
        })
        .map_err(|e| format!("this is not a plan: {e}"))
}

/// One run, shown; if it breaks a promise, the smallest plan that was found to break the same.
fn trace(plan: &Plan, shrunk: bool) -> ExitCode {
    let v = run(&Plan { keep: true, ..plan.clone() });
    println!("{:?}", plan.scenario.dialect);
    for line in &v.trace {
        println!("{line}");
    }
    println!("faults: {:?}", v.faults);
    for x in &v.violations {
        println!("VIOLATION {x}");
    }
    if v.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    if shrunk
        && let Some(small) = shrink::shrink(plan)
        && let Ok(json) = serde_json::to_string(&small)
    {
        println!("{json}");
    }
    ExitCode::FAILURE
}

/// Work for several threads: each run has a runtime of its own and shares nothing.
fn spread(jobs: usize, total: u64, minutes: u64, work: impl Fn(u64) + Sync) {
    let (next, began) = (AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let late = minutes > 0 && began.elapsed() > Duration::from_secs(minutes * 60);
                    if n >= total || late {
                        break;
                    }
                    work(n);
                }
            });
        }
    });
}

fn nights(a: &Arguments, jobs: usize, sum: &Mutex<Sum>) -> Option<u64> {
    spread(jobs, a.seeds, a.minutes, |n| {
        if a.until_failure && sum.lock().is_ok_and(|s| !s.failures.is_empty()) {
            return;
        }
        let seed = a.first_seed + n;
        let plan = a.night(seed);
        let v = run(&plan);
        let differs = a.twice && run(&plan).hash != v.hash;
        if let Ok(mut sum) = sum.lock() {
            sum.add(format!("seed {seed} (pcf-soak --trace {seed})"), &plan, v);
            if differs {
                sum.differing.push(seed);
            }
        }
    });
    None
}

fn interrupted_nights(a: &Arguments, jobs: usize, sum: &Mutex<Sum>) -> Option<u64> {
    let all = a.kinds().flat_map(|(kind, begins)| interrupted::nights(kind, begins, 1.0));
    let stride = usize::try_from(a.stride).unwrap_or(usize::MAX).max(1);
    let chosen: Vec<(String, Plan)> =
        all.skip(usize::try_from(a.first_seed).unwrap_or(0) % stride).step_by(stride).collect();
    spread(jobs, chosen.len() as u64, a.minutes, |n| {
        let Some((name, plan)) = usize::try_from(n).ok().and_then(|n| chosen.get(n)) else { return };
        let v = run(plan);
        if let Ok(mut sum) = sum.lock() {
            sum.add(name.clone(), plan, v);
        }
    });
    None
}

fn exhaustive(a: &Arguments, jobs: usize, sum: &Mutex<Sum>) -> Option<u64> {
    let mut work: Vec<(Clean, u64, Fate)> = Vec::new();
    let mut points = 0;
    // One operator that goes on itself; two, of which the other one goes on.
    for clean in
        a.kinds().flat_map(|(kind, begins)| [1, 2].map(|operators| Clean { kind, begins, operators }))
    {
        let plan = Plan { keep: true, ..clean.plan() };
        let v = run(&plan);
        if let Ok(mut sum) = sum.lock() {
            sum.add(format!("clean run of {clean:?}"), &plan, v.clone());
        }
        for (n, p) in v.points.iter().enumerate() {
            if p.writes || (n as u64).is_multiple_of(a.stride) {
                points += 1;
                work.extend(Fate::bad(p.call).map(|f| (clean, n as u64, f)));
            }
        }
    }
    let reached = Mutex::new(std::collections::BTreeSet::new());
    spread(jobs, work.len() as u64, a.minutes, |n| {
        let Some((clean, point, fate)) = usize::try_from(n).ok().and_then(|n| work.get(n)).copied() else {
            return;
        };
        let plan = Plan {
            fates: Fates::At(BTreeMap::from([(point, fate)])),
            other_takes_over: clean.operators > 1,
            ..clean.plan()
        };
        let v = run(&plan);
        if v.faults.contains_key(&point)
            && let Ok(mut reached) = reached.lock()
        {
            reached.insert((clean, point));
        }
        if let Ok(mut sum) = sum.lock() {
            sum.add(format!("{clean:?}, point {point}, {fate:?}"), &plan, v);
        }
    });
    if let (Ok(mut sum), Ok(reached)) = (sum.lock(), reached.into_inner()) {
        sum.reached = reached.len() as u64;
    }
    Some(points)
}
