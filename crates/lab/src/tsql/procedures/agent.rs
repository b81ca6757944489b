//! The procedures of SQL Server Agent.

use super::super::Seat;
use super::super::values::{Cell, SqlMessage, refuse};
use super::{Arguments, Returned};
use crate::sql::agent::{interval, stop};
use crate::sql::{Category, Instance, Job, Schedule, Step};

/// The id of the job that a call names, by id or by name.
fn job(seat: &Seat<'_>, a: &Arguments) -> Result<String, SqlMessage> {
    let (id, name) = (a.text("@job_id"), a.text("@job_name"));
    let jobs = seat.instance().map(|i| &i.jobs).into_iter().flatten();
    let found = match (id.is_empty(), name.is_empty()) {
        (_, true) => jobs.into_iter().find(|j| j.id.eq_ignore_ascii_case(&id)),
        (true, false) => jobs.into_iter().find(|j| j.name.eq_ignore_ascii_case(&name)),
        (false, false) => return Err(SqlMessage::simulator("a job by id and by name")),
    };
    match found {
        Some(job) => Ok(job.id.clone()),
        None if name.is_empty() => refuse(14262, format!("The specified @job_id ('{id}') does not exist.")),
        None => refuse(14262, format!("The specified @job_name ('{name}') does not exist.")),
    }
}

pub(super) fn update_job(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let (job, enabled) = (job(seat, a)?, a.bit("@enabled")?);
    let (now, pause) = (seat.world.now, interval(seat.world));
    if let (Some(j), Some(enabled)) = (seat.instance_mut().and_then(|i| i.job_mut(&job)), enabled) {
        // What its schedule would have started while it was disabled is not made up for.
        if enabled && !j.enabled && j.next.is_some_and(|next| next <= now) {
            j.next = Some(now + pause);
        }
        j.enabled = enabled;
    }
    Ok(Returned::code(0))
}

/// What is said where SQL Server Agent does not run.
const NOT_RUNNING: &str = "SQLServerAgent is not currently running so it cannot be notified of this action.";

/// Error 22022 with a text of SQL Server Agent's: the texts are nowhere documented.
fn agent_error<T>(what: &str) -> Result<T, SqlMessage> {
    refuse(22022, format!("SQLServerAgent Error: {what}"))
}

pub(super) fn start_job(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let job = job(seat, a)?;
    let Some(i) = seat.instance_mut() else { return Err(SqlMessage::simulator("no instance")) };
    if i.agent_stopped {
        return agent_error(NOT_RUNNING);
    }
    let runs = i.run_of(&job).is_some();
    if let Some(j) = i.job_mut(&job) {
        can_be_started(j)?;
        if runs || j.asked || (j.hangs && j.step.is_none()) {
            return agent_error(&format!(
                "Request to run job {} refused because the job is already running.",
                j.name
            ));
        }
        j.asked = true;
    }
    Ok(Returned::code(0))
}

/// Whether a job can be started at all. One that somebody has made and given no step has nothing to do: what is said of that is nowhere
/// documented.
fn can_be_started(j: &Job) -> Result<(), SqlMessage> {
    if !j.has_server {
        let what = format!(
            "Cannot start the job \"{}\" (ID {}) because it does not have any job server or servers defined. Associate the job with a job server by calling sp_add_jobserver.",
            j.name, j.id
        );
        return refuse(14256, what);
    }
    if j.step.is_none() && j.description.is_some() {
        return Err(SqlMessage::simulator("a run of a job without a step"));
    }
    Ok(())
}

/// Ends a run. That it refuses to if none is under way is simulated of jobs with a step only: nobody can tell here when a short run of
/// another ends.
pub(super) fn stop_job(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let job = job(seat, a)?;
    if let Some(name) = seat.instance().and_then(|i| stoppable(i, &job)) {
        if seat.instance().is_some_and(|i| i.agent_stopped) {
            return agent_error(NOT_RUNNING);
        }
        let asked =
            seat.instance_mut().and_then(|i| i.job_mut(&job)).is_some_and(|j| std::mem::take(&mut j.asked));
        if !stop(seat.world, seat.host, &job) && !asked {
            let what =
                format!("Request to stop job {name} refused because the job is not currently running.");
            return agent_error(&what);
        }
        return Ok(Returned::code(0));
    }
    if let Some(j) = seat.instance_mut().and_then(|i| i.job_mut(&job)) {
        j.hangs = false;
        j.asked = false;
    }
    Ok(Returned::code(0))
}

/// The name of a job that has a step.
fn stoppable(i: &Instance, job: &str) -> Option<String> {
    i.jobs.iter().find(|j| j.id == job && j.step.is_some()).map(|j| j.name.clone())
}

/// Makes a job, enabled, without a step, a schedule or a server.
///
/// The parameter that 14261 names is the one of the procedure that looks for the name; that it is `@name` is nowhere documented.
pub(super) fn add_job(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let (name, category) = (a.text("@job_name"), a.text("@category_name"));
    let enabled = a.bit("@enabled")?.unwrap_or(true);
    let category = match category.as_str() {
        "" => Category::Uncategorized,
        given => match Category::ALL.into_iter().find(|c| c.name().eq_ignore_ascii_case(given)) {
            Some(category) => category,
            None => {
                return refuse(14262, format!("The specified @category_name ('{given}') does not exist."));
            }
        },
    };
    let description = Some(a.text("@description")).filter(|d| !d.is_empty());
    let seed = seat.world.scenario.seed;
    let Some(i) = seat.instance_mut() else { return Err(SqlMessage::simulator("no instance")) };
    if i.jobs.iter().any(|j| j.name.eq_ignore_ascii_case(&name)) {
        return refuse(14261, format!("The specified @name ('{name}') already exists."));
    }
    let id = i.new_id(seed, "job");
    i.make_job(id.clone(), &name, category);
    if let Some(j) = i.job_mut(&id) {
        (j.enabled, j.has_server) = (enabled, false);
        // "If description is omitted, N'No description available' is used" (sp_add_job).
        j.description = Some(description.unwrap_or_else(|| "No description available.".into()));
    }
    Ok(Returned::success([("@job_id", Cell::Guid(id))]))
}

