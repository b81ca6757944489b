//! The pure world of SQL Server: instances, databases, the log chain, log shipping, sessions.

pub mod backup;
pub mod batch;
mod catalog;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::world::World;
use crate::world::files::split;
use crate::world::journal::{Effect, Kind, Outcome};
use backup::BackupHeader;

/// SQL login of every instance. Its password holds what a careless client would stumble over.
pub const SQL_USER: &str = "pcf";
/// Password of [`SQL_USER`].
pub const SQL_PASSWORD: &str = "Pass-word1;{}'";

/// One instance of SQL Server.
pub struct Instance {
    /// FQDN of its host.
    pub host: String,
    /// `@@SERVERNAME`.
    pub server_name: String,
    /// Its service does not run although its data centre stands.
    pub down: bool,
    /// Logins that are refused.
    pub refused: BTreeSet<String>,
    /// Its disks are full: a RESTORE cannot write.
    pub disk_full: bool,
    /// Databases by lower-case name.
    pub databases: BTreeMap<String, Database>,
    /// The secondary half of log shipping.
    pub log_shipping: Vec<LogShipping>,
    /// Agent jobs.
    pub jobs: Vec<Job>,
    /// `msdb.dbo.restorehistory` with its backup sets, oldest first.
    pub restore_history: Vec<Restored>,
    /// Backups that this server took.
    pub backups: Vec<BackupHeader>,
    /// Sessions by id.
    pub sessions: BTreeMap<u32, Session>,
    /// Application locks: who holds each resource.
    pub locks: BTreeMap<String, u32>,
    next_session: u32,
    /// SQL Server Agent does not run: nothing of it shows, and none of its jobs starts.
    pub agent_stopped: bool,
    /// Tables that clients made, and the engine that answers SELECT.
    store: catalog::Store,
}

/// A database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// `sys.databases.state`: 0 ONLINE, 1 RESTORING.
    pub state: i32,
    /// In STANDBY.
    pub standby: bool,
    /// `is_read_only`.
    pub read_only: bool,
    /// 0 MULTI_USER.
    pub user_access: i32,
    /// `family_guid`.
    pub family: String,
    /// `recovery_fork_guid`.
    pub fork: String,
    /// Where roll forward goes on (LSN and fork) while it restores.
    pub redo: Option<(i64, String)>,
    /// While live: the end of its log, and where its next log backup begins.
    pub log_end: i64,
    /// Beginning of the next log backup.
    pub log_backed_up: i64,
    /// Mirroring.
    pub mirroring: Option<Mirroring>,
    /// Users: name, and whether its SID has a login here.
    pub users: Vec<(String, bool)>,
    /// When the newest message was written.
    pub newest_message: Option<Timestamp>,
    /// `tblServerIdentity`.
    pub identities: BTreeMap<String, Timestamp>,
    /// A log restore that was cut off: only the same file can go on.
    pub interrupted: Option<String>,
}

impl Database {
    fn is_live(&self) -> bool {
        self.state == 0 && !self.standby && !self.read_only
    }
}

/// A row of `sys.database_mirroring`.
#[derive(Clone, Debug)]
pub struct Mirroring {
    /// 1 principal, 2 mirror.
    pub role: i32,
    /// 4 SYNCHRONIZED, 1 DISCONNECTED.
    pub state: i32,
    /// Host of the partner.
    pub partner: String,
}

/// The secondary half of log shipping of one database.
#[derive(Clone, Debug)]
pub struct LogShipping {
    /// The database.
    pub database: String,
    /// `secondary_id`.
    pub id: String,
    /// `@@SERVERNAME` of the primary at set-up.
    pub primary: String,
    /// The share.
    pub source: String,
    /// The copy folder.
    pub destination: String,
    /// The copy job.
    pub copy_job: String,
    /// The restore job.
    pub restore_job: String,
    /// Last file copied.
    pub last_copied: Option<String>,
    /// Last file restored.
    pub last_restored: Option<String>,
}

