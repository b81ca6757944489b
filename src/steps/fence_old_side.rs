//! Fence the old side: what stands where the copy is to stand is saved and closed, and nothing writes from it any more.
//!
//! Only where a copy is to be seeded, and a human has agreed to what that overwrites. First its mirroring is removed, then the jobs that
//! back up its log are switched off: they write into the share from which the copy is fed. What is open is saved by a full backup, and
//! closed by the tail of its log (`BACKUP LOG … WITH NORECOVERY`), so that both together hold everything that was ever written there; and
//! nobody who still uses it can write any more. Before that the messages are counted that it holds and the live one lacks.

use jiff::Timestamp;
use serde::Serialize;

use super::findings::{gate, no_fork, not_sysadmin};
use super::take_tail::without_log_backups;
use super::{Reads, Step, View};
use crate::domain::decision::{Decision, Evidence, Outcome, Waiting};
use crate::domain::loss;
use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::route::Route;
use crate::domain::seed::{Lost, Saved};
use crate::domain::seeding::{self, FileIs, JobIs, Work};
use crate::domain::side::{Place, Seat};
use crate::domain::sql_server::{Database, DatabaseState, Instance, how_far, wait_for_restores};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::permit::{AgentJob, Permit};
use crate::systems::Systems;
use crate::systems::sql_server::{Statement, agent, database, job_steps, lost_messages};

/// The step.
pub struct FenceOldSide;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Removes the mirroring of the database on one of the partners.
    RemoveMirroring(Place),
    /// Disables the job that backs up its log.
    DisableJob(Place, String),
    /// Takes a copy that can be read between restores back to RESTORING.
    LeaveStandby(Place),
    /// Saves an open database.
    Save(Save),
    /// Counts the messages of a saved database that the live one lacks.
    Count {
        /// Where it stands.
        place: Place,
        /// Up to when the live one holds everything for certain.
        held_until: Option<Timestamp>,
        /// How often that was tried in vain.
        tries: u32,
    },
    /// Ends its log with its tail: nobody writes to it any more.
    Close {
        /// Where it stands.
        place: Place,
        /// `recovery_fork_guid`.
        fork: String,
        /// The file of the tail.
        file: String,
    },
}

/// How a database is saved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Save {
    /// Where it stands.
    place: Place,
    /// The fork that it is on.
    fork: String,
    /// The file.
    file: String,
    /// Its log can be backed up, so the full backup need not begin a chain of its own.
    copy_only: bool,
    /// The job that takes it.
    job: String,
}

type Word = Decision<Effect>;

