//! The tables of log shipping in msdb.

use super::{Table, n, o, s, table};
use crate::sql::Instance;
use crate::world::World;

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
        "last_copied_file",
    ];
    let rows = i.log_shipping.iter().map(|l| {
        vec![
            s(&l.id),
            s(&l.primary),
            s(&l.database),
            s(&l.source),
            s(&l.destination),
            n(4320),
            s(&l.copy_job),
            s(&l.restore_job),
            s(&i.server_name),
            n(1),
            o(l.last_copied.as_ref()),
        ]
    });
    table(&columns, rows)
}

pub(super) fn secondary_databases(_: &World, i: &Instance) -> Table {
    let columns = [
        "secondary_id",
        "secondary_database",
        "restore_delay",
        "restore_all",
        "restore_mode",
        "disconnect_users",
        "block_size",
        "buffer_count",
        "max_transfer_size",
        "last_restored_file",
    ];
    let rows = i.log_shipping.iter().map(|l| {
        let standby = i.databases.get(&l.database.to_lowercase()).is_some_and(|d| d.standby);
        vec![
            s(&l.id),
            s(&l.database),
            n(0),
            n(1),
            n(standby),
            n(0),
            n(-1),
            n(-1),
            n(-1),
            o(l.last_restored.as_ref()),
        ]
    });
    table(&columns, rows)
}

pub(super) fn monitor_secondary(_: &World, i: &Instance) -> Table {
    let columns = [
        "secondary_id",
        "secondary_database",
        "restore_threshold",
        "threshold_alert",
        "threshold_alert_enabled",
        "history_retention_period",
    ];
    let row = |l: &crate::sql::LogShipping| vec![s(&l.id), s(&l.database), n(45), n(14420), n(1), n(5760)];
    table(&columns, i.log_shipping.iter().map(row))
}
