//! Readiness: what the steps would find if a failover began now.

use jiff::SignedDuration;

use crate::domain::pool::Pool;
use crate::domain::problem::Problem;
use crate::domain::situation::Situation;
use crate::domain::transition::Transition;
use crate::steps::View;
use crate::steps::findings::findings;

/// What would stop a failover if the primary were lost now.
pub fn readiness(pool: &Pool, s: &Situation) -> Result<(), Problem> {
    let t = Transition::begin(&pool.fqdn, &pool.primary.name, &pool.backup.name, "", 0, s.at);
    let view = View::new(pool, s, &t, None, SignedDuration::ZERO);
    if let Some(f) = findings(&view).into_iter().next() {
        return Err(f.problem);
    }
    match &view.chain {
        Err(p) => Err(p.clone()),
        // A `.wrk` is a backup that the living primary is writing at this moment.
        Ok(chain) => {
            let stuck = chain.stuck.iter().find(|x| !x.file.to_lowercase().ends_with(".wrk"));
            stuck.map_or(Ok(()), |x| Err(x.problem.clone()))
        }
    }
}
