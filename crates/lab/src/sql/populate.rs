//! Makes the instances, databases, log shipping and backup files of a scenario.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::scenario::DataCenter;
use crate::world::World;
use crate::world::files::split;

use super::agent::{copy, take_log_backup};
use super::log_shipping::{LastFile, Shipment, set_up_primary, set_up_secondary};
use super::messages::LENGTH;
use super::{Database, DateUnit, Instance, Mirroring, Restored, apply, backup, files, guid};

/// Makes the instances, databases, log shipping and backup files of the scenario.
pub fn populate(world: &mut World) -> Result<(), String> {
    let centers = world.scenario.data_centers.clone();
    let [one, other] = centers.as_slice() else {
        return Err("a lab has exactly two data centres".into());
    };
    for d in [one, other] {
        for host in [&d.sql_server, &d.mirror] {
            let version = world.scenario.version_of(&d.name);
            let instance = Instance::new(host, &d.instance, version).map_err(|e| e.to_string())?;
            world.sql.insert(host.clone(), instance);
        }
    }
    let (live, standby) = if one.name == world.scenario.active { (one, other) } else { (other, one) };
    databases(world, live, standby);
    log_shipping(world, live, standby);
    backups(world, live, standby)
}

/// The live database, its mirror, and the copy in the other data centre.
fn databases(world: &mut World, live: &DataCenter, standby: &DataCenter) {
    let s = &world.scenario;
    let fork = guid(s.seed, "fork 1");
    let users = |known: bool| {
        let names = ["RTCComponentService", "LITWARE\\old-admin"].map(str::to_string);
        names.into_iter().chain(s.hostile_text.clone()).map(|n| (n, known)).collect::<Vec<_>>()
    };
    // The number of a virtual log file, then ten digits of its block and five of its slot: 17, 20 and 22 digits are in the wild.
    let virtual_log_file =
        [34i128, 76_120, 1_821_957].into_iter().cycle().nth((s.seed % 3) as usize).unwrap_or(34);
    let first_lsn = virtual_log_file * 1_000_000_000_000_000 + 100_000_001;
    let database = Database {
        name: s.database.clone(),
        state: 0,
        standby: false,
        read_only: false,
        user_access: 0,
        holder: None,
        family: guid(s.seed, "family"),
        fork: fork.clone(),
        forked: None,
        redo: None,
        log_end: first_lsn,
        log_backed_up: first_lsn,
        log_broken: false,
        mirroring: Some(Mirroring { role: 1, state: 4, partner: live.mirror.clone() }),
        users: users(true),
        date_unit: DateUnit::of(s.seed),
        identities: BTreeMap::new(),
        interrupted: None,
        undo_lost: false,
        files: files::usual(&s.database, r"D:\SQL", r"L:\SQL"),
    };
    let redo = Some((database.log_end, fork.clone()));
    let mirror = Database {
        state: 1,
        mirroring: Some(Mirroring { role: 2, state: 4, partner: live.sql_server.clone() }),
        redo: redo.clone(),
        ..database.clone()
    };
    let copy = Database {
        state: i32::from(!s.standby),
        standby: s.standby,
        read_only: s.standby,
        redo,
        mirroring: None,
        users: users(false),
        files: files::usual(&s.database, r"F:\Data", r"G:\Log"),
        ..database.clone()
    };
    let key = s.database.to_lowercase();
    // Partners of a mirroring have one set of folders.
    for (d, db) in [(live, &database), (standby, &copy)] {
        for host in [&d.sql_server, &d.mirror] {
            if let Some(i) = world.sql.get_mut(host) {
                i.folders = db.files.iter().map(|f| split(&f.path).0.to_lowercase()).collect();
            }
        }
    }
    for (host, db) in [(&live.sql_server, database), (&live.mirror, mirror), (&standby.sql_server, copy)] {
        if let Some(i) = world.sql.get_mut(host) {
            i.databases.insert(key.clone(), db);
        }
    }
    world.messages.commit(&fork, first_lsn - LENGTH, world.now);
}

/// Log shipping from the live data centre to the copy in the other one.
fn log_shipping(world: &mut World, live: &DataCenter, standby: &DataCenter) {
    let s = world.scenario.clone();
    let id = |what: &str| guid(s.seed, what);
    let Some(shipment) = Shipment::toward(&s, &standby.name) else { return };
    set_up_primary(world, &live.sql_server, &shipment, ["LSBackup", "primary"].map(id));
    let suffix = s.hostile_text.as_deref().unwrap_or_default();
    set_up_secondary(world, &shipment, suffix, ["LSCopy", "LSRestore", "secondary"].map(id));
}

/// The log backups that exist, and how far they were copied and restored.
fn backups(world: &mut World, live: &DataCenter, standby: &DataCenter) -> Result<(), String> {
    let s = world.scenario.clone();
    for n in 0..s.backups {
        let at = world.now - SignedDuration::from_secs(i64::from(s.backups - n) * 900);
        let path = take_log_backup(world, &live.sql_server, at)?;
        if n < s.copied {
            copy(world, &standby.sql_server, 0, &path)?;
        }
        if n < s.restored {
            let path = format!(r"{}\{}", standby.copy_folder, split(&path).1);
            let set = backup::read(world.files.as_ref(), &path).map_err(|e| e.message)?;
            let last = LastFile { path: path.clone(), at };
            let database = s.database.to_lowercase();
            apply(world, &standby.sql_server, Restored { at, database, set, path });
            if let Some(row) = world.sql.get_mut(&standby.sql_server).and_then(|i| i.log_shipping.first_mut())
            {
                row.databases.iter_mut().for_each(|d| d.last_restored = Some(last.clone()));
            }
        }
        if let Some(row) =
            world.sql.get_mut(&live.sql_server).and_then(|i| i.log_shipping_primary.first_mut())
        {
            row.last_backup = Some(LastFile { path, at });
        }
    }
    Ok(())
}
