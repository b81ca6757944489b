//! What one resource has shown, as numbers. Computed from what the engine tells and from two statuses that follow each other. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::backups::Copy;
use crate::api::v1alpha1::{PersistentChatFailoverStatus, StepStatus, TransitionStatus};
use crate::domain::decision::Decision;
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::route::Procedure;
use crate::domain::side::Side;
use crate::domain::step::StepId;
use crate::engine::plan::Next;
use crate::engine::report::Report;
use crate::status::conditions::{
    BACKED_UP, ConditionStatus, FAILOVER_READY, OTHER_SIDE_QUIET, READY, RECONCILING, REDUNDANT, STALLED,
};

/// The conditions that are shown, each with what its absence means.
const CONDITIONS: [(&str, ConditionStatus); 7] = [
    (READY, ConditionStatus::Unknown),
    (RECONCILING, ConditionStatus::False),
    (STALLED, ConditionStatus::False),
    (FAILOVER_READY, ConditionStatus::Unknown),
    (BACKED_UP, ConditionStatus::Unknown),
    (REDUNDANT, ConditionStatus::Unknown),
    (OTHER_SIDE_QUIET, ConditionStatus::Unknown),
];

/// How a transition ended.
pub const OUTCOMES: [&str; 2] = [Reason::Completed.as_str(), Reason::Aborted.as_str()];

/// How an effect of a step ended, as far as its caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Without complaint, or its goal was seen to hold afterwards.
    Answered,
    /// It was refused, or had no effect.
    Failed,
    /// The answer was lost.
    Unknown,
}

impl Attempt {
    /// All of them.
    pub const ALL: [Attempt; 3] = [Attempt::Answered, Attempt::Failed, Attempt::Unknown];
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Attempt::Answered => "Answered",
            Attempt::Failed => "Failed",
            Attempt::Unknown => "Unknown",
        }
    }
}

/// What steps have done between two statuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    /// Effects that have ended.
    pub attempts: Vec<(StepId, Attempt)>,
    /// Steps that have reached their goal, and how many seconds they took.
    pub done: Vec<(StepId, f64)>,
}

/// What one resource has shown so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When the last look was finished.
    pub looked: Option<Timestamp>,
    /// Types and statuses of the conditions. Empty: nothing was shown yet.
    pub conditions: Vec<(&'static str, ConditionStatus)>,
    /// Both data centres, and whether it is the active one.
    pub active: Vec<(String, bool)>,
    /// What runs, and since when.
    pub running: Option<(String, Timestamp)>,
    /// Transitions that have ended, by procedure and outcome.
    pub transitions: BTreeMap<(&'static str, &'static str), u64>,
    /// Problems, by reason and class: how often each has come up.
    pub problems: BTreeMap<(Reason, Class), u64>,
    /// Those that stand.
    standing: BTreeSet<(Reason, Class)>,
    copy: Option<Copy>,
}

impl Seen {
    /// The engine has told what it saw, and that is how the status has changed.
    pub fn told(
        &mut self,
        pool: &Pool,
        r: &Report<'_>,
        before: &PersistentChatFailoverStatus,
        after: &PersistentChatFailoverStatus,
    ) -> Steps {
        self.looked = Some(r.situation.at);
        self.copy = Copy::seen(self.copy, pool, r);
        self.active = Side::BOTH
            .map(|side| {
                (pool.name(side).into(), after.active_data_center.as_deref() == Some(pool.name(side)))
            })
            .into();
        if let Some(ended) = transition_ended(before, after) {
            *self.transitions.entry(ended).or_default() += 1;
        }
        let found: BTreeSet<(Reason, Class)> = problems(r).map(|p| (p.reason, p.class)).collect();
        for new in found.difference(&self.standing) {
            *self.problems.entry(*new).or_default() += 1;
        }
        self.standing = found;
        self.shows(after);
        steps(r, before, after)
    }

    /// A status says so.
    pub fn shows(&mut self, status: &PersistentChatFailoverStatus) {
        self.conditions = CONDITIONS.map(|(kind, absent)| (kind, condition(status, kind, absent))).into();
        let running = status.transition.as_ref().filter(|t| t.ended.is_none() && t.outcome == "Running");
        self.running = running.map(|t| (t.procedure.clone(), t.started.0));
    }

