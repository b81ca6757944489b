//! Log backups: files, what SQL Server says of the sets in them, and where roll forward stands.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::reading::Reading;

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
