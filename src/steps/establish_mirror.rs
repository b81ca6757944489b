//! Give the active side's database a mirror.
//!
//! `Install-CsMirrorDatabase` takes long and lives on without us. Its ids are in the record before it starts; whoever comes
//! next looks after that very command, and starts another only when that one is proved to have ended.

use jiff::SignedDuration;
use serde::Serialize;

use super::findings::gate;
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::lync::JobState;
use crate::domain::pool::{DataCenter, Pool};
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::Route;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::{DetachedJob, JobEnd};
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::management_shell::{Cmdlet, cmdlets};

/// Seconds after which a command that the host does not know counts as never begun: a request of a process that was killed
/// may still be on its way.
const SETTLE: i64 = 10;
/// Seconds of pause after a run that failed.
const PAUSE: i64 = 30;

/// The step.
pub struct EstablishMirror;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Starts the cmdlet.
    Install {
        /// Whether a copy that waits for logs on the mirror-to-be is replaced. A live database never is.
        drop_existing: bool,
    },
    /// Writes down that the cmdlet has ended, with its errors.
    Close(Vec<String>),
}

impl Step for EstablishMirror {
    const ID: StepId = StepId::MirrorEstablished;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { lync: true, partner: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let Some(mirror) = &v.to().mirror else {
            return Decision::Done(Evidence::not_configured(format!(
                "spec.dataCenters[{}] names no mirror",
                v.to().index
            )));
        };
        let db = match v.database() {
            Ok(db) => db,
            Err(p) => return Decision::Blocked(p),
        };
        let job = v.transition.open_job();
        let seen = v.situation.lync.mirror_job.as_ref();
        if let (Some(job), Some(seen)) = (job, seen) {
            let age = v.situation.at.duration_since(job.at);
            match seen.get() {
                Err(p) => return Decision::Blocked(p.clone()),
                Ok(JobState::Running) => {
                    return Decision::Wait(Waiting {
                        reason: Reason::WaitingForCmdlet,
                        message: format!(
                            "Install-CsMirrorDatabase runs since {}",
                            job.at.strftime("%H:%M:%S UTC")
                        ),
                        until: None,
                    });
                }
                Ok(JobState::Finished(errors)) => return Decision::Act(Effect::Close(errors.clone())),
                Ok(JobState::Gone) if age < SignedDuration::from_secs(SETTLE) && !db.has_safe_mirror() => {
                    return Decision::Wait(Waiting {
                        reason: Reason::WaitingForCmdlet,
                        message:
                            "Install-CsMirrorDatabase is not to be seen; its request may still be on its way"
                                .into(),
                        until: v.situation.at.checked_add(SignedDuration::from_secs(2)).ok(),
                    });
                }
                Ok(JobState::Gone) => {
                    return Decision::Act(Effect::Close(vec![
                        "the host knows nothing of the command".into(),
                    ]));
                }
            }
        }
        if db.has_safe_mirror() {
            return Decision::Done(Evidence::new(format!(
                "{} is mirrored to {}: SYNCHRONIZED, safety FULL",
                clean(&v.pool.database),
                clean(&mirror.host)
            )));
        }
        if let Some(m) = &db.mirroring {
            return Decision::Wait(Waiting {
                reason: Reason::WaitingForMirror,
                message: format!("The mirror is {}", m.state_text()),
                until: None,
            });
        }
        if job.is_some() {
            // Recorded, but not looked at in this pass.
            return Decision::Wait(Waiting {
                reason: Reason::WaitingForCmdlet,
                message: "Looking after the cmdlet".into(),
                until: None,
            });
        }
        if let Some(end) = v.transition.facts.mirror_jobs.last().and_then(|j| j.ended.as_ref()) {
            let next = end.at.checked_add(SignedDuration::from_secs(PAUSE)).unwrap_or(v.situation.at);
            if v.situation.at < next && !end.errors.is_empty() {
                return Decision::Blocked(Problem::retry(
                    Reason::EffectFailed,
                    format!(
                        "Install-CsMirrorDatabase ended without a mirror: {}",
                        clean(&end.errors.join("; "))
                    ),
                    format!(
                        "Check {}, the mirror share, port 5022 and WMI between the SQL Servers; it is tried again at {}",
                        mirror.field,
                        next.strftime("%H:%M:%S UTC")
                    ),
                ));
            }
        }
        if let Some(problem) = gate(v, Self::ID) {
            return Decision::Blocked(problem);
        }
        Decision::Act(Effect::Install { drop_existing: v.replaceable().is_some() })
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        if v.mirror_stands() {
            return vec![];
        }
        vec![Effect::Install { drop_existing: v.replaceable().is_some() }]
    }

    fn shown(e: &Effect, pool: &Pool, route: Route) -> Vec<String> {
        match e {
            Effect::Install { drop_existing } => vec![cmdlet(&pool.sites[route.to], *drop_existing).shown()],
            Effect::Close(_) => vec![
                "(the end of Install-CsMirrorDatabase is written into msdb.dbo.persistent_chat_failover)"
                    .into(),
            ],
        }
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        match e {
            Effect::Install { drop_existing } => {
                let to = &p.pool().sites[p.route().to];
                let job = DetachedJob {
                    at: p.now(),
                    host: to.management_shell.field.clone(),
                    shell_id: p.new_id(),
                    command_id: p.new_id(),
                    ended: None,
                };
                p.detach(&cmdlet(to, *drop_existing), job).await
            }
            Effect::Close(errors) => {
                let end = JobEnd { at: p.now(), errors: errors.clone() };
                p.intend(move |t| {
                    if let Some(job) = t.facts.mirror_jobs.last_mut() {
                        job.ended = Some(end);
                    }
                })
                .await
            }
        }
    }
}

fn cmdlet(to: &DataCenter, drop_existing: bool) -> Cmdlet {
    let share = to.mirror_file_share.as_deref().unwrap_or_default();
    cmdlets::install_mirror(&to.sql_server.host, to.sql_server.instance.as_deref(), share, drop_existing)
}
