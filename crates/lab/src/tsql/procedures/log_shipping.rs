//! The procedures of log shipping.
//!
//! With `@overwrite = 1` a row that stands is replaced, and a job of log shipping of that name with it: the new one is disabled and
//! has no schedule. That its id and its mappings or databases stay is nowhere documented.

use super::super::Seat;
use super::super::values::{Cell, SqlMessage, refuse};
use super::{Arguments, Returned};
use crate::sql::{Category, Instance, Primary, Secondary, SecondaryDatabase};

fn instance<'s>(seat: &'s mut Seat<'_>) -> Result<&'s mut Instance, SqlMessage> {
    seat.instance_mut().ok_or_else(|| SqlMessage::simulator("no instance"))
}

/// That a server watches over its own log shipping: a monitor server elsewhere is not simulated.
fn watches_itself(i: &Instance, a: &Arguments) -> Result<(), SqlMessage> {
    let monitor = a.text("@monitor_server");
    if monitor.is_empty() || monitor.eq_ignore_ascii_case(&i.server_name) {
        Ok(())
    } else {
        Err(SqlMessage::simulator(format!("knows no monitor server {monitor}")))
    }
}

fn guids<const N: usize>(outputs: [(&'static str, &String); N]) -> Returned {
    Returned::success(outputs.map(|(name, id)| (name, Cell::Guid(id.clone()))))
}

pub(super) fn add_primary_database(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    a.all_given(&["@database", "@backup_directory", "@backup_share", "@backup_job_name"])?;
    let (database, name) = (a.text("@database"), a.text("@backup_job_name"));
    let overwrite = a.bit("@overwrite")?.unwrap_or(false);
    let seed = seat.world.scenario.seed;
    let i = instance(seat)?;
    watches_itself(i, a)?;
    // What it says of a database that does not exist at all is nowhere documented.
    if i.databases.get(&database.to_lowercase()).is_none_or(|d| d.state != 0) {
        return refuse(32007, format!("Database {database} is not ONLINE."));
    }
    let old = i.primary_mut(&database).cloned();
    if old.is_some() && !overwrite {
        let what = format!("A log shipping primary entry already exists for database {database}.");
        return refuse(32009, what);
    }
    i.job_name_is_free(&name, Category::Backup, overwrite)?;
    if let Some(old) = &old {
        i.delete_job(&old.job);
    }
    let job = i.new_id(seed, "job");
    let id = old.as_ref().map_or_else(|| i.new_id(seed, "primary"), |old| old.id.clone());
    let new = Primary {
        id: id.clone(),
        database: database.clone(),
        directory: a.text("@backup_directory"),
        share: a.text("@backup_share"),
        retention: a.number("@backup_retention_period")?.unwrap_or(1440),
        job: i.make_job(job, &name, Category::Backup),
        compression: a.number("@backup_compression")?.unwrap_or(2),
        threshold: a.number("@backup_threshold")?.unwrap_or(60),
        threshold_alert: a.number("@threshold_alert")?.unwrap_or(14420),
        threshold_alert_enabled: a.bit("@threshold_alert_enabled")?.unwrap_or(false),
        history_retention: a.number("@history_retention_period")?.unwrap_or(14420),
        last_backup: old.as_ref().and_then(|old| old.last_backup.clone()),
        secondaries: old.map(|old| old.secondaries).unwrap_or_default(),
    };
    let returned = guids([("@backup_job_id", &new.job), ("@primary_id", &id)]);
    i.log_shipping_primary.retain(|p| p.id != id);
    i.log_shipping_primary.push(new);
    Ok(returned)
}

fn no_primary<T>(database: &str) -> Result<T, SqlMessage> {
    refuse(32010, format!("Database {database} does not exist as log shipping primary."))
}

pub(super) fn add_primary_secondary(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    a.all_given(&["@primary_database", "@secondary_server", "@secondary_database"])?;
    let database = a.text("@primary_database");
    let (server, to) = (a.text("@secondary_server"), a.text("@secondary_database"));
    let overwrite = a.bit("@overwrite")?.unwrap_or(false);
    let Some(primary) = instance(seat)?.primary_mut(&database) else { return no_primary(&database) };
    let same = |(s, d): &(String, String)| s.eq_ignore_ascii_case(&server) && d.eq_ignore_ascii_case(&to);
    if primary.secondaries.iter().any(same) {
        if !overwrite {
            let what = format!("Secondary {server}.{to} already exists for primary {database}.");
            return refuse(32012, what);
        }
        return Ok(Returned::code(0));
    }
    primary.secondaries.push((server, to));
    Ok(Returned::code(0))
}

pub(super) fn add_secondary_primary(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    a.all_given(&[
        "@primary_server",
        "@primary_database",
        "@backup_source_directory",
        "@backup_destination_directory",
        "@copy_job_name",
        "@restore_job_name",
    ])?;
    let (server, database) = (a.text("@primary_server"), a.text("@primary_database"));
    let (copy, restore) = (a.text("@copy_job_name"), a.text("@restore_job_name"));
    let overwrite = a.bit("@overwrite")?.unwrap_or(false);
    let seed = seat.world.scenario.seed;
    let i = instance(seat)?;
    watches_itself(i, a)?;
    let old = i.secondary_mut(&server, &database).cloned();
    if old.is_some() && !overwrite {
        let what =
            format!("An entry for primary server {server}, primary database {database} already exists.");
        return refuse(32024, what);
    }
    i.job_name_is_free(&copy, Category::Copy, overwrite)?;
    i.job_name_is_free(&restore, Category::Restore, overwrite)?;
    for job in old.iter().flat_map(|old| [&old.copy_job, &old.restore_job]) {
        i.delete_job(job);
    }
    let [copy_id, restore_id] = ["job", "job"].map(|what| i.new_id(seed, what));
    let id = old.as_ref().map_or_else(|| i.new_id(seed, "secondary"), |old| old.id.clone());
    let new = Secondary {
        id: id.clone(),
        primary_server: server,
        primary_database: database,
        source: a.text("@backup_source_directory"),
        destination: a.text("@backup_destination_directory"),
        retention: a.number("@file_retention_period")?.unwrap_or(14420),
        copy_job: i.make_job(copy_id, &copy, Category::Copy),
        restore_job: i.make_job(restore_id, &restore, Category::Restore),
        last_copied: old.as_ref().and_then(|old| old.last_copied.clone()),
        databases: old.map(|old| old.databases).unwrap_or_default(),
    };
    let returned = guids([
        ("@copy_job_id", &new.copy_job),
        ("@restore_job_id", &new.restore_job),
        ("@secondary_id", &id),
    ]);
    i.log_shipping.retain(|s| s.id != id);
    i.log_shipping.push(new);
    Ok(returned)
}

pub(super) fn add_secondary_database(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    a.all_given(&["@secondary_database", "@primary_server", "@primary_database"])?;
    let (server, database) = (a.text("@primary_server"), a.text("@primary_database"));
    let secondary = a.text("@secondary_database");
    let number = |name: &str, absent: i64| a.number(name).map(|n| n.unwrap_or(absent));
    let bit = |name: &str, absent: bool| a.bit(name).map(|b| b.unwrap_or(absent));
    let new = SecondaryDatabase {
        database: secondary.clone(),
        restore_delay: number("@restore_delay", 0)?,
        restore_all: bit("@restore_all", true)?,
        standby: bit("@restore_mode", false)?,
        disconnect_users: bit("@disconnect_users", false)?,
        tuning: [number("@block_size", -1)?, number("@buffer_count", -1)?, number("@max_transfer_size", -1)?],
        threshold: number("@restore_threshold", 45)?,
        threshold_alert: number("@threshold_alert", 14420)?,
        threshold_alert_enabled: bit("@threshold_alert_enabled", true)?,
        history_retention: number("@history_retention_period", 14420)?,
        last_restored: None,
    };
    let i = instance(seat)?;
    if i.secondary_mut(&server, &database).is_none() {
        let what = format!(
            "An entry for primary server {server}, primary database {database} does not exist on this secondary. Register the primary first."
        );
        return refuse(32023, what);
    }
    let ours = |d: &SecondaryDatabase| d.database.eq_ignore_ascii_case(&secondary);
    if !bit("@overwrite", false)? && i.log_shipping.iter().any(|s| s.databases.iter().any(ours)) {
        let what = format!("A log shipping entry already exists for secondary database {secondary}.");
        return refuse(32013, what);
    }
    i.log_shipping.iter_mut().for_each(|s| s.databases.retain(|d| !ours(d)));
    if let Some(row) = i.secondary_mut(&server, &database) {
        row.databases.push(new);
    }
    Ok(Returned::code(0))
}

pub(super) fn delete_primary_database(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let database = a.text("@database");
    let i = instance(seat)?;
    let Some(primary) = i.primary_mut(&database).cloned() else { return no_primary(&database) };
    if !primary.secondaries.is_empty() {
        let what = format!(
            "Primary Database {database} has active log shipping secondary database(s). Drop the secondary database(s) first."
        );
        return refuse(32011, what);
    }
    i.delete_job(&primary.job);
    i.log_shipping_primary.retain(|p| p.id != primary.id);
    Ok(Returned::code(0))
}

/// Removes a mapping. What it says of one that is not there is nowhere documented: it is left as done.
pub(super) fn delete_primary_secondary(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let database = a.text("@primary_database");
    let (server, to) = (a.text("@secondary_server"), a.text("@secondary_database"));
    let Some(primary) = instance(seat)?.primary_mut(&database) else { return no_primary(&database) };
    primary.secondaries.retain(|(s, d)| !(s.eq_ignore_ascii_case(&server) && d.eq_ignore_ascii_case(&to)));
    Ok(Returned::code(0))
}

pub(super) fn delete_secondary_database(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let database = a.text("@secondary_database");
    if !instance(seat)?.delete_secondary_database(&database) {
        let what = format!("Database {database} does not exist as log shipping secondary.");
        return refuse(32014, what);
    }
    Ok(Returned::code(0))
}
