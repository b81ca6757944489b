//! Seed the copy: a full backup of the live database, restored where the copy is to stand, while chat runs.
//!
//! Both run as jobs of SQL Server's Agent, for they take as long as the database is large, and must not die with us: they are named by the
//! transition, so that whoever comes next finds them again. That the backup is whole SQL Server says, by its header; that the copy stands, by its
//! redo point. What was there before is saved and closed by then; the text that restores looks once more that it is not open.
//!
//! A copy that lacks nothing but the tail by which chat left its side is given that tail, and no seed.

use serde::Serialize;

use super::findings::{gate, no_fork};
use super::view::Continuity;
use super::{Reads, Step, View};
use crate::domain::backups::Lsn;
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::route::Route;
use crate::domain::seed::Seed;
use crate::domain::seeding::{self, FileIs, JobIs, Work};
use crate::domain::side::{Place, Seat, Side};
use crate::domain::sql_server::{Instance, how_far, wait_for_restores};
use crate::domain::step::StepId;
use crate::domain::tail::Unapplied;
use crate::domain::text::clean;
use crate::domain::transition::{LogSeen, Transition};
use crate::permit::{AgentJob, Permit};
use crate::systems::Systems;
use crate::systems::sql_server::database::{self, LogSet};
use crate::systems::sql_server::{Statement, agent, job_steps};

/// What is shown beside a restore: its files are listed by the backup only.
const MOVED: &str = "-- WITH MOVE besides, for each file that the backup lists: to where the database that stands there has it, or beside its files. \
                     Known once the backup is there";

/// The step.
pub struct SeedDatabase;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Starts the job that backs up the log of the live database.
    BackUpLog {
        /// The job.
        job: String,
        /// Where the log is.
        log: LogSeen,
    },
    /// Takes the full backup of the live database into a file of the share.
    Backup {
        /// The file.
        file: String,
        /// Its log can be backed up already, so the full backup need not begin a chain.
        copy_only: bool,
        /// The job.
        job: String,
    },
    /// Restores it.
    Restore {
        /// The file.
        file: String,
        /// Its `FirstLSN`.
        begins: Lsn,
        /// A database stands there, which is overwritten.
        replace: bool,
        /// The job.
        job: String,
    },
    /// Applies the tail by which chat left the side, where it was taken on the other partner.
    ApplyTail(Unapplied),
    /// Deletes a job of ours that is over.
    DeleteJob(Side, Place, String),
}

type Word = Decision<Effect>;

