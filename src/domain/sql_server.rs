//! What one look shows of one SQL Server instance.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backups::{Lsn, RedoPoint};
use super::decision::Waiting;
use super::log_shipping::{Job, PrimaryHalf, SecondaryHalf, job};
use super::problem::Reason;
use super::reading::Reading;
use super::record::Record;
use super::text::clean;

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
    pub secondary_half: Reading<Option<SecondaryHalf>>,
    /// The primary half.
    pub primary_half: Reading<Option<PrimaryHalf>>,
    /// The Agent jobs of log shipping that exist, others with names like theirs, and ours.
    pub jobs: Reading<Vec<Job>>,
    /// Sessions of others in the database.
    pub sessions: Reading<Vec<Session>>,
    /// RESTORE statements that run on the instance.
    pub restores: Reading<Vec<RunningRestore>>,
    /// How far a full backup of it is that runs, 0 to 100; absent: none was seen. It is told, and decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_backup: Option<f64>,
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
    pub records: Reading<Vec<Record>>,
}

impl Instance {
    /// The log backups that were restored since the newest full restore, the last one first: rows before that tell of another life of the
    /// database.
    pub fn restored_logs(&self) -> Option<impl Iterator<Item = &RestoreHistory>> {
        let since = self.history.known()?.iter().take_while(|r| r.kind != "D");
        Some(since.filter(|r| r.kind == "L"))
    }

    /// Where the last log backup ends that was restored into it, by its restore history.
    pub fn last_restored_log(&self) -> Option<Lsn> {
        self.restored_logs()?.find_map(|r| r.last_lsn)
    }

    /// The job that backs up the log of the database for log shipping, if it is to be seen.
    pub fn log_backup_job(&self) -> Option<&Job> {
        let half = self.primary_half.known()?.as_ref()?;
        job(self.jobs.known()?, half.backup_job())
    }

    /// Its release: major and minor number, which tell 2008 R2 from 2008. Updates within one change neither.
    pub fn release(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.split('.').map(|number| number.trim().parse().ok());
        Some((numbers.next()??, numbers.next()??))
    }

    /// Whether its login may not see if a database is mirrored: "To see non-NULL values on a mirror database, you must be a member of the
    /// sysadmin fixed server role" (sys.database_mirroring).
    pub fn hides_mirroring(&self, d: &Database) -> bool {
        !self.sysadmin && d.mirroring.is_none() && d.state != DatabaseState::Online
    }
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
    /// `last_log_backup_lsn`: where the next log backup will begin; absent: no log backup exists, or the database is not open.
    #[serde(default)]
    pub last_log_backup: Option<Lsn>,
    /// Where roll forward must go on; absent while ONLINE (and perhaps in STANDBY).
    pub redo: Option<RedoPoint>,
    /// Mirroring; absent: not mirrored, or not to be seen ([`Instance::hides_mirroring`]).
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
    /// Whether it has a mirror that has the same at every moment (either partner may be the principal), and that takes over by itself
    /// where there is a witness for that.
    pub fn has_safe_mirror(&self) -> bool {
        self.mirroring.as_ref().is_some_and(|m| {
            m.is_synchronized() && m.safety == 2 && (m.witness.is_none() || m.witness_state == Some(1))
        })
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
    /// The fork at its beginning.
    #[serde(default)]
    pub first_fork: Option<String>,
    /// Where the fork changed, if it did within the set.
    #[serde(default)]
    pub fork_point: Option<Lsn>,
    /// The server that took it.
    #[serde(default)]
    pub server: Option<String>,
    /// Minutes that the local time of that server was ahead of UTC then (`backupset.time_zone`); absent: it is not known.
    #[serde(default)]
    pub zone_minutes: Option<i32>,
}

/// How far a statement is, where that is known: for the end of a message.
pub fn how_far(percent: Option<f64>) -> String {
    percent.map_or_else(String::new, |p| format!(" ({p:.0} %)"))
}

/// A RESTORE that somebody else runs on the instance is waited for: ending it would leave the copy between two states.
pub fn wait_for_restores(running: &[RunningRestore]) -> Waiting {
    let what: Vec<String> =
        running.iter().map(|r| format!("{} by {} ({:.0} %)", r.command, clean(&r.by), r.percent)).collect();
    Waiting {
        reason: Reason::WaitingForRestore,
        message: format!("A restore still runs: {}", what.join(", ")),
        until: None,
    }
}
