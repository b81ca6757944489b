//! Events: what a person who watches the namespace is told, computed from two statuses. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{FAILOVER_READY, OTHER_SIDE_QUIET, STALLED};
use crate::api::v1alpha1::{PersistentChatFailoverStatus, TransitionStatus};
use crate::domain::problem::Reason;
use crate::domain::route::Procedure;
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
    /// What was done: the procedure, or that the resource was looked at. Of events that are alike in everything but their notes within
    /// a few minutes only the first one's note is kept (`events.k8s.io/v1`: a series): one procedure must not hide another's.
    pub action: String,
}

impl Announcement {
    fn of(self, procedure: &str) -> Announcement {
        Announcement { action: procedure.into(), ..self }
    }
}

fn told(warning: bool, reason: &str, note: &str) -> Announcement {
    Announcement { warning, reason: reason.into(), note: note.into(), action: "Reconcile".into() }
}

/// The note as whoever has nothing but it reads it: in a chat or on a pager, to which events are forwarded, no object stands beside it.
fn readable_alone(pool: &str, note: &str) -> String {
    let mut note = format!("{pool}: {note}");
    let mut end = note.len().min(LONGEST);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.truncate(end);
    note
}

/// What has happened to a pool, which is named by its FQDN, between two statuses.
pub fn between(
    pool: &str,
    before: &PersistentChatFailoverStatus,
    after: &PersistentChatFailoverStatus,
) -> Vec<Announcement> {
    let mut all = happened(before, after);
    for announcement in &mut all {
        announcement.note = readable_alone(pool, &announcement.note);
    }
    all
}

/// That the resource of a pool is gone, with the data centre that it named and with what its status said last: nobody else tells of a
/// transition that stands still from now on.
pub fn deleted(pool: &str, named: &str, last: &PersistentChatFailoverStatus) -> Announcement {
    let runs = last.transition.as_ref().filter(|t| t.ended.is_none());
    let (action, note) = match runs {
        None => {
            ("Reconcile", "Nothing is switched by that, and nobody watches the pool any more".to_string())
        }
        Some(t) => (
            t.procedure.as_str(),
            format!(
                "{} stands still: what runs is let end, and nothing more begins. To go on, create it again with activeDataCenter: {named}",
                what(&t.procedure, &t.from, &t.to)
            ),
        ),
    };
    let note = readable_alone(pool, &format!("The resource was deleted. {note}"));
    told(true, "ResourceDeleted", &note).of(action)
}

fn happened(
    before: &PersistentChatFailoverStatus,
    after: &PersistentChatFailoverStatus,
) -> Vec<Announcement> {
    let mut out: Vec<Announcement> =
        after.conditions.iter().filter_map(|c| condition_changed(before, c)).collect();
    out.extend(transition_ended(before, after));
    let was = before.transition.as_ref();
    let begins = |t: &&TransitionStatus| was.is_none_or(|w| w.id != t.id) && t.ended.is_none();
    if let Some(t) = after.transition.as_ref().filter(begins) {
        let note = format!("{} ({})", what(&t.procedure, &t.from, &t.to), t.id);
        out.push(told(false, "TransitionStarted", &note).of(&t.procedure));
    }
    out
}

fn what(procedure: &str, from: &str, to: &str) -> String {
    match from == to {
        true => format!("{procedure} of {to}"),
        false => format!("{procedure} from {from} to {to}"),
    }
}

fn condition_changed(before: &PersistentChatFailoverStatus, c: &Condition) -> Option<Announcement> {
    let old = before.conditions.iter().find(|b| b.type_ == c.type_);
    if old.is_some_and(|b| (&b.status, &b.reason) == (&c.status, &c.reason)) {
        return None;
    }
    let truth = c.status == "True";
    let turned = || old.is_none_or(|b| b.status != c.status);
    if c.type_ == STALLED {
        Some(told(true, &c.reason, &c.message))
    } else if c.type_.parse::<StepId>().is_ok() {
        (truth && old.is_some() && turned()).then(|| told(false, &c.type_, &c.message))
    } else if [FAILOVER_READY, OTHER_SIDE_QUIET].contains(&c.type_.as_str()) && turned() {
        let reason = if truth { &c.type_ } else { &c.reason };
        Some(told(c.status == "False", reason, &c.message))
    } else {
        None
    }
}

