//! Establish log shipping: the live database's log is backed up, and the copy of the side that is not active is fed with it.
//!
//! The primary half stands on whichever partner is the principal (while a mirror, its job succeeds and does nothing), from the
//! moment the side serves: a log that nobody backs up fills the disk. The secondary half is set up only where the copy that stands
//! continues the live chain; seeding one is not this step's. It is done when one backup, its copy and
//! its restore were seen to arrive. (Order and parameters: SQL Server's documentation, "Configure log shipping", and the script that
//! SQL Server Management Studio generates.)

use jiff::SignedDuration;
use serde::Serialize;

use super::findings::{gate, hearsay};
use super::view::Continuity;
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::links::file_name;
use crate::domain::log_shipping::{Columns, Job, PrimaryHalf, SecondaryHalf, job};
use crate::domain::pool::{Pool, Shipping};
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::Route;
use crate::domain::side::{Place, Seat, Side};
use crate::domain::sql_server::Instance;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::LogSeen;
use crate::permit::Permit;
use crate::systems::Systems;
use crate::systems::sql_server::statements::SCHEDULE_NUMBERS;
use crate::systems::sql_server::{Parameter, Statement, agent, statements};

/// How long a job that was started is given before it is started again.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// What is said where they are not to be seen.
const UNSEEN: &str = "the newest log backups of the live database are not to be seen";
/// How long they are waited for.
const NOT_SEEN: SignedDuration = SignedDuration::from_mins(15);
/// Minutes that backups and their copies are kept, and that history is: what the script of SQL Server Management Studio says.
const KEPT: i32 = 4320;
const HISTORY: i32 = 5760;
/// Minutes without a backup, or a restore, after which SQL Server raises its own alert.
const BACKUP_THRESHOLD: i32 = 60;
const RESTORE_THRESHOLD: i32 = 45;

/// The step.
pub struct EstablishLogShipping;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// The primary half, on the live principal.
    AddPrimaryHalf,
    /// The secondary half, as it was before if that was saved.
    AddSecondaryHalf(Box<SecondaryHalf>, Names),
    /// Names the secondary to the primary half: the server, as it calls itself.
    NameSecondary(String),
    /// Gives a job of one of the sides a schedule.
    Schedule(Side, String, Columns),
    /// Lets its schedule start it.
    EnableJob(Side, String),
    /// Starts it once, so that one cycle is seen now and not in a quarter of an hour.
    StartJob(Side, String, LogSeen),
}

/// Names of the jobs of a secondary half, and of the server that it copies from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Names {
    primary_server: String,
    copy_job: String,
    restore_job: String,
}

