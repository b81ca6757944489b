//! Everything that was seen of the world in one look. One serialisable value: a recorded situation makes any incident a test.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reading::Reading;

/// What was seen, all of it at about the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Situation {
    /// When the look was finished, by the operator's clock.
    pub at: Timestamp,
    /// The side that is to be left: the primary store's data centre.
    pub source: Source,
    /// The instance that is to become primary: the backup store.
    pub target: Reading<Instance>,
    /// Its mirror-to-be; absent: the resource names none.
    pub target_mirror: Option<Reading<Instance>>,
    /// The log backups.
    pub files: Folders,
    /// Lync.
    pub chat: Chat,
}

/// What was seen of the side to be left, from several vantage points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Both partners of the primary's mirror, as the operator sees them. Either may be the principal.
    pub partners: Vec<Partner>,
    /// The same servers, as the Management Shell of the other data centre sees them: whether each answers.
    pub from_shell: Vec<(String, Reading<bool>)>,
    /// Front End and chat ports of that side: what listens, and whether it does.
    pub ports: Vec<(String, Reading<bool>)>,
    /// Since when every look found nothing but silence; absent: the last look heard something, or none was made.
    pub silent_since: Option<Timestamp>,
    /// How many looks in a row found nothing but silence.
    pub silent_looks: u32,
    /// A log backup that appeared in the share after the silence began: something still writes there.
    pub newer_backup: Option<String>,
    /// When the primary last answered, as far as this process knows.
    pub last_seen: Option<Timestamp>,
}

/// One partner of the primary's mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Partner {
    /// Host and instance, as the resource names them.
    pub server: String,
    /// Whether it is the mirror in the resource (in the world either may be).
    pub is_mirror: bool,
    /// What it said.
    pub answer: Answer,
}

/// What a server of the side to be left said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It let us in and showed its database.
    Speaks(Box<Instance>),
    /// Something is there, but turned us away (login refused, certificate not trusted, server error): it lives.
    TurnsAway(super::problem::Problem),
    /// Nobody there: refused, timed out, no route.
    Silent(super::problem::Problem),
    /// We could not even ask (no Secret, for example).
    NotAsked(super::problem::Problem),
}

/// One SQL Server instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// `SERVERPROPERTY('ServerName')`: who it is, whatever host name led there.
    pub server_name: String,
    /// Product version, for example 11.0.7001.0.
    pub version: String,
    /// Edition.
    pub edition: String,
    /// Whether the login is sysadmin; step 1 needs that.
    pub sysadmin: bool,
    /// Minutes that its local time is ahead of UTC; dates in backup headers are local.
    pub zone_minutes: i32,
    /// The pool's database; absent: the instance has none of that name.
    pub database: Option<Database>,
    /// The secondary half of log shipping of the database; `Known(None)`: there is none.
    pub log_shipping: Reading<Option<LogShipping>>,
    /// The Agent jobs of log shipping that still exist.
    pub jobs: Reading<Vec<Job>>,
    /// Sessions of others in the database.
    pub sessions: Reading<Vec<Session>>,
    /// RESTORE statements that run on the instance.
    pub restores: Reading<Vec<RunningRestore>>,
    /// The last restores into the database, newest first.
    pub history: Reading<Vec<RestoreHistory>>,
    /// Users of the database without a login; known only while it is ONLINE.
    pub orphaned_users: Reading<Vec<OrphanedUser>>,
    /// When each chat server last reported itself alive in the database; known only while it is ONLINE. Whether the product
    /// writes UTC is not documented: only compared with an earlier value of the same server.
    pub server_identities: Reading<Vec<(String, Timestamp)>>,
    /// Chat servers whose report this process has seen to advance, not long ago.
    pub advancing: BTreeSet<String>,
    /// Chat servers whose report has not advanced although this process has watched it for long.
    pub silent: BTreeSet<String>,
    /// When the newest message was written (UTC); known only while the database is ONLINE.
    pub newest_message: Reading<Option<Timestamp>>,
    /// Newest full and log backup that this server took itself, in its local time as text.
    pub own_backups: Reading<OwnBackups>,
    /// Records of transitions of this pool, newest first.
    pub records: Reading<Vec<super::record::Record>>,
    /// Who holds the lock of the pool, if somebody does.
    pub lock_holder: Reading<Option<String>>,
}

