//! Remove log shipping from the instance whose copy goes live, so that no job can touch the database any more.
//!
//! `sp_delete_log_shipping_secondary_database` also deletes the jobs and every setting; they are saved first: in the record, and
//! as a T-SQL script beside the log backups for the person who sets log shipping up again.
//! A running restore job is waited for, never killed: an interrupted restore must be done again.

use serde::Serialize;

use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::log_shipping::{Job, SecondaryHalf};
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::route::Route;
use crate::domain::sql_server::wait_for_restores;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::sql_server::{Statement, agent, log_shipping_script, statements};

/// Seconds that a running copy job is given. It reads a share that may have died with the side that is left.
const COPY_JOB_PATIENCE: i64 = 60;

/// Effects of this step (saving, two jobs, removal) that go well where everything answers; only after more of them the monitor server
/// is left out.
const REMOVALS: i32 = 4;

/// The step.
pub struct RemoveLogShipping;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Keeps the configuration: in the record, and as this script.
    Save(SecondaryHalf, String),
    /// Disables a job, so that its schedule does not start it again.
    DisableJob(String),
    /// Stops a copy job that hangs.
    StopCopyJob(String),
    /// Removes log shipping, if asked without telling its monitor server.
    Remove {
        /// The monitor server is left out: it is another server, and telling it has failed.
        ignore_monitor: bool,
    },
}

impl Step for RemoveLogShipping {
    const ID: StepId = StepId::LogShippingRemoved;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { other: true, files: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let target = match v.target() {
            Ok(target) => target,
            Err(p) => return Decision::Blocked(p),
        };
        let (shipping, jobs) = match (target.secondary_half.get(), target.jobs.get()) {
            (Ok(shipping), Ok(jobs)) => (shipping, jobs),
            (Err(p), _) | (_, Err(p)) => return Decision::Blocked(p.clone()),
        };
        let Some(shipping) = shipping else {
            return Decision::Done(Evidence::new(format!(
                "{} ships no logs for {}",
                clean(&target.server_name),
                clean(&v.pool.database)
            )));
        };
        let saved = v.transition.facts.log_shipping.as_ref();
        // What somebody set up anew meanwhile is another one.
        if saved.is_none_or(|saved| !saved.id().eq_ignore_ascii_case(shipping.id())) {
            let script = log_shipping_script::script(shipping, jobs, &v.pool.database);
            return Decision::Act(Effect::Save(shipping.clone(), script));
        }
        if let Some(job) = own(shipping, jobs).find(|j| j.enabled) {
            return Decision::Act(Effect::DisableJob(job.id.clone()));
        }
        if let Some(job) = own(shipping, jobs).find(|j| j.running) {
            let waited = v
                .transition
                .steps
                .get(&Self::ID)
                .and_then(|h| h.started)
                .map_or(0, |t| v.situation.at.duration_since(t).as_secs());
            let is_copy = job.id.eq_ignore_ascii_case(shipping.copy_job());
            if is_copy && waited >= COPY_JOB_PATIENCE {
                return Decision::Act(Effect::StopCopyJob(job.id.clone()));
            }
            return Decision::Wait(Waiting {
                reason: Reason::WaitingForJob,
                message: format!("The job {} still runs; it is not interrupted", clean(&job.name)),
                until: None,
            });
        }
        match target.restores.get() {
            Err(p) => Decision::Blocked(p.clone()),
            Ok(running) if !running.is_empty() => Decision::Wait(wait_for_restores(running)),
            Ok(_) => {
                let monitor = shipping.monitor_server();
                let remote = !monitor.is_empty() && !monitor.eq_ignore_ascii_case(&target.server_name);
                let tried = v.transition.attempts(Self::ID) > REMOVALS;
                Decision::Act(Effect::Remove { ignore_monitor: remote && tried })
            }
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        let Some(target) = v.target().ok() else { return vec![] };
        let (Some(Some(half)), Some(jobs)) = (target.secondary_half.known(), target.jobs.known()) else {
            return vec![];
        };
        let disable = own(half, jobs).filter(|j| j.enabled).map(|j| Effect::DisableJob(j.id.clone()));
        disable.chain([Effect::Remove { ignore_monitor: false }]).collect()
    }

    fn shown(e: &Effect, pool: &Pool, _route: Route) -> Vec<String> {
        match statement(e, pool) {
            Some(statement) => vec![statement.shown()],
            None => vec![
                "(the configuration of log shipping is saved in msdb.dbo.persistent_chat_failover, and as a script in the copy folder)".into(),
            ],
        }
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        if let Effect::Save(shipping, script) = e {
            let shipping = shipping.clone();
            p.keep(&format!("log-shipping-{}.sql", p.transition().id), script).await;
            return p.intend(move |t| t.facts.log_shipping = Some(shipping)).await;
        }
        match statement(e, p.pool()) {
            Some(statement) => p.sql(p.target(), &statement).await,
            None => Outcome::Answered,
        }
    }
}

/// The jobs of the secondary half itself.
fn own<'j>(half: &'j SecondaryHalf, jobs: &'j [Job]) -> impl Iterator<Item = &'j Job> {
    let ids = [half.copy_job(), half.restore_job()];
    jobs.iter().filter(move |j| ids.iter().any(|id| j.id.eq_ignore_ascii_case(id)))
}

/// The statement of an effect, if it is one.
fn statement(e: &Effect, pool: &Pool) -> Option<Statement> {
    let lock = pool.lock_resource();
    match e {
        Effect::Save(..) => None,
        Effect::DisableJob(id) => Some(agent::enable_job(pool, id, false)),
        Effect::StopCopyJob(id) => {
            let parameters = vec![lock.into(), id.clone().into()];
            Some(Statement::write("sp_stop_job", statements::stop_job(), parameters))
        }
        // Without a deadline: the procedure may wait for a monitor server that is gone.
        Effect::Remove { ignore_monitor } => Some(Statement::long(
            "sp_delete_log_shipping",
            statements::remove_log_shipping(*ignore_monitor),
            vec![lock.into(), pool.database.clone().into()],
        )),
    }
}