/// An Agent job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether its schedule starts it.
    pub enabled: bool,
    /// Whether it runs until somebody stops it.
    pub hangs: bool,
    /// When it runs next.
    pub next: Timestamp,
}

/// A restored set.
#[derive(Clone, Debug)]
pub struct Restored {
    /// When.
    pub at: Timestamp,
    /// Into which database.
    pub database: String,
    /// What.
    pub set: BackupHeader,
    /// From which path.
    pub path: String,
}

/// A session.
pub struct Session {
    /// Its login.
    pub login: String,
    /// Client host.
    pub host: String,
    /// Program name.
    pub program: String,
    /// The database that it is in, lower case.
    pub database: String,
    /// What it runs.
    pub running: Option<Running>,
    /// The batch that it executes.
    pub batch: Option<batch::Batch>,
    /// Killed by another session: the connection must end.
    pub killed: bool,
}

/// A RESTORE at work.
#[derive(Clone, Debug)]
pub struct Running {
    /// `RESTORE LOG` …
    pub command: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
    /// Its entry in the journal.
    pub journal: u64,
    /// The database.
    pub database: String,
    /// File of a log restore.
    pub file: Option<String>,
}

/// A GUID that depends only on the seed and a name.
pub fn guid(world_seed: u64, name: &str) -> String {
    use sha2::Digest;
    let d = sha2::Sha256::digest(format!("{world_seed}/{name}"));
    let h: String = d.iter().take(16).map(|b| format!("{b:02X}")).collect();
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..32])
}

fn instance(host: &str, name: &str) -> Result<Instance, rusqlite::Error> {
    Ok(Instance {
        host: host.into(),
        server_name: format!(r"{}\{name}", host.split('.').next().unwrap_or(host).to_uppercase()),
        down: false,
        refused: BTreeSet::new(),
        disk_full: false,
        databases: BTreeMap::new(),
        log_shipping: Vec::new(),
        jobs: Vec::new(),
        restore_history: Vec::new(),
        backups: Vec::new(),
        sessions: BTreeMap::new(),
        locks: BTreeMap::new(),
        next_session: 51,
        agent_stopped: false,
        store: catalog::Store::new()?,
    })
}

