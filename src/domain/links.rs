//! The links of a log chain, and the copy that they are for.

use serde::{Deserialize, Serialize};

use super::backups::{BackupSet, RedoPoint};
use super::sql_server::RestoreHistory;

/// One log backup of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Name of the file; of several that it is striped over the first.
    pub file: String,
    /// The other files that it is striped over, in the order of the media set.
    #[serde(default)]
    pub others: Vec<String>,
    /// The set in it.
    pub set: BackupSet,
}

impl Link {
    /// Every file that it is restored from.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.file).chain(&self.others).map(String::as_str)
    }
    /// Under which name it is remembered that it could not be restored: another set of the file, or the same from more files, may well
    /// be. (No name of a file holds a colon.)
    pub fn key(&self) -> String {
        match (self.set.position, self.others.len()) {
            (..=1, 0) => self.file.clone(),
            (position, 0) => format!("{}:{position}", self.file),
            (position, others) => format!("{}:{position}:{}", self.file, others + 1),
        }
    }
}

/// The copy whose chain is followed.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// Where its roll forward stands.
    pub redo: &'a RedoPoint,
    /// Its family, as far as the server shows it.
    pub family: Option<&'a str>,
    /// Its name.
    pub database: &'a str,
    /// What was restored into it.
    pub restored: &'a [RestoreHistory],
}

impl Copy<'_> {
    /// Whether a set is a log backup of this database, and of its family as far as that is known.
    pub fn is_of_family(&self, set: &BackupSet) -> bool {
        set.is_log_of(self.database) && self.family.is_none_or(|f| f.eq_ignore_ascii_case(&set.family))
    }
    /// Whether a set is a log backup of it that reaches further than it does.
    pub fn lacks(&self, set: &BackupSet) -> bool {
        self.is_of_family(set) && set.last_lsn > self.redo.lsn
    }
}

/// Whether a name is one that log shipping itself gives to backups of a database: `<database>_<14 digits>.trn`. Only the order
/// of such names says anything about their age; what somebody rescued by hand has any name.
pub fn is_regular(name: &str, database: &str) -> bool {
    let name = name.to_lowercase();
    let rest = name.strip_prefix(&database.to_lowercase()).and_then(|r| r.strip_prefix('_'));
    rest.and_then(|r| r.strip_suffix(".trn"))
        .is_some_and(|digits| digits.len() == 14 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The name at the end of a Windows path.
pub fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}
