//! Conditions: their types, their order, and how one is set.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::v1alpha1::PersistentChatFailoverStatus;
use crate::domain::problem::Reason;
use crate::domain::step::StepId;
use crate::domain::text::clean_whole;

/// Active data centre = desired one, no transition, chat serving.
pub const READY: &str = "Ready";
/// Present and True only while a transition or a first look is at work.
pub const RECONCILING: &str = "Reconciling";
/// Present and True only while a human is needed.
pub const STALLED: &str = "Stalled";
/// A failover would work, as far as the last look can tell.
pub const FAILOVER_READY: &str = "FailoverReady";
/// The live database's log is backed up: it has taken a full and a log backup of its own.
pub const BACKED_UP: &str = "BackedUp";
/// The live database has a synchronized mirror.
pub const REDUNDANT: &str = "Redundant";
/// Nobody has seen a live database on the side that is not active.
pub const OTHER_SIDE_QUIET: &str = "OtherSideQuiet";

/// `True`, `False` or `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// `True`
    True,
    /// `False`
    False,
    /// `Unknown`
    Unknown,
}

impl ConditionStatus {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

/// The conditions of a status, at the moment at which it is projected.
pub struct Conditions<'a> {
    list: &'a mut Vec<Condition>,
    generation: i64,
    now: Timestamp,
}

impl<'a> Conditions<'a> {
    /// Of a status that speaks of a generation.
    pub fn of(status: &'a mut PersistentChatFailoverStatus, now: Timestamp) -> Self {
        Conditions { generation: status.observed_generation, list: &mut status.conditions, now }
    }
    /// Sets a condition. The time of its last transition is kept while its status is the same.
    pub fn set(&mut self, kind: &str, is: ConditionStatus, reason: Reason, message: &str) {
        let text: String = message.split('\n').map(clean_long).collect();
        let same = self.list.iter().find(|c| c.type_ == kind && c.status == is.as_str());
        let at = same.map_or_else(|| time(self.now), |c| c.last_transition_time.clone());
        self.list.retain(|c| c.type_ != kind);
        self.list.push(Condition {
            type_: kind.into(),
            status: is.as_str().into(),
            reason: reason.as_str().into(),
            message: text,
            observed_generation: Some(self.generation),
            last_transition_time: at,
        });
        self.list.sort_by_key(|c| (order(&c.type_), c.type_.clone()));
    }
    /// Takes a condition away.
    pub fn remove(&mut self, kind: &str) {
        self.list.retain(|c| c.type_ != kind);
    }
    /// Ready is not True, and something is at work. Never Stalled beside it.
    pub fn reconciling(&mut self, ready: ConditionStatus, reason: Reason, message: &str) {
        self.set(READY, ready, reason, message);
        self.remove(STALLED);
        self.set(RECONCILING, ConditionStatus::True, reason, message);
    }
    /// Ready is False, and only a human can help. Never Reconciling beside it.
    pub fn stalled(&mut self, reason: Reason, message: &str) {
        self.set(READY, ConditionStatus::False, reason, message);
        self.remove(RECONCILING);
        self.set(STALLED, ConditionStatus::True, reason, message);
    }
    /// Ready is False by somebody's wish: nothing is at work, and nobody is called.
    pub fn resting(&mut self, reason: Reason, message: &str) {
        self.set(READY, ConditionStatus::False, reason, message);
        self.remove(RECONCILING);
        self.remove(STALLED);
    }
    /// Ready is True, and something else is at work beside it.
    pub fn ready_while(&mut self, ready: &str, reason: Reason, message: &str) {
        self.set(READY, ConditionStatus::True, Reason::Active, ready);
        self.remove(STALLED);
        self.set(RECONCILING, ConditionStatus::True, reason, message);
    }
    /// Ready is True.
    pub fn ready(&mut self, reason: Reason, message: &str) {
        self.set(READY, ConditionStatus::True, reason, message);
        self.remove(RECONCILING);
        self.remove(STALLED);
    }
}

/// Messages of conditions may have 32 KiB; ours are cut long before, and hold no control characters.
fn clean_long(text: &str) -> String {
    clean_whole(&text.chars().take(4000).collect::<String>())
}

/// A time in whole seconds, as the API server keeps it: a fraction would differ on every comparison.
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Ready first, then what is abnormal, then the steps in the order of the procedures: `kubectl describe` reads as a checklist.
fn order(kind: &str) -> usize {
    let head = [READY, RECONCILING, STALLED, FAILOVER_READY];
    let tail = [BACKED_UP, REDUNDANT, OTHER_SIDE_QUIET];
    head.iter()
        .position(|k| *k == kind)
        .or_else(|| StepId::ALL.iter().position(|s| s.as_str() == kind).map(|n| n + 10))
        .or_else(|| tail.iter().position(|k| *k == kind).map(|n| n + 30))
        .unwrap_or(99)
}
