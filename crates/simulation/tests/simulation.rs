//! The fixed part of the simulation that every test run carries out. `make soak` does more of the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use persistent_chat_failover::domain::side::Side;
use simulation::fate::Fate;
use simulation::interrupted;
use simulation::night::{Verdict, run};
use simulation::plan::{Kind, Plan};
use simulation::shrink::{Regression, is_fair, shrink};
use simulation::world::Fates;

fn assert_well(name: &str, v: &Verdict) {
    assert!(v.violations.is_empty(), "{name}: {:#?}\nfaults: {:?}", v.violations, v.faults);
}

/// The plans that once failed, by file. Each stays for ever.
fn plans() -> Vec<(PathBuf, Regression)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    let read = |f: &PathBuf| serde_json::from_str(&std::fs::read_to_string(f).unwrap()).unwrap();
    files.into_iter().map(|f| (f.clone(), read(&f))).collect()
}

#[test]
fn plans_that_once_failed_are_well() {
    let plans = plans();
    assert!(!plans.is_empty());
    for (file, r) in plans {
        assert_well(&format!("{} ({})", file.display(), r.why), &run(&r.plan));
    }
}

#[test]
fn bad_nights_end_well_and_the_same_seed_gives_the_same_night() {
    for seed in 5000..5060 {
        let v = run(&Plan::bad_night(seed));
        assert_well(&format!("pcf-soak --trace {seed}"), &v);
        if seed % 10 == 0 {
            let again = run(&Plan::bad_night(seed));
            assert_eq!((v.hash, v.count), (again.hash, again.count), "seed {seed} gave another night");
        }
    }
}

#[test]
fn nights_with_a_switch_or_a_return_and_weeks_that_once_went_wrong_end_well() {
    for seed in [30001, 30289] {
        assert_well(&format!("pcf-soak --planned --trace {seed}"), &run(&Plan::planned_night(seed)));
    }
    for seed in [50001, 50002] {
        assert_well(&format!("pcf-soak --returning --trace {seed}"), &run(&Plan::returning_night(seed)));
    }
    for seed in [12, 35, 55, 73, 260] {
        assert_well(&format!("pcf-soak --weeks --trace {seed}"), &run(&Plan::weeks(seed)));
    }
}

/// How many calls with their fates of each kind of night are tried by day.
const BY_DAY: usize = 16;

/// Every call of a clean night that changes something, with every fate.
fn every_write_with_every_fate(kind: Kind, begins: Side, operators: usize) {
    let night = || Plan::clean(kind, begins, operators);
    let clean = run(&Plan { keep: true, ..night() });
    assert_well(&format!("clean {kind:?} from {begins:?}"), &clean);
    let writes: Vec<_> = (0u64..).zip(&clean.points).filter(|(_, p)| p.writes).collect();
    assert!(writes.len() >= 6, "{kind:?}: {writes:?}");
    let all = writes.iter().flat_map(|(n, point)| Fate::bad(point.call).map(|fate| (*n, fate)));
    let chosen: Vec<(u64, Fate)> = sample(all.collect());
    let mut reached = 0;
    for (point, fate) in &chosen {
        let plan = Plan {
            fates: Fates::At(BTreeMap::from([(*point, *fate)])),
            other_takes_over: operators > 1,
            ..night()
        };
        let v = run(&plan);
        assert_well(&format!("{kind:?} from {begins:?}, {operators} operators, point {point}, {fate:?}"), &v);
        reached += usize::from(v.faults.get(point) == Some(fate));
    }
    assert_eq!(reached, chosen.len(), "every point was reached with its fate");
}

/// By night (`PCF_NIGHT=1`) all of it; by day some of it, others from run to run (`PCF_SAMPLE=n` chooses the same again).
fn sample<T>(all: Vec<T>) -> Vec<T> {
    if std::env::var("PCF_NIGHT").is_ok_and(|v| v == "1") { all } else { few(all, BY_DAY) }
}

/// So many of them, others from run to run.
fn few<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let number: usize = std::env::var("PCF_SAMPLE").map_or(0, |n| n.parse().unwrap());
    let step = (all.len() / most).max(1);
    all.into_iter().skip(number % step).step_by(step).collect()
}

#[test]
fn killed_cut_or_hung_at_calls_that_change_something_it_ends_well() {
    for kind in Kind::ALL {
        every_write_with_every_fate(kind, Side::Primary, 1);
    }
}

#[test]
fn killed_cut_or_hung_at_calls_that_change_something_another_one_ends_it() {
    for kind in Kind::ALL {
        every_write_with_every_fate(kind, Side::Backup, 2);
    }
}

/// How many of what can befall each kind of night are tried here; `pcf-soak --interrupted` tries all.
const BEFALLS: usize = 3;

#[test]
fn whatever_befalls_a_pool_at_any_moment_it_ends_well() {
    for (kind, begins) in Kind::on_both_sides() {
        for (name, plan) in few(interrupted::nights(kind, begins, 1.0).collect(), BEFALLS) {
            assert_well(&name, &run(&plan));
        }
    }
}

#[test]
fn clean_nights_check_every_promise() {
    let mut checks: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, begins) in Kind::on_both_sides() {
        let v = run(&Plan::clean(kind, begins, 1));
        assert_well(&format!("clean {kind:?} from {begins:?}"), &v);
        for (promise, n) in v.checks {
            *checks.entry(promise).or_default() += n;
        }
    }
    for promise in [
        "recovery happens once",
        "no applicable log is left out",
        "recovery only while the primary is dead or vouched for",
        "a detached cmdlet never runs twice at a time",
        "chat is moved on the surviving side only",
        "a record lies on the side that is live in the end",
        "a log is shipped from the live database of the active side",
        "a log is shipped to a copy that continues the live one",
        "Ready only while chat is live where it is wanted",
        "a status names only a side whose database is live",
        "Stalled and Reconciling are never both True",
        "no status holds a secret",
        "an idle operator does not write",
    ] {
        assert!(checks.get(promise).is_some_and(|n| *n > 0), "{promise} was never checked: {checks:?}");
    }
}

#[test]
fn a_plan_survives_being_written_down() {
    for seed in [7, 5001] {
        let plan = Plan::bad_night(seed);
        let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(read, plan);
        assert!(is_fair(&plan), "a night must be able to end well: {:?}", plan.script);
    }
    assert_eq!(
        shrink(&Plan::clean(Kind::Failover, Side::Primary, 1)),
        None,
        "a plan that breaks nothing is not made smaller"
    );
}