/// A user of a database whose SID has no login on the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrphanedUser {
    /// Its name.
    pub name: String,
    /// Whether a login of the same name exists, so that it can be mapped.
    pub has_login: bool,
}

/// Backups that a server took itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnBackups {
    /// Newest full backup.
    pub full: Option<String>,
    /// Newest log backup.
    pub log: Option<String>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// `sys.databases.state`.
    pub state: DatabaseState,
    /// `is_in_standby`: readable between restores. Then `state` says ONLINE although nothing is recovered.
    pub standby: bool,
    /// `is_read_only`.
    pub read_only: bool,
    /// 0 MULTI_USER, 1 SINGLE_USER, 2 RESTRICTED_USER.
    pub user_access: i32,
    /// 1 FULL, 2 BULK_LOGGED, 3 SIMPLE.
    pub recovery_model: i32,
    /// `family_guid`: the same for all copies of one database.
    pub family: Option<String>,
    /// `recovery_fork_guid`: new after each recovery.
    pub fork: Option<String>,
    /// Where roll forward must go on; absent while ONLINE (and perhaps in STANDBY).
    pub redo: Option<RedoPoint>,
    /// Mirroring; absent: not mirrored.
    pub mirroring: Option<Mirroring>,
}

impl Database {
    /// Recovered and open for writing. STANDBY is not.
    pub fn is_live(&self) -> bool {
        self.state == DatabaseState::Online && !self.standby && !self.read_only
    }
    /// Waiting for log backups, in either mode.
    pub fn is_restoring(&self) -> bool {
        self.state == DatabaseState::Restoring || self.standby
    }
    /// Its state in SQL Server's words.
    pub fn state_text(&self) -> &'static str {
        if self.standby { "STANDBY" } else { self.state.as_str() }
    }
}

/// `sys.databases.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatabaseState {
    /// 0
    Online,
    /// 1
    Restoring,
    /// 2
    Recovering,
    /// 3
    RecoveryPending,
    /// 4
    Suspect,
    /// 5
    Emergency,
    /// 6
    Offline,
    /// Anything newer than this list.
    Other(i32),
}

impl DatabaseState {
    /// From the number of the catalog.
    pub fn from_number(n: i32) -> Self {
        match n {
            0 => DatabaseState::Online,
            1 => DatabaseState::Restoring,
            2 => DatabaseState::Recovering,
            3 => DatabaseState::RecoveryPending,
            4 => DatabaseState::Suspect,
            5 => DatabaseState::Emergency,
            6 => DatabaseState::Offline,
            other => DatabaseState::Other(other),
        }
    }
    /// SQL Server's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            DatabaseState::Online => "ONLINE",
            DatabaseState::Restoring => "RESTORING",
            DatabaseState::Recovering => "RECOVERING",
            DatabaseState::RecoveryPending => "RECOVERY_PENDING",
            DatabaseState::Suspect => "SUSPECT",
            DatabaseState::Emergency => "EMERGENCY",
            DatabaseState::Offline => "OFFLINE",
            DatabaseState::Other(_) => "an unknown state",
        }
    }
}

/// A log sequence number: 25 decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub i128);

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

// As text: JSON's numbers end long before 25 digits.
impl Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map(Lsn).map_err(|_| serde::de::Error::custom(format!("{text:?} is no LSN")))
    }
}

/// Where roll forward must go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedoPoint {
    /// `redo_start_lsn`.
    pub lsn: Lsn,
    /// `redo_start_fork_guid`: the first fork of the next log backup must be this one.
    pub fork: String,
}

/// A row of `sys.database_mirroring`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirroring {
    /// 4 and 6 are SYNCHRONIZED.
    pub state: i32,
    /// 1 principal, 2 mirror.
    pub role: i32,
    /// 2 is FULL.
    pub safety: i32,
    /// `TCP://host:port` of the partner.
    pub partner: Option<String>,
    /// Instance name of the partner.
    pub partner_instance: Option<String>,
    /// Address of the witness, if there is one.
    pub witness: Option<String>,
    /// 1 CONNECTED.
    pub witness_state: Option<i32>,
}

