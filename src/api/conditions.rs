//! Conditions: their types, their order, and how one is set.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

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
/// Full and log backups have been taken by the new primary.
pub const PROTECTED: &str = "Protected";
/// The active database has a synchronized mirror.
pub const REDUNDANT: &str = "Redundant";
/// Nobody has seen the old primary's database come back to life.
pub const OLD_PRIMARY_QUIET: &str = "OldPrimaryQuiet";

/// `True`, `False` or `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// `True`
    True,
    /// `False`
    False,
    /// `Unknown`
    Unknown,
}

impl Is {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Is::True => "True",
            Is::False => "False",
            Is::Unknown => "Unknown",
        }
    }
}

/// Sets a condition. The time of its last transition is kept while its status is the same.
pub fn set(
    list: &mut Vec<Condition>,
    kind: &str,
    is: Is,
    reason: Reason,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let mut text = String::new();
    for part in message.split('\n') {
        text.push_str(&clean_long(part));
    }
    let new = |at: Time| Condition {
        type_: kind.into(),
        status: is.as_str().into(),
        reason: reason.as_str().into(),
        message: text.clone(),
        observed_generation: Some(generation),
        last_transition_time: at,
    };
    match list.iter_mut().find(|c| c.type_ == kind) {
        Some(c) => {
            let at = if c.status == is.as_str() { c.last_transition_time.clone() } else { time(now) };
            *c = new(at);
        }
        None => list.push(new(time(now))),
    }
    list.sort_by_key(|c| (order(&c.type_), c.type_.clone()));
}

/// Messages of conditions may have 32 KiB; ours are cut long before, and hold no control characters.
fn clean_long(text: &str) -> String {
    clean_whole(&text.chars().take(4000).collect::<String>())
}

/// A time in whole seconds, as the API server keeps it: a fraction would differ on every comparison.
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Takes a condition away.
pub fn remove(list: &mut Vec<Condition>, kind: &str) {
    list.retain(|c| c.type_ != kind);
}

/// Ready first, then what is abnormal, then the steps in the order of the runbook: `kubectl describe` reads as a checklist.
fn order(kind: &str) -> usize {
    let head = [READY, RECONCILING, STALLED, FAILOVER_READY];
    let tail = [PROTECTED, REDUNDANT, OLD_PRIMARY_QUIET];
    head.iter()
        .position(|k| *k == kind)
        .or_else(|| StepId::ALL.iter().position(|s| s.as_str() == kind).map(|n| n + 10))
        .or_else(|| tail.iter().position(|k| *k == kind).map(|n| n + 30))
        .unwrap_or(99)
}