    /// The worker has stopped unexpectedly, and the status says so.
    pub fn stopped(&mut self, status: &PersistentChatFailoverStatus) {
        *self.problems.entry((Reason::InternalError, Class::Retry)).or_default() += 1;
        self.shows(status);
    }

    /// Age of the newest log backup that has arrived at the side that is not active, in seconds.
    pub fn backup_lag(&self) -> Option<f64> {
        self.copy.and_then(|c| c.lag(self.looked?))
    }

    /// Seconds of what was written that a failover would lose.
    pub fn expected_loss(&self) -> Option<f64> {
        self.copy.and_then(|c| c.loss())
    }
}

fn condition(status: &PersistentChatFailoverStatus, kind: &str, absent: ConditionStatus) -> ConditionStatus {
    let all = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    found.map_or(absent, |c| {
        all.into_iter().find(|is| is.as_str() == c.status).unwrap_or(ConditionStatus::Unknown)
    })
}

/// The transition that ran before, if it has ended since: procedure and outcome.
fn transition_ended(
    before: &PersistentChatFailoverStatus,
    after: &PersistentChatFailoverStatus,
) -> Option<(&'static str, &'static str)> {
    let was = before.transition.as_ref().filter(|w| w.ended.is_none())?;
    let ended = after.history.iter().find(|h| h.id == was.id)?;
    let procedure = Procedure::ALL.into_iter().find(|p| p.as_str() == ended.procedure)?;
    let outcome = OUTCOMES.into_iter().find(|o| *o == ended.outcome)?;
    Some((procedure.as_str(), outcome))
}

/// Everything that stands in the way now, of what is done and of a failover that may be needed.
fn problems<'r>(r: &'r Report<'_>) -> impl Iterator<Item = &'r Problem> {
    let next = match &r.plan.next {
        Next::Blocked(p) => Some(p),
        Next::Settled | Next::Act(_) | Next::Finish | Next::Wait(_) => None,
    };
    let blocked = r.plan.steps.iter().filter_map(|(_, word)| match word {
        Decision::Blocked(p) => Some(p),
        Decision::Done(_) | Decision::Act(_) | Decision::Wait(_) => None,
    });
    let readiness = r.plan.readiness.as_ref().and_then(|found| found.as_ref().err());
    next.into_iter().chain(blocked).chain(r.trouble.values().map(|t| &t.problem)).chain(readiness)
}

/// What the steps of a transition have done since it was last shown. What was done before anybody here saw it is another process's.
fn steps(
    r: &Report<'_>,
    before: &PersistentChatFailoverStatus,
    after: &PersistentChatFailoverStatus,
) -> Steps {
    let mut out = Steps::default();
    let (Some(was), Some(is)) = (&before.transition, &after.transition) else { return out };
    for now in is.steps.iter().filter(|_| was.id == is.id) {
        let (Ok(step), Some(old)) = (now.name.parse::<StepId>(), step_of(was, &now.name)) else { continue };
        let ended = now.attempts.saturating_sub(old.attempts);
        // An effect that went well takes the trouble of its step away.
        let is_lost = |p: &Problem| p.reason == Reason::OutcomeUnknown;
        let last = match r.trouble.get(&step).map(|t| is_lost(&t.problem)) {
            None => Attempt::Answered,
            Some(true) => Attempt::Unknown,
            Some(false) => Attempt::Failed,
        };
        out.attempts.extend((1..ended).map(|_| (step, Attempt::Answered)));
        out.attempts.extend((ended > 0).then_some((step, last)));
        out.done.extend(took(old, now).map(|seconds| (step, seconds)));
    }
    out
}

fn step_of<'t>(t: &'t TransitionStatus, name: &str) -> Option<&'t StepStatus> {
    t.steps.iter().find(|s| s.name == name)
}

/// How long a step took that has just reached its goal. One whose goal held before it was at work took no time, and says nothing.
fn took(old: &StepStatus, now: &StepStatus) -> Option<f64> {
    let (None, Some(began), Some(ended)) = (&old.ended, &now.started, &now.ended) else { return None };
    let seconds = ended.0.duration_since(began.0).as_secs_f64();
    (seconds > 0.0 || !now.already_done).then_some(seconds.max(0.0))
}
