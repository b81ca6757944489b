//! The pure world of SQL Server: instances, databases, the log chain, log shipping, sessions.

pub(crate) mod agent;
pub mod backup;
pub(crate) mod catalog;
pub(crate) mod files;
mod hands;
mod locks;
pub(crate) mod log_shipping;
mod messages;
mod mirror;
mod populate;
mod sessions;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::scenario::{Language, SqlServerVersion};
use crate::world::World;
pub use agent::{Category, Job, JobHistory, Run, RunOutcome, Schedule, Step, take_log_backup};
use backup::BackupHeader;
pub use files::{DatabaseFile, add_file_by_hand};
pub use hands::{
    break_log_chain_by_hand, foreign_database_by_hand, lose_undo_file, make_folder_by_hand, recover_by_hand,
    remove_mirror_by_hand, restore_anew_by_hand, restore_another_by_hand,
};
pub(crate) use locks::lock_name;
pub use locks::{AppLock, LockMode};
pub use log_shipping::{
    LastFile, Primary, Secondary, SecondaryDatabase, Shipment, delete_job_by_hand, foreign_job,
    remove_log_shipping_by_hand, remove_primary_half_by_hand, remove_secondary_half_by_hand,
    set_up_log_shipping_by_hand,
};
pub use messages::{Message, Messages};
pub(crate) use mirror::remove_mirror;
pub use mirror::{mirror_check, mirror_establish, promote_mirror, start_sql};
pub use populate::populate;
pub use sessions::{
    cancel, chat_connect, chat_ping, data_center_lost, login, login_failed, logout, reset, session_alive,
};
pub use state::state;

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
    /// It accepts connections, and says nothing to who is not logged on yet.
    pub silent: bool,
    /// Logins that are refused.
    pub refused: BTreeSet<String>,
    /// Its disks are full: a RESTORE cannot write.
    pub disk_full: bool,
    /// Folders, lower case, in which files of databases can lie.
    pub folders: BTreeSet<String>,
    /// Databases by lower-case name.
    pub databases: BTreeMap<String, Database>,
    /// The primary half of log shipping.
    pub log_shipping_primary: Vec<Primary>,
    /// The secondary half of log shipping.
    pub log_shipping: Vec<Secondary>,
    /// Agent jobs.
    pub jobs: Vec<Job>,
    /// `msdb.dbo.sysjobhistory`, oldest first: of jobs that have a step.
    pub job_history: Vec<JobHistory>,
    /// Runs of such jobs that are under way.
    pub runs: Vec<Run>,
    /// Schedules of the Agent.
    pub schedules: Vec<Schedule>,
    /// `msdb.dbo.restorehistory` with its backup sets, oldest first.
    pub restore_history: Vec<Restored>,
    /// Backups that this server took.
    pub backups: Vec<BackupHeader>,
    /// Sessions by id.
    pub sessions: BTreeMap<u32, Session>,
    /// Application locks that are held.
    pub locks: Vec<AppLock>,
    /// Id of the next session: grows with every login.
    pub next_session: u32,
    next_schedule: i64,
    next_history: i64,
    /// How many GUIDs were made for it.
    made: u32,
    /// SQL Server Agent does not run: nothing of it shows, and none of its jobs starts.
    pub agent_stopped: bool,
    /// Tables that clients made, and the engine that answers SELECT.
    store: catalog::Store,
}

/// What `tblChat.chatDate` counts: the product's page says bigint, and no unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateUnit {
    /// .NET's ticks: 100 ns since the year 1.
    Ticks,
    /// Windows' FILETIME: 100 ns since 1601.
    FileTime,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Seconds since 1970.
    Seconds,
}

