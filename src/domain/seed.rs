//! What the record keeps of a copy that is seeded, and of what that overwrites.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backups::Lsn;
use super::text::clean;

/// The seed of a copy, as the record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seed {
    /// When its intent was written.
    pub at: Timestamp,
    /// The full backup of the live database, without its folder: the share from which log shipping feeds the copy.
    pub file: String,
    /// Which one of the transition's it is, from 0: another one is taken where the file of one that was restored is gone, or is of another life
    /// of the live database.
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
    /// What was found of messages that it holds and the live database lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
}

/// Messages that a saved database holds and the live one lacks, looked for once before it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "camelCase")]
pub enum Lost {
    /// So many.
    Counted {
        /// How many.
        messages: u64,
        /// There may be more: not all of them were compared.
        more: bool,
    },
    /// They could not be counted.
    Unknown {
        /// Why.
        why: String,
        /// How often that was tried.
        tries: u32,
    },
}

impl Lost {
    /// How often it is tried to count them: nothing depends on it, and it waits for nobody.
    const TRIES: u32 = 3;

    /// They cannot be counted, however often it is tried.
    pub fn given_up(why: &str) -> Self {
        Lost::Unknown { why: why.into(), tries: Self::TRIES }
    }
    /// How often it was tried in vain.
    pub fn tries(&self) -> u32 {
        match self {
            Lost::Counted { .. } => 0,
            Lost::Unknown { tries, .. } => *tries,
        }
    }
    /// Whether it is to be tried once more.
    pub fn is_to_be_tried_again(&self) -> bool {
        match self {
            Lost::Counted { .. } => false,
            Lost::Unknown { tries, .. } => *tries < Self::TRIES,
        }
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lost::Counted { messages, more: false } => {
                write!(f, "{messages} messages in it are not in the live database")
            }
            Lost::Counted { messages, more: true } => {
                write!(f, "at least {messages} messages in it are not in the live database")
            }
            Lost::Unknown { why, .. } => {
                write!(f, "how many messages in it are not in the live database is not known: {}", clean(why))
            }
        }
    }
}

impl Seed {
    /// Whether it was restored already, or was about to be.
    pub fn is_used(&self) -> bool {
        self.restored.as_ref() == Some(&self.file)
    }
}
