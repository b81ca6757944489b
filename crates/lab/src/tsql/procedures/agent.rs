//! The procedures of SQL Server Agent.

use super::super::Seat;
use super::super::values::{Cell, SqlMessage, refuse};
use super::{Arguments, Returned};
use crate::sql::agent::interval;
use crate::sql::{Instance, Schedule};

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

/// Error 22022 with a text of SQL Server Agent's: the texts are nowhere documented.
fn agent_error<T>(what: &str) -> Result<T, SqlMessage> {
    refuse(22022, format!("SQLServerAgent Error: {what}"))
}

pub(super) fn start_job(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let job = job(seat, a)?;
    let Some(i) = seat.instance_mut() else { return Err(SqlMessage::simulator("no instance")) };
    if i.agent_stopped {
        return agent_error(
            "SQLServerAgent is not currently running so it cannot be notified of this action.",
        );
    }
    if let Some(j) = i.job_mut(&job) {
        if j.hangs || j.asked {
            return agent_error(&format!(
                "Request to run job {} refused because the job is already running.",
                j.name
            ));
        }
        j.asked = true;
    }
    Ok(Returned::code(0))
}

/// Ends a run. That it refuses to if none is under way is not simulated: nobody can tell here when a short run ends.
pub(super) fn stop_job(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let job = job(seat, a)?;
    if let Some(j) = seat.instance_mut().and_then(|i| i.job_mut(&job)) {
        j.hangs = false;
        j.asked = false;
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
