//! Log backups: files, what SQL Server says of the sets in them, and where roll forward stands.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::reading::Reading;

/// A log sequence number: 25 decimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Files that nobody has looked into yet: there were too many for one look.
    #[serde(default)]
    pub unread: usize,
    /// What SQL Server itself sees in a folder and the listing lacks, with what it reads in it.
    #[serde(default)]
    pub unlisted: BTreeMap<String, FileHeaders>,
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
    /// That the file holds another set, of which SQL Server says too little (one behind a password shows NULLs).
    #[serde(default)]
    pub hidden: Option<Problem>,
    /// Its place in a media set; absent: it was not asked for. Only files that hold the same set are asked.
    #[serde(default)]
    pub label: Option<Label>,
}

impl FileHeaders {
    /// Sets of a file, and nothing else known of it.
    pub fn of(from_copy: bool, sets: Reading<Vec<BackupSet>>) -> Self {
        FileHeaders { from_copy, sets, hidden: None, label: None }
    }
}

/// The place of a file in a media set (`RESTORE LABELONLY`): a backup may be striped over several files, and is restored from all of
/// them or not at all (error 3132).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Label {
    /// `MediaSetId`.
    pub media_set: String,
    /// `FamilyCount`: over how many files it is striped. Mirrors of a media set count once.
    pub families: i32,
    /// `FamilySequenceNumber`: which one this is, from 1.
    pub family: i32,
}

/// One backup set, as `RESTORE HEADERONLY` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSet {
    /// `Position`: the `FILE =` of a RESTORE.
    pub position: i32,
    /// `BackupType`: 1 is a full backup, 2 a log backup.
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
    /// `IsDamaged`: the database was damaged when it was backed up. Its log is tried; SQL Server says 3182 where it cannot be restored.
    pub damaged: bool,
    /// `HasIncompleteMetaData`: the tail of the log of a database that could not be opened. "However, only the metadata is incomplete;
    /// the captured log is complete and usable" (SQL Server's documentation, "Tail-Log Backups").
    #[serde(default)]
    pub incomplete: bool,
    /// `IsForceOffline`: a tail that was taken `WITH NORECOVERY`. Nobody has written to that database since.
    #[serde(default)]
    pub tail: bool,
    /// `BackupSetGUID`: the same in every file that a set is striped over, and in every copy of it.
    #[serde(default)]
    pub guid: Option<String>,
    /// `ForkPointLSN`: where the fork changed, if it did within the set.
    #[serde(default)]
    pub fork_point: Option<Lsn>,
}

impl BackupSet {
    /// Whether it is a log backup of a database, whatever life of it.
    pub fn is_log_of(&self, database: &str) -> bool {
        self.kind == 2 && self.database.eq_ignore_ascii_case(database)
    }
    /// Whether it is a full backup of a database, whatever life of it.
    pub fn is_full_of(&self, database: &str) -> bool {
        self.kind == 1 && self.database.eq_ignore_ascii_case(database)
    }
    /// Whether somebody took it from a database that nobody could write to any more: no sign that it lives.
    pub fn is_rescued(&self) -> bool {
        self.tail || self.incomplete
    }
}

/// What log shipping and its administrators put beside log backups and never is one, by the end of its name: SQL Server says of these too
/// that they hold no backup, and then nothing is lost with them. Whatever else cannot be read may be a backup.
const DOCUMENTS: [&str; 16] = [
    ".txt",
    ".sql",
    ".md",
    ".ps1",
    ".psm1",
    ".cmd",
    ".bat",
    ".ini",
    ".xml",
    ".json",
    ".csv",
    ".html",
    ".url",
    ".lnk",
    ".rtf",
    ".ds_store",
];

/// Whether a name is that of a document.
pub fn is_document(name: &str) -> bool {
    let name = name.to_lowercase();
    DOCUMENTS.iter().any(|end| name.ends_with(end)) || matches!(name.as_str(), "thumbs.db" | "desktop.ini")
}