impl Step for SeedDatabase {
    const ID: StepId = StepId::DatabaseSeeded;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { other: true, files: true, partner: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Word {
        let standby = v.target_site().store.answer.instance();
        match (v.seeds(), &v.continuity) {
            (_, Continuity::Continues(standby) | Continuity::Behind(standby)) => tidied(v, standby),
            (_, Continuity::LacksTail(standby, tail)) => apply(v, standby, tail),
            (true, Continuity::Broken(_) | Continuity::Unknown(_)) if v.is_seeded() => {
                standby.map_or_else(|p| Decision::Blocked(p.clone()), |standby| tidied(v, standby))
            }
            (false, Continuity::Broken(_) | Continuity::Unknown(_)) => {
                Decision::Done(Evidence::new("No copy is seeded: nobody has agreed to what that overwrites"))
            }
            (true, Continuity::Broken(_)) => seed(v),
            (true, Continuity::Unknown(why)) => restoring(v).unwrap_or_else(|| waiting(v, why)),
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        match (v.seeds() && !v.is_seeded(), &v.continuity) {
            (true, Continuity::Broken(_) | Continuity::Unknown(_)) => ahead(v),
            (_, Continuity::LacksTail(_, tail)) => {
                let mut effects = vec![Effect::ApplyTail(tail.clone())];
                effects.extend(left_behind(v, |_, _, _| false));
                effects
            }
            (_, Continuity::Continues(_) | Continuity::Behind(_))
            | (false, Continuity::Broken(_) | Continuity::Unknown(_)) => left_behind(v, |_, _, _| false),
        }
    }

    fn shown(e: &Effect, pool: &Pool, route: Route) -> Vec<String> {
        let path = |file: &str| seeding::in_share(pool, route.to, file);
        match e {
            Effect::BackUpLog { job, .. } => vec![agent::start_job(pool, job).shown()],
            Effect::Backup { file, copy_only, .. } => {
                vec![job_steps::full_backup(&pool.database, &path(file), *copy_only)]
            }
            Effect::Restore { file, replace, .. } => {
                vec![job_steps::seed(&pool.database, &path(file), &[], *replace), MOVED.into()]
            }
            Effect::ApplyTail(tail) => vec![restore_tail(tail, pool).shown()],
            Effect::DeleteJob(_, _, name) => vec![agent::delete_job(pool, name).shown()],
        }
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        let (pool, now) = (p.pool(), p.now());
        let path = |file: &str| seeding::in_share(pool, p.route().to, file);
        let standby = Seat { side: p.route().to, place: Place::Store };
        match e {
            Effect::BackUpLog { job, log } => {
                let outcome = p.sql(p.source(), &agent::start_job(pool, job)).await;
                if outcome == Outcome::Answered {
                    p.update(|t| t.started_job(job.clone(), now, *log));
                }
                outcome
            }
            Effect::Backup { file, copy_only, job } => {
                let text = job_steps::full_backup(&pool.database, &path(file), *copy_only);
                let job = AgentJob::new(job, "Takes a full backup of the live database to seed a copy", text);
                let learn = |t: &mut Transition| t.facts.seed = Some(seeding::next_seed(pool, t, now));
                p.run_job(p.source(), &job, learn).await
            }
            Effect::Restore { file, begins, replace, job } => {
                // Nothing is written where nobody knows what lies there.
                let moves = match p.seed_moves(&path(file)).await {
                    Ok(moves) => moves,
                    Err(outcome) => return outcome,
                };
                let text = job_steps::seed(&pool.database, &path(file), &moves, *replace);
                let job = AgentJob::new(job, "Restores a full backup of the live database as a copy", text);
                let (restored, begins) = (file.clone(), *begins);
                let learn = |t: &mut Transition| {
                    // Of log shipping one cycle is to be seen that begins after it.
                    t.facts.started_jobs.retain(|job, _| Work::ALL.iter().any(|w| *job == w.job(&t.id)));
                    if let Some(seed) = &mut t.facts.seed {
                        (seed.restored, seed.begins) = (Some(restored), Some(begins));
                    }
                };
                p.run_job(standby, &job, learn).await
            }
            Effect::ApplyTail(tail) => {
                let outcome = p.sql(standby, &restore_tail(tail, pool)).await;
                match &outcome {
                    // What will not pass by itself: then the copy is seeded, as any that does not continue the chain.
                    Outcome::Refused(problem) if problem.class != Class::Retry => {
                        let why = problem.what.clone();
                        p.intend(move |t| t.facts.tail_refused = Some(why)).await
                    }
                    Outcome::Answered | Outcome::Refused(_) | Outcome::Unknown(_) => outcome,
                }
            }
            Effect::DeleteJob(side, place, name) => {
                p.sql(Seat { side: *side, place: *place }, &agent::delete_job(pool, name)).await
            }
        }
    }
}

/// The copy stands: nothing of ours is left behind on any server that is to be seen.
fn tidied(v: &View<'_>, standby: &Instance) -> Word {
    for side in Side::BOTH {
        for (place, i) in v.situation.sites[side].instances() {
            if let Some(name) = seeding::left_behind(v.situation, v.transition, i) {
                return Decision::Act(Effect::DeleteJob(side, place, name));
            }
        }
    }
    let server = clean(&standby.server_name);
    Decision::Done(Evidence::new(match &v.transition.facts.seed {
        Some(seed) => format!(
            "The copy on {server} was seeded from {}, and waits for log backups; that file is not needed any more",
            clean(&seed.file)
        ),
        None => format!("The copy on {server} continues the live database's log chain"),
    }))
}

/// The copy lacks the tail of the last switch only: that overwrites nothing, and nobody has to agree.
fn apply(v: &View<'_>, standby: &Instance, tail: &Unapplied) -> Word {
    if let Some(problem) = gate(v, SeedDatabase::ID) {
        return Decision::Blocked(problem);
    }
    match standby.restores.get() {
        Err(p) => Decision::Blocked(p.clone()),
        Ok(running) if !running.is_empty() => Decision::Wait(wait_for_restores(running)),
        Ok(_) => Decision::Act(Effect::ApplyTail(tail.clone())),
    }
}

fn restore_tail(tail: &Unapplied, pool: &Pool) -> Statement {
    let set = LogSet { files: vec![tail.path.clone()], position: 1, checksums: true };
    database::restore_log(pool, &tail.redo, set, &[])
}

/// What cannot be seen is waited for, with a word on the job that may be the reason.
fn waiting(v: &View<'_>, why: &str) -> Word {
    let message = format!("The copy in {} is being seeded: {}", clean(&v.to().name), clean(why));
    Decision::Wait(Waiting::for_job(message))
}

/// That our restore is at work.
fn restoring(v: &View<'_>) -> Option<Word> {
    let standby = v.target_site().store.answer.instance().ok()?;
    let percent =
        standby.restores.known().and_then(|all| all.iter().find(|r| r.command == "RESTORE DATABASE"));
    let what =
        format!("it is restored on {}{}", clean(&standby.server_name), how_far(percent.map(|r| r.percent)));
    busy(v, (standby, &Work::Restore.job(&v.transition.id)), None, &what)
}

/// Everything that is done until the copy stands and nothing of ours is left behind.
fn ahead(v: &View<'_>) -> Vec<Effect> {
    let (Some(live), id) = (v.source().live(), &v.transition.id) else { return vec![] };
    let Some((db, fork)) = live.database.as_ref().and_then(|db| Some((db, db.fork.as_ref()?))) else {
        return vec![];
    };
    let standby = v.target_site().store.answer.instance().ok();
    let taken = v.transition.facts.seed.as_ref();
    let runs = |on: &Instance, work: Work| {
        seeding::job_is(v.situation, v.transition, (on, &work.job(id)), None)
            == Reading::Known(JobIs::Running)
    };
    let whole =
        |seed: &Seed| seeding::full_backup(v.situation, v.transition, &seed.file, &v.pool.database, fork);
    let set = taken.and_then(whole);
    let next = seeding::next_seed(v.pool, v.transition, v.situation.at);
    let mut effects = Vec::new();
    if set.is_none() && !runs(live, Work::Backup) {
        let next_backup = db.last_log_backup.filter(|_| taken.is_none());
        effects.extend(next_backup.map(|next| Effect::BackUpLog {
            job: live.log_backup_job().map_or_else(|| agent::UNMADE.into(), |job| job.id.clone()),
            log: LogSeen { next_backup: Some(next), redo: None },
        }));
        effects.push(Effect::Backup {
            file: next.file.clone(),
            copy_only: db.last_log_backup.is_some(),
            job: Work::Backup.job(id),
        });
    }
    if standby.is_none_or(|standby| !runs(standby, Work::Restore)) {
        effects.push(Effect::Restore {
            file: taken.filter(|_| set.is_some()).map_or(next.file, |seed| seed.file.clone()),
            begins: set.map_or_else(Lsn::default, |set| set.first_lsn),
            replace: standby.is_some_and(|standby| standby.database.is_some()),
            job: Work::Restore.job(id),
        });
    }
    effects.extend(left_behind(v, |side, place, work| is_to_come(v, side, place, work)));
    effects
}

/// Whether a job of ours is made on a server until then.
fn is_to_come(v: &View<'_>, side: Side, place: Place, work: Work) -> bool {
    let site = &v.situation.sites[side];
    match work {
        Work::Save => {
            let db = site.partner(place).and_then(|p| p.answer.instance().ok()?.database.as_ref());
            side == v.route.to && db.is_some_and(seeding::is_open)
        }
        Work::Backup => side == v.route.from && place == site.main_place(),
        Work::Restore => side == v.route.to && place == Place::Store,
    }
}

/// The jobs of ours that are deleted in the end: those that stand, and those that are still to be made.
fn left_behind(v: &View<'_>, is_to_come: impl Fn(Side, Place, Work) -> bool) -> Vec<Effect> {
    let mut effects = Vec::new();
    for side in Side::BOTH {
        for (place, i) in v.situation.sites[side].instances() {
            let stands = |name: &String| {
                i.jobs.known().is_some_and(|jobs| jobs.iter().any(|j| j.name.eq_ignore_ascii_case(name)))
            };
            let names = Work::ALL.map(|work| (work, work.job(&v.transition.id)));
            let ours =
                names.into_iter().filter(|(work, name)| stands(name) || is_to_come(side, place, *work));
            effects.extend(ours.map(|(_, name)| Effect::DeleteJob(side, place, name)));
        }
    }
    effects
}

/// The next of backup and restore.
fn seed(v: &View<'_>) -> Word {
    let (live, standby) = match (v.live_source(), v.target_site().store.answer.instance()) {
        (Ok(live), Ok(standby)) => (live, standby),
        (Err(p), _) => return Decision::Blocked(p),
        (Ok(_), Err(p)) => return Decision::Blocked(p.clone()),
    };
    if let Some(problem) = gate(v, SeedDatabase::ID) {
        return Decision::Blocked(problem);
    }
    let Some((db, fork)) = live.database.as_ref().and_then(|db| Some((db, db.fork.as_ref()?))) else {
        return Decision::Blocked(no_fork(live));
    };
    let id = &v.transition.id;
    let taken = v.transition.facts.seed.as_ref();
    let file = taken.map_or_else(
        || seeding::next_seed(v.pool, v.transition, v.situation.at).file,
        |seed| seed.file.clone(),
    );
    let (backup, restore) = (Work::Backup.job(id), Work::Restore.job(id));
    let is = seeding::file_is(v.situation, v.transition, &file, &v.pool.database, fork);
    let restored = format!("{} is restored on {}", clean(&file), clean(&standby.server_name));
    if let Some(word) = busy(v, (standby, &restore), None, &restored) {
        return word;
    }
    let whole = seeding::full_backup(v.situation, v.transition, &file, &v.pool.database, fork);
    if let (Some(_), Some(set)) = (taken, whole) {
        let (begins, replace) = (set.first_lsn, standby.database.is_some());
        return Decision::Act(Effect::Restore { file, begins, replace, job: restore });
    }
    let made =
        format!("{} is taken on {}{}", clean(&file), clean(&live.server_name), how_far(live.full_backup));
    if let Some(word) = busy(v, (live, &backup), Some(is), &made) {
        return word;
    }
    if let (Some(next), false) = (db.last_log_backup, taken.is_some())
        && let Some(word) = log_backup(v, live, next)
    {
        return word;
    }
    let file = seeding::next_seed(v.pool, v.transition, v.situation.at).file;
    Decision::Act(Effect::Backup { file, copy_only: db.last_log_backup.is_some(), job: backup })
}

/// That a log backup is taken first. The first one after a recovery begins on the fork that the database has left; whether SQL Server would
/// restore it into a copy from a full backup that was taken after the recovery is documented nowhere ("the first_fork_guid of the next log
/// backup restored must be equal to this value": sys.master_files, redo_start_fork_guid). Behind one that was taken now nobody has to know.
fn log_backup(v: &View<'_>, live: &Instance, next: Lsn) -> Option<Word> {
    let job = match (live.primary_half.get(), live.jobs.get()) {
        (Err(p), _) | (_, Err(p)) => return Some(Decision::Blocked(p.clone())),
        (Ok(_), Ok(_)) => live.log_backup_job(),
    };
    let server = clean(&live.server_name);
    let wait = || {
        Some(Decision::Wait(Waiting::for_job(format!(
            "A log backup is taken on {server} before the copy in {} is seeded",
            clean(&v.to().name)
        ))))
    };
    // It is made by the step beside this one.
    let Some(job) = job else { return wait() };
    let log = LogSeen { next_backup: Some(next), redo: None };
    match v.transition.facts.started_jobs.get(&job.id) {
        Some(started) if started.log.next_backup.is_some_and(|before| before < next) => None,
        Some(started) if job.running || !seeding::is_past(started.at, seeding::PATIENCE, v.situation.at) => {
            wait()
        }
        Some(_) if v.transition.is_in_vain(&job.id, None) => Some(Decision::Blocked(Problem::ask(
            Reason::EffectFailed,
            format!(
                "The log of the live database is not backed up, however often its job on {server} is started"
            ),
            "Look into the job's history (error 4214: take a full backup)",
        ))),
        Some(_) | None => Some(Decision::Act(Effect::BackUpLog { job: job.id.clone(), log })),
    }
}

/// A job at work is waited for; one that fails again and again is told.
fn busy(v: &View<'_>, (on, name): (&Instance, &str), file: Option<FileIs>, what: &str) -> Option<Word> {
    match seeding::job_is(v.situation, v.transition, (on, name), file) {
        Reading::Unknown(p) => Some(Decision::Blocked(p)),
        Reading::Known(JobIs::Running) => Some(Decision::Wait(Waiting {
            until: seeding::next_look(v.situation, v.transition, name),
            ..Waiting::for_job(format!("The copy in {} is being seeded: {what}", clean(&v.to().name)))
        })),
        Reading::Known(JobIs::Failing(said)) => Some(Decision::Blocked(Problem::ask(
            Reason::EffectFailed,
            format!("The copy in {} cannot be seeded: {said}", clean(&v.to().name)),
            format!(
                "Mend what it says on {}; it is tried again every ten minutes, and at the next look when its job {name} there is deleted",
                clean(&on.server_name)
            ),
        ))),
        Reading::Known(JobIs::Idle) => None,
    }
}
