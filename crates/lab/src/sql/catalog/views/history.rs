//! What was backed up and restored, as msdb remembers it.

use rusqlite::types::Value as Sqlite;

use super::super::time;
use super::{Table, lsn, n, s, table};
use crate::sql::Instance;
use crate::sql::backup::BackupHeader;
use crate::world::World;

pub(super) fn restores(_: &World, i: &Instance) -> Table {
    let columns =
        ["restore_history_id", "restore_date", "destination_database_name", "backup_set_id", "restore_type"];
    let rows = (1..)
        .zip(&i.restore_history)
        .map(|(id, r)| vec![n(id), s(&time(r.at)), s(&r.database), n(id), s(kind(&r.set))]);
    table(&columns, rows)
}

/// What msdb calls a set: of a database, or of its log.
fn kind(set: &BackupHeader) -> &'static str {
    if set.kind == 2 { "L" } else { "D" }
}

pub(super) fn sets(_: &World, i: &Instance) -> Table {
    let columns = [
        "backup_set_id",
        "media_set_id",
        "type",
        "database_name",
        "server_name",
        "first_lsn",
        "last_lsn",
        "last_recovery_fork_guid",
        "first_recovery_fork_guid",
        "fork_point_lsn",
        "is_force_offline",
        "backup_start_date",
        "backup_finish_date",
        "is_copy_only",
        "time_zone",
    ];
    let restored = i.restore_history.iter().map(|r| &r.set);
    let rows = (1..).zip(restored.chain(&i.backups)).map(|(id, b)| {
        vec![
            n(id),
            n(id),
            s(kind(b)),
            s(&b.database),
            s(&b.server),
            lsn(b.first_lsn),
            lsn(b.last_lsn),
            s(&b.last_fork),
            s(&b.first_fork),
            b.extra.fork_point.map_or(Sqlite::Null, lsn),
            n(i64::from(b.extra.tail)),
            s(&time(b.start)),
            s(&time(b.finish)),
            n(i64::from(b.extra.copy_only)),
            // The servers' clocks show UTC.
            n(0),
        ]
    });
    table(&columns, rows)
}

pub(super) fn media(_: &World, i: &Instance) -> Table {
    let rows = (1..).zip(&i.restore_history).map(|(id, r)| vec![n(id), s(&r.path), n(0)]);
    table(&["media_set_id", "physical_device_name", "mirror"], rows)
}
