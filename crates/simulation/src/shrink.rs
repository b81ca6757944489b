//! Makes a failing plan smaller while the same promise stays broken.

use std::collections::BTreeSet;

use lab::scenario::{Dialect, Language, Scenario, SqlServerVersion};
use serde::{Deserialize, Serialize};

use crate::cast::Act;
use crate::night::{Verdict, run};
use crate::plan::{Plan, small};
use crate::sides;
use crate::world::Fates;

/// A plan that once broke a promise.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// Which promise, and how.
    pub why: String,
    /// The plan.
    pub plan: Plan,
}

/// Most runs that one plan is tried with.
const TRIES: usize = 600;

/// The promises that a verdict shows broken.
pub fn promises(v: &Verdict) -> BTreeSet<String> {
    v.violations.iter().map(|x| x.split(':').next().unwrap_or_default().to_string()).collect()
}

/// The same run with its fates listed instead of drawn.
pub fn listed(plan: &Plan, v: &Verdict) -> Plan {
    Plan { fates: Fates::At(v.faults.clone()), keep: false, ..plan.clone() }
}

/// Takes away faults, events, spoilt files, operators and oddities of the scenario, one after the other, as long as the first
/// promise that the plan breaks stays broken. `None`: it breaks none.
pub fn shrink(plan: &Plan) -> Option<Plan> {
    let v = run(plan);
    let promise = v.violations.first()?.split(':').next()?.to_string();
    let mut tries = 0;
    let mut broken = |p: &Plan| {
        tries += 1;
        tries <= TRIES && is_fair(p) && promises(&run(p)).contains(&promise)
    };
    let mut best = plan.clone();
    let whole = listed(plan, &v);
    if whole.fates != best.fates && broken(&whole) {
        best = whole;
    }
    loop {
        let before = best.clone();
        for simpler in SIMPLER {
            let mut p = best.clone();
            simpler(&mut p);
            if p != best && broken(&p) {
                best = p;
            }
        }
        // From the end: what came last mattered least for how it began.
        for n in (0..best.script.len()).rev() {
            let mut p = best.clone();
            p.script.remove(n);
            if broken(&p) {
                best = p;
            }
        }
        if let Fates::At(map) = best.fates.clone() {
            for point in map.keys().rev() {
                let mut p = best.clone();
                if let Fates::At(left) = &mut p.fates {
                    left.remove(point);
                }
                if broken(&p) {
                    best = p;
                }
            }
        }
        for n in (0..best.spoilt.len()).rev() {
            let mut p = best.clone();
            p.spoilt.remove(n);
            if broken(&p) {
                best = p;
            }
        }
        if best == before {
            return Some(best);
        }
    }
}

/// Whether a plan lets it end well at all: the side that was lost stays dead, everybody asks for the failover in the end, and what was
/// taken away is given back. Without that, nothing that does not end is a defect.
pub fn is_fair(p: &Plan) -> bool {
    let to = sides::to_side(&p.scenario);
    let end = if p.stays { to.other() } else { to };
    let last = |of: &dyn Fn(&Act) -> Option<bool>| p.script.iter().rev().find_map(|(_, a)| of(a));
    let dead = last(&|a| match a {
        Act::Lose => Some(true),
        Act::Return => Some(false),
        _ => None,
    });
    let jobs = last(&|a| if let Act::HoldJobs(on) = a { Some(!on) } else { None });
    let asks = (0..p.operators).all(|who| {
        let wants = last(&|a| match a {
            Act::Want(w, side) | Act::Recreate(w, side) if *w == who => Some(*side == end),
            Act::RollBack(w, _) | Act::LoseCluster(w) if *w == who => Some(false),
            _ => None,
        });
        let free = last(&|a| match a {
            Act::Suspend(w, on) if *w == who => Some(!on),
            _ => None,
        });
        // Whom nobody can tell anything is no burden, as long as there is another one.
        let answers = last(&|a| match a {
            Act::ApiServer(w, up) if *w == who => Some(*up),
            Act::Recreate(w, _) if *w == who => Some(true),
            Act::LoseCluster(w) if *w == who => Some(false),
            _ => None,
        });
        wants == Some(true) && free != Some(false) && (answers != Some(false) || who > 0)
    });
    let room = last(&|a| if let Act::CopyFolderFull(on) = a { Some(!on) } else { None });
    let store = p.script.iter().any(|(_, a)| *a == Act::MoveCentralManagement);
    dead == Some(!p.stays) && store && room != Some(false) && jobs != Some(false) && asks
}

/// What makes a plan simpler: no second operator, a world that is like all others in one more respect.
const SIMPLER: [fn(&mut Plan); 11] = [
    |p| p.operators = 1,
    |p| p.other_takes_over = false,
    |p| p.scenario.standby = false,
    |p| p.scenario.job_interval_ms = small().job_interval_ms,
    |p| {
        let Scenario { standby, job_interval_ms, dialect, .. } = p.scenario;
        p.scenario = Scenario { standby, job_interval_ms, dialect, ..small() };
    },
    |p| p.scenario.dialect = Dialect::default(),
    |p| p.scenario.dialect.sql_server = SqlServerVersion::default(),
    |p| p.scenario.dialect.language = Language::default(),
    |p| p.scenario.dialect.front_ends = 1,
    |p| p.scenario.dialect.long_host_names = false,
    |p| p.scenario.dialect.named_instances = true,
];
