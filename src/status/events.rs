//! Events: what a person who watches the namespace is told, computed from two statuses. Pure.

use super::conditions::{FAILOVER_READY, OLD_PRIMARY_QUIET, STALLED};
use crate::api::v1alpha1::PersistentChatFailoverStatus;
use crate::domain::problem::Reason;
use crate::domain::step::StepId;

/// Longest note, in bytes (`events.k8s.io/v1` takes 1 KiB).
const LONGEST: usize = 1024;

/// An event to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Whether somebody should look.
    pub warning: bool,
    /// One word: a condition's type, or its reason.
    pub reason: String,
    /// For a human.
    pub note: String,
}

fn told(warning: bool, reason: &str, note: &str) -> Announcement {
    let mut end = note.len().min(LONGEST);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    Announcement { warning, reason: reason.into(), note: note[..end].into() }
}

/// What has happened between two statuses.
pub fn between(
    before: &PersistentChatFailoverStatus,
    after: &PersistentChatFailoverStatus,
) -> Vec<Announcement> {
    let mut out = Vec::new();
    let old = |kind: &str| before.conditions.iter().find(|c| c.type_ == kind);
    let (was, is) = (before.transition.as_ref(), after.transition.as_ref());
    if let Some(t) = is.filter(|t| was.is_none_or(|w| w.id != t.id) && t.outcome != "Completed") {
        out.push(told(
            false,
            "TransitionStarted",
            &format!("{} from {} to {} ({})", t.procedure, t.from, t.to, t.id),
        ));
    }
    for c in &after.conditions {
        let before = old(&c.type_);
        if before.is_some_and(|b| (&b.status, &b.reason) == (&c.status, &c.reason)) {
            continue;
        }
        let is_step = StepId::ALL.iter().any(|id| id.as_str() == c.type_);
        let truth = c.status == "True";
        if c.type_ == STALLED {
            out.push(told(true, &c.reason, &c.message));
        } else if is_step && truth && before.is_some_and(|b| b.status != "True") {
            out.push(told(false, &c.type_, &c.message));
        } else if [FAILOVER_READY, OLD_PRIMARY_QUIET].contains(&c.type_.as_str())
            && before.is_none_or(|b| b.status != c.status)
        {
            let reason = if truth { &c.type_ } else { &c.reason };
            out.push(told(c.status == "False", reason, &c.message));
        }
    }
    let ended = is.filter(|t| {
        t.outcome == "Completed" && was.is_some_and(|w| w.id == t.id && w.outcome != "Completed")
    });
    if let Some(t) = ended {
        out.push(told(
            false,
            Reason::Completed.as_str(),
            &format!("{} from {} to {} is complete", t.procedure, t.from, t.to),
        ));
        out.push(told(
            true,
            "ComplianceNotFailedOver",
            "The compliance database mgccomp was not touched: see `kubectl pcf report` for what remains to be done by hand",
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::conditions::{ConditionStatus, Conditions};
    use super::*;

    fn with(kind: &str, is: ConditionStatus, reason: Reason) -> PersistentChatFailoverStatus {
        let mut s = PersistentChatFailoverStatus::default();
        Conditions::of(&mut s, jiff::Timestamp::UNIX_EPOCH).set(kind, is, reason, "said");
        s
    }

    #[test]
    fn a_change_is_told_once_and_what_stays_is_not() {
        let before = with("DatabaseOnline", ConditionStatus::False, Reason::InProgress);
        let after = with("DatabaseOnline", ConditionStatus::True, Reason::Completed);
        assert_eq!(between(&before, &after), [told(false, "DatabaseOnline", "said")]);
        assert_eq!(between(&after, &after), []);
        let stalled = with(STALLED, ConditionStatus::True, Reason::PrimaryAlive);
        assert_eq!(between(&after, &stalled), [told(true, "PrimaryAlive", "said")]);
        assert_eq!(between(&stalled, &stalled), []);
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(told(false, "X", &"ü".repeat(600)).note.len(), 1024);
        assert_eq!(told(false, "X", &format!("a{}", "ü".repeat(600))).note.len(), 1023);
    }
}
