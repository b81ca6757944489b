//! One change of the pool, from its first look to its end.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::backups::{BackupFile, Lsn, RedoPoint};
use super::consent::AcceptedConsent;
use super::log_shipping::SecondaryHalf;
use super::lync::Diagnostics;
use super::problem::Reason;
use super::route::{Procedure, Route};
use super::seed::{Saved, Seed};
use super::side::{Place, Seat, Side};
use super::step::StepId;
use super::text::short;
use super::wish::LastWish;

/// What a transition is and has done: only what the world itself cannot tell. This is what the record keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Digest of pool, route, the recovery fork of the live database, and a number that no earlier one of that route had.
    pub id: String,
    /// What is carried out, between which sides, and on which course.
    pub route: Route,
    /// The recovery fork of the database when it began.
    pub fork: String,
    /// Which one of the pool's it is: times do not tell what came first, clocks jump.
    #[serde(default)]
    pub number: u64,
    /// When it began.
    pub started: Timestamp,
    /// That it is over; absent: it is not.
    pub ended: Option<Ended>,
    /// How often it was written: of two copies of a record the higher one counts.
    #[serde(default)]
    pub revision: u64,
    /// The wish that it follows, for the next process.
    pub wish: Option<LastWish>,
    /// Consents that took part.
    pub consents: Vec<AcceptedConsent>,
    /// How each step went.
    pub steps: BTreeMap<StepId, StepHistory>,
    /// What its steps must remember.
    pub facts: Facts,
}

/// How a transition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// It was undone, or overtaken; its target was not reached.
    pub aborted: bool,
}

/// What the steps of a transition must remember.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// The secondary half as it was before it was removed: what re-creating it needs.
    pub log_shipping: Option<SecondaryHalf>,
    /// The database is about to be recovered, or was: at which redo point. Written before the statement is sent.
    pub recovery: Option<RecoveryIntent>,
    /// The fork of a database that somebody else recovered and that a consent told us to go on with.
    pub adopted_fork: Option<String>,
    /// The fork of the live database when the transition ended.
    pub live_fork: Option<String>,
    /// What is lost; known once the chain is applied.
    pub loss: Option<Loss>,
    /// When the side that is left last answered, as far as was known when the transition began.
    pub last_heard: Option<Timestamp>,
    /// Log backups that SQL Server could not restore, by [`super::links::Link::key`].
    pub damaged: BTreeMap<String, Damaged>,
    /// Users of the recovered database that SQL Server would not map to their logins, and why.
    pub unmapped_users: BTreeMap<String, String>,
    /// Every run of `Install-CsMirrorDatabase`, the last one last. Written before it is started.
    pub mirror_jobs: Vec<DetachedJob>,
    /// Agent jobs that were started by us, by id.
    pub started_jobs: BTreeMap<String, StartedJob>,
    /// The seed of the copy. Written before its backup is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// What was saved of databases that a seed overwrites, by where they stood.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub saved: BTreeMap<Place, Saved>,
    /// When chat was first told to stop. Written before it is.
    pub chat_stopped: Option<Timestamp>,
    /// Chat servers whose service was stopped by us, because their sessions outlived the deadline: it is started again.
    pub stopped_services: BTreeSet<String>,
    /// The tail of the log is about to be taken, or was. Written before the statement is sent.
    pub tail: Option<Tail>,
    /// Why SQL Server would not restore the tail of an earlier switch into the copy that lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail_refused: Option<String>,
}

/// The tail of the log of the side that a switch leaves: once it is taken, nothing can be written there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tail {
    /// When its intent was written.
    pub at: Timestamp,
    /// Which server's database it ends.
    pub seat: Seat,
    /// The recovery fork that it was on.
    #[serde(default)]
    pub fork: String,
    /// The file, without its folder: the share from which log shipping feeds the target's copy.
    pub file: String,
    /// The database is about to be brought back online where it was taken, or was: it ends nothing any more. Written before the statement is
    /// sent.
    #[serde(default)]
    pub undone: bool,
}

/// An Agent job that was started by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedJob {
    /// When.
    pub at: Timestamp,
    /// Where the log was then.
    #[serde(flatten)]
    pub log: LogSeen,
    /// How often it was started while the copy stood there.
    pub times: u32,
}

/// Where the log of a database and of its copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogSeen {
    /// Where the next log backup of the live database begins: once it begins further on, one was taken since.
    pub next_backup: Option<Lsn>,
    /// Where the copy's roll forward stands.
    pub redo: Option<Lsn>,
}

/// How often a job is started in vain before nobody waits for it any more.
const IN_VAIN: u32 = 3;

/// What a failover loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Everything written before this moment is kept for certain: the start of the last applied backup, or of an earlier one if nobody
    /// can say what that was in UTC.
    pub kept_until: Option<Timestamp>,
    /// The start of the last applied backup in the local time of the server that took it, as its header has it.
    pub kept_until_local: Option<String>,
    /// Nothing after this moment was written before the side that is left was lost: the last successful look at it. Absent:
    /// nobody knows, because the operator did not see that side alive.
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
    /// Where the last log backup ends that had been restored into it, by the restore history. It is elsewhere where the database was closed by
    /// the tail of its own log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Lsn>,
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
    /// That SQL Server refused it for a reason that is no damage; absent: it is damaged.
    #[serde(default)]
    pub refused: Option<Refused>,
}

/// Why a log backup was refused that is not damaged. Whatever is in the way may be mended without a change of any file (a certificate, a
/// folder on the server): it is tried again from time to time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// The reason.
    pub reason: Reason,
    /// What to do about it by hand.
    pub fix: String,
}

/// How long a refusal is believed.
const REFUSED: SignedDuration = SignedDuration::from_mins(5);

