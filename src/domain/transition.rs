//! One change of the active data centre, from its first look to its end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::consent::AcceptedConsent;
use super::loss::Loss;
use super::situation::{BackupFile, Database, LogShipping, RedoPoint, Situation};
use super::step::StepId;

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

/// The first eight bytes of a digest as hexadecimal text: enough to tell apart, short enough to read aloud.
pub(crate) fn short(digest: &[u8]) -> String {
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
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
    /// Whether the point of no return was, or may have been, passed. The intent of a recovery alone does not pass it: whoever
    /// wrote it may have died, or looked once more and held back, before the statement was sent. A database that waits for
    /// log backups has not been recovered.
    pub fn is_past(&self, s: &Situation) -> bool {
        let restoring =
            s.target.known().and_then(|i| i.database.as_ref()).is_some_and(Database::is_restoring);
        self.adopted_fork.is_some() || (self.recovery.is_some() && !restoring)
    }
    /// Whether a step's goal was reached by this operator. What only looks is always its own.
    pub fn is_own(&self, step: StepId) -> bool {
        match step {
            StepId::PreflightPassed | StepId::ChatServing => true,
            StepId::DatabaseOnline => self.recovery.is_some() && self.adopted_fork.is_none(),
            StepId::LogShippingRemoved
            | StepId::BackupsCopied
            | StepId::LogBackupsApplied
            | StepId::PoolStateSet
            | StepId::MirrorEstablished
            | StepId::ActiveServersSet => self.steps.get(&step).is_some_and(|h| h.attempts > 0),
        }
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
