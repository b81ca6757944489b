//! Readiness: what the steps would find if a failover from the active side began now.

use super::start::protection;
use crate::domain::belief::{self, Belief};
use crate::domain::decision::Decision;
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::route::Route;
use crate::domain::side::Side;
use crate::domain::situation::Situation;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::steps::View;
use crate::steps::findings::findings;
use crate::steps::view::Said;

/// What would stop a failover if the active side were lost now.
pub fn readiness(pool: &Pool, s: &Situation, active: Side) -> Result<(), Problem> {
    let target = active.other();
    let t = Transition::begin(&pool.fqdn, Route::failover(target), "", 0, s.at);
    let view = View::new(pool, s, &t, Said { consent: None, is_uttered: true });
    if let Some(f) = findings(&view).into_iter().next() {
        return Err(f.problem);
    }
    if let Some(problem) = feeding(pool, s, target) {
        return Err(problem);
    }
    // A copy that nothing feeds grows old.
    let half = view.target()?.secondary_half.get().map_err(Clone::clone)?;
    if half.is_none() {
        return Err(Problem::ask(
            Reason::NotProtected,
            format!("No log shipping feeds the copy in {}", clean(pool.name(target))),
            "Set up log shipping to it",
        ));
    }
    if let Some(problem) = in_vain(pool, s, target) {
        return Err(problem);
    }
    match &view.chain {
        Err(p) => return Err(p.clone()),
        // A `.wrk` is a backup that the living side is writing at this moment.
        Ok(chain) => {
            let stuck = chain.stuck.iter().find(|x| !x.file.to_lowercase().ends_with(".wrk"));
            if let Some(stuck) = stuck {
                return Err(stuck.problem.clone());
            }
        }
    }
    let contradicted = Belief::ALL.iter().find_map(|b| belief::contradiction(*b, pool, s));
    contradicted.map_or(Ok(()), Err)
}

/// What keeps log shipping to a side from being set up or set right by itself, if a human must mend it.
fn feeding(pool: &Pool, s: &Situation, target: Side) -> Option<Problem> {
    pool.sites[target].log_shipping.as_ref()?;
    let t = Transition::begin(&pool.fqdn, Route::protect(target), "", 0, s.at);
    match protection(pool, s, &t) {
        Decision::Blocked(p) if p.class != Class::Retry => Some(p),
        Decision::Blocked(_) | Decision::Act(_) | Decision::Wait(_) | Decision::Done(_) => None,
    }
}

/// That what was set up to protect a side brought its copy no further, and the copy still stands there.
fn in_vain(pool: &Pool, s: &Situation, target: Side) -> Option<Problem> {
    let protects = |t: &&Transition| t.route == Route::protect(target);
    let last = s.transitions().into_iter().find(protects)?;
    let redo = s.sites[target].main().ok()?.database.as_ref()?.redo.as_ref().map(|r| r.lsn);
    last.facts.started_jobs.keys().any(|job| last.is_in_vain(job, redo)).then(|| {
        Problem::ask(
            Reason::NotProtected,
            format!("The jobs of log shipping do not bring the copy in {} any further", clean(pool.name(target))),
            "Look into their history; a damaged or missing log backup must be replaced, or the copy seeded anew",
        )
    })
}