impl DateUnit {
    /// The one of a lab with this seed.
    pub fn of(seed: u64) -> DateUnit {
        match seed % 4 {
            0 => DateUnit::FileTime,
            1 => DateUnit::Ticks,
            2 => DateUnit::Milliseconds,
            _ => DateUnit::Seconds,
        }
    }
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
    /// 0 MULTI_USER, 1 SINGLE_USER, 2 RESTRICTED_USER.
    pub user_access: i32,
    /// The session that has set SINGLE_USER, and so has the database wherever it is (recorded).
    pub holder: Option<u32>,
    /// `family_guid`.
    pub family: String,
    /// `recovery_fork_guid`.
    pub fork: String,
    /// Where it left the fork before: since its last recovery, or by the log backup that told of one.
    pub forked: Option<ForkPoint>,
    /// Where roll forward goes on (LSN and fork) while it restores.
    pub redo: Option<(i128, String)>,
    /// While live: the end of its log, and where its next log backup begins.
    pub log_end: i128,
    /// Beginning of the next log backup.
    pub log_backed_up: i128,
    /// Somebody has broken its log chain, and no full backup has been taken since: its log cannot be backed up.
    pub log_broken: bool,
    /// Mirroring.
    pub mirroring: Option<Mirroring>,
    /// Users: name, and whether its SID has a login here.
    pub users: Vec<(String, bool)>,
    /// What its dates of messages count.
    pub date_unit: DateUnit,
    /// `tblServerIdentity`.
    pub identities: BTreeMap<String, Timestamp>,
    /// A log restore that was cut off: only the same file can go on.
    pub interrupted: Option<String>,
    /// The file that takes back what a STANDBY copy lets be read is gone.
    pub undo_lost: bool,
    /// Its files.
    pub files: Vec<DatabaseFile>,
}

/// Where a database has left a recovery fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkPoint {
    /// The fork that it was on until then: `first_recovery_fork_guid`.
    pub from: String,
    /// `fork_point_lsn`.
    pub lsn: i128,
}

impl Instance {
    fn new(host: &str, name: &str, version: SqlServerVersion) -> Result<Self, rusqlite::Error> {
        Ok(Instance {
            host: host.into(),
            // `SERVERPROPERTY('ServerName')`: the machine's name, and the instance's unless that is the default one.
            server_name: match name {
                "" => sessions::net_bios(host),
                name => format!(r"{}\{name}", sessions::net_bios(host)),
            },
            down: false,
            silent: false,
            refused: BTreeSet::new(),
            disk_full: false,
            folders: BTreeSet::new(),
            databases: BTreeMap::new(),
            log_shipping_primary: Vec::new(),
            log_shipping: Vec::new(),
            jobs: Vec::new(),
            job_history: Vec::new(),
            runs: Vec::new(),
            schedules: Vec::new(),
            restore_history: Vec::new(),
            backups: Vec::new(),
            sessions: BTreeMap::new(),
            locks: Vec::new(),
            next_session: 51,
            next_schedule: 1,
            next_history: 0,
            made: 0,
            agent_stopped: false,
            store: catalog::Store::new(version)?,
        })
    }
}

impl Instance {
    /// Its version.
    pub(crate) fn version(&self) -> SqlServerVersion {
        self.store.version()
    }

    /// The session that has a database of SINGLE_USER for itself.
    pub(crate) fn holder(&self, db: &Database) -> Option<u32> {
        let key = db.name.to_lowercase();
        let inside = || self.sessions.iter().find(|(_, s)| s.database == key).map(|(id, _)| *id);
        db.holder.filter(|id| self.sessions.contains_key(id)).or_else(inside)
    }
}

impl Database {
    /// Whether it takes changes: ONLINE, neither STANDBY nor read-only.
    pub fn is_live(&self) -> bool {
        self.state == 0 && !self.standby && !self.read_only
    }

    /// Whether it waits for a full backup: a restore of one is at work, or was broken off. No log can be applied to it, and it cannot be
    /// recovered.
    pub fn is_half_restored(&self) -> bool {
        self.state == 1 && self.redo.is_none()
    }

