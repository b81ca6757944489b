//! The catalog views and the tables of msdb that the simulator knows: one function makes the rows of each.

mod agent;
mod content;
mod databases;
mod history;
mod log_shipping;
mod server;

use rusqlite::types::Value as Sqlite;

use super::super::{Database, Instance};
use crate::world::World;

/// A table as it is filled.
pub(super) struct Table {
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Sqlite>>,
}

fn table(columns: &[&'static str], rows: impl IntoIterator<Item = Vec<Sqlite>>) -> Table {
    Table { columns: columns.to_vec(), rows: rows.into_iter().collect() }
}

fn s(t: &str) -> Sqlite {
    Sqlite::Text(t.into())
}
fn o(t: Option<&String>) -> Sqlite {
    t.map_or(Sqlite::Null, |t| s(t))
}
fn n(v: impl Into<i64>) -> Sqlite {
    Sqlite::Integer(v.into())
}
fn lsn(v: i128) -> Sqlite {
    Sqlite::Text(super::stored(v))
}

/// Makes the rows of one view of an instance.
type View = fn(&World, &Instance) -> Table;

const VIEWS: &[(&str, View)] = &[
    ("sys.databases", databases::databases),
    ("sys.database_recovery_status", databases::recovery_status),
    ("sys.database_mirroring", databases::mirroring),
    ("sys.master_files", databases::master_files),
    ("sys.dm_exec_sessions", server::sessions),
    ("sys.sysprocesses", server::processes),
    ("sys.dm_exec_requests", server::requests),
    ("sys.dm_tran_locks", server::locks),
    ("sys.server_principals", server::principals),
    ("msdb.dbo.log_shipping_primary_databases", log_shipping::primary_databases),
    ("msdb.dbo.log_shipping_primary_secondaries", log_shipping::primary_secondaries),
    ("msdb.dbo.log_shipping_monitor_primary", log_shipping::monitor_primary),
    ("msdb.dbo.log_shipping_secondary", log_shipping::secondary),
    ("msdb.dbo.log_shipping_secondary_databases", log_shipping::secondary_databases),
    ("msdb.dbo.log_shipping_monitor_secondary", log_shipping::monitor_secondary),
    ("msdb.dbo.sysjobs", agent::jobs),
    ("msdb.dbo.sysjobsteps", agent::steps),
    ("msdb.dbo.sysjobservers", agent::servers),
    ("msdb.dbo.sysjobhistory", agent::history),
    ("msdb.dbo.syscategories", agent::categories),
    ("msdb.dbo.sysjobactivity", agent::activity),
    ("msdb.dbo.syssessions", agent::sessions),
    ("msdb.dbo.sysjobschedules", agent::job_schedules),
    ("msdb.dbo.sysschedules", agent::schedules),
    ("msdb.dbo.restorehistory", history::restores),
    ("msdb.dbo.backupset", history::sets),
    ("msdb.dbo.backupmediafamily", history::media),
];

/// Whether a table, by lower-case name, is one of the world's and not one that clients made.
pub(super) fn is_known(name: &str) -> bool {
    VIEWS.iter().any(|(known, _)| *known == name)
}

/// Whether a table, by lower-case name without its database's, is one of every content database.
pub(super) fn is_content(name: &str) -> bool {
    content::TABLES.iter().any(|(known, _)| *known == name)
}

/// The rows of a table of the world, by lower-case name.
pub(super) fn of(w: &World, i: &Instance, name: &str) -> Option<Table> {
    match VIEWS.iter().find(|(known, _)| *known == name) {
        Some((_, view)) => Some(view(w, i)),
        None => {
            let (database, rest) = name.split_once('.')?;
            content::of(w, i.databases.get(database)?, rest)
        }
    }
}

/// Databases with their ids.
fn numbered(i: &Instance) -> impl Iterator<Item = (i64, &Database)> {
    i.databases.values().enumerate().map(|(k, d)| (k as i64 + 5, d))
}
