//! SQL Server Agent: the jobs of log shipping.

use jiff::{SignedDuration, Timestamp};

use crate::world::World;
use crate::world::files::split;
use crate::world::journal::{Begun, Effect, Kind, Outcome};

use super::backup::{self, BackupHeader};
use super::{Instance, Restored, apply, is_up};

/// The primary's backup job: writes one log backup to the share.
pub fn take_log_backup(world: &mut World, host: &str, at: Timestamp) -> Result<String, String> {
    let (share, bytes, name) =
        (world.scenario.backup_share.clone(), world.scenario.backup_bytes, world.scenario.database.clone());
    let seed = world.scenario.seed;
    let Some(i) = world.sql.get_mut(host) else { return Err(format!("no SQL Server {host}")) };
    let server = i.server_name.clone();
    let Some(db) = i.databases.get_mut(&name.to_lowercase()).filter(|d| d.is_live()) else {
        return Err(format!("{host} has no live {name}"));
    };
    db.log_end += 42_00000;
    let header = BackupHeader {
        database: name.clone(),
        server,
        family: db.family.clone(),
        first_lsn: db.log_backed_up,
        last_lsn: db.log_end,
        first_fork: db.fork.clone(),
        last_fork: db.fork.clone(),
        kind: 2,
        start: at,
        finish: at + SignedDuration::from_secs(1),
        checksums: false,
        payload: bytes,
    };
    db.log_backed_up = db.log_end;
    i.backups.push(header.clone());
    let path = format!(r"{share}\{name}_{}.trn", at.strftime("%Y%m%d%H%M%S"));
    world.files.write(&path, &backup::encode(&header, seed)).map_err(|e| e.text)?;
    Ok(path)
}

pub(super) fn copy(world: &mut World, path: &str) -> Result<(), String> {
    let content = world.files.read(path).map_err(|e| e.text)?;
    let target = format!(r"{}\{}", world.scenario.copy_folder, split(path).1);
    world.files.write(&target, &content).map_err(|e| e.text)
}

/// The pause between two runs of each job.
pub(super) fn interval(world: &World) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(world.scenario.job_interval_ms).unwrap_or(900_000))
}

/// Lets everything happen that is due: the jobs of log shipping.
pub fn tick(world: &mut World) {
    let now = world.now;
    let interval = interval(world);
    let due = |i: &Instance| i.jobs.iter().any(|j| j.enabled && j.next <= now);
    let hosts: Vec<String> = world.sql.iter().filter(|(_, i)| due(i)).map(|(h, _)| h.clone()).collect();
    for host in hosts {
        if !is_up(world, &host) {
            continue;
        }
        let Some(i) = world.sql.get_mut(&host) else { continue };
        let mut due = Vec::new();
        let stopped = i.agent_stopped;
        for job in i.jobs.iter_mut().filter(|j| !stopped && j.enabled && j.next <= now) {
            due.push(job.name.split('_').next().unwrap_or_default().to_string());
            job.next = now + interval;
        }
        for job in due {
            run_job(world, &host, &job);
        }
    }
}

fn run_job(world: &mut World, host: &str, job: &str) {
    let now = world.now;
    let entry = Begun {
        server: host,
        kind: Kind::Statement,
        effect: Effect::Write,
        name: job,
        target: None,
        text: job,
        client: "SQLAgent",
    };
    let seq = world.journal.begin(now, entry);
    let result = match job {
        "LSBackup" => take_log_backup(world, host, now).map(|_| ()),
        "LSCopy" => run_copy(world),
        _ => run_restore(world, host),
    };
    let outcome = match result {
        Ok(()) => Outcome::Ok,
        Err(e) => Outcome::Failed(e),
    };
    world.journal.end(seq, now, outcome);
}

fn run_copy(world: &mut World) -> Result<(), String> {
    let (share, folder) = (world.scenario.backup_share.clone(), world.scenario.copy_folder.clone());
    let have = world.files.list(&folder).map_err(|e| e.text)?;
    for (name, length) in world.files.list(&share).map_err(|e| e.text)? {
        if name.to_lowercase().ends_with(".trn") && !have.contains(&(name.clone(), length)) {
            copy(world, &format!(r"{share}\{name}"))?;
        }
    }
    Ok(())
}

fn run_restore(world: &mut World, host: &str) -> Result<(), String> {
    let (folder, database) = (world.scenario.copy_folder.clone(), world.scenario.database.to_lowercase());
    for (name, _) in world.files.list(&folder).map_err(|e| e.text)? {
        let path = format!(r"{folder}\{name}");
        let Ok(set) = backup::read(world.files.as_ref(), &path) else { continue };
        let db = world.sql.get(host).and_then(|i| i.databases.get(&database)).ok_or("no database")?;
        let (lsn, fork) = db.redo.as_ref().ok_or("not restoring")?;
        if set.first_lsn <= *lsn && *lsn < set.last_lsn && set.first_fork == *fork {
            apply(world, host, Restored { at: world.now, database: database.clone(), set, path });
        }
    }
    Ok(())
}
