//! What people do to databases past any operator.

use crate::world::World;
use crate::world::journal::{Begun, Effect, Kind, Outcome};

use super::{Database, guid, recover};

/// Fault: somebody recovers the copy of a data centre by hand.
pub fn recover_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    let key = world.scenario.database.to_lowercase();
    let now = world.now;
    let text = format!("RESTORE DATABASE {} WITH RECOVERY", world.scenario.database);
    let entry = Begun {
        server: host,
        kind: Kind::Statement,
        effect: Effect::Write,
        name: "RESTORE DATABASE",
        target: Some(key.clone()),
        text: &text,
        client: "someone",
    };
    let seq = world.journal.begin(now, entry);
    recover(world, host, &key)?;
    world.journal.end(seq, now, Outcome::Ok);
    Ok(())
}

/// Somebody's own database of the same name stands on a server. If one stood there that was mirrored, its mirroring has ended.
pub fn foreign_database_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    world.touch();
    let seed = world.scenario.seed;
    let key = world.scenario.database.to_lowercase();
    let any =
        world.sql.values().find_map(|i| i.databases.get(&key)).cloned().ok_or("no database to go by")?;
    let foreign = Database {
        state: 0,
        standby: false,
        read_only: false,
        family: guid(seed, &format!("foreign family on {host}")),
        fork: guid(seed, &format!("foreign fork on {host}")),
        redo: None,
        mirroring: None,
        newest_message: None,
        interrupted: None,
        undo_lost: false,
        ..any
    };
    let i = world.sql.get_mut(host).ok_or_else(|| format!("no SQL Server {host}"))?;
    let partner = i.databases.insert(key.clone(), foreign).and_then(|was| was.mirroring).map(|m| m.partner);
    let other = partner.and_then(|p| world.sql.get_mut(&p)).and_then(|i| i.databases.get_mut(&key));
    if let Some(other) = other {
        other.mirroring = None;
    }
    Ok(())
}

/// Somebody ends the mirroring of a data centre's database (`ALTER DATABASE … SET PARTNER OFF`): the principal stays live, what was its
/// mirror is left RESTORING.
pub fn remove_mirror_by_hand(world: &mut World, data_center: &str) -> Result<(), String> {
    let d = world.scenario.data_center(data_center).cloned().ok_or("no such data centre")?;
    let key = world.scenario.database.to_lowercase();
    world.touch();
    for host in [&d.sql_server, &d.mirror] {
        let db = world.sql.get_mut(host).and_then(|i| i.databases.get_mut(&key));
        db.and_then(|db| db.mirroring.take()).ok_or(format!("nothing is mirrored on {host}"))?;
    }
    Ok(())
}

/// Somebody switches a live database to the SIMPLE recovery model and back: its log chain is broken until a full backup. A mirrored
/// database must stay in FULL.
pub fn break_log_chain_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    world.touch();
    let key = world.scenario.database.to_lowercase();
    let db = world.sql.get_mut(host).and_then(|i| i.databases.get_mut(&key));
    match db.filter(|db| db.is_live() && db.mirroring.is_none()) {
        Some(db) => {
            db.log_broken = true;
            Ok(())
        }
        None => Err(format!("{host} has no live database without a mirror")),
    }
}

/// Somebody deletes the file beside a STANDBY copy that takes back what it lets be read.
pub fn lose_undo_file(world: &mut World, host: &str) -> Result<(), String> {
    world.touch();
    let key = world.scenario.database.to_lowercase();
    let db = world.sql.get_mut(host).and_then(|i| i.databases.get_mut(&key)).filter(|db| db.standby);
    db.ok_or(format!("{host} has no STANDBY copy"))?.undo_lost = true;
    Ok(())
}