impl Step for EstablishLogShipping {
    const ID: StepId = StepId::LogShippingEstablished;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { other: true, files: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        if v.to().log_shipping.is_none() {
            return Decision::Done(Evidence::not_configured(format!(
                "{} names no logShipping: nothing is shipped to it",
                v.to().field()
            )));
        }
        match establish(v) {
            Ok(evidence) => Decision::Done(evidence),
            Err(Decision::Act(effect)) => hearsay(v).map_or(Decision::Act(effect), Decision::Blocked),
            Err(word @ (Decision::Done(_) | Decision::Wait(_) | Decision::Blocked(_))) => word,
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        match Self::decide(v) {
            // Decided on what is there now; a copy that is still to be seeded is not.
            Decision::Act(_) | Decision::Wait(_) if v.seeds() && !v.is_seeded() => ahead(v),
            Decision::Act(effect) => vec![effect],
            Decision::Done(_) | Decision::Wait(_) | Decision::Blocked(_) => vec![],
        }
    }

    fn shown(e: &Effect, pool: &Pool, route: Route) -> Vec<String> {
        statement(e, pool, route).iter().map(Statement::shown).collect()
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        let route = p.route();
        let Some(statement) = statement(e, p.pool(), route) else {
            return Outcome::Refused(Problem::retry(
                Reason::InvalidSpec,
                "The resource does not say any more how log backups are shipped",
                "It is looked at again",
            ));
        };
        let outcome = p.sql(seat(e, p), &statement).await;
        if let (Effect::StartJob(_, id, log), Outcome::Answered) = (e, &outcome) {
            let now = p.now();
            p.update(|t| t.started_job(id.clone(), now, *log));
        }
        outcome
    }
}

/// Where an effect is carried out. The copy stands at the store: log shipping restores there.
fn seat<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Seat {
    let route = p.route();
    let standby = Seat { side: route.to, place: Place::Store };
    match e {
        Effect::AddPrimaryHalf | Effect::NameSecondary(_) => p.source(),
        Effect::AddSecondaryHalf(..) => standby,
        Effect::Schedule(side, ..) | Effect::EnableJob(side, _) | Effect::StartJob(side, ..) => {
            if *side == route.to { standby } else { p.source() }
        }
    }
}

type Word = Decision<Effect>;

fn blocked(p: &Problem) -> Word {
    Decision::Blocked(p.clone())
}

/// What is true in the end; otherwise what is to be done, waited for, or in the way.
fn establish(v: &View<'_>) -> Result<Evidence, Word> {
    let shipping = v.shipping().map_err(Decision::Blocked)?;
    let live = v.live_source().map_err(Decision::Blocked)?;
    if let Some(problem) = gate(v, StepId::LogShippingEstablished) {
        return Err(Decision::Blocked(problem));
    }
    let primary = primary_half(v, live, shipping)?;
    let (log, server) = (clean(&v.pool.database), clean(&live.server_name));
    let share = clean(&shipping.backup_share.path);
    // Nobody looks whether the job succeeds: the share may stand on the side that is lost.
    let unprotected = |why: &str| {
        let backs_up = format!("A job on {server} backs up the log of {log} to {share}");
        Ok(Evidence::new(format!("{backs_up}. {} is not protected: {why}", v.to().name)))
    };
    let standby = match &v.continuity {
        Continuity::Continues(standby) => standby,
        Continuity::Broken(why) | Continuity::Unknown(why) if v.seeds() && !v.is_seeded() => {
            return Err(Decision::Wait(Waiting::for_job(format!("Waits until the copy is seeded: {why}"))));
        }
        Continuity::LacksTail(..) => {
            let why = "Waits until the tail of the last switch is applied to the copy";
            return Err(Decision::Wait(Waiting::for_job(why)));
        }
        // One that is taken now shows whether any is missing; otherwise the next one is a whole interval away.
        Continuity::Behind(_) if is_at_work(v) => {
            return Err(match v.transition.facts.started_jobs.get(primary.backup_job()) {
                Some(_) => Decision::Wait(Waiting::for_job(UNSEEN)),
                None => {
                    let next_backup = live.database.as_ref().and_then(|d| d.last_log_backup);
                    let log = LogSeen { next_backup, redo: None };
                    start(v, (live, v.route.from, primary.backup_job()), log, "a log backup")
                }
            });
        }
        Continuity::Behind(_) => return unprotected(UNSEEN),
        Continuity::Broken(why) | Continuity::Unknown(why) => return unprotected(why),
    };
    let secondary = secondary_half(v, live, standby, shipping)?;
    if !primary.names(&standby.server_name) {
        return Err(Decision::Act(Effect::NameSecondary(standby.server_name.clone())));
    }
    // What nobody has touched works as it did: nothing has to be seen arriving.
    if v.transition.attempts(StepId::LogShippingEstablished) > 0
        && let Some(vain) = arrival(v, live, standby, (primary, secondary))?
    {
        return Ok(Evidence::new(format!("{} is not protected: {vain}", clean(&v.to().name))));
    }
    let mut told = format!(
        "The log of {log} on {server} is backed up to {share}, copied and restored on {}",
        clean(&standby.server_name)
    );
    if let Saved::Useless(why) = saved(v).map_err(Decision::Blocked)? {
        told.push_str(&format!("; {why}"));
    }
    Ok(Evidence::new(told))
}

/// Everything that is done once the copy is seeded, until one log backup was seen to arrive.
fn ahead(v: &View<'_>) -> Vec<Effect> {
    let (Some(live), Ok(standby)) = (v.source().live(), v.target_site().store.answer.instance()) else {
        return vec![];
    };
    let (from, to) = (v.route.from, v.route.to);
    let primary = live.primary_half.known().and_then(Option::as_ref);
    let secondary = standby.secondary_half.known().and_then(Option::as_ref);
    let mut effects = Vec::new();
    if primary.is_none() {
        effects.push(Effect::AddPrimaryHalf);
    }
    let backup = primary.map_or(agent::UNMADE, PrimaryHalf::backup_job);
    effects.extend(to_run_by_itself(live, from, backup, Columns::new()));
    let (half, names) = half_to_add(v, live);
    let schedule = |job: fn(&SecondaryHalf) -> &str| schedule(Some(&half), job(&half));
    let schedules = [schedule(SecondaryHalf::copy_job), schedule(SecondaryHalf::restore_job)];
    let jobs =
        [SecondaryHalf::copy_job, SecondaryHalf::restore_job].map(|job| secondary.map_or(agent::UNMADE, job));
    if secondary.is_none() {
        effects.push(Effect::AddSecondaryHalf(Box::new(half), names));
    }
    for (id, schedule) in jobs.into_iter().zip(schedules) {
        effects.extend(to_run_by_itself(standby, to, id, schedule));
    }
    if primary.is_none_or(|half| !half.names(&standby.server_name)) {
        effects.push(Effect::NameSecondary(standby.server_name.clone()));
    }
    let log = LogSeen { next_backup: None, redo: None };
    let started = [(from, backup), (to, jobs[0]), (to, jobs[1])];
    effects.extend(started.map(|(side, id)| Effect::StartJob(side, id.into(), log)));
    effects
}

/// What a job still needs that is to run by itself; one that is not made yet needs all of it.
fn to_run_by_itself(on: &Instance, side: Side, id: &str, schedule: Columns) -> Vec<Effect> {
    let known = on.jobs.known().and_then(|jobs| job(jobs, id));
    let mut effects = Vec::new();
    if known.is_none_or(|j| !j.scheduled) {
        effects.push(Effect::Schedule(side, id.into(), schedule));
    }
    if known.is_none_or(|j| !j.enabled) {
        effects.push(Effect::EnableJob(side, id.into()));
    }
    effects
}

/// Whether something was done for log shipping a while ago: what cannot be seen of its log backups may be about to be. And one more is taken
/// where a seed has begun that may not be needed: an old database that was saved and closed for it, and seems to be on the live one's path.
fn is_at_work(v: &View<'_>) -> bool {
    match v.transition.steps.get(&StepId::LogShippingEstablished).filter(|h| h.attempts > 0) {
        None => v.seeds(),
        Some(h) => {
            let until = h.started.and_then(|at| at.checked_add(NOT_SEEN).ok());
            until.is_some_and(|until| v.situation.at < until)
        }
    }
}

/// The primary half as it stands on the live principal.
fn primary_half<'a>(v: &View<'_>, live: &'a Instance, shipping: &Shipping) -> Result<&'a PrimaryHalf, Word> {
    let half = live.primary_half.get().map_err(blocked)?;
    let jobs = live.jobs.get().map_err(blocked)?;
    let Some(half) = half else {
        taken(jobs, &[backup_job(v.pool)], live)?;
        return Err(Decision::Act(Effect::AddPrimaryHalf));
    };
    let share = &shipping.backup_share;
    if !share.is(half.backup_directory()) && !share.is(half.backup_share()) {
        return Err(differs(&share.field, &share.path, half.backup_directory(), live));
    }
    runs_by_itself(jobs, half.backup_job(), v.route.from, &Columns::new(), live)?;
    Ok(half)
}

/// A job that has a schedule and is enabled.
fn runs_by_itself(jobs: &[Job], id: &str, side: Side, schedule: &Columns, on: &Instance) -> Result<(), Word> {
    match job(jobs, id) {
        None => Err(Decision::Blocked(Problem::ask(
            Reason::LogShippingDiffers,
            format!("The job {} of log shipping is missing on {}", clean(id), clean(&on.server_name)),
            "Somebody deleted it. Remove what is left of log shipping there (sp_delete_log_shipping_primary_database or \
             sp_delete_log_shipping_secondary_database); then it is set up anew",
        ))),
        Some(j) if !j.scheduled => Err(Decision::Act(Effect::Schedule(side, j.id.clone(), schedule.clone()))),
        Some(j) if !j.enabled => Err(Decision::Act(Effect::EnableJob(side, j.id.clone()))),
        Some(_) => Ok(()),
    }
}

/// The secondary half as it stands beside the copy.
fn secondary_half<'a>(
    v: &View<'_>,
    live: &Instance,
    standby: &'a Instance,
    shipping: &Shipping,
) -> Result<&'a SecondaryHalf, Word> {
    let half = standby.secondary_half.get().map_err(blocked)?;
    let jobs = standby.jobs.get().map_err(blocked)?;
    let saved = useful(v).map_err(Decision::Blocked)?;
    let Some(half) = half else {
        if !standby.sysadmin {
            return Err(Decision::Blocked(Problem::ask(
                Reason::PermissionDenied,
                format!(
                    "The login of {} is not sysadmin on {}; setting up log shipping needs that",
                    v.to().sql_server.field,
                    clean(&standby.server_name)
                ),
                "Add the login to the sysadmin role of that instance",
            )));
        }
        let (half, names) = half_to_add(v, live);
        taken(jobs, &[names.copy_job.clone(), names.restore_job.clone()], standby)?;
        return Err(Decision::Act(Effect::AddSecondaryHalf(Box::new(half), names)));
    };
    for (folder, world) in [
        (&shipping.backup_share, half.source_directory()),
        (&shipping.copy_folder, half.destination_directory()),
    ] {
        if !folder.is(world) {
            return Err(differs(&folder.field, &folder.path, world, standby));
        }
    }
    for (id, was) in [
        (half.copy_job(), saved.map(SecondaryHalf::copy_job)),
        (half.restore_job(), saved.map(SecondaryHalf::restore_job)),
    ] {
        let schedule = schedule(saved, was.unwrap_or_default());
        runs_by_itself(jobs, id, v.route.to, &schedule, standby)?;
    }
    Ok(half)
}