/// Makes the instances, databases, log shipping and backup files of the scenario.
pub fn populate(world: &mut World) -> Result<(), String> {
    let s = world.scenario.clone();
    let [first, second] = s.data_centers.as_slice() else {
        return Err("a lab has exactly two data centres".into());
    };
    for d in [first, second] {
        for host in [&d.sql_server, &d.mirror] {
            world.sql.insert(host.clone(), instance(host, &d.instance).map_err(|e| e.to_string())?);
        }
    }
    let (family, fork) = (guid(s.seed, "family"), guid(s.seed, "fork 1"));
    let users = |known: bool| {
        let names = ["RTCComponentService", "LITWARE\\old-admin"].map(str::to_string);
        names.into_iter().chain(s.hostile_text.clone()).map(|n| (n, known)).collect::<Vec<_>>()
    };
    let hostile = s.hostile_text.as_deref().unwrap_or_default();
    let live = Database {
        name: s.database.clone(),
        state: 0,
        standby: false,
        read_only: false,
        user_access: 0,
        family: family.clone(),
        fork: fork.clone(),
        redo: None,
        log_end: 34_000_000_100_000_001,
        log_backed_up: 34_000_000_100_000_001,
        mirroring: Some(Mirroring { role: 1, state: 4, partner: first.mirror.clone() }),
        users: users(true),
        newest_message: Some(world.now),
        identities: BTreeMap::new(),
        interrupted: None,
    };
    let key = s.database.to_lowercase();
    let start = live.log_end;
    if let Some(i) = world.sql.get_mut(&first.sql_server) {
        i.databases.insert(key.clone(), live.clone());
    }
    let mirror = Database {
        state: 1,
        mirroring: Some(Mirroring { role: 2, state: 4, partner: first.sql_server.clone() }),
        redo: Some((start, fork.clone())),
        ..live.clone()
    };
    if let Some(i) = world.sql.get_mut(&first.mirror) {
        i.databases.insert(key.clone(), mirror);
    }
    let now = world.now;
    let secondary = Database {
        state: i32::from(!s.standby),
        standby: s.standby,
        read_only: s.standby,
        redo: Some((start, fork)),
        mirroring: None,
        users: users(false),
        newest_message: None,
        ..live
    };
    let primary_name = world.sql.get(&first.sql_server).map(|i| i.server_name.clone()).unwrap_or_default();
    let interval = SignedDuration::from_millis(i64::try_from(s.job_interval_ms).unwrap_or(900_000));
    if let Some(i) = world.sql.get_mut(&second.sql_server) {
        i.databases.insert(key.clone(), secondary);
        let job = |n: &str| Job {
            id: guid(s.seed, n),
            name: format!("{n}_{primary_name}_{}{hostile}", s.database),
            enabled: true,
            hangs: false,
            next: now + interval,
        };
        i.jobs = vec![job("LSCopy"), job("LSRestore")];
        i.log_shipping.push(LogShipping {
            database: s.database.clone(),
            id: guid(s.seed, "secondary"),
            primary: primary_name,
            source: s.backup_share.clone(),
            destination: s.copy_folder.clone(),
            copy_job: guid(s.seed, "LSCopy"),
            restore_job: guid(s.seed, "LSRestore"),
            last_copied: None,
            last_restored: None,
        });
    }
    if let Some(i) = world.sql.get_mut(&first.sql_server) {
        i.jobs = vec![Job {
            id: guid(s.seed, "LSBackup"),
            name: format!("LSBackup_{}", s.database),
            enabled: true,
            hangs: false,
            next: now + interval,
        }];
    }
    for n in 0..s.backups {
        let at = now - SignedDuration::from_secs(i64::from(s.backups - n) * 900);
        let path = take_log_backup(world, &first.sql_server, at)?;
        if n < s.copied {
            copy(world, &path)?;
        }
        if n < s.restored {
            let local = format!(r"{}\{}", s.copy_folder, split(&path).1);
            let header = backup::read(world.files.as_ref(), &local).map_err(|e| e.message)?;
            apply(world, &second.sql_server, &key, &header, &local, at);
        }
    }
    Ok(())
}

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

fn copy(world: &mut World, path: &str) -> Result<(), String> {
    let content = world.files.read(path).map_err(|e| e.text)?;
    let target = format!(r"{}\{}", world.scenario.copy_folder, split(path).1);
    world.files.write(&target, &content).map_err(|e| e.text)
}

/// What a completed RESTORE LOG leaves behind.
fn apply(world: &mut World, host: &str, database: &str, set: &BackupHeader, path: &str, at: Timestamp) {
    let Some(i) = world.sql.get_mut(host) else { return };
    if let Some(db) = i.databases.get_mut(database) {
        db.redo = Some((set.last_lsn, set.last_fork.clone()));
        db.interrupted = None;
        db.newest_message = Some(set.start - SignedDuration::from_secs(20));
        let name = db.name.clone();
        i.restore_history.push(Restored { at, database: name, set: set.clone(), path: path.into() });
    }
}