impl Damaged {
    /// Whether it is tried again by now as it is.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.fetched || self.refused.as_ref().is_some_and(|r| now.duration_since(r.at) >= REFUSED)
    }
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
    /// Whom it runs as: to every other account the host says that there is no such command. Absent in records from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The session configuration that it runs in: it is part of the shell's address. Absent in records from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// How it ended, once somebody has seen that it did.
    pub ended: Option<JobEnd>,
}

/// How a detached cmdlet ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobEnd {
    /// When that was seen.
    pub at: Timestamp,
    /// What it said, or that the host knew nothing of it.
    #[serde(flatten)]
    pub said: Diagnostics,
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
/// was given up and the copy seeded anew from the old live side, the fork is the old one: `nth`, one more than the highest number of
/// a transition of that route, makes the next one another.
pub fn id(pool: &str, route: Route, fork: &str, nth: u64) -> String {
    let mut hash = Sha256::new();
    let sides = [route.from.pool_state(), route.to.pool_state()];
    for part in
        [pool, route.procedure.as_str(), sides[0], sides[1], &fork.to_ascii_lowercase(), &nth.to_string()]
    {
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
    pub fn begin(pool: &str, route: Route, fork: &str, nth: u64, now: Timestamp) -> Self {
        Transition {
            id: id(pool, route, fork, nth),
            route,
            fork: fork.into(),
            number: 0,
            started: now,
            ended: None,
            revision: 0,
            wish: None,
            consents: Vec::new(),
            steps: BTreeMap::new(),
            facts: Facts::default(),
        }
    }
    /// Effects of a step that were started.
    pub fn attempts(&self, step: StepId) -> i32 {
        self.steps.get(&step).map_or(0, |h| h.attempts)
    }
    /// What it is to those who look back: of each kind the last one can still matter, however many have come since. It is not
    /// shown to anybody.
    pub fn kind(&self) -> String {
        let Route { procedure, to, .. } = self.route;
        let side = match to {
            Side::Primary => "Primary",
            Side::Backup => "Backup",
        };
        let ended = match self.ended {
            None => "open",
            Some(Ended { aborted: true, .. }) => "aborted",
            Some(Ended { aborted: false, .. }) => "completed",
        };
        // The configuration that log shipping had before it was removed is in no other record.
        let saved = if self.facts.log_shipping.is_some() { " with log shipping" } else { "" };
        // Nor is which life of the database was closed and overwritten.
        let seeded = if self.facts.seed.is_some() { " with a seed" } else { "" };
        format!("{} {side} {ended}{saved}{seeded}", procedure.as_str())
    }
    /// Whether it seeds a copy, and has begun to: then what that overwrites was agreed to.
    pub fn has_begun_to_seed(&self) -> bool {
        self.facts.seed.is_some() || !self.facts.saved.is_empty()
    }
    /// Whether it has been written down: then it has begun for everybody.
    pub fn is_recorded(&self) -> bool {
        self.revision > 0
    }
    /// Whether anything was done, or is about to be.
    pub fn has_begun(&self) -> bool {
        self.steps.values().any(|h| h.attempts > 0)
            || self.facts.recovery.is_some()
            || self.facts.log_shipping.is_some()
    }
    /// How long nobody could chat in a switch that is complete: from the moment when chat was told to stop (where somebody else had done that,
    /// when it was first waited for) until it was seen serving.
    pub fn outage(&self) -> Option<SignedDuration> {
        let ended = self.ended.filter(|e| !e.aborted && self.route.procedure == Procedure::Switch)?;
        let waited_for = self.steps.get(&StepId::ChatDrained).and_then(|h| h.started);
        let since = self.facts.chat_stopped.or(waited_for)?;
        // The mirror may take longer.
        let served = self.steps.get(&StepId::ChatServing).and_then(|h| h.ended);
        Some(served.unwrap_or(ended.at).duration_since(since).max(SignedDuration::ZERO))
    }
    /// Whether a job was started again and again while the copy's roll forward stood at one point: it does not bring it further.
    pub fn is_in_vain(&self, job: &str, redo: Option<Lsn>) -> bool {
        self.facts.started_jobs.get(job).is_some_and(|j| j.times >= IN_VAIN && j.log.redo == redo)
    }
    /// A job of log shipping was started.
    pub fn started_job(&mut self, id: String, at: Timestamp, log: LogSeen) {
        let before = self.facts.started_jobs.get(&id).filter(|j| j.log.redo == log.redo);
        let times = before.map_or(0, |j| j.times) + 1;
        self.facts.started_jobs.insert(id, StartedJob { at, log, times });
    }
    /// The detached cmdlet whose end nobody has seen.
    pub fn open_job(&self) -> Option<&DetachedJob> {
        self.facts.mirror_jobs.last().filter(|j| j.ended.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::route::Course;
    use crate::domain::side::Side;

    #[test]
    fn the_id_depends_on_every_part_and_on_where_the_parts_end() {
        let there = Route::failover(Side::Backup);
        let a = id("chat.x", there, "F", 0);
        assert_eq!(a, id("chat.x", there, "f", 0), "GUIDs compare without case");
        assert_eq!(
            a,
            id("chat.x", Route { course: Course::Back, ..there }, "F", 0),
            "undone, it is the same one"
        );
        for other in [
            id("chat.y", there, "F", 0),
            id("chat.x", Route::failover(Side::Primary), "F", 0),
            id("chat.x", Route::protect(Side::Backup), "F", 0),
            id("chat.x", Route::align(Side::Backup), "F", 0),
            id("chat.x", there, "G", 0),
            id("chat.x", there, "F", 1),
        ] {
            assert_ne!(a, other);
        }
        assert_eq!(a.len(), 16);
    }
}
