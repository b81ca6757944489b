//! SQL Server Agent: its jobs, whether they run, their schedules.

use rusqlite::types::Value as Sqlite;

use super::super::time;
use super::{Table, n, o, s, table};
use crate::sql::agent::JobHistory;
use crate::sql::{Category, Instance, Job, Schedule};
use crate::world::World;

pub(super) fn jobs(_: &World, i: &Instance) -> Table {
    let columns = ["job_id", "name", "enabled", "category_id", "description", "start_step_id"];
    let row = |j: &Job| {
        vec![s(&j.id), s(&j.name), n(j.enabled), n(j.category.id()), o(j.description.as_ref()), n(1)]
    };
    table(&columns, i.jobs.iter().map(row))
}

/// The newest row of a job's history, of one of its steps.
fn last_run<'i>(i: &'i Instance, job: &Job, step: i64) -> Option<&'i JobHistory> {
    i.job_history.iter().rev().find(|h| h.job == job.id && h.step == step)
}

pub(super) fn steps(_: &World, i: &Instance) -> Table {
    let columns = [
        "job_id",
        "step_id",
        "step_name",
        "subsystem",
        "command",
        "on_success_action",
        "on_fail_action",
        "database_name",
        "last_run_outcome",
        "last_run_duration",
        "last_run_date",
        "last_run_time",
    ];
    let rows = i.jobs.iter().filter_map(|j| {
        let step = j.step.as_ref()?;
        let last = last_run(i, j, 1);
        let mut row = vec![s(&j.id), n(1), s(&step.name), s("TSQL"), s(&step.command), n(1), n(2)];
        row.push(s(&step.database));
        row.push(n(last.map_or(0, |h| h.outcome.status())));
        row.extend(last.map_or([0; 3], |h| [h.duration(), h.date(), h.time()]).map(n));
        Some(row)
    });
    table(&columns, rows)
}

/// The servers that jobs run on. The outcome of a job that has not run yet is 5, unknown (documented of `sp_help_job`).
pub(super) fn servers(_: &World, i: &Instance) -> Table {
    let columns = [
        "job_id",
        "server_id",
        "last_run_outcome",
        "last_outcome_message",
        "last_run_date",
        "last_run_time",
        "last_run_duration",
    ];
    let rows = i.jobs.iter().filter(|j| j.has_server).map(|j| {
        let last = last_run(i, j, 0);
        let mut row = vec![s(&j.id), n(0), n(last.map_or(5, |h| h.outcome.status()))];
        row.push(o(last.map(|h| &h.message)));
        row.extend(last.map_or([0; 3], |h| [h.date(), h.time(), h.duration()]).map(n));
        row
    });
    table(&columns, rows)
}

pub(super) fn history(_: &World, i: &Instance) -> Table {
    let columns = [
        "instance_id",
        "job_id",
        "step_id",
        "step_name",
        "sql_message_id",
        "sql_severity",
        "message",
        "run_status",
        "run_date",
        "run_time",
        "run_duration",
        "server",
    ];
    let row = |h: &JobHistory| {
        let mut row = vec![n(h.id), s(&h.job), n(h.step), s(&h.name), n(h.error), n(h.severity)];
        row.push(s(&h.message));
        row.extend([h.outcome.status(), h.date(), h.time(), h.duration()].map(n));
        row.push(s(&i.server_name));
        row
    };
    table(&columns, i.job_history.iter().map(row))
}

pub(super) fn categories(_: &World, _: &Instance) -> Table {
    // Class 1 is that of jobs, type 1 that of local ones.
    let row = |c: Category| vec![n(c.id()), n(1), n(1), s(c.name())];
    table(&["category_id", "category_class", "category_type", "name"], Category::ALL.map(row))
}

pub(super) fn sessions(_: &World, _: &Instance) -> Table {
    table(&["session_id"], [vec![n(1)], vec![n(2)]])
}

pub(super) fn activity(w: &World, i: &Instance) -> Table {
    let columns = ["session_id", "job_id", "start_execution_date", "stop_execution_date"];
    // A row of an older session of the Agent looks running for ever.
    let rows = i.jobs.iter().flat_map(|j| {
        let now = s(&time(w.now));
        let (start, stop) = match (&j.step, j.activity) {
            (Some(_), None) => (Sqlite::Null, Sqlite::Null),
            (Some(_), Some((start, stop))) => {
                (s(&time(start)), stop.map_or(Sqlite::Null, |stop| s(&time(stop))))
            }
            (None, _) => (now.clone(), if j.hangs { Sqlite::Null } else { now.clone() }),
        };
        [vec![n(1), s(&j.id), now, Sqlite::Null], vec![n(2), s(&j.id), start, stop]]
    });
    table(&columns, rows)
}

pub(super) fn job_schedules(_: &World, i: &Instance) -> Table {
    let pairs = |j: &Job| -> Vec<_> { j.schedules.iter().map(|id| vec![n(*id), s(&j.id)]).collect() };
    table(&["schedule_id", "job_id"], i.jobs.iter().flat_map(pairs))
}

pub(super) fn schedules(_: &World, i: &Instance) -> Table {
    let columns: Vec<_> = ["schedule_id", "name"].into_iter().chain(Schedule::COLUMNS).collect();
    let rows = i.schedules.iter().map(|c| {
        let mut row = vec![n(c.id), s(&c.name)];
        row.extend(c.settings.map(n));
        row
    });
    table(&columns, rows)
}