/// Lets everything happen that is due: the jobs of log shipping.
pub fn tick(world: &mut World) {
    let now = world.now;
    let interval =
        SignedDuration::from_millis(i64::try_from(world.scenario.job_interval_ms).unwrap_or(900_000));
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
    let seq = world.journal.begin(now, host, Kind::Statement, Effect::Write, job, None, job, "SQLAgent");
    let (share, folder, key) = (
        world.scenario.backup_share.clone(),
        world.scenario.copy_folder.clone(),
        world.scenario.database.to_lowercase(),
    );
    let result = match job {
        "LSBackup" => take_log_backup(world, host, now).map(|_| ()),
        "LSCopy" => (|| {
            let have = world.files.list(&folder).map_err(|e| e.text)?;
            for (name, length) in world.files.list(&share).map_err(|e| e.text)? {
                if name.to_lowercase().ends_with(".trn") && !have.contains(&(name.clone(), length)) {
                    copy(world, &format!(r"{share}\{name}"))?;
                }
            }
            Ok(())
        })(),
        _ => (|| {
            for (name, _) in world.files.list(&folder).map_err(|e| e.text)? {
                let path = format!(r"{folder}\{name}");
                let Ok(header) = backup::read(world.files.as_ref(), &path) else { continue };
                let db = world.sql.get(host).and_then(|i| i.databases.get(&key)).ok_or("no database")?;
                let redo = db.redo.clone().ok_or("not restoring")?;
                if header.first_lsn <= redo.0 && redo.0 < header.last_lsn && header.first_fork == redo.1 {
                    apply(world, host, &key, &header, &path, now);
                }
            }
            Ok(())
        })(),
    };
    let outcome = match result {
        Ok(()) => Outcome::Ok,
        Err(e) => Outcome::Failed(e),
    };
    world.journal.end(seq, now, outcome);
}

/// Whether an instance answers.
pub fn is_up(world: &World, host: &str) -> bool {
    world.host_is_up(host) && world.sql.get(host).is_some_and(|i| !i.down)
}

/// Ends the sessions of a lost data centre. Its databases keep what they had; mirroring is disconnected.
pub fn data_center_lost(world: &mut World, data_center: &str) {
    let hosts: Vec<String> =
        world.sql.keys().filter(|h| world.scenario.data_center_of(h) == Some(data_center)).cloned().collect();
    for host in hosts {
        let sessions: Vec<u32> =
            world.sql.get(&host).map(|i| i.sessions.keys().copied().collect()).unwrap_or_default();
        for id in sessions {
            logout(world, &host, id);
        }
    }
}

/// Checks a login: error number and text if it is refused.
pub fn login(
    world: &mut World,
    host: &str,
    user: &str,
    password: &str,
    client: &str,
    program: &str,
) -> Result<u32, (u32, String)> {
    let Some(i) = world.sql.get_mut(host) else { return Err((17187, "SQL Server is not ready".into())) };
    if !user.eq_ignore_ascii_case(SQL_USER)
        || password != SQL_PASSWORD
        || i.refused.contains(&user.to_lowercase())
    {
        return Err((18456, format!("Login failed for user '{user}'.")));
    }
    Ok(open_session(i, user, client, program, "master"))
}

fn open_session(i: &mut Instance, login: &str, host: &str, program: &str, database: &str) -> u32 {
    let id = i.next_session;
    i.next_session += 1;
    i.sessions.insert(
        id,
        Session {
            login: login.into(),
            host: host.into(),
            program: program.into(),
            database: database.into(),
            running: None,
            batch: None,
            killed: false,
        },
    );
    id
}

/// Ends a session: its RESTORE is cut off, its locks are free.
pub fn logout(world: &mut World, host: &str, id: u32) {
    let now = world.now;
    world.touch();
    let Some(i) = world.sql.get_mut(host) else { return };
    let Some(session) = i.sessions.remove(&id) else { return };
    i.locks.retain(|_, holder| *holder != id);
    if let Some(hold) = session.batch.as_ref().and_then(batch::Batch::hold) {
        // The batch has died with its session: it is not carried out any more.
        world.breakpoints.release(hold);
    }
    if let Some(running) = session.running {
        if let (Some(db), Some(file)) = (i.databases.get_mut(&running.database), running.file) {
            // What was rolled forward so far is not undone: only the same set can go on (error 4319 for any other).
            db.interrupted = Some(file);
        }
        world.journal.end(running.journal, now, Outcome::Aborted);
    }
}