impl Mirroring {
    /// Whether both copies are the same at this moment.
    pub fn is_synchronized(&self) -> bool {
        self.state == 4 || self.state == 6
    }
    /// Whether this partner is the principal.
    pub fn is_principal(&self) -> bool {
        self.role == 1
    }
    /// SQL Server's word for the state.
    pub fn state_text(&self) -> &'static str {
        match self.state {
            0 => "SUSPENDED",
            1 => "DISCONNECTED",
            2 => "SYNCHRONIZING",
            3 => "PENDING_FAILOVER",
            4 | 6 => "SYNCHRONIZED",
            5 => "UNSYNCHRONIZED",
            _ => "an unknown state",
        }
    }
}

/// The secondary half of log shipping, everything that removing it loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogShipping {
    /// Every column of the three tables, by name, as text; `null` is absent.
    pub columns: BTreeMap<String, String>,
    /// Schedules of the two jobs, by job id, each a map of columns.
    pub schedules: BTreeMap<String, Vec<BTreeMap<String, String>>>,
}

impl LogShipping {
    fn column(&self, name: &str) -> &str {
        self.columns.get(name).map_or("", String::as_str)
    }
    /// The share that the copy job reads.
    pub fn source_directory(&self) -> &str {
        self.column("backup_source_directory")
    }
    /// The folder that it writes to.
    pub fn destination_directory(&self) -> &str {
        self.column("backup_destination_directory")
    }
    /// Id of the copy job.
    pub fn copy_job(&self) -> &str {
        self.column("copy_job_id")
    }
    /// Id of the restore job.
    pub fn restore_job(&self) -> &str {
        self.column("restore_job_id")
    }
    /// The server that watches over log shipping, if it is told.
    pub fn monitor_server(&self) -> &str {
        self.column("monitor_server")
    }
    /// Minutes that the restore job holds backups back on purpose.
    pub fn restore_delay(&self) -> &str {
        self.column("restore_delay")
    }
}

/// An Agent job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether its schedule starts it.
    pub enabled: bool,
    /// Whether it runs now.
    pub running: bool,
}

/// A session in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its number.
    pub id: i32,
    /// Its login.
    pub login: String,
    /// The host it comes from.
    pub host: String,
    /// The program.
    pub program: String,
}

/// A RESTORE that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningRestore {
    /// Its session.
    pub session: i32,
    /// `RESTORE LOG` or `RESTORE DATABASE`.
    pub command: String,
    /// 0 to 100.
    pub percent: f64,
    /// Who runs it.
    pub by: String,
}

/// A row of `msdb.dbo.restorehistory` with its backup set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreHistory {
    /// `L` for a log backup.
    pub kind: String,
    /// End of the set: the first LSN of what follows.
    pub last_lsn: Option<Lsn>,
    /// The fork at its end.
    pub last_fork: Option<String>,
    /// Start of the backup, in the local time of the server that took it, as text.
    pub backup_start: Option<String>,
    /// The file it came from.
    pub file: Option<String>,
}

/// Both folders of log shipping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folders {
    /// Files of the backup share.
    pub share: Reading<Vec<BackupFile>>,
    /// Files of the copy folder.
    pub copy: Reading<Vec<BackupFile>>,
    /// Free bytes of the copy folder's volume.
    pub copy_free: Reading<u64>,
    /// Headers as SQL Server reads them, by file name, for the files that matter.
    pub headers: BTreeMap<String, FileHeaders>,
    /// Names that were passed over, and why: they are shown, not used.
    pub ignored: Vec<(String, String)>,
}

/// A `.wrk` is what a job of log shipping is writing, or was when it died. Beside a `.trn` of the same stem it says nothing and is
/// left out; alone it may be the last link of the chain: it is looked into like any other backup, and what cannot be read of it is
/// a loss. `None`: the folder could not be listed.
pub fn leave_unfinished_twins(share: &mut Option<Vec<BackupFile>>, copy: &mut Option<Vec<BackupFile>>) {
    let stem = |name: &str, suffix: &str| name.to_lowercase().strip_suffix(suffix).map(str::to_string);
    let finished: BTreeSet<String> =
        [&*share, &*copy].into_iter().flatten().flatten().filter_map(|f| stem(&f.name, ".trn")).collect();
    for files in [share, copy].into_iter().flatten() {
        files.retain(|f| stem(&f.name, ".wrk").is_none_or(|s| !finished.contains(&s)));
    }
}

