//! SQL Server Agent: its jobs, whether they run, their schedules.

use rusqlite::types::Value as Sqlite;

use super::super::time;
use super::{Table, n, s, table};
use crate::sql::{Category, Instance, Job, Schedule};
use crate::world::World;

pub(super) fn jobs(_: &World, i: &Instance) -> Table {
    let row = |j: &Job| vec![s(&j.id), s(&j.name), n(j.enabled), n(j.category.id())];
    table(&["job_id", "name", "enabled", "category_id"], i.jobs.iter().map(row))
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
        let stop = if j.hangs { Sqlite::Null } else { now.clone() };
        [vec![n(1), s(&j.id), now.clone(), Sqlite::Null], vec![n(2), s(&j.id), now, stop]]
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
