//! SQL Server Agent: its jobs, whether they run, their schedules.

use rusqlite::types::Value as Sqlite;

use super::super::time;
use super::{Table, n, s, table};
use crate::sql::{Instance, Job};
use crate::world::World;

pub(super) fn jobs(_: &World, i: &Instance) -> Table {
    let row = |j: &Job| vec![s(&j.id), s(&j.name), n(j.enabled)];
    table(&["job_id", "name", "enabled"], i.jobs.iter().map(row))
}

pub(super) fn sessions(_: &World, _: &Instance) -> Table {
    table(&["session_id"], [vec![n(1)], vec![n(2)]])
}

pub(super) fn activity(w: &World, i: &Instance) -> Table {
    let columns = ["session_id", "job_id", "start_execution_date", "stop_execution_date"];
    // A row of an older session of the Agent looks running for ever.
    let rows = i.jobs.iter().flat_map(|j| {
        let now = s(&time(w.now));
        let stop = if j.hangs { Sqlite::Null } else { now.clone() };
        [vec![n(1), s(&j.id), now.clone(), Sqlite::Null], vec![n(2), s(&j.id), now, stop]]
    });
    table(&columns, rows)
}

pub(super) fn job_schedules(_: &World, i: &Instance) -> Table {
    let rows = i.jobs.iter().enumerate().map(|(k, j)| vec![n(k as i64 + 1), s(&j.id)]);
    table(&["schedule_id", "job_id"], rows)
}

pub(super) fn schedules(_: &World, i: &Instance) -> Table {
    let columns = [
        "schedule_id",
        "name",
        "enabled",
        "freq_type",
        "freq_interval",
        "freq_subday_type",
        "freq_subday_interval",
        "freq_relative_interval",
        "freq_recurrence_factor",
        "active_start_date",
        "active_end_date",
        "active_start_time",
        "active_end_time",
    ];
    let rows = i.jobs.iter().enumerate().map(|(k, j)| {
        let mut row = vec![n(k as i64 + 1), s(&format!("{} schedule", j.name))];
        row.extend([1, 4, 1, 4, 15, 0, 0, 20_260_101, 99_991_231, 0, 235_900].map(n));
        row
    });
    table(&columns, rows)
}
