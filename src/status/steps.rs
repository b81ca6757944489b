//! The transition: its steps as conditions and as a list, how far it is, what it loses, and those before it.

use super::conditions::{self, ConditionStatus, Conditions};
use crate::api::v1alpha1::{
    ConsentNeeded, HistoryEntry, LossStatus, PersistentChatFailoverStatus, Progress, StepStatus,
    TransitionStatus,
};
use crate::domain::decision::{Decision, Evidence};
use crate::domain::problem::{Class, Reason};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::{Loss, Transition};
use crate::engine::report::Report;
use crate::steps::{self, Effect};

type Words = [(StepId, Decision<Effect>)];

/// Puts the transition that runs, or the last one, into the status.
pub fn project(s: &mut PersistentChatFailoverStatus, r: &Report<'_>) {
    let records = r.situation.target.known().and_then(|i| i.records.known());
    if let Some(records) = records {
        s.history = records.iter().filter_map(|x| history(&x.transition)).take(10).collect();
    }
    let last = records.and_then(|x| x.iter().map(|x| &x.transition).find(|t| t.ended.is_some()));
    match (&r.plan.transition, last) {
        (Some(t), _) => running(s, r, t),
        (None, Some(t)) => ended(s, r, t),
        (None, None) => s.transition = None,
    }
}

/// The last transition that has ended. What the status says of it already stays as it is.
fn ended(s: &mut PersistentChatFailoverStatus, r: &Report<'_>, t: &Transition) {
    if s.transition.as_ref().is_some_and(|b| b.id == t.id && b.outcome == "Completed") {
        return;
    }
    let words: Vec<(StepId, Decision<Effect>)> =
        StepId::ALL.iter().map(|id| (*id, Decision::Done(kept(s, t, *id)))).collect();
    let shown = transition(s, t, &words, r, "Completed");
    step_conditions(&mut Conditions::of(s, r.situation.at), &words);
    s.transition = Some(shown);
}

/// What a step of a transition that has ended said last; if the status is gone, what the record tells.
fn kept(before: &PersistentChatFailoverStatus, t: &Transition, step: StepId) -> Evidence {
    let c = before.conditions.iter().find(|c| c.type_ == step.as_str() && c.status == "True");
    let reason = match c {
        Some(c) if c.reason == Reason::NotConfigured.as_str() => Reason::NotConfigured,
        Some(_) | None if steps::is_own(step, t) => Reason::Completed,
        Some(_) | None => Reason::AlreadyDone,
    };
    let message = c.map_or_else(|| "Done, as the record says".into(), |c| c.message.clone());
    Evidence { reason, message }
}

fn running(s: &mut PersistentChatFailoverStatus, r: &Report<'_>, t: &Transition) {
    let is_new = s.transition.as_ref().is_none_or(|x| x.id != t.id);
    let mut shown = transition(s, t, &r.plan.steps, r, if t.has_begun() { "Running" } else { "Pending" });
    let mut c = Conditions::of(s, r.situation.at);
    if is_new {
        // The write that begins a transition makes all of its steps unknown.
        for step in StepId::ALL {
            c.set(step.as_str(), ConditionStatus::Unknown, Reason::NotStarted, "Not begun");
        }
    }
    step_conditions(&mut c, &r.plan.steps);
    for (step, trouble) in r.trouble {
        // A step that has more to say than that its last effect went wrong says it itself.
        if r.plan.steps.iter().any(|(id, d)| id == step && matches!(d, Decision::Act(_))) {
            let p = &trouble.problem;
            c.set(step.as_str(), ConditionStatus::False, p.reason, &p.message());
        }
    }
    shown.consent_needed = r.plan.consent_needed.as_ref().map(|terms| ConsentNeeded {
        transition: t.id.clone(),
        situation: terms.digest(),
        why: terms.why.iter().take(64).map(|w| clean(w)).collect(),
    });
    progress(&mut shown, r);
    s.transition = Some(shown);
}

