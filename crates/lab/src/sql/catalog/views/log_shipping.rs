//! The tables of log shipping in msdb, their columns in the documented order.

use rusqlite::types::Value as Sqlite;

use super::super::time;
use super::{Table, n, o, s, table};
use crate::sql::log_shipping::{LastFile, Secondary, SecondaryDatabase};
use crate::sql::{Instance, Primary};
use crate::world::World;

/// The path and the date of a last file.
fn last(file: Option<&LastFile>) -> [Sqlite; 2] {
    [o(file.map(|f| &f.path)), file.map_or(Sqlite::Null, |f| s(&time(f.at)))]
}

/// The same with the date in UTC: the servers' clocks show UTC.
fn last_with_utc(file: Option<&LastFile>) -> [Sqlite; 3] {
    let [path, at] = last(file);
    [path, at.clone(), at]
}

pub(super) fn primary_databases(_: &World, i: &Instance) -> Table {
    let columns = [
        "primary_id",
        "primary_database",
        "backup_directory",
        "backup_share",
        "backup_retention_period",
        "backup_job_id",
        "monitor_server",
        "user_specified_monitor",
        "monitor_server_security_mode",
        "last_backup_file",
        "last_backup_date",
        "backup_compression",
    ];
    let rows = i.log_shipping_primary.iter().map(|p| {
        let mut row = vec![
            s(&p.id),
            s(&p.database),
            s(&p.directory),
            s(&p.share),
            n(p.retention),
            s(&p.job),
            s(&i.server_name),
            n(0),
            n(1),
        ];
        row.extend(last(p.last_backup.as_ref()));
        row.push(n(p.compression));
        row
    });
    table(&columns, rows)
}

pub(super) fn primary_secondaries(_: &World, i: &Instance) -> Table {
    let pairs = |p: &Primary| -> Vec<Vec<Sqlite>> {
        p.secondaries.iter().map(|(server, database)| vec![s(&p.id), s(server), s(database)]).collect()
    };
    let columns = ["primary_id", "secondary_server", "secondary_database"];
    table(&columns, i.log_shipping_primary.iter().flat_map(pairs))
}

pub(super) fn monitor_primary(_: &World, i: &Instance) -> Table {
    let columns = [
        "primary_id",
        "primary_server",
        "primary_database",
        "backup_threshold",
        "threshold_alert",
        "threshold_alert_enabled",
        "last_backup_file",
        "last_backup_date",
        "last_backup_date_utc",
        "history_retention_period",
    ];
    let rows = i.log_shipping_primary.iter().map(|p| {
        let mut row = vec![
            s(&p.id),
            s(&i.server_name),
            s(&p.database),
            n(p.threshold),
            n(p.threshold_alert),
            n(p.threshold_alert_enabled),
        ];
        row.extend(last_with_utc(p.last_backup.as_ref()));
        row.push(n(p.history_retention));
        row
    });
    table(&columns, rows)
}

pub(super) fn secondary(_: &World, i: &Instance) -> Table {
    let columns = [
        "secondary_id",
        "primary_server",
        "primary_database",
        "backup_source_directory",
        "backup_destination_directory",
        "file_retention_period",
        "copy_job_id",
        "restore_job_id",
        "monitor_server",
        "monitor_server_security_mode",
        "user_specified_monitor",
        "last_copied_file",
        "last_copied_date",
    ];
    let rows = i.log_shipping.iter().map(|l| {
        let mut row = vec![
            s(&l.id),
            s(&l.primary_server),
            s(&l.primary_database),
            s(&l.source),
            s(&l.destination),
            n(l.retention),
            s(&l.copy_job),
            s(&l.restore_job),
            s(&i.server_name),
            n(1),
            n(0),
        ];
        row.extend(last(l.last_copied.as_ref()));
        row
    });
    table(&columns, rows)
}

/// Each database of the secondary half, with its primary.
fn secondaries(i: &Instance) -> impl Iterator<Item = (&Secondary, &SecondaryDatabase)> {
    i.log_shipping.iter().flat_map(|l| l.databases.iter().map(move |d| (l, d)))
}

pub(super) fn secondary_databases(_: &World, i: &Instance) -> Table {
    let columns = [
        "secondary_database",
        "secondary_id",
        "restore_delay",
        "restore_all",
        "restore_mode",
        "disconnect_users",
        "block_size",
        "buffer_count",
        "max_transfer_size",
        "last_restored_file",
        "last_restored_date",
    ];
    let rows = secondaries(i).map(|(l, d)| {
        let mut row = vec![
            s(&d.database),
            s(&l.id),
            n(d.restore_delay),
            n(d.restore_all),
            n(d.standby),
            n(d.disconnect_users),
        ];
        row.extend(d.tuning.map(n));
        row.extend(last(d.last_restored.as_ref()));
        row
    });
    table(&columns, rows)
}

pub(super) fn monitor_secondary(_: &World, i: &Instance) -> Table {
    let columns = [
        "secondary_server",
        "secondary_database",
        "secondary_id",
        "primary_server",
        "primary_database",
        "restore_threshold",
        "threshold_alert",
        "threshold_alert_enabled",
        "last_copied_file",
        "last_copied_date",
        "last_copied_date_utc",
        "last_restored_file",
        "last_restored_date",
        "last_restored_date_utc",
        "history_retention_period",
    ];
    let rows = secondaries(i).map(|(l, d)| {
        let mut row = vec![
            s(&i.server_name),
            s(&d.database),
            s(&l.id),
            s(&l.primary_server),
            s(&l.primary_database),
            n(d.threshold),
            n(d.threshold_alert),
            n(d.threshold_alert_enabled),
        ];
        row.extend(last_with_utc(l.last_copied.as_ref()));
        row.extend(last_with_utc(d.last_restored.as_ref()));
        row.push(n(d.history_retention));
        row
    });
    table(&columns, rows)
}