/// The secondary half that is added where there is none, as it was before if that was saved; and what its jobs are called.
fn half_to_add(v: &View<'_>, live: &Instance) -> (SecondaryHalf, Names) {
    let usual = || SecondaryHalf { columns: Columns::new(), schedules: std::collections::BTreeMap::new() };
    let names = Names {
        primary_server: live.server_name.clone(),
        copy_job: format!("LSCopy_{}_{}", live.server_name, v.pool.database),
        restore_job: format!("LSRestore_{}_{}", live.server_name, v.pool.database),
    };
    (useful(v).ok().flatten().cloned().unwrap_or_else(usual), names)
}

/// The schedule that a job of this id had in what was saved.
fn schedule(saved: Option<&SecondaryHalf>, id: &str) -> Columns {
    let schedules = saved.and_then(|s| s.schedules.get(id));
    schedules.and_then(|s| s.first()).cloned().unwrap_or_default()
}

/// What was saved of log shipping to this side, if it goes on as it was.
fn useful<'a>(v: &View<'a>) -> Result<Option<&'a SecondaryHalf>, Problem> {
    Ok(match saved(v)? {
        Saved::Useful(half) => Some(half),
        Saved::Useless(_) | Saved::Nothing => None,
    })
}

/// Log shipping to this side as it was before a failover removed it.
enum Saved<'a> {
    /// It goes on as it was.
    Useful(&'a SecondaryHalf),
    /// It lacks what is needed, or does not fit the resource any more: the resource is what counts, with what is usual. Why.
    Useless(String),
    /// Nothing was saved.
    Nothing,
}