fn step_conditions(c: &mut Conditions<'_>, words: &Words) {
    for (step, word) in words {
        let (is, reason, message) = match word {
            Decision::Done(e) => (ConditionStatus::True, e.reason, e.message.clone()),
            Decision::Act(_) => {
                (ConditionStatus::False, Reason::InProgress, format!("{}: at work", step.title()))
            }
            Decision::Wait(w) => (ConditionStatus::False, w.reason, w.message.clone()),
            Decision::Blocked(p) => (ConditionStatus::False, p.reason, p.message()),
        };
        c.set(step.as_str(), is, reason, &message);
    }
}

fn transition(
    before: &PersistentChatFailoverStatus,
    t: &Transition,
    words: &Words,
    r: &Report<'_>,
    outcome: &str,
) -> TransitionStatus {
    let old = before.transition.as_ref().filter(|x| x.id == t.id);
    let list = StepId::ALL.iter().map(|id| {
        let h = t.steps.get(id).cloned().unwrap_or_default();
        let word = words.iter().find(|(step, _)| step == id).map(|(_, d)| d);
        let (state, message) = match (word, r.trouble.get(id)) {
            (Some(Decision::Act(_)), Some(x)) if !r.acting => {
                (if x.problem.class == Class::Retry { "Waiting" } else { "Blocked" }, x.problem.message())
            }
            (Some(Decision::Done(e)), _) => ("Done", e.message.clone()),
            (Some(Decision::Act(_)), _) => ("Running", String::new()),
            (Some(Decision::Wait(w)), _) => ("Waiting", w.message.clone()),
            (Some(Decision::Blocked(p)), _) => ("Blocked", p.message()),
            (None, _) => ("NotStarted", String::new()),
        };
        StepStatus {
            name: id.as_str().into(),
            state: state.into(),
            message: message.chars().take(4000).collect(),
            attempts: h.attempts,
            already_done: matches!(word, Some(Decision::Done(e)) if e.reason == Reason::AlreadyDone),
            started: h.started.map(conditions::time),
            ended: h.ended.map(conditions::time),
            waited: h.waited,
            progress: old
                .and_then(|o| o.steps.iter().find(|s| s.name == id.as_str()))
                .and_then(|s| s.progress.clone()),
        }
    });
    TransitionStatus {
        id: t.id.clone(),
        procedure: t.procedure.as_str().into(),
        from: t.from.clone(),
        to: t.to.clone(),
        started: conditions::time(t.started),
        ended: t.ended.map(conditions::time),
        outcome: outcome.into(),
        point_of_no_return: r.situation.is_past(t),
        steps: list.collect(),
        consent_needed: None,
        loss: t.loss.as_ref().map(|l| loss(l, t)),
    }
}

fn loss(l: &Loss, t: &Transition) -> LossStatus {
    LossStatus {
        kept_until: l.kept_until.map(conditions::time),
        lost_at_most_until: l.lost_at_most_until.map(conditions::time),
        last_backup: l.last_file.as_deref().map(|f| clean(f).chars().take(400).collect()),
        last_lsn: l.last_lsn.map(|x| x.to_string()),
        not_applied: l.not_applied.iter().take(64).map(|x| clean(x)).collect(),
        newest_message: l.newest_message.map(conditions::time),
        accepted_by: t.consents.last().map(|c| clean(&c.by).chars().take(253).collect()),
    }
}

fn history(t: &Transition) -> Option<HistoryEntry> {
    Some(HistoryEntry {
        id: t.id.clone(),
        from: t.from.clone(),
        to: t.to.clone(),
        started: conditions::time(t.started),
        ended: conditions::time(t.ended?),
        loss: t.loss.as_ref().map(|l| loss(l, t)),
    })
}

/// Pieces done, out of those that there were when the transition began.
fn progress(shown: &mut TransitionStatus, r: &Report<'_>) {
    for (step, left) in &r.plan.left {
        let Some(slot) = shown.steps.iter_mut().find(|s| s.name == step.as_str()) else { continue };
        let total = slot.progress.as_ref().map_or(left.pieces, |p| p.total.max(left.pieces));
        let restoring = r.restoring.as_ref().filter(|_| left.restores);
        let percent = restoring.map(|x| x.percent.clamp(0.0, 100.0) as i32);
        slot.progress = Some(Progress { done: total - left.pieces, total, unit: left.unit.into(), percent });
    }
}
