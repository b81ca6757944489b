//! Mirroring: how it is established, and how a mirror takes over.

use crate::world::World;

use super::backup::BackupHeader;
use super::{Database, Mirroring, agent, is_up, logout};

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
    // Its full backup begins a log chain.
    db.log_broken = false;
    let copy = as_mirror(db, principal);
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
            extra: crate::sql::backup::Extra::default(),
        });
    }
    if let Some(i) = world.sql.get_mut(mirror) {
        i.databases.insert(key, copy);
    }
}

/// Fault: in a data centre the mirror becomes principal, whichever server it is on; the old principal's service is down.
pub fn promote_mirror(world: &mut World, data_center: &str) -> Result<(), String> {
    let d = world.scenario.data_center(data_center).cloned().ok_or("no such data centre")?;
    let key = world.scenario.database.to_lowercase();
    let role = |host: &str| world.sql.get(host)?.databases.get(&key)?.mirroring.as_ref().map(|m| m.role);
    let (principal, mirror) = match [&d.sql_server, &d.mirror].map(|h| role(h)) {
        [Some(1), Some(2)] => (d.sql_server, d.mirror),
        [Some(2), Some(1)] => (d.mirror, d.sql_server),
        _ => return Err(format!("{data_center} has no principal with a mirror")),
    };
    if !is_up(world, &mirror) {
        return Err(format!("the mirror {mirror} does not answer"));
    }
    world.touch();
    let sessions: Vec<u32> = match world.sql.get_mut(&principal) {
        Some(i) => {
            i.down = true;
            i.sessions.keys().copied().collect()
        }
        None => vec![],
    };
    for id in sessions {
        logout(world, &principal, id);
    }
    agent::lost(world, &principal);
    let was = world.sql.get(&principal).and_then(|i| i.databases.get(&key)).cloned();
    let db = world.sql.get_mut(&mirror).and_then(|i| i.databases.get_mut(&key)).ok_or("no mirror")?;
    // Whatever was committed is on the mirror as well: it has followed the principal to the last record.
    if let Some(was) = was.filter(|p| p.is_live() && p.family == db.family && p.fork == db.fork) {
        *db = Database { mirroring: db.mirroring.take(), ..was };
    }
    db.state = 0;
    db.redo = None;
    if let Some(m) = db.mirroring.as_mut() {
        m.role = 1;
        m.state = 1;
    }
    Ok(())
}

/// What a checkpoint writes to the log, of a database in which nobody writes ("Writes a record to the log file, marking the start of the
/// checkpoint": SQL Server Transaction Log Architecture and Management Guide): so the log of a principal that goes on alone is never quite
/// that of the copy that it has left behind.
const CHECKPOINT: i128 = 100;

/// Ends the mirroring of a database, by its lower-case name, at one of its partners (`ALTER DATABASE … SET PARTNER OFF`); whether there was
/// any. The principal goes on alone, what was its mirror is left RESTORING. A partner that does not answer learns of it when it is back,
/// at the next [`tick`] ("Removing Database Mirroring").
pub(crate) fn remove_mirror(world: &mut World, host: &str, key: &str) -> bool {
    world.touch();
    let find = |host: &str| world.sql.get(host).and_then(|i| i.databases.get(key));
    let Some((db, ended)) = find(host).and_then(|db| Some((db, db.mirroring.clone()?))) else { return false };
    let with_us = |m: &Mirroring| m.partner == host;
    let other = find(&ended.partner).filter(|o| o.mirroring.as_ref().is_some_and(with_us));
    let other = other.filter(|_| is_up(world, &ended.partner));
    // Whatever was committed is on the mirror as well: it has followed the principal to the last record.
    let (principal, mirror) = if ended.role == 1 { (Some(db), other) } else { (other, Some(db)) };
    let copy = principal
        .zip(mirror)
        .filter(|(p, m)| p.is_live() && m.state == 1 && p.family == m.family && p.fork == m.fork)
        .map(|(p, _)| as_mirror(p, host));
    let both = [host.to_string(), ended.partner.clone()];
    let reached = if other.is_some() { &both[..] } else { &both[..1] };
    let ex_mirror = if ended.role == 1 { &both[1] } else { &both[0] };
    for partner in reached {
        let Some(db) = world.sql.get_mut(partner).and_then(|i| i.databases.get_mut(key)) else { continue };
        if let Some(copy) = copy.clone().filter(|_| partner == ex_mirror) {
            *db = copy;
        }
        if db.is_live() {
            db.log_end += CHECKPOINT;
        }
        db.mirroring = None;
    }
    true
}

/// A SQL Server that went down starts again. Where its mirror has taken over meanwhile, its own database becomes the mirror.
pub fn start_sql(world: &mut World, host: &str) -> Result<(), String> {
    world.touch();
    world.sql.get_mut(host).ok_or_else(|| format!("no SQL Server {host}"))?.down = false;
    tick(world);
    Ok(())
}

/// Lets principals that were alone find their partners again: both are synchronized, the partner as the mirror. Who finds that his partner
/// has ended their session meanwhile is mirrored no more either.
pub(super) fn tick(world: &mut World) {
    let (mut found, mut ended) = (Vec::new(), Vec::new());
    for (host, i) in world.sql.iter().filter(|(host, _)| is_up(world, host)) {
        for (key, db) in &i.databases {
            let Some(m) = &db.mirroring else { continue };
            let partner = world.sql.get(&m.partner).and_then(|i| i.databases.get(key));
            let over =
                partner.is_some_and(|p| p.mirroring.as_ref().is_none_or(|theirs| theirs.partner != *host));
            // Asked at every moment of a simulated night: what is seldom so comes first.
            if !(over || (m.role == 1 && m.state == 1)) || !is_up(world, &m.partner) {
                continue;
            }
            if over {
                ended.push((host.clone(), key.clone()));
            } else {
                found.push((host.clone(), m.partner.clone(), key.clone(), db.clone()));
            }
        }
    }
    for (host, key) in ended {
        if let Some(db) = world.sql.get_mut(&host).and_then(|i| i.databases.get_mut(&key)) {
            db.mirroring = None;
        }
    }
    for (principal, mirror, key, db) in found {
        let Some(copy) = world.sql.get_mut(&mirror).and_then(|i| i.databases.get_mut(&key)) else { continue };
        let ours = copy.mirroring.as_ref().is_some_and(|m| m.partner == principal);
        if !ours || copy.family != db.family || copy.fork != db.fork {
            continue;
        }
        *copy = as_mirror(&db, &principal);
        let db = world.sql.get_mut(&principal).and_then(|i| i.databases.get_mut(&key));
        if let Some(m) = db.and_then(|d| d.mirroring.as_mut()) {
            m.state = 4;
        }
    }
}

/// What the mirror of a database holds.
fn as_mirror(db: &Database, principal: &str) -> Database {
    Database {
        state: 1,
        redo: Some((db.log_end, db.fork.clone())),
        mirroring: Some(Mirroring { role: 2, state: 4, partner: principal.into() }),
        ..db.clone()
    }
}