impl Step for FenceOldSide {
    const ID: StepId = StepId::OldSideFenced;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { other: true, files: true, partner: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Word {
        if !v.seeds() {
            return not_agreed(v);
        }
        match fenced(v) {
            Ok(evidence) => Decision::Done(evidence),
            Err(word) => word,
        }
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        if v.seeds() { ahead(v) } else { vec![] }
    }

    fn shown(e: &Effect, pool: &Pool, route: Route) -> Vec<String> {
        match e {
            Effect::Save(save) => vec![job(save, pool, route).text],
            Effect::Count { .. } => lost_messages::shown(pool),
            other => statement(other, pool, route).iter().map(Statement::shown).collect(),
        }
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        let (route, pool) = (p.route(), p.pool());
        let seat = |place| Seat { side: route.to, place };
        match e {
            Effect::Save(save) => {
                let saved =
                    Saved { fork: save.fork.clone(), file: save.file.clone(), tail: None, lost: None };
                let learn = |t: &mut Transition| {
                    t.facts.saved.insert(save.place, saved);
                };
                p.run_job(seat(save.place), &job(save, pool, route), learn).await
            }
            Effect::Close { place, file, .. } => {
                let (place, tail) = (*place, file.clone());
                let intended = p.intend(move |t| {
                    if let Some(saved) = t.facts.saved.get_mut(&place) {
                        saved.tail = Some(tail);
                    }
                });
                match intended.await {
                    Outcome::Answered => send(e, p, seat(place)).await,
                    other @ (Outcome::Refused(_) | Outcome::Unknown(_)) => other,
                }
            }
            Effect::Count { place, held_until, tries } => {
                let lost = match held_until {
                    Some(held_until) => p.count_lost(seat(*place), *held_until).await,
                    None => Ok(Lost::given_up("nothing tells up to when the live one holds everything")),
                };
                let lost = lost.unwrap_or_else(|p| Lost::Unknown { why: p.what, tries: tries + 1 });
                let place = *place;
                p.intend(move |t| {
                    if let Some(saved) = t.facts.saved.get_mut(&place) {
                        saved.lost = Some(lost);
                    }
                })
                .await
            }
            Effect::RemoveMirroring(place) | Effect::DisableJob(place, _) | Effect::LeaveStandby(place) => {
                send(e, p, seat(*place)).await
            }
        }
    }
}

/// Nobody has agreed to anything: that is asked for once the live database's log is backed up, which needs no yes. Not for a seed that could
/// not be restored.
fn not_agreed(v: &View<'_>) -> Word {
    let job = v.source().live().and_then(Instance::log_backup_job);
    let is_backed_up = job.is_some_and(|job| job.enabled && job.scheduled);
    match v.accepted.require() {
        Err(problem) if is_backed_up => Decision::Blocked(gate(v, FenceOldSide::ID).unwrap_or(problem)),
        Ok(()) | Err(_) => Decision::Done(Evidence::new("Nothing is overwritten: no copy is seeded")),
    }
}

async fn send<S: Systems>(e: &Effect, p: &Permit<'_, S>, seat: Seat) -> Outcome {
    match statement(e, p.pool(), p.route()) {
        Some(statement) => p.sql(seat, &statement).await,
        None => Outcome::Refused(Problem::retry(
            Reason::InvalidSpec,
            "The resource does not say any more how log backups are shipped",
            "It is looked at again",
        )),
    }
}

/// What is true in the end; otherwise what is to be done, waited for, or in the way.
fn fenced(v: &View<'_>) -> Result<Evidence, Word> {
    v.accepted.require().map_err(Decision::Blocked)?;
    v.live_source().map_err(Decision::Blocked)?;
    if let Some(problem) = gate(v, FenceOldSide::ID) {
        return Err(Decision::Blocked(problem));
    }
    // One that is not to be seen may be open, and holds what nobody has saved.
    if let Some(unseen) = v.target_site().unseen() {
        return Err(Decision::Blocked(Problem::retry(
            unseen.reason,
            format!(
                "Every server of {} must be seen before anything there is overwritten: {}",
                clean(&v.to().name),
                unseen.what
            ),
            format!("Start it; if it is gone for good, take it out of {}", v.to().field()),
        )));
    }
    let mut told = Vec::new();
    for (place, i) in v.target_site().instances() {
        told.extend(closed(v, place, i)?);
    }
    Ok(Evidence::new(match told.is_empty() {
        true => "Nothing that is open stands where the copy is to stand".into(),
        false => told.join("; "),
    }))
}

/// One partner: what was saved of it, if anything was.
fn closed(v: &View<'_>, place: Place, i: &Instance) -> Result<Option<String>, Word> {
    let server = clean(&i.server_name);
    if !i.sysadmin {
        return Err(Decision::Blocked(not_sysadmin(
            v.to().server(place).unwrap_or(&v.to().sql_server),
            &server,
        )));
    }
    if i.database.as_ref().is_some_and(|db| db.mirroring.is_some()) {
        return Err(Decision::Act(Effect::RemoveMirroring(place)));
    }
    // Also where none stands: what is restored there would be backed up from the moment on at which it is recovered.
    without_log_backups(i, |job| Effect::DisableJob(place, job))?;
    let Some(db) = &i.database else { return Ok(None) };
    match db.state {
        DatabaseState::Recovering => {
            let what = format!("{} on {server} is recovering", clean(&v.pool.database));
            Err(Decision::Wait(Waiting::for_job(what)))
        }
        DatabaseState::Online if db.standby && place == Place::Store => match i.restores.get() {
            Err(p) => Err(Decision::Blocked(p.clone())),
            Ok(running) if !running.is_empty() => Err(Decision::Wait(wait_for_restores(running))),
            Ok(_) => Err(Decision::Act(Effect::LeaveStandby(place))),
        },
        DatabaseState::Online if !db.standby => save(v, place, i, db),
        DatabaseState::Online
        | DatabaseState::Restoring
        | DatabaseState::RecoveryPending
        | DatabaseState::Suspect
        | DatabaseState::Emergency
        | DatabaseState::Offline
        | DatabaseState::Other(_) => Ok(v.transition.facts.saved.get(&place).map(|saved| {
            let tail = saved.tail.iter().map(|tail| format!(" and {}", clean(tail)));
            let lost = saved.lost.iter().map(|lost| format!(" ({lost})"));
            format!(
                "{} on {server} was saved to {}{}{}",
                clean(&v.pool.database),
                clean(&saved.file),
                tail.collect::<String>(),
                lost.collect::<String>()
            )
        })),
    }
}

/// Everything that is done until nothing that is open stands there.
fn ahead(v: &View<'_>) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut is_mirrored = true;
    for (place, i) in v.target_site().instances() {
        let Some(db) = &i.database else { continue };
        // Removed on one of the partners it is gone on both.
        if db.mirroring.is_some() && std::mem::take(&mut is_mirrored) {
            effects.push(Effect::RemoveMirroring(place));
        }
        let job = i.log_backup_job().filter(|job| job.enabled);
        effects.extend(job.map(|job| Effect::DisableJob(place, job.id.clone())));
        if db.standby && db.state == DatabaseState::Online && place == Place::Store {
            effects.push(Effect::LeaveStandby(place));
        }
        if seeding::is_open(db) {
            close(v, (place, i, db), &mut effects);
        }
    }
    effects
}

/// How an open database would be saved, counted and closed.
fn close(v: &View<'_>, (place, i, db): (Place, &Instance, &Database), effects: &mut Vec<Effect>) {
    let Some(fork) = &db.fork else { return };
    let save = saving(v, place, db, fork);
    let is = seeding::file_is(v.situation, v.transition, &save.file, &v.pool.database, fork);
    let runs = seeding::job_is(v.situation, v.transition, (i, &save.job), Some(is))
        == Reading::Known(JobIs::Running);
    if is != FileIs::Whole && !runs {
        effects.push(Effect::Save(save));
    }
    effects.extend(count(v, place, db));
    // Its name tells how often something was tried by then.
    let attempts = v.transition.attempts(FenceOldSide::ID) + i32::try_from(effects.len()).unwrap_or(i32::MAX);
    let file = seeding::saved_tail(v.pool, v.transition, place, attempts);
    effects.push(Effect::Close { place, fork: fork.clone(), file });
}

/// An open database: it is saved, then closed.
fn save(v: &View<'_>, place: Place, i: &Instance, db: &Database) -> Result<Option<String>, Word> {
    let (name, server) = (clean(&v.pool.database), clean(&i.server_name));
    let Some(fork) = &db.fork else {
        return Err(Decision::Blocked(no_fork(i)));
    };
    let save = saving(v, place, db, fork);
    let (file, job) = (&save.file, &save.job);
    let waiting = |until| {
        let message =
            format!("{name} on {server} is being saved to {}{}", clean(file), how_far(i.full_backup));
        Decision::Wait(Waiting { until, ..Waiting::for_job(message) })
    };
    let is = seeding::file_is(v.situation, v.transition, file, &v.pool.database, fork);
    match is {
        FileIs::Whole => {
            // What is not in the record could not be written down.
            let is_recorded = v.transition.facts.saved.contains_key(&place);
            if let Some(count) = count(v, place, db).filter(|_| is_recorded) {
                return Err(Decision::Act(count));
            }
            let attempts = v.transition.attempts(FenceOldSide::ID);
            let tail = seeding::saved_tail(v.pool, v.transition, place, attempts);
            return Err(Decision::Act(Effect::Close { place, fork: fork.clone(), file: tail }));
        }
        FileIs::Unread | FileIs::Missing => {}
    }
    match seeding::job_is(v.situation, v.transition, (i, job), Some(is)) {
        Reading::Unknown(p) => return Err(Decision::Blocked(p)),
        Reading::Known(JobIs::Running) => {
            return Err(waiting(seeding::next_look(v.situation, v.transition, job)));
        }
        Reading::Known(JobIs::Failing(said)) => {
            return Err(Decision::Blocked(Problem::ask(
                Reason::EffectFailed,
                format!("{name} on {server} cannot be saved to {}: {said}", clean(file)),
                "Mend what it says; it is tried again every ten minutes. If nothing of that database is needed any more, take it offline: \
                 then it is overwritten without being saved, which is asked for once more",
            )));
        }
        Reading::Known(JobIs::Idle) => {}
    }
    Err(Decision::Act(Effect::Save(save)))
}

/// How an open database is saved.
fn saving(v: &View<'_>, place: Place, db: &Database, fork: &str) -> Save {
    Save {
        place,
        fork: fork.into(),
        file: seeding::saved_file(v.pool, v.transition, place),
        copy_only: db.last_log_backup.is_some(),
        job: Work::Save.job(&v.transition.id),
    }
}

/// What was lost is counted while the database can be read: as late as that, for nothing can be added to it behind that moment any more that
/// anybody would miss. Nothing waits for it, and of another database that only has the same name nothing was lost.
fn count(v: &View<'_>, place: Place, db: &Database) -> Option<Effect> {
    let live = v.source().live().and_then(|i| i.database.as_ref()?.family.as_ref());
    let is_its_own = live.zip(db.family.as_ref()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
    let before = v.transition.facts.saved.get(&place).and_then(|saved| saved.lost.as_ref());
    let again = is_its_own && before.is_none_or(Lost::is_to_be_tried_again);
    again.then(|| Effect::Count {
        place,
        held_until: loss::held_until(v.situation, v.route.from),
        tries: before.map_or(0, Lost::tries),
    })
}

fn job(save: &Save, pool: &Pool, route: Route) -> AgentJob {
    let path = seeding::in_share(pool, route.to, &save.file);
    let text = job_steps::full_backup(&pool.database, &path, save.copy_only);
    AgentJob::new(&save.job, "Saves the database before it is overwritten by a copy of the live one", text)
}

/// The statement of an effect that is sent at once; none: it is a job, or the resource names no folders any more.
fn statement(e: &Effect, pool: &Pool, route: Route) -> Option<Statement> {
    let shipping = pool.sites[route.to].log_shipping.as_ref()?;
    Some(match e {
        Effect::RemoveMirroring(_) => database::remove_mirroring(pool),
        Effect::DisableJob(_, id) => agent::enable_job(pool, id, false),
        Effect::LeaveStandby(_) => database::leave_standby(pool),
        Effect::Close { fork, file, .. } => database::take_tail(pool, fork, shipping.backup_share.file(file)),
        Effect::Save(_) | Effect::Count { .. } => return None,
    })
}
