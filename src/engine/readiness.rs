//! Readiness: what the steps would find if a failover from the active side began now.

use crate::domain::decision::Decision;
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::route::Route;
use crate::domain::side::Side;
use crate::domain::situation::Situation;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::steps::findings::findings;
use crate::steps::view::Said;
use crate::steps::{self, View};

/// What would stop a failover if the active side were lost now.
pub fn readiness(pool: &Pool, s: &Situation, active: Side) -> Result<(), Problem> {
    let target = active.other();
    let t = Transition::begin(&pool.fqdn, Route::failover(target), "", 0, s.at);
    let view = View::new(pool, s, &t, Said { consent: None, is_uttered: true });
    if let Some(f) = findings(&view).into_iter().next() {
        return Err(f.problem);
    }
    // A copy that nothing feeds grows old.
    let half = view.target()?.secondary_half.get().map_err(Clone::clone)?;
    if half.is_none() {
        return Err(in_the_way_of_protection(pool, s, target).unwrap_or_else(|| {
            Problem::ask(
                Reason::NotProtected,
                format!("No log shipping feeds the copy in {}", clean(pool.name(target))),
                "Set up log shipping to it",
            )
        }));
    }
    match &view.chain {
        Err(p) => Err(p.clone()),
        // A `.wrk` is a backup that the living side is writing at this moment.
        Ok(chain) => {
            let stuck = chain.stuck.iter().find(|x| !x.file.to_lowercase().ends_with(".wrk"));
            stuck.map_or(Ok(()), |x| Err(x.problem.clone()))
        }
    }
}

/// What keeps log shipping to a side from being set up, if only a human can mend it.
fn in_the_way_of_protection(pool: &Pool, s: &Situation, side: Side) -> Option<Problem> {
    pool.sites[side].log_shipping.as_ref()?;
    let t = Transition::begin(&pool.fqdn, Route::protect(side), "", 0, s.at);
    let view = View::new(pool, s, &t, Said { consent: None, is_uttered: true });
    match steps::decide(StepId::LogShippingEstablished, &view) {
        Decision::Blocked(p) if p.class != Class::Retry => Some(p),
        Decision::Blocked(_) | Decision::Done(_) | Decision::Act(_) | Decision::Wait(_) => None,
    }
}