/// The transition that ran before, if it has ended since. The history tells: another one may already run.
fn transition_ended(
    before: &PersistentChatFailoverStatus,
    after: &PersistentChatFailoverStatus,
) -> Vec<Announcement> {
    let was = before.transition.as_ref().filter(|w| w.ended.is_none());
    let Some(h) = was.and_then(|w| after.history.iter().find(|h| h.id == w.id)) else { return vec![] };
    let what = what(&h.procedure, &h.from, &h.to);
    if h.outcome != Reason::Completed.as_str() {
        return vec![told(false, Reason::Aborted.as_str(), &format!("{what} was undone")).of(&h.procedure)];
    }
    let outage = h.outage_seconds.map(|s| format!("; chat stood still for {s} s, and nothing was lost"));
    let note = format!("{what} is complete{}", outage.unwrap_or_default());
    let mut out = vec![told(false, Reason::Completed.as_str(), &note).of(&h.procedure)];
    if Procedure::name_moves_chat(&h.procedure) {
        // A switch leaves the other side's compliance database where it was as well.
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
    use serde_json::json;

    use super::super::conditions::{ConditionStatus, Conditions, time};
    use super::*;
    use crate::api::v1alpha1::HistoryEntry;

    fn with(kind: &str, is: ConditionStatus, reason: Reason) -> PersistentChatFailoverStatus {
        let mut s = PersistentChatFailoverStatus::default();
        Conditions::of(&mut s, jiff::Timestamp::UNIX_EPOCH).set(kind, is, reason, "said");
        s
    }

    #[test]
    fn a_change_is_told_once_and_what_stays_is_not() {
        let before = with("DatabaseOnline", ConditionStatus::False, Reason::InProgress);
        let after = with("DatabaseOnline", ConditionStatus::True, Reason::Completed);
        assert_eq!(happened(&before, &after), [told(false, "DatabaseOnline", "said")]);
        assert_eq!(happened(&after, &after), []);
        let stalled = with(STALLED, ConditionStatus::True, Reason::SourceAlive);
        assert_eq!(happened(&after, &stalled), [told(true, "SourceAlive", "said")]);
        assert_eq!(happened(&stalled, &stalled), []);
    }

    #[test]
    fn an_end_is_told_also_when_another_transition_already_runs() {
        let transition = |id: &str, procedure: &str, ended: bool| TransitionStatus {
            id: id.into(),
            number: None,
            procedure: procedure.into(),
            from: "a".into(),
            to: "b".into(),
            started: time(jiff::Timestamp::UNIX_EPOCH),
            ended: ended.then(|| time(jiff::Timestamp::UNIX_EPOCH)),
            outcome: if ended { "Completed" } else { "Running" }.into(),
            point_of_no_return: false,
            steps: vec![],
            consent_needed: None,
            loss: None,
            outage_seconds: None,
            lost_messages: vec![],
        };
        let entry = |t: &TransitionStatus, outcome: &str| HistoryEntry {
            id: t.id.clone(),
            number: t.number,
            procedure: t.procedure.clone(),
            from: t.from.clone(),
            to: t.to.clone(),
            outcome: outcome.into(),
            started: t.started.clone(),
            ended: t.started.clone(),
            loss: None,
            outage_seconds: None,
            lost_messages: vec![],
        };
        let status = |t: &TransitionStatus, history: &[HistoryEntry]| PersistentChatFailoverStatus {
            transition: Some(t.clone()),
            history: history.to_vec(),
            ..PersistentChatFailoverStatus::default()
        };
        let reasons = |before: &PersistentChatFailoverStatus, after: &PersistentChatFailoverStatus| {
            happened(before, after).into_iter().map(|a| a.reason).collect::<Vec<_>>()
        };
        let (failover, protect) = (transition("1", "Failover", false), transition("2", "Protect", false));
        let runs = status(&failover, &[]);
        assert_eq!(reasons(&PersistentChatFailoverStatus::default(), &runs), ["TransitionStarted"]);
        let next = status(&protect, &[entry(&failover, "Completed")]);
        assert_eq!(reasons(&runs, &next), ["Completed", "ComplianceNotFailedOver", "TransitionStarted"]);
        let history = [entry(&protect, "Completed"), entry(&failover, "Completed")];
        let over = status(&transition("2", "Protect", true), &history);
        assert_eq!(reasons(&next, &over), ["Completed"], "a protection touches no compliance database");
        assert_eq!(reasons(&over, &over), [""; 0]);
        let undone = status(&transition("1", "Failover", true), &[entry(&failover, "Aborted")]);
        let of_the_failover = told(false, "Aborted", "Failover from a to b was undone").of("Failover");
        assert_eq!(happened(&runs, &undone), [of_the_failover]);
    }

    #[test]
    fn a_note_names_its_pool_and_is_cut_between_characters() {
        assert_eq!(readable_alone("chat", "said"), "chat: said");
        assert_eq!(readable_alone("chat", &"ü".repeat(600)).len(), 1024);
        assert_eq!(readable_alone("a-chat", &format!("a{}", "ü".repeat(600))).len(), 1023);
    }

    #[test]
    fn what_is_left_by_a_deleted_resource_is_told_with_how_it_goes_on() {
        let rest = deleted("chat", "b", &PersistentChatFailoverStatus::default());
        assert!(
            rest.note.starts_with("chat: The resource was deleted. Nothing is switched"),
            "{}",
            rest.note
        );
        let t = json!({"id": "1", "procedure": "Protect", "from": "a", "to": "b", "started": "2026-11-23T09:30:00Z",
            "outcome": "Running", "pointOfNoReturn": false, "steps": []});
        let middle = PersistentChatFailoverStatus {
            transition: Some(serde_json::from_value(t).unwrap()),
            ..PersistentChatFailoverStatus::default()
        };
        // Where chat is, and not where the copy goes.
        let told = deleted("chat", "a", &middle);
        assert!(
            told.warning && told.action == "Protect" && told.note.ends_with("activeDataCenter: a"),
            "{told:?}"
        );
        assert!(told.note.contains("Protect from a to b stands still"), "{told:?}");
    }

    #[test]
    fn every_note_begins_with_the_pool() {
        let stalled = with(STALLED, ConditionStatus::True, Reason::SourceAlive);
        let told = between("chat.litwareinc.com", &PersistentChatFailoverStatus::default(), &stalled);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].note, "chat.litwareinc.com: said");
    }
}
