//! What the record keeps of a copy that is seeded, and of what that overwrites.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
}
