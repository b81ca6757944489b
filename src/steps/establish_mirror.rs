//! Give the active side's database a mirror.
//!
//! `Install-CsMirrorDatabase` takes long and lives on without us. Its ids are in the record before it starts; whoever comes
//! next looks after that very command, and starts another only when that one is proved to have ended.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::findings::gate;
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::lync::{Diagnostics, JobState};
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
/// Seconds of pause after a first run that ended without a mirror, whatever it said; doubled with each further one.
const PAUSE: i64 = 30;
/// Seconds after which a human is told of a command that still runs. It copies a whole database from server to server, which may take
/// long; nobody has said how long.
const LONG: i64 = 4 * 3600;
/// Longest pause.
const LONGEST: i64 = 120;

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
    /// Writes down that the cmdlet has ended, and what it said.
    Close(Diagnostics),
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
            return of_job(job, seen.get(), v.situation.at, db.has_safe_mirror());
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
        if let Some(problem) = ended_in_vain(&v.transition.facts.mirror_jobs, v.situation.at, &mirror.field) {
            return Decision::Blocked(problem);
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
                    user: None,
                    configuration: None,
                    ended: None,
                };
                p.detach(&cmdlet(to, *drop_existing), job).await
            }
            Effect::Close(said) => {
                let end = JobEnd { at: p.now(), said: said.clone() };
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

/// What follows from a job whose end nobody has taken down.
fn of_job(
    job: &DetachedJob,
    seen: Result<&JobState, &Problem>,
    at: Timestamp,
    stands: bool,
) -> Decision<Effect> {
    let age = at.duration_since(job.at);
    let since = job.at.strftime("%H:%M:%S UTC");
    let waiting =
        |message: String, until| Decision::Wait(Waiting { reason: Reason::WaitingForCmdlet, message, until });
    match seen {
        Ok(JobState::Finished(said)) => Decision::Act(Effect::Close(said.clone())),
        // What it was started for is there. Whatever the host says of it, and if it says nothing, that counts.
        Ok(JobState::Running | JobState::Elsewhere | JobState::Gone) | Err(_) if stands => {
            Decision::Act(Effect::Close(Diagnostics {
                errors: vec![],
                warnings: vec!["the mirror stands; its end was not seen".into()],
            }))
        }
        Err(p) => Decision::Blocked(p.clone()),
        Ok(JobState::Running | JobState::Elsewhere) if age > SignedDuration::from_secs(LONG) => {
            Decision::Blocked(Problem::ask(
                Reason::WaitingForCmdlet,
                format!("Install-CsMirrorDatabase runs since {since}, for more than {} hours", LONG / 3600),
                format!(
                    "Look at {} whether it still works; if not, end its process wsmprovhost there: then it counts as ended",
                    job.host
                ),
            ))
        }
        Ok(JobState::Running) => waiting(format!("Install-CsMirrorDatabase runs since {since}"), None),
        Ok(JobState::Elsewhere) => waiting(
            format!(
                "Install-CsMirrorDatabase, started at {since}, is still counted as another client's; it is looked at again"
            ),
            None,
        ),
        Ok(JobState::Gone) if age < SignedDuration::from_secs(SETTLE) => waiting(
            "Install-CsMirrorDatabase is not to be seen; its request may still be on its way".into(),
            at.checked_add(SignedDuration::from_secs(2)).ok(),
        ),
        Ok(JobState::Gone) => {
            Decision::Act(Effect::Close(Diagnostics::error("the host knows nothing of the command")))
        }
    }
}

fn cmdlet(to: &DataCenter, drop_existing: bool) -> Cmdlet {
    let share = to.mirror_file_share.as_deref().unwrap_or_default();
    cmdlets::install_mirror(&to.sql_server.host, to.sql_server.instance.as_deref(), share, drop_existing)
}

/// The pause after runs that ended without a mirror, and all that the last one said. Cmdlets of this family end as completed and tell
/// their errors as warnings: that nothing was said is no reason to begin again at once.
fn ended_in_vain(runs: &[DetachedJob], at: Timestamp, mirror: &str) -> Option<Problem> {
    let end = runs.last()?.ended.as_ref()?;
    let doubled = u32::try_from(runs.len() - 1).unwrap_or(u32::MAX).min(8);
    let pause = SignedDuration::from_secs((PAUSE << doubled).min(LONGEST));
    let next = end.at.checked_add(pause).ok().filter(|next| at < *next)?;
    let said = end.said.told().unwrap_or_else(|| "it said nothing".into());
    Some(Problem::retry(
        Reason::EffectFailed,
        format!("Install-CsMirrorDatabase ended without a mirror: {said}"),
        format!(
            "Check {mirror}, the mirror share, port 5022 and WMI between the SQL Servers; it is tried again at {}",
            next.strftime("%H:%M:%S UTC")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ended: Option<(i64, Diagnostics)>) -> DetachedJob {
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        DetachedJob {
            at: at(0),
            host: "spec.dataCenters[1].managementShell".into(),
            shell_id: String::new(),
            command_id: String::new(),
            user: None,
            configuration: None,
            ended: ended.map(|(seconds, said)| JobEnd { at: at(seconds), said }),
        }
    }

    #[test]
    fn a_run_without_a_mirror_is_followed_by_a_pause_that_grows_and_tells_all_that_was_said() {
        let warned = Diagnostics { errors: vec![], warnings: vec!["W1".into(), "W2".into()] };
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let told = |runs: &[DetachedJob], seconds| {
            ended_in_vain(runs, at(seconds), "spec.dataCenters[1].mirror").map(|p| p.what)
        };
        let first = [run(Some((100, warned.clone())))];
        let what = told(&first, 129).unwrap();
        assert!(what.ends_with("without a mirror: warnings: W1; W2"), "{what}");
        assert_eq!(told(&first, 130), None);
        let second = [run(Some((50, warned))), run(Some((100, Diagnostics::default())))];
        assert!(told(&second, 159).unwrap().ends_with("it said nothing"));
        assert_eq!(told(&second, 160), None);
        let many: Vec<DetachedJob> = (0..70).map(|_| run(Some((100, Diagnostics::error("E"))))).collect();
        assert!(told(&many, 219).unwrap().ends_with(": E"));
        assert_eq!(told(&many, 220), None);
        assert_eq!(told(&[run(None)], 100), None, "it is looked after");
        assert_eq!(told(&[], 100), None);
    }

    #[test]
    fn a_mirror_that_stands_counts_whatever_the_job_says_and_one_that_runs_for_hours_is_told_to_a_human() {
        let job = run(None);
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let problem = Problem::retry(Reason::HostUnreachable, "silent", "");
        let said = Diagnostics { errors: vec![], warnings: vec!["W".into()] };
        let finished = JobState::Finished(said.clone());
        let states = [Ok(&JobState::Running), Ok(&JobState::Elsewhere), Ok(&JobState::Gone), Err(&problem)];
        for seen in states {
            match of_job(&job, seen, at(5), true) {
                Decision::Act(Effect::Close(said)) => assert_eq!(said.errors, Vec::<String>::new()),
                other => panic!("{other:?}"),
            }
            let word = of_job(&job, seen, at(5), false);
            assert!(!matches!(word, Decision::Act(_) | Decision::Done(_)), "{word:?}");
        }
        assert_eq!(of_job(&job, Ok(&finished), at(5), true), Decision::Act(Effect::Close(said)));
        for seen in [Ok(&JobState::Running), Ok(&JobState::Elsewhere)] {
            assert!(matches!(of_job(&job, seen, at(LONG), false), Decision::Wait(_)));
            match of_job(&job, seen, at(LONG + 1), false) {
                Decision::Blocked(p) => assert_eq!(p.class, crate::domain::problem::Class::AskHuman),
                other => panic!("{other:?}"),
            }
        }
        let gone = of_job(&job, Ok(&JobState::Gone), at(SETTLE), false);
        assert!(matches!(gone, Decision::Act(Effect::Close(_))), "{gone:?}");
    }
}
