//! One change of the active data centre, from its first look to its end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::backups::{BackupFile, Lsn, RedoPoint};
use super::consent::AcceptedConsent;
use super::log_shipping::LogShipping;
use super::step::StepId;
use super::text::short;

/// What a transition is and has done: only what the world itself cannot tell. This is what the record keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Digest of pool, from, to, the recovery fork of the live database, and how many transitions of that fork have ended.
    pub id: String,
    /// What is carried out.
    pub procedure: Procedure,
    /// The data centre that is left.
    pub from: String,
    /// The data centre that becomes active.
    pub to: String,
    /// The recovery fork of the database when it began.
    pub fork: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Log shipping as it was before step 1: what re-creating it needs.
    pub saved_log_shipping: Option<LogShipping>,
    /// Step 4 is about to recover, or did: at which redo point. Written before the statement is sent.
    pub recovery: Option<RecoveryIntent>,
    /// The fork of a database that somebody else recovered and that a consent told us to go on with.
    pub adopted_fork: Option<String>,
    /// Every run of `Install-CsMirrorDatabase`, the last one last. Written before it is started.
    pub mirror_jobs: Vec<DetachedJob>,
    /// The fork of the database that became live, once the transition has ended.
    #[serde(default)]
    pub recovered_fork: Option<String>,
    /// Backup files that SQL Server could not restore, by name.
    pub damaged: BTreeMap<String, Damaged>,
    /// Consents that took part.
    pub consents: Vec<AcceptedConsent>,
    /// When the primary last answered, as far as was known when the transition began.
    pub primary_last_seen: Option<Timestamp>,
    /// What is lost; known once the chain is applied.
    pub loss: Option<Loss>,
    /// How each step went.
    pub steps: BTreeMap<StepId, StepHistory>,
}

/// What is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Procedure {
    /// The primary data centre is lost: the seven steps towards the backup store.
    Failover,
}

impl Procedure {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Procedure::Failover => "Failover",
        }
    }
}

/// What a failover loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Everything written before this moment is kept for certain: the start of the last applied backup.
    pub kept_until: Option<Timestamp>,
    /// The same moment in the local time of the server that took the backup, as its header has it.
    pub kept_until_local: Option<String>,
    /// Nothing after this moment was written before the primary was lost: the last successful look at it. Absent: nobody
    /// knows, because the operator did not see the primary alive.
    pub lost_at_most_until: Option<Timestamp>,
    /// The last applied backup.
    pub last_file: Option<String>,
    /// Where roll forward ended.
    pub last_lsn: Option<Lsn>,
    /// Log backups that exist but could not be applied, and why.
    pub not_applied: Vec<String>,
    /// When the newest message was written that is in the recovered database.
    pub newest_message: Option<Timestamp>,
}

/// The intent of step 4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryIntent {
    /// When it was written.
    pub at: Timestamp,
    /// Where roll forward stood: recovery ends there.
    pub redo: RedoPoint,
}

/// A backup file that SQL Server could not restore although it could read its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Damaged {
    /// The very file: one with another length or another time of change is another one, and is tried.
    pub file: BackupFile,
    /// SQL Server's words.
    pub why: String,
    /// How often a file of this name could not be restored.
    pub times: u32,
    /// Whether it has been fetched from the share once more since: then it is tried again.
    pub fetched: bool,
}

/// A cmdlet that lives on without us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DetachedJob {
    /// When its intent was written.
    pub at: Timestamp,
    /// Field of the pool's Management Shell host that it runs on.
    pub host: String,
    /// WS-Man ShellId, chosen by us.
    pub shell_id: String,
    /// WS-Man CommandId, chosen by us.
    pub command_id: String,
    /// How it ended, once somebody has seen that it did.
    pub ended: Option<JobEnd>,
}

/// How a detached cmdlet ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobEnd {
    /// When that was seen.
    pub at: Timestamp,
    /// The errors it reported, or that the host knew nothing of it.
    pub errors: Vec<String>,
}

/// How a step went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepHistory {
    /// Effects that were started.
    pub attempts: i32,
    /// When it was first the step at work.
    pub started: Option<Timestamp>,
    /// When its goal was first seen to hold.
    pub ended: Option<Timestamp>,
    /// Seconds it waited, by what it waited for (the word of the condition's reason).
    pub waited: BTreeMap<String, i64>,
}

/// The id of a transition. A recovery makes a new fork, so an old id (in Git, in a backup) never fits again. Where a failover
/// was given up and the backup store seeded anew from the old primary, the fork is the old one: `ended`, the number of
/// transitions of that fork that have ended, makes the next one another.
pub fn id(pool: &str, from: &str, to: &str, fork: &str, ended: usize) -> String {
    let mut hash = Sha256::new();
    for part in [pool, from, to, &fork.to_ascii_lowercase(), &ended.to_string()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    short(&hash.finalize())
}

impl Transition {
    /// This one, as the record has it, with the times that were seen of another copy of it and are not written yet. What the
    /// record says wins: somebody else may have gone on since.
    pub fn with_times_of(mut self, seen: &Transition) -> Transition {
        for (step, history) in &seen.steps {
            let slot = self.steps.entry(*step).or_default();
            slot.started = slot.started.or(history.started);
            slot.ended = slot.ended.or(history.ended);
            slot.attempts = slot.attempts.max(history.attempts);
        }
        self
    }

    /// A new transition.
    pub fn begin(pool: &str, from: &str, to: &str, fork: &str, ended: usize, now: Timestamp) -> Self {
        Transition {
            id: id(pool, from, to, fork, ended),
            procedure: Procedure::Failover,
            from: from.into(),
            to: to.into(),
            fork: fork.into(),
            started: now,
            ended: None,
            saved_log_shipping: None,
            recovery: None,
            adopted_fork: None,
            mirror_jobs: Vec::new(),
            recovered_fork: None,
            damaged: BTreeMap::new(),
            consents: Vec::new(),
            primary_last_seen: None,
            loss: None,
            steps: BTreeMap::new(),
        }
    }
    /// Effects of a step that were started.
    pub fn attempts(&self, step: StepId) -> i32 {
        self.steps.get(&step).map_or(0, |h| h.attempts)
    }
    /// Whether anything was done, or is about to be.
    pub fn has_begun(&self) -> bool {
        self.steps.values().any(|h| h.attempts > 0)
            || self.recovery.is_some()
            || self.saved_log_shipping.is_some()
    }
    /// The detached cmdlet whose end nobody has seen.
    pub fn open_job(&self) -> Option<&DetachedJob> {
        self.mirror_jobs.last().filter(|j| j.ended.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_depends_on_every_part_and_on_where_the_parts_end() {
        let a = id("chat.x", "atlanta", "seattle", "F", 0);
        assert_eq!(a, id("chat.x", "atlanta", "seattle", "f", 0), "GUIDs compare without case");
        for other in [
            id("chat.y", "atlanta", "seattle", "F", 0),
            id("chat.x", "seattle", "atlanta", "F", 0),
            id("chat.x", "atlanta", "seattle", "G", 0),
            id("chat.xa", "tlanta", "seattle", "F", 0),
            id("chat.x", "atlanta", "seattle", "F", 1),
        ] {
            assert_ne!(a, other);
        }
        assert_eq!(a.len(), 16);
    }
}