/// A chat server connects to the content database.
pub fn chat_connect(
    world: &mut World,
    sql_host: &str,
    database: &str,
    client: &str,
    program: &str,
) -> Result<u32, String> {
    if !is_up(world, sql_host) {
        return Err(format!("{sql_host} does not answer"));
    }
    let i = world.sql.get_mut(sql_host).ok_or("no such server")?;
    let key = database.to_lowercase();
    match i.databases.get(&key) {
        Some(db) if db.is_live() && db.user_access == 0 => {
            Ok(open_session(i, "LITWARE\\RTCComponentService", client, program, &key))
        }
        Some(_) | None => {
            Err(format!("Cannot open database \"{database}\" requested by the login. The login failed."))
        }
    }
}

/// Whether a chat server's session still lives.
pub fn session_alive(world: &World, sql_host: &str, id: u32) -> bool {
    is_up(world, sql_host)
        && world.sql.get(sql_host).and_then(|i| i.sessions.get(&id)).is_some_and(|s| !s.killed)
}

/// A chat server says that it is alive, and somebody writes a message.
pub fn chat_ping(world: &mut World, sql_host: &str, database: &str, client: &str) {
    let now = world.now;
    if let Some(db) = world.sql.get_mut(sql_host).and_then(|i| i.databases.get_mut(&database.to_lowercase()))
    {
        db.identities.insert(client.into(), now);
        db.newest_message = Some(now);
        db.log_end += 100;
    }
}

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

/// Fault: somebody recovers the copy of a data centre by hand.
pub fn recover_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    let key = world.scenario.database.to_lowercase();
    let now = world.now;
    let text = format!("RESTORE DATABASE {} WITH RECOVERY", world.scenario.database);
    let seq = world.journal.begin(
        now,
        host,
        Kind::Statement,
        Effect::Write,
        "RESTORE DATABASE",
        Some(key.clone()),
        &text,
        "someone",
    );
    recover(world, host, &key)?;
    world.journal.end(seq, now, Outcome::Ok);
    Ok(())
}

fn recover(world: &mut World, host: &str, key: &str) -> Result<(), String> {
    let fork = guid(world.scenario.seed, &format!("fork {} {}", host, world.now));
    let db = world.sql.get_mut(host).and_then(|i| i.databases.get_mut(key)).ok_or("no such database")?;
    db.state = 0;
    db.standby = false;
    db.read_only = false;
    db.log_end = db.redo.as_ref().map_or(db.log_end, |r| r.0);
    db.log_backed_up = db.log_end;
    db.redo = None;
    db.fork = fork;
    Ok(())
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

/// What every server holds, for a reader outside.
pub fn state(world: &World) -> serde_json::Value {
    let servers = world.sql.values().map(|i| {
        let databases: Vec<_> = i
            .databases
            .values()
            .map(|d| {
                json!({
                    "name": d.name,
                    "state": match (d.state, d.standby) { (0, true) => "STANDBY", (0, false) => "ONLINE", (1, _) => "RESTORING", _ => "OTHER" },
                    "readOnly": d.read_only,
                    "redoStartLsn": d.redo.as_ref().map(|r| r.0.to_string()),
                    "recoveryFork": d.fork,
                    "mirroring": d.mirroring.as_ref().map(|m| json!({
                        "role": if m.role == 1 { "PRINCIPAL" } else { "MIRROR" },
                        "state": if m.state == 4 { "SYNCHRONIZED" } else { "DISCONNECTED" },
                        "partner": m.partner})),
                    "sessions": i.sessions.values().filter(|s| s.database == d.name.to_lowercase()).map(|s| s.host.clone()).collect::<Vec<_>>(),
                })
            })
            .collect();
        let shipping: Vec<_> = i.log_shipping.iter().map(|l| json!({"database": l.database, "source": l.source, "destination": l.destination})).collect();
        (i.host.clone(), json!({"serverName": i.server_name, "up": is_up(world, &i.host), "databases": databases, "logShipping": shipping}))
    });
    serde_json::Value::Object(servers.collect())
}
