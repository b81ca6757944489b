//! Mirroring: how it is established, and how a mirror takes over.

use crate::world::World;

use super::backup::BackupHeader;
use super::{Database, Mirroring, is_up, logout};

/// Whether a mirror can be built, in the words of the cmdlet.
pub fn mirror_check(
    world: &World,
    principal: &str,
    mirror: &str,
    database: &str,
    drop_existing: bool,
) -> Result<(), String> {
    for host in [principal, mirror] {
        if !is_up(world, host) {
            return Err(format!("Cannot connect to SQL Server {host}."));
        }
    }
    let key = database.to_lowercase();
    let find = |host: &str| world.sql.get(host).and_then(|i| i.databases.get(&key));
    match find(principal) {
        Some(db) if db.is_live() => {}
        Some(_) | None => return Err(format!("The database {database} on {principal} is not online.")),
    }
    match find(mirror) {
        Some(_) if !drop_existing => {
            Err(format!("The database {database} already exists on mirror {mirror}."))
        }
        Some(_) | None => Ok(()),
    }
}

/// Mirroring stands: full and log backup, restored WITH NORECOVERY, both partners synchronized.
pub fn mirror_establish(world: &mut World, principal: &str, mirror: &str, database: &str) {
    let key = database.to_lowercase();
    let now = world.now;
    let Some(i) = world.sql.get_mut(principal) else { return };
    let server = i.server_name.clone();
    let Some(db) = i.databases.get_mut(&key) else { return };
    db.mirroring = Some(Mirroring { role: 1, state: 4, partner: mirror.into() });
    let copy = Database {
        state: 1,
        redo: Some((db.log_end, db.fork.clone())),
        mirroring: Some(Mirroring { role: 2, state: 4, partner: principal.into() }),
        ..db.clone()
    };
    for kind in [1, 2] {
        i.backups.push(BackupHeader {
            database: database.into(),
            server: server.clone(),
            family: copy.family.clone(),
            first_lsn: copy.log_end,
            last_lsn: copy.log_end,
            first_fork: copy.fork.clone(),
            last_fork: copy.fork.clone(),
            kind,
            start: now,
            finish: now,
            checksums: false,
            payload: 0,
        });
    }
    if let Some(i) = world.sql.get_mut(mirror) {
        i.databases.insert(key, copy);
    }
}

/// Fault: the mirror of a data centre becomes principal; the old principal's service is down.
pub fn promote_mirror(world: &mut World, data_center: &str) -> Result<(), String> {
    let d = world
        .scenario
        .data_centers
        .iter()
        .find(|d| d.name == data_center)
        .cloned()
        .ok_or("no such data centre")?;
    let key = world.scenario.database.to_lowercase();
    if let Some(i) = world.sql.get_mut(&d.sql_server) {
        i.down = true;
    }
    let sessions: Vec<u32> =
        world.sql.get(&d.sql_server).map(|i| i.sessions.keys().copied().collect()).unwrap_or_default();
    for id in sessions {
        logout(world, &d.sql_server, id);
    }
    let db = world.sql.get_mut(&d.mirror).and_then(|i| i.databases.get_mut(&key)).ok_or("no mirror")?;
    db.state = 0;
    db.redo = None;
    if let Some(m) = db.mirroring.as_mut() {
        m.role = 1;
        m.state = 1;
    }
    Ok(())
}