fn saved<'a>(v: &View<'a>) -> Result<Saved<'a>, Problem> {
    let to = v.route.to;
    let past = v.situation.transitions().into_iter().filter(|t| t.route.to == to);
    let Some((id, half)) = past.filter_map(|t| Some((&t.id, t.facts.log_shipping.as_ref()?))).next() else {
        return Ok(Saved::Nothing);
    };
    let shipping = v.shipping()?;
    let fits = shipping.backup_share.is(half.source_directory())
        && shipping.copy_folder.is(half.destination_directory());
    let missing = half.missing();
    let why = match (missing.is_empty(), fits) {
        (true, true) => return Ok(Saved::Useful(half)),
        (false, _) => format!("it lacks {}", missing.join(", ")),
        (true, false) => format!("its folders are not those of {}", v.to().field()),
    };
    Ok(Saved::Useless(format!(
        "what was saved of the old log shipping was not used ({why}): compare its schedules and retention with \
         log-shipping-{id}.sql beside the copied log backups"
    )))
}

/// That somebody else's job has a name that log shipping needs.
fn taken(jobs: &[Job], names: &[String], on: &Instance) -> Result<(), Word> {
    let foreign = |j: &&Job| names.iter().any(|n| n.eq_ignore_ascii_case(&j.name)) && !j.is_of_log_shipping();
    match jobs.iter().find(foreign) {
        None => Ok(()),
        Some(j) => Err(Decision::Blocked(Problem::ask(
            Reason::LogShippingDiffers,
            format!(
                "The job {} on {} is somebody else's (category {:?}); log shipping needs that name",
                clean(&j.name),
                clean(&on.server_name),
                clean(&j.category)
            ),
            "Rename or delete that job; nothing of it is touched",
        ))),
    }
}