    /// `last_log_backup_lsn`: where the next log backup begins, if one can be taken.
    ///
    /// A copy that was recovered goes on with its log without a new full backup, on the fork of its own: log shipping is set up from
    /// it without one (SQL Server's documentation, "Change roles between primary and secondary log shipping servers"). What the
    /// column says of a copy that waits for logs, where no log backup can be taken, is nowhere documented; NULL is what it says of
    /// other databases whose log cannot be backed up.
    pub(crate) fn next_log_backup(&self) -> Option<i128> {
        (self.is_live() && !self.log_broken).then_some(self.log_backed_up)
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
    pub batch: Option<crate::tsql::Batch>,
    /// What it has set.
    pub options: Options,
    /// Its transaction, and how deep it is nested. Nothing can be changed inside of one.
    pub transaction: Option<(u64, u32)>,
    /// How many transactions it has begun.
    pub transactions: u64,
}

/// Options of a session that change something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `NOCOUNT`: rows are not counted.
    pub nocount: bool,
    /// `XACT_ABORT`: more errors end a batch.
    pub xact_abort: bool,
    /// `LANGUAGE`: of messages.
    pub language: Language,
}

/// A RESTORE at work, or a full backup.
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
    /// How many percent there are between two messages of how far it is.
    pub stats: Option<usize>,
}

/// A GUID that depends only on the seed and a name.
pub fn guid(world_seed: u64, name: &str) -> String {
    use sha2::Digest;
    let d = sha2::Sha256::digest(format!("{world_seed}/{name}"));
    let h: String = d.iter().take(16).map(|b| format!("{b:02X}")).collect();
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..32])
}

/// Lets everything happen that is due.
pub fn tick(world: &mut World) {
    mirror::tick(world);
    agent::tick(world);
}

/// Whether an instance answers.
pub fn is_up(world: &World, host: &str) -> bool {
    world.host_is_up(host) && world.sql.get(host).is_some_and(|i| !i.down)
}

/// What a completed RESTORE of a set leaves behind. Which database it was restored into is told by lower-case name.
pub(crate) fn apply(world: &mut World, host: &str, restored: Restored) {
    let Some(i) = world.sql.get_mut(host) else { return };
    if let Some(db) = i.databases.get_mut(&restored.database) {
        db.redo = Some((restored.set.last_lsn, restored.set.last_fork.clone()));
        db.fork = restored.set.last_fork.clone();
        if let Some(lsn) = restored.set.extra.fork_point {
            db.forked = Some(ForkPoint { from: restored.set.first_fork.clone(), lsn });
        }
        db.interrupted = None;
        i.restore_history.push(Restored { database: db.name.clone(), ..restored });
    }
}

/// Log records of a recovery itself: where it forks off and what it takes back stand in the log as well. That so there is always something
/// in the first log backup of the new fork, and how much it is, is documented nowhere.
const RECOVERY_RECORDS: i128 = 100;

/// What a completed recovery leaves behind: a live database on a recovery fork of its own. Its next log backup begins where it forked.
pub(crate) fn recover(world: &mut World, host: &str, key: &str) -> Result<(), String> {
    let fork = guid(world.scenario.seed, &format!("fork {} {}", host, world.now));
    let db = world.sql.get_mut(host).and_then(|i| i.databases.get_mut(key)).ok_or("no such database")?;
    if db.is_half_restored() {
        return Err("it was not restored as a whole".into());
    }
    db.state = 0;
    db.standby = false;
    db.read_only = false;
    let lsn = db.redo.take().map_or(db.log_end, |r| r.0);
    db.log_backed_up = lsn;
    db.log_end = lsn + RECOVERY_RECORDS;
    let left = ForkPoint { from: std::mem::replace(&mut db.fork, fork.clone()), lsn };
    world.messages.fork(&fork, &left);
    db.forked = Some(left);
    Ok(())
}
