//! The three jobs of log shipping: what each does is in the row that it belongs to.

use jiff::{SignedDuration, Timestamp};

use crate::tsql::restore::{LogSource, log_set};
use crate::tsql::values::Errors;
use crate::world::World;
use crate::world::files::split;
use crate::world::journal::{Begun, Effect, Kind, Outcome};

use super::super::backup::{self, BackupHeader, Taking};
use super::super::log_shipping::{LastFile, SecondaryDatabase};
use super::super::{Restored, apply};

/// What a job does: by its row's place in its table.
enum Work {
    Backup(usize),
    Copy(usize),
    Restore(usize),
}

/// Runs a job of a server that is up. A job that belongs to no row of log shipping does nothing here.
pub(super) fn run(world: &mut World, host: &str, job: &str) {
    let Some((name, work)) = work(world, host, job) else { return };
    let entry = Begun {
        server: host,
        kind: Kind::Statement,
        effect: Effect::Write,
        name,
        target: None,
        text: name,
        client: "SQLAgent",
    };
    let seq = world.journal.begin(world.now, entry);
    let result = match work {
        Work::Backup(row) => back_up(world, host, row),
        Work::Copy(row) => copy_new(world, host, row),
        Work::Restore(row) => restore(world, host, row),
    };
    let outcome = match result {
        Ok(()) => Outcome::Ok,
        Err(e) => Outcome::Failed(e),
    };
    world.journal.end(seq, world.now, outcome);
}

fn work(world: &World, host: &str, job: &str) -> Option<(&'static str, Work)> {
    let i = world.sql.get(host)?;
    if let Some(row) = i.log_shipping_primary.iter().position(|p| p.job == job) {
        return Some(("LSBackup", Work::Backup(row)));
    }
    if let Some(row) = i.log_shipping.iter().position(|s| s.copy_job == job) {
        return Some(("LSCopy", Work::Copy(row)));
    }
    i.log_shipping.iter().position(|s| s.restore_job == job).map(|row| ("LSRestore", Work::Restore(row)))
}

fn back_up(world: &mut World, host: &str, row: usize) -> Result<(), String> {
    let at = world.now;
    let Some(i) = world.sql.get(host) else { return Ok(()) };
    let Some(primary) = i.log_shipping_primary.get(row) else { return Ok(()) };
    let (database, folder) = (primary.database.clone(), primary.directory.clone());
    if !i.databases.get(&database.to_lowercase()).is_some_and(|d| d.is_live()) {
        // 32008, which is no error: a mirror's job succeeds and does nothing.
        return Ok(());
    }
    let path = log_backup(world, host, &database, &folder, at)?;
    if let Some(primary) = world.sql.get_mut(host).and_then(|i| i.log_shipping_primary.get_mut(row)) {
        primary.last_backup = Some(LastFile { path, at });
    }
    Ok(())
}

/// Writes one log backup of the scenario's database to the share for the copy in the other data centre.
pub fn take_log_backup(world: &mut World, host: &str, at: Timestamp) -> Result<String, String> {
    let s = &world.scenario;
    let opposite = s.data_center_of(host).and_then(|d| s.opposite(d)).ok_or_else(|| format!("no {host}"))?;
    let (database, share) = (s.database.clone(), opposite.backup_share.clone());
    log_backup(world, host, &database, &share, at)
}

fn log_backup(
    world: &mut World,
    host: &str,
    database: &str,
    folder: &str,
    at: Timestamp,
) -> Result<String, String> {
    let (seed, payload) = (world.scenario.seed, world.scenario.backup_bytes);
    let key = database.to_lowercase();
    let Some(i) = world.sql.get_mut(host) else { return Err(format!("no SQL Server {host}")) };
    let Some(db) = i.databases.get(&key).filter(|d| d.is_live()) else {
        return Err(format!("{host} has no live {database}"));
    };
    if db.log_broken {
        // Error 4214.
        return Err("BACKUP LOG cannot be performed because there is no current database backup.".into());
    }
    // Much has been written since the last one.
    let log_end = db.log_end + 42_00000;
    let taking = Taking { at, log_end, log: true, checksums: false, copy_only: false, tail: false, payload };
    let header = taking.of(i, db);
    // A backup takes a second at least: no two of them have one name, and none overwrites another.
    let mut named = at;
    let path = loop {
        let path = format!(r"{folder}\{database}_{}.trn", named.strftime("%Y%m%d%H%M%S"));
        if world.files.head(&path, 1).is_err() {
            break path;
        }
        named += SignedDuration::from_secs(1);
    };
    world.files.write(&path, &backup::encode(&header, seed)).map_err(|e| e.text)?;
    i.has_taken(&key, header);
    Ok(path)
}