fn differs(field: &str, path: &str, world: &str, on: &Instance) -> Word {
    Decision::Blocked(Problem::ask(
        Reason::LogShippingDiffers,
        format!(
            "{field} is {}, but log shipping on {} uses {}",
            clean(path),
            clean(&on.server_name),
            clean(world)
        ),
        format!("Correct {field}, or remove log shipping there: then it is set up as the resource says"),
    ))
}

/// One backup, its copy and its restore, seen to arrive; or why nobody waits for that any more.
fn arrival(
    v: &View<'_>,
    live: &Instance,
    standby: &Instance,
    (primary, secondary): (&PrimaryHalf, &SecondaryHalf),
) -> Result<Option<String>, Word> {
    let (from, to) = (v.route.from, v.route.to);
    // By the log itself: the clocks of the operator and of a server differ.
    let next_backup = live.database.as_ref().and_then(|d| d.last_log_backup);
    let redo = standby.database.as_ref().and_then(|d| d.redo.as_ref()).map(|r| r.lsn);
    let log = LogSeen { next_backup, redo };
    let started = v.transition.facts.started_jobs.get(primary.backup_job());
    let restored = match (redo, next_backup) {
        (Some(redo), Some(next)) => redo >= next,
        (None, _) | (_, None) => false,
    };
    let (on, side, id, what) = if started.is_none_or(|before| next_backup <= before.log.next_backup) {
        (live, from, primary.backup_job(), "the first log backup")
    } else if restored {
        return Ok(None);
    } else if is_to_be_copied(v, primary, secondary) {
        (standby, to, secondary.copy_job(), "its copy")
    } else {
        (standby, to, secondary.restore_job(), "its restore")
    };
    let waiting = start(v, (on, side, id), log, what);
    match waiting {
        Decision::Act(_) if v.transition.is_in_vain(id, redo) => Ok(Some(in_vain(on, what))),
        word @ (Decision::Act(_) | Decision::Wait(_) | Decision::Done(_) | Decision::Blocked(_)) => Err(word),
    }
}

/// Whether the copy job is to be started rather than the restore job. What it copied last may be another file than what was backed up
/// last, and both be there: the tail of a switch that was taken back lies in the same folder. So the folder says whether it is there; where
/// that is not to be seen, each job has its turn, and the restore shows whether it was.
fn is_to_be_copied(v: &View<'_>, primary: &PrimaryHalf, secondary: &SecondaryHalf) -> bool {
    let (last, copied) = (file_name(primary.last_backup_file()), file_name(secondary.last_copied_file()));
    if last.is_empty() || last.eq_ignore_ascii_case(copied) {
        return false;
    }
    let listed = v.situation.folders[v.route.to].as_ref().and_then(|f| f.copy.known());
    let times = |job: &str| v.transition.facts.started_jobs.get(job).map_or(0, |j| j.times);
    match listed {
        Some(files) => !files.iter().any(|f| f.name.eq_ignore_ascii_case(last)),
        None => times(secondary.copy_job()) <= times(secondary.restore_job()),
    }
}