/// One file of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupFile {
    /// Its name, without the folder.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// When it was last changed, in milliseconds since 1970. Tells a file from another one that replaced it; never the order of
    /// log backups.
    pub modified: i64,
}

impl BackupFile {
    /// Whether it is as complete as another one of that name: the same length. Times differ between two folders.
    pub fn is_copy_of(&self, other: &BackupFile) -> bool {
        self.name == other.name && self.length == other.length
    }
}

/// What SQL Server says about the sets in one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileHeaders {
    /// Whether they were read from the copy folder; otherwise from the share.
    pub from_copy: bool,
    /// The sets.
    pub sets: Reading<Vec<BackupSet>>,
}

/// One backup set, as `RESTORE HEADERONLY` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSet {
    /// `Position`: the `FILE =` of a RESTORE.
    pub position: i32,
    /// `BackupType`: 2 is a log backup.
    pub kind: i32,
    /// `DatabaseName`.
    pub database: String,
    /// `ServerName`.
    pub server: String,
    /// `FamilyGUID`.
    pub family: String,
    /// `FirstLSN`.
    pub first_lsn: Lsn,
    /// `LastLSN`: the first LSN of what follows.
    pub last_lsn: Lsn,
    /// `FirstRecoveryForkID`.
    pub first_fork: String,
    /// `RecoveryForkID`.
    pub last_fork: String,
    /// `BackupStartDate` in the local time of the server that took it, as text.
    pub start: String,
    /// `BackupFinishDate`, likewise.
    pub finish: String,
    /// `HasBackupChecksums`.
    pub checksums: bool,
    /// `IsDamaged` or `HasIncompleteMetaData`.
    pub damaged: bool,
}

/// What was seen of Lync, through a Management Shell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    /// `Get-CsPersistentChatState`.
    pub state: Reading<PoolState>,
    /// `Get-CsService -PersistentChatServer`.
    pub service: Reading<ChatService>,
    /// `Get-CsManagementStoreReplicationStatus -CentralManagementStoreStatus`.
    pub central_management: Reading<CentralManagement>,
    /// `Get-CsManagementStoreReplicationStatus`: whether each server has the newest configuration, by lower-case FQDN.
    pub replicas: Reading<BTreeMap<String, bool>>,
    /// `Get-CsWindowsService`: whether the chat service runs, by server.
    pub services: BTreeMap<String, Reading<bool>>,
    /// The detached `Install-CsMirrorDatabase` of the transition, if one was started.
    pub mirror_job: Option<Reading<JobState>>,
    /// Why the Management Shell of the side that is to become active could not be used, if another one had to answer.
    pub target_shell: Option<crate::domain::problem::Problem>,
}

/// State of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolState {
    /// Identity as Lync writes it: what the Set cmdlet takes.
    pub identity: String,
    /// `Normal` or `FailedOver`.
    pub state: String,
}

impl PoolState {
    /// Whether the pool uses its backup databases.
    pub fn is_failed_over(&self) -> bool {
        self.state.eq_ignore_ascii_case("FailedOver")
    }
    /// Whether the pool uses its primary databases.
    pub fn is_normal(&self) -> bool {
        self.state.eq_ignore_ascii_case("Normal")
    }
}

/// The pool's service in the published topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatService {
    /// Identity, for example `PersistentChatServer:chat.litwareinc.com`.
    pub identity: String,
    /// Active servers, lower case, sorted.
    pub active: Vec<String>,
    /// The others.
    pub inactive: Vec<String>,
    /// `PersistentChatDatabase` …, by property name: which instances the topology names.
    pub databases: BTreeMap<String, String>,
}

/// The Central Management store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CentralManagement {
    /// Who holds the writable copy; empty: nobody, the store is down.
    pub active_master: String,
    /// Who replicates it; empty: nobody.
    pub file_transfer_agents: Vec<String>,
}

/// A detached cmdlet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobState {
    /// It runs.
    Running,
    /// It ended; the errors it reported, none if it said nothing.
    Finished(Vec<String>),
    /// The host knows nothing of it (any more): it does not run.
    Gone,
}
