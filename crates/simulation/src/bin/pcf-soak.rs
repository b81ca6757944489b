//! `pcf-soak`: many bad nights, every crash point with every fate, and what came of them.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use simulation::run::{Plan, Verdict, run};
use simulation::world::{Fate, Fates};

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
    /// Of the exhaustive runs only every so many-th point that does not write; points that write are never left out.
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// Each seed twice: the same seed must give the same trace.
    #[arg(long)]
    twice: bool,
    /// Shows the trace of one seed and ends.
    #[arg(long)]
    trace: Option<u64>,
    /// Ends with the first seed that shows a violation.
    #[arg(long)]
    until_failure: bool,
    /// Threads.
    #[arg(long)]
    jobs: Option<usize>,
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
    checks: BTreeMap<&'static str, u64>,
    failures: Vec<(String, Vec<String>)>,
    reached: u64,
    differing: Vec<u64>,
}

impl Sum {
    fn add(&mut self, name: String, v: Verdict) {
        self.runs += 1;
        self.events += v.events as u64;
        self.calls += v.count;
        self.seconds += v.seconds;
        self.mended += v.mended;
        for (f, n) in v.dealt {
            *self.dealt.entry(f).or_default() += n;
        }
        for (c, n) in v.checks {
            *self.checks.entry(c).or_default() += n;
        }
        if !v.violations.is_empty() {
            self.failures.push((name, v.violations));
        }
    }
}

fn main() -> ExitCode {
    let a = Arguments::parse();
    if let Some(seed) = a.trace {
        let v = run(&Plan { keep: true, ..Plan::night(seed) });
        for line in &v.trace {
            println!("{line}");
        }
        println!("faults: {:?}", v.faults);
        for x in &v.violations {
            println!("VIOLATION {x}");
        }
        return if v.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let jobs = a.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let began = Instant::now();
    let sum = Mutex::new(Sum::default());
    let exists = if a.exhaustive { exhaustive(&a, jobs, &sum) } else { nights(&a, jobs, &sum) };
    let Ok(mut sum) = sum.into_inner() else { return ExitCode::FAILURE };
    sum.failures.sort();
    println!(
        "{} runs, {} events, {} calls, {:.0} s simulated in {:.0} s, {} fixes by humans",
        sum.runs,
        sum.events,
        sum.calls,
        sum.seconds,
        began.elapsed().as_secs_f64(),
        sum.mended
    );
    if let Some(exists) = exists {
        println!("crash points: {exists} exist, {} reached", sum.reached);
    }
    for (fate, n) in &sum.dealt {
        println!("  fate {fate:?}: {n}");
    }
    for (check, n) in &sum.checks {
        println!("  {n:>9} checks: {check}");
    }
    for (name, violations) in sum.failures.iter().take(20) {
        println!("VIOLATION {name}: {}", violations.first().map_or("", String::as_str));
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
        let plan = Plan::night(seed);
        let v = run(&plan);
        let differs = a.twice && run(&plan).hash != v.hash;
        if let Ok(mut sum) = sum.lock() {
            sum.add(format!("seed {seed} (pcf-soak --trace {seed})"), v);
            if differs {
                sum.differing.push(seed);
            }
        }
    });
    None
}

fn exhaustive(a: &Arguments, jobs: usize, sum: &Mutex<Sum>) -> Option<u64> {
    let mut work: Vec<(usize, u64, Fate)> = Vec::new();
    let mut points = 0;
    // One operator that goes on itself; two, of which the other one goes on.
    for operators in [1, 2] {
        let clean = run(&Plan { keep: true, ..Plan::clean(operators) });
        if let Ok(mut sum) = sum.lock() {
            sum.add(format!("clean run with {operators} operators"), clean.clone());
        }
        for (n, p) in clean.points.iter().enumerate() {
            if p.writes || (n as u64).is_multiple_of(a.stride) {
                points += 1;
                work.extend(Fate::BAD.iter().map(|f| (operators, n as u64, *f)));
            }
        }
    }
    let reached = Mutex::new(std::collections::BTreeSet::new());
    spread(jobs, work.len() as u64, a.minutes, |n| {
        let Some((operators, point, fate)) = usize::try_from(n).ok().and_then(|n| work.get(n)).copied()
        else {
            return;
        };
        let plan = Plan {
            fates: Fates::At(BTreeMap::from([(point, fate)])),
            other_takes_over: operators > 1,
            ..Plan::clean(operators)
        };
        let v = run(&plan);
        if v.faults.contains_key(&point)
            && let Ok(mut reached) = reached.lock()
        {
            reached.insert((operators, point));
        }
        if let Ok(mut sum) = sum.lock() {
            sum.add(format!("{operators} operators, point {point}, {fate:?}"), v);
        }
    });
    if let (Ok(mut sum), Ok(reached)) = (sum.lock(), reached.into_inner()) {
        sum.reached = reached.len() as u64;
    }
    Some(points)
}
