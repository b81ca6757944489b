//! What the record keeps of a copy that is seeded, and of what that overwrites.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backups::Lsn;
use super::sql_server::Database;

/// The seed of a copy, as the record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seed {
    /// When its intent was written.
    pub at: Timestamp,
    /// The full backup of the live database, without its folder: the share from which log shipping feeds the copy.
    pub file: String,
    /// Which one of the transition's it is, from 0: one that did not bring the copy onto the chain is not restored again.
    pub number: u32,
    /// The file that was last about to be restored: from then on what stood there is gone. Written before the job is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// `FirstLSN` of that file: a copy that it has been restored into stands there or further on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<Lsn>,
}

/// What was saved of an open database before it is overwritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// The recovery fork that it was on.
    pub fork: String,
    /// Its full backup, without the folder: the share from which log shipping feeds the copy.
    pub file: String,
    /// The tail of its log, with which nobody can write to it any more. Written before the statement is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<String>,
}

impl Seed {
    /// Whether it was restored already, or was about to be.
    pub fn is_used(&self) -> bool {
        self.restored.as_ref() == Some(&self.file)
    }
    /// Whether it has been restored into a copy that is on this fork. That it was about to be says nothing: the job may never have begun, or
    /// was refused, and what stood there before is on the same fork where log backups are missing.
    pub fn is_in(&self, copy: &Database, fork: &str) -> bool {
        let reaches = |redo: Lsn| self.begins.is_some_and(|first| first <= redo);
        let redo = copy.redo.as_ref().filter(|_| copy.is_restoring());
        self.is_used() && redo.is_some_and(|r| reaches(r.lsn) && r.fork.eq_ignore_ascii_case(fork))
    }
}
