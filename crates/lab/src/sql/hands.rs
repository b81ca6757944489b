//! What people do to databases past any operator.

use jiff::SignedDuration;

use crate::world::World;
use crate::world::journal::{Begun, Effect, Kind, Outcome};

use super::backup::{self, BackupHeader};
use super::files;
use super::{
    Database, Restored, Running, SQL_PASSWORD, SQL_USER, guid, is_up, login, recover, remove_mirror,
};

/// Fault: somebody recovers the copy of a data centre by hand.
pub fn recover_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    let key = world.scenario.database.to_lowercase();
    let now = world.now;
    let copy = world.sql.get(host).and_then(|i| i.databases.get(&key));
    if copy.is_some_and(|db| db.standby && db.undo_lost) {
        return Err(format!("the undo file of the copy on {host} is gone (3013, 3441)"));
    }
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
        forked: None,
        redo: None,
        mirroring: None,
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

/// Somebody ends the mirroring of a data centre's database (`ALTER DATABASE … SET PARTNER OFF`), at a partner that answers: the principal
/// stays live, what was its mirror is left RESTORING.
pub fn remove_mirror_by_hand(world: &mut World, data_center: &str) -> Result<(), String> {
    let d = world.scenario.data_center(data_center).cloned().ok_or("no such data centre")?;
    let key = world.scenario.database.to_lowercase();
    let answers = [&d.sql_server, &d.mirror].into_iter().find(|h| is_up(world, h));
    let host = answers.ok_or_else(|| format!("no SQL Server of {data_center} answers"))?;
    if remove_mirror(world, host, &key) { Ok(()) } else { Err(format!("nothing is mirrored on {host}")) }
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

/// Somebody restores a copy anew, `WITH REPLACE, NORECOVERY`: from a full backup that is older than what the copy holds by at most two of
/// the log backups that were restored into it, and by none that is not there any more.
pub fn restore_anew_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    world.touch();
    let (key, now) = (world.scenario.database.to_lowercase(), world.now);
    let i = world.sql.get(host).ok_or_else(|| format!("no SQL Server {host}"))?;
    let db = i.databases.get(&key).ok_or("no such database")?;
    if i.sessions.values().any(|s| s.running.as_ref().is_some_and(|r| r.database == key)) {
        return Err("a RESTORE is at work".into());
    }
    let (mut lsn, mut fork) = db.redo.clone().ok_or("it waits for no log backup")?;
    let history = i.restore_history.iter().rev().filter(|r| r.database.eq_ignore_ascii_case(&key));
    let mut before = history.clone().next().ok_or("nothing was ever restored into it")?.set.clone();
    for restored in history.take(2) {
        let is_there = backup::verify(world.files.as_ref(), &restored.path).is_ok();
        if !is_there || restored.set.last_lsn != lsn || !restored.set.last_fork.eq_ignore_ascii_case(&fork) {
            break;
        }
        (lsn, fork) = (restored.set.first_lsn, restored.set.first_fork.clone());
        before = restored.set.clone();
    }
    let [first_lsn, last_lsn] = [lsn, lsn];
    let [first_fork, last_fork] = [fork.clone(), fork.clone()];
    let set = BackupHeader { kind: 1, first_lsn, last_lsn, first_fork, last_fork, ..before };
    let entry = Begun {
        server: host,
        kind: Kind::Statement,
        effect: Effect::Write,
        name: "RESTORE DATABASE FROM DISK",
        target: Some(key.clone()),
        text: "RESTORE DATABASE FROM DISK WITH REPLACE, NORECOVERY",
        client: "someone",
    };
    let seq = world.journal.begin(now, entry);
    if let Some(i) = world.sql.get_mut(host)
        && let Some(db) = i.databases.get_mut(&key)
    {
        (db.state, db.standby, db.read_only, db.undo_lost) = (1, false, false, false);
        if !db.fork.eq_ignore_ascii_case(&fork) {
            db.forked = None;
        }
        (db.redo, db.fork, db.interrupted) = (Some((lsn, fork.clone())), fork, None);
        let (database, path) = (db.name.clone(), format!(r"D:\full\{}.bak", db.name));
        i.restore_history.push(Restored { at: now, database, set, path });
    }
    world.journal.end(seq, now, Outcome::Ok);
    Ok(())
}

/// Somebody makes a folder on the server of an instance.
pub fn make_folder_by_hand(world: &mut World, host: &str, folder: &str) -> Result<(), String> {
    world.touch();
    let i = world.sql.get_mut(host).ok_or_else(|| format!("no SQL Server {host}"))?;
    i.folders.insert(folder.to_lowercase());
    Ok(())
}

/// Somebody restores another database on a server, which takes longer than anybody waits.
pub fn restore_another_by_hand(world: &mut World, host: &str, name: &str) -> Result<(), String> {
    if !is_up(world, host) {
        return Err(format!("{host} is down"));
    }
    let any = world.sql.get(host).and_then(|i| i.databases.values().next()).cloned();
    let any = any.ok_or("no database to go by")?;
    let id = login(world, host, SQL_USER, SQL_PASSWORD, "ADMIN-PC", "SQLCMD").map_err(|(_, why)| why)?;
    let (began, command) = (world.now, "RESTORE DATABASE".to_string());
    let entry = Begun {
        server: host,
        kind: Kind::Statement,
        effect: Effect::Write,
        name: &command,
        target: Some(name.into()),
        text: "RESTORE DATABASE FROM DISK WITH NORECOVERY",
        client: "someone",
    };
    let journal = world.journal.begin(began, entry);
    let ends = began + SignedDuration::from_hours(24);
    if let Some(i) = world.sql.get_mut(host)
        && let Some(session) = i.sessions.get_mut(&id)
    {
        let database = name.to_string();
        session.running = Some(Running { command, began, ends, journal, database, file: None, stats: None });
        // Its files are its own: none of them can be one of another database.
        let files = files::usual(name, r"D:\Others", r"L:\Others");
        let restoring =
            Database { name: name.into(), state: 1, standby: false, mirroring: None, files, ..any };
        i.databases.insert(name.into(), restoring);
    }
    Ok(())
}