/// Gives a job its step: one of T-SQL, and no second one.
pub(super) fn add_job_step(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let job = job(seat, a)?;
    let subsystem = a.text("@subsystem");
    if !["", "TSQL"].iter().any(|known| subsystem.eq_ignore_ascii_case(known)) {
        return Err(SqlMessage::simulator(format!("does not know the subsystem {subsystem}")));
    }
    if a.number("@step_id")?.is_some_and(|n| n != 1) {
        return Err(SqlMessage::simulator("a job has one step here"));
    }
    let database =
        Some(a.text("@database_name")).filter(|d| !d.is_empty()).unwrap_or_else(|| "master".into());
    if !database.eq_ignore_ascii_case("master") {
        return Err(SqlMessage::simulator("a step runs in master only"));
    }
    let step = Step { name: a.text("@step_name"), command: a.text("@command"), database };
    match seat.instance_mut().and_then(|i| i.job_mut(&job)) {
        Some(j) if j.step.is_some() => Err(SqlMessage::simulator("a job has one step here")),
        Some(j) if j.category != Category::Uncategorized => {
            Err(SqlMessage::simulator("gives no step to a job of log shipping"))
        }
        Some(j) => {
            j.step = Some(step);
            Ok(Returned::code(0))
        }
        None => Err(SqlMessage::simulator("no such job")),
    }
}

/// Lets a job run on this server.
pub(super) fn add_job_server(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let (job, server) = (job(seat, a)?, a.text("@server_name"));
    let Some(i) = seat.instance_mut() else { return Err(SqlMessage::simulator("no instance")) };
    let own = i.server_name.clone();
    if !["", "(LOCAL)", &own].iter().any(|known| server.eq_ignore_ascii_case(known)) {
        return Err(SqlMessage::simulator(format!("does not know the target server {server}")));
    }
    match i.job_mut(&job) {
        Some(j) if j.has_server => {
            refuse(14269, format!("Job '{}' is already targeted at server '{own}'.", j.name))
        }
        Some(j) => {
            j.has_server = true;
            Ok(Returned::code(0))
        }
        None => Err(SqlMessage::simulator("no such job")),
    }
}

/// Deletes a job with its history, and the schedules that no other job has. A run that is under way is not ended by it: that it would be is
/// documented nowhere.
pub(super) fn delete_job(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let job = job(seat, a)?;
    for switch in ["@delete_history", "@delete_unused_schedule"] {
        if a.bit(switch)? == Some(false) {
            return Err(SqlMessage::simulator(format!("{switch} = 0")));
        }
    }
    if let Some(i) = seat.instance_mut() {
        i.delete_job(&job);
    }
    Ok(Returned::code(0))
}

pub(super) fn add_schedule(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let today = seat.world.now.strftime("%Y%m%d").to_string().parse().unwrap_or(0);
    // The documented defaults; the first day is today.
    let mut settings = [1, 0, 1, 0, 0, 0, 0, today, 99_991_231, 0, 235_959];
    for (column, value) in Schedule::COLUMNS.iter().zip(&mut settings) {
        if let Some(given) = a.number(&format!("@{column}"))? {
            *value = given;
        }
    }
    let [_, frequency, ..] = settings;
    if ![1, 4, 8, 16, 32, 64, 128].contains(&frequency) {
        // Its number is nowhere documented in what we have.
        return refuse(14266, "The specified '@freq_type' is invalid.");
    }
    let (seed, name) = (seat.world.scenario.seed, a.text("@schedule_name"));
    let Some(i) = seat.instance_mut() else { return Err(SqlMessage::simulator("no instance")) };
    let uid = i.new_id(seed, "schedule");
    let id = i.add_schedule(&name, settings);
    Ok(Returned::success([("@schedule_uid", Cell::Guid(uid)), ("@schedule_id", Cell::Int(id))]))
}

/// The id of the schedule that a call names, by id or by name.
fn schedule(i: &Instance, a: &Arguments) -> Result<i64, SqlMessage> {
    let (id, name) = (a.number("@schedule_id")?, a.text("@schedule_name"));
    let mut all = i.schedules.iter();
    let found = match id {
        Some(id) => all.find(|s| s.id == id),
        None => all.find(|s| s.name.eq_ignore_ascii_case(&name)),
    };
    match (found, id) {
        (Some(schedule), _) => Ok(schedule.id),
        (None, Some(id)) => refuse(14262, format!("The specified @schedule_id ('{id}') does not exist.")),
        (None, None) => refuse(14262, format!("The specified @schedule_name ('{name}') does not exist.")),
    }
}

pub(super) fn attach_schedule(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let job = job(seat, a)?;
    let next = seat.world.now + interval(seat.world);
    let Some(i) = seat.instance_mut() else { return Err(SqlMessage::simulator("no instance")) };
    let schedule = schedule(i, a)?;
    i.attach_schedule(&job, schedule, next);
    Ok(Returned::code(0))
}