fn copy_new(world: &mut World, host: &str, row: usize) -> Result<(), String> {
    let found = world.sql.get(host).and_then(|i| i.log_shipping.get(row));
    let Some((source, destination)) = found.map(|s| (s.source.clone(), s.destination.clone())) else {
        return Ok(());
    };
    let have = world.files.list(&destination).map_err(|e| e.text)?;
    for (name, length) in world.files.list(&source).map_err(|e| e.text)? {
        if name.to_lowercase().ends_with(".trn") && !have.contains(&(name.clone(), length)) {
            copy(world, host, row, &format!(r"{source}\{name}"))?;
        }
    }
    Ok(())
}

/// Copies one backup to the folder of a row of the secondary half.
pub(in crate::sql) fn copy(world: &mut World, host: &str, row: usize, path: &str) -> Result<(), String> {
    let at = world.now;
    let content = world.files.read(path).map_err(|e| e.text)?;
    let Some(secondary) = world.sql.get_mut(host).and_then(|i| i.log_shipping.get_mut(row)) else {
        return Err(format!("{host} has no log shipping"));
    };
    let path = format!(r"{}\{}", secondary.destination, split(path).1);
    world.files.write(&path, &content).map_err(|e| e.text)?;
    secondary.last_copied = Some(LastFile { path, at });
    Ok(())
}

fn restore(world: &mut World, host: &str, row: usize) -> Result<(), String> {
    let Some(secondary) = world.sql.get(host).and_then(|i| i.log_shipping.get(row)) else { return Ok(()) };
    let folder = secondary.destination.clone();
    let mut sets: Vec<(BackupHeader, String)> = Vec::new();
    for (name, _) in world.files.list(&folder).map_err(|e| e.text)? {
        let path = format!(r"{folder}\{name}");
        if let Ok(set) = backup::read(world.files.as_ref(), &path)
            && set.kind == 2
        {
            sets.push((set, path));
        }
    }
    // The chain decides what comes next, not the names.
    sets.sort_by_key(|(set, _)| (set.first_lsn, set.last_lsn));
    let databases = world.sql.get(host).and_then(|i| i.log_shipping.get(row)).map(|s| s.databases.clone());
    for rule in databases.unwrap_or_default() {
        restore_into(world, host, &rule, &sets)?;
    }
    Ok(())
}

/// Restores what comes next into one database, as `RESTORE LOG` does: what that refuses fails the job.
fn restore_into(
    world: &mut World,
    host: &str,
    rule: &SecondaryDatabase,
    sets: &[(BackupHeader, String)],
) -> Result<(), String> {
    let key = rule.database.to_lowercase();
    let now = world.now;
    for (set, path) in sets {
        let Some(i) = world.sql.get_mut(host) else { return Ok(()) };
        let (lsn, fork) = i.databases.get(&key).ok_or("no database")?.redo.as_ref().ok_or("not restoring")?;
        let ripe =
            set.finish + SignedDuration::from_mins(rule.restore_delay) <= now || rule.restore_delay == 0;
        if !(ripe && set.first_lsn <= *lsn && *lsn < set.last_lsn && set.is_on_the_path_of(*lsn, fork)) {
            continue;
        }
        if rule.disconnect_users {
            let inside: Vec<u32> =
                i.sessions.iter().filter(|(_, s)| s.database == key).map(|(id, _)| *id).collect();
            for id in inside {
                crate::sql::logout(world, host, id);
            }
        }
        let from = LogSource { database: &rule.database, path, others: &[], position: 1, moves: &[] };
        let said = |e: Errors| e.into_iter().next().map(|e| format!("{}: {}", e.number, e.message));
        let (set, added) = log_set(world, host, None, &from).map_err(|e| said(e).unwrap_or_default())?;
        let Some(i) = world.sql.get_mut(host) else { return Ok(()) };
        if let Some(db) = i.databases.get_mut(&key) {
            db.state = i32::from(!rule.standby);
            db.standby = rule.standby;
            db.read_only = rule.standby;
            db.files.extend(added);
        }
        let rows = i.log_shipping.iter_mut().flat_map(|s| &mut s.databases);
        for row in rows.filter(|d| d.database.eq_ignore_ascii_case(&key)) {
            row.last_restored = Some(LastFile { path: path.clone(), at: now });
        }
        apply(world, host, Restored { at: now, database: key.clone(), set, path: path.clone() });
        if !rule.restore_all {
            break;
        }
    }
    Ok(())
}