/// That a job was started again and again, and nothing came of it.
fn in_vain(on: &Instance, what: &str) -> String {
    format!(
        "{what} does not arrive, however often its job on {} is started: look into the job's history (error 4214: take a full \
         backup; a damaged backup: the copy must be seeded anew)",
        clean(&on.server_name)
    )
}

/// Starts a job of a server, unless it runs or was started a moment ago.
fn start(v: &View<'_>, (on, side, id): (&Instance, Side, &str), log: LogSeen, what: &str) -> Word {
    let runs = on.jobs.known().and_then(|jobs| job(jobs, id)).is_some_and(|j| j.running);
    let started = v.transition.facts.started_jobs.get(id).map(|job| job.at);
    let recent = started.and_then(|at| at.checked_add(PATIENCE).ok());
    let recent = recent.is_some_and(|until| v.situation.at < until);
    if runs || recent {
        let message = format!("Waits for {what}, by the job on {}", clean(&on.server_name));
        return Decision::Wait(Waiting::for_job(message));
    }
    Decision::Act(Effect::StartJob(side, id.into(), log))
}

fn backup_job(pool: &Pool) -> String {
    format!("LSBackup_{}", pool.database)
}

/// The statement of an effect; none: the resource names no folders any more.
fn statement(e: &Effect, pool: &Pool, route: Route) -> Option<Statement> {
    let shipping = pool.sites[route.to].log_shipping.as_ref()?;
    let (lock, database) = (pool.lock_resource(), pool.database.clone());
    let share = shipping.backup_share.path.clone();
    Some(match e {
        Effect::AddPrimaryHalf => Statement::write(
            "sp_add_log_shipping_primary_database",
            statements::add_primary_half(),
            vec![
                lock.into(),
                database.into(),
                share.clone().into(),
                share.into(),
                backup_job(pool).into(),
                KEPT.into(),
                BACKUP_THRESHOLD.into(),
                HISTORY.into(),
            ],
        ),
        Effect::AddSecondaryHalf(half, names) => add_secondary_half(half, names, pool, shipping),
        Effect::NameSecondary(server) => Statement::write(
            "sp_add_log_shipping_primary_secondary",
            statements::add_primary_secondary(),
            vec![lock.into(), database.clone().into(), server.clone().into(), database.into()],
        ),
        Effect::Schedule(_, id, columns) => {
            let name = columns.get("name").map_or("log shipping", String::as_str);
            let mut parameters: Vec<Parameter> = vec![lock.into(), id.clone().into(), name.into()];
            parameters
                .extend(SCHEDULE_NUMBERS.iter().map(|(name, usual)| number(columns, name, *usual).into()));
            Statement::write("sp_add_schedule", statements::add_schedule(), parameters)
        }
        Effect::EnableJob(_, id) => agent::enable_job(pool, id, true),
        Effect::StartJob(_, id, _) => agent::start_job(pool, id),
    })
}

/// Numbers are numbers, whatever was saved: everything else is what the script of SQL Server Management Studio says.
fn number(columns: &Columns, name: &str, usual: i32) -> i32 {
    columns.get(name).and_then(|v| v.parse().ok()).unwrap_or(usual)
}

fn add_secondary_half(half: &SecondaryHalf, names: &Names, pool: &Pool, shipping: &Shipping) -> Statement {
    let of = |name: &str, usual: i32| Parameter::from(number(&half.columns, name, usual));
    Statement::write(
        "sp_add_log_shipping_secondary_database",
        statements::add_secondary_half(),
        vec![
            pool.lock_resource().into(),
            names.primary_server.clone().into(),
            pool.database.clone().into(),
            shipping.backup_share.path.clone().into(),
            shipping.copy_folder.path.clone().into(),
            names.copy_job.clone().into(),
            names.restore_job.clone().into(),
            of("file_retention_period", KEPT),
            pool.database.clone().into(),
            of("restore_delay", 0),
            of("restore_all", 1),
            of("restore_mode", 0),
            of("disconnect_users", 0),
            of("restore_threshold", RESTORE_THRESHOLD),
            of("history_retention_period", HISTORY),
        ],
    )
}
