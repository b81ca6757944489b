//! What the status of a `PersistentChatFailover` says.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is true.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistentChatFailoverStatus {
    /// The generation that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// The data centre that is active, from the world and never from what is wanted; absent: not certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub active_data_center: Option<String>,
    /// The last wish that was taken up, and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<WishStatus>,
    /// The newest failover or switch that says where chat is, wherever its record lies: where that is lost later, no older one is gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_move: Option<LastMove>,
    /// The step at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub step: Option<String>,
    /// Conditions.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The transition that runs, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<TransitionStatus>,
    /// What the last decision that changed something was made on, packed: for `kubectl pcf replay`. Without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub recording: Option<String>,
    /// The last ten transitions that have ended, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<HistoryEntry>,
}

/// A wish that was taken up, and what became of it. It tells an edit from a first sight, also to another process.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WishStatus {
    /// The data centre that was to be active.
    #[schemars(length(max = 63))]
    pub active_data_center: String,
    /// `metadata.uid` of the object that said so.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Its `metadata.generation`.
    pub generation: i64,
    /// `Accepted`: it is being made true. `Fulfilled`: it was seen true. `Refused`: the active side lived, it must be said anew.
    /// `Drift`: nobody said it.
    #[schemars(length(max = 32))]
    pub state: String,
    /// When that was decided.
    pub at: Time,
    /// The `spec.utteredAt` that stood there then: it does not speak a second time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uttered_at: Option<Time>,
}

/// A failover or switch that says where chat is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastMove {
    /// Which one of the pool's it is, whoever carried it out: of two, the later one has the higher number.
    #[schemars(range(min = 0))]
    pub number: i64,
    /// When it began.
    pub started: Time,
    /// The data centre that chat is in by it.
    #[schemars(length(max = 63))]
    pub data_center: String,
    /// Whether it is over.
    pub ended: bool,
    /// When a switch has asked for the tail of the log by which it closes the database that it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Time>,
    /// Somebody has recovered the database that was closed by it: what is written there since, no copy has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reopened: bool,
}

/// A transition.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionStatus {
    /// Its id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Which one of the pool's it is, whoever carried it out: of two, the later one has the higher number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub number: Option<i64>,
    /// What is carried out: `Failover`, `Switch`, `Protect` or `Align`.
    #[schemars(length(max = 32))]
    pub procedure: String,
    /// The data centre that is left (Failover, Switch), or whose database is the live one (Protect, Align).
    #[schemars(length(max = 63))]
    pub from: String,
    /// The data centre that becomes active (Failover, Switch), that is protected (Protect), or that is set right (Align).
    #[schemars(length(max = 63))]
    pub to: String,
    /// When it began.
    pub started: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// `Pending` until something was written, then `Running`, in the end `Completed`, or `Aborted`: undone, or overtaken.
    #[schemars(length(max = 32))]
    pub outcome: String,
    /// Whether the database was, or may have been, recovered.
    pub point_of_no_return: bool,
    /// The steps.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<StepStatus>,
    /// What a human would have to agree to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_needed: Option<ConsentNeeded>,
    /// What is lost. A switch loses nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossStatus>,
    /// Seconds without chat in a switch that is complete: from the moment when no server was to be active any more until chat was seen
    /// serving from the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage_seconds: Option<i64>,
    /// What was counted in old databases before a seed overwrote them (Protect).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub lost_messages: Vec<LostMessages>,
}

/// A step.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Name: the condition's type.
    #[schemars(length(max = 63))]
    pub name: String,
    /// `NotStarted`, `Running`, `Waiting`, `Blocked` or `Done`.
    #[schemars(length(max = 32))]
    pub state: String,
    /// For a human.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// Effects that were started.
    pub attempts: i32,
    /// The goal held without any doing of this operator: somebody else reached it, or there was nothing to do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub already_done: bool,
    /// When it was first at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When its goal was first seen to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Seconds it waited, by what it waited for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waited: BTreeMap<String, i64>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How far a step is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Done so far.
    pub done: i64,
    /// Of so many.
    pub total: i64,
    /// Of what: `files`.
    #[schemars(length(max = 32))]
    pub unit: String,
    /// Per cent of the one at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
}

/// What a human would have to agree to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsentNeeded {
    /// For `spec.consent.transition`.
    #[schemars(length(max = 64))]
    pub transition: String,
    /// For `spec.consent.situation`.
    #[schemars(length(max = 64))]
    pub situation: String,
    /// What is lost or not certain.
    #[schemars(length(max = 64), inner(length(max = 2048)))]
    pub why: Vec<String>,
}

/// What is lost, as an interval.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossStatus {
    /// Everything before this moment is kept for certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Time>,
    /// Nothing after this moment can have been lost; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at_most_until: Option<Time>,
    /// The last applied log backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 400))]
    pub last_backup: Option<String>,
    /// Where roll forward ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub last_lsn: Option<String>,
    /// Log backups that exist but could not be applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 2048)))]
    pub not_applied: Vec<String>,
    /// Time of the newest message at the end of the transition. Not kept in the record: messages go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_message: Option<Time>,
    /// Who accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub accepted_by: Option<String>,
}

/// Messages that an old database held and the live one lacks, counted before a seed overwrote it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LostMessages {
    /// The server that it stood on.
    #[schemars(length(max = 253))]
    pub server: String,
    /// How many they are; absent: they could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<i64>,
    /// There may be more: not all of them were compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Why they could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// The files of the backup share that hold them.
    #[schemars(length(max = 2), inner(length(max = 400)))]
    pub files: Vec<String>,
}

/// A transition that has ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Which one of the pool's it is, whoever carried it out: of two, the later one has the higher number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub number: Option<i64>,
    /// What was carried out: `Failover`, `Switch`, `Protect` or `Align`.
    #[schemars(length(max = 32))]
    pub procedure: String,
    /// The data centre that was left (Failover, Switch), or whose database was the live one (Protect, Align).
    #[schemars(length(max = 63))]
    pub from: String,
    /// The data centre that became active (Failover, Switch), that was protected (Protect), or that was set right (Align).
    #[schemars(length(max = 63))]
    pub to: String,
    /// `Completed`, or `Aborted`: it was undone, or overtaken.
    #[schemars(length(max = 32))]
    pub outcome: String,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// What was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossStatus>,
    /// Seconds without chat in a switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage_seconds: Option<i64>,
    /// What was counted in old databases before a seed overwrote them (Protect).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub lost_messages: Vec<LostMessages>,
}
