//! Decide: from a situation to what happens next. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::acceptance::{self, Acceptance};
use crate::domain::active::{self, Active};
use crate::domain::consent::{Consent, Terms};
use crate::domain::decision::{Decision, Evidence, Left, Waiting};
use crate::domain::fencing::{self, Verdict};
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::record::open_record;
use crate::domain::situation::Situation;
use crate::domain::step::StepId;
use crate::domain::transition::Transition;
use crate::procedures::stages;
use crate::steps::{self, Effect, View};

/// What the resource asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Goal {
    /// The data centre that is to be active.
    pub desired: String,
    /// No effect while set.
    pub suspend: bool,
    /// A human's yes.
    pub consent: Option<Consent>,
}

/// A step's trouble: an effect that did not go well.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// What happened.
    pub problem: Problem,
    /// How often in a row.
    pub attempts: u32,
    /// Not before this moment again.
    pub next: Timestamp,
}

/// What follows from a situation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The truth about the active data centre.
    pub active: Active,
    /// The transition that runs, or would begin.
    pub transition: Option<Transition>,
    /// Each step's word, as far as the stage at work.
    pub steps: Vec<(StepId, Decision<Effect>)>,
    /// What a human would have to agree to, if something is lost or not certain.
    pub consent_needed: Option<Terms>,
    /// The consent that is used, if one is.
    pub accepted: Option<(Consent, Terms)>,
    /// How much is left of steps that do their work piece by piece.
    pub left: BTreeMap<StepId, Left>,
    /// What happens next.
    pub next: Next,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing: the active data centre is the desired one.
    Settled,
    /// These effects, beside each other.
    Act(Vec<Effect>),
    /// Everything is done: close the record.
    Finish,
    /// Something else is at work.
    Wait(Waiting),
    /// Nothing can be done.
    Blocked(Problem),
}

impl Plan {
    /// The step at work: the first that is not done.
    pub fn at_work(&self) -> Option<StepId> {
        self.steps.iter().find(|(_, d)| !d.is_done()).map(|(id, _)| *id)
    }
}

impl Next {
    /// Whether it writes, and so needs a permit.
    pub fn writes(&self) -> bool {
        match self {
            Next::Act(_) | Next::Finish => true,
            Next::Settled | Next::Wait(_) | Next::Blocked(_) => false,
        }
    }
}

/// What follows from a situation. `current` is the transition under a permit, or the one that was begun in memory only.
pub fn plan(
    pool: &Pool,
    goal: &Goal,
    s: &Situation,
    current: Option<&Transition>,
    trouble: &BTreeMap<StepId, Trouble>,
    silence: SignedDuration,
) -> Plan {
    let records = s.target.known().and_then(|i| i.records.known());
    let recorded = records.and_then(|r| open_record(r));
    let over = |t: &&Transition| {
        records.is_some_and(|r| r.iter().any(|r| r.transition.id == t.id && r.transition.ended.is_some()))
    };
    let running = recorded.or(current.filter(|t| !over(t)));
    // What is under the permit is newer than what was read before it.
    let running = match (running, current) {
        (Some(r), Some(c)) if r.id == c.id => Some(c),
        (r, _) => r,
    };
    let active = active::active(pool, s, running);
    let idle = |next: Next, active: Active| Plan {
        active,
        transition: None,
        steps: vec![],
        consent_needed: None,
        accepted: None,
        left: BTreeMap::new(),
        next,
    };

    let hand = |t: Transition, fork: Option<&String>, problem: &Problem| {
        adopt(pool, goal, s, silence, t, fork, problem)
    };
    let transition = match running {
        // Begun in memory only: nothing was done, so the world decides anew whether it is still asked for.
        Some(t) if recorded.is_none() && t.steps.values().all(|h| h.attempts == 0) => {
            match begin(pool, goal, s, &active::active(pool, s, None), silence) {
                Ok(Some(new)) if new.id == t.id => {
                    Ok(Transition { adopted_fork: new.adopted_fork, ..t.clone() })
                }
                Ok(Some(new)) => Ok(new),
                Ok(None) => return idle(Next::Settled, active),
                Err(p) => return idle(Next::Blocked(p), active),
            }
        }
        Some(t) if s.is_past(t) => match active::recovered_elsewhere(pool, s, t) {
            None => Ok(t.clone()),
            Some((fork, problem)) => hand(t.clone(), fork.as_ref(), &problem).map_err(|p| (t, p)),
        },
        Some(t) if t.to == goal.desired => match &active {
            // Somebody recovered it while we were at work: taken over only by a human's word.
            Active::RecoveredByOthers { fork, problem } => {
                hand(t.clone(), fork.as_ref(), problem).map_err(|p| (t, p))
            }
            // Somebody went on by hand until the pool itself said that it has failed over.
            Active::In(name) if *name == t.to => go_on(pool, s, t.clone()).map_err(|p| (t, p)),
            Active::In(_) | Active::Between | Active::SplitBrain(_) | Active::Unknown(_) => Ok(t.clone()),
        },
        Some(t) => Err((
            t,
            Problem::ask(
                Reason::NotSupported,
                format!("The transition {} to {} has begun; this version cannot take it back", t.id, t.to),
                format!(
                    "Set spec.activeDataCenter to {} to go on. To stay, leave it suspended and set up log shipping again by hand",
                    t.to
                ),
            ),
        )),
        None => match begin(pool, goal, s, &active, silence) {
            Ok(Some(t)) => Ok(t),
            Ok(None) => return idle(Next::Settled, active),
            Err(p) => return idle(Next::Blocked(p), active),
        },
    };
    match transition {
        Ok(t) => carry_on(pool, goal, s, t, active, trouble, silence),
        Err((t, problem)) => Plan { transition: Some(t.clone()), ..idle(Next::Blocked(problem), active) },
    }
}

/// The transition that the goal asks for, nothing if it is reached, or why none may start.
fn begin(
    pool: &Pool,
    goal: &Goal,
    s: &Situation,
    active: &Active,
    silence: SignedDuration,
) -> Result<Option<Transition>, Problem> {
    let (from, to) = (&pool.primary.name, &pool.backup.name);
    match active {
        Active::In(name) if *name == goal.desired && name == to => finish(pool, s, silence),
        Active::In(name) if *name == goal.desired => Ok(None),
        Active::In(name) if name == from && goal.desired == *to => {
            let target = s.target.get().map_err(Clone::clone)?;
            let db = target.database.as_ref();
            let fork = db.and_then(|d| d.redo.as_ref().map(|r| r.fork.clone()).or_else(|| d.fork.clone()));
            let fork = fork.ok_or_else(|| {
                Problem::ask(
                    Reason::DatabaseState,
                    format!("{} does not show the recovery fork of {}", target.server_name, pool.database),
                    "Give the login VIEW ANY DATABASE, or set up log shipping again",
                )
            })?;
            let mut t = new_transition(pool, s, &fork);
            t.primary_last_seen = s.source.last_seen;
            Ok(Some(t))
        }
        Active::RecoveredByOthers { fork, problem } if goal.desired == *to => {
            let Some(fork) = fork else { return Err(problem.clone()) };
            adopt(pool, goal, s, silence, new_transition(pool, s, fork), Some(fork), problem).map(Some)
        }
        Active::In(name) => Err(Problem::ask(
            Reason::ActiveDataCenterDrifted,
            format!(
                "{name} is active, spec.activeDataCenter is {}: nobody has decided that switch here",
                goal.desired
            ),
            format!(
                "If {name} is right, set spec.activeDataCenter to it (an old manifest or a restored backup would say otherwise). \
                 Going back to the primary store is not part of this version"
            ),
        )),
        Active::Between => Err(Problem::retry(
            Reason::DatabaseState,
            "The database was recovered by a transition whose record is gone",
            "Look into msdb.dbo.persistent_chat_failover on the backup instance",
        )),
        Active::SplitBrain(p) | Active::Unknown(p) => Err(p.clone()),
        Active::RecoveredByOthers { problem, .. } => Err(Problem {
            fix: format!(
                "To go on with it as it is, set spec.activeDataCenter to {to}; to stay, take that copy offline and set up log shipping again"
            ),
            ..problem.clone()
        }),
    }
}

fn new_transition(pool: &Pool, s: &Situation, fork: &str) -> Transition {
    let records = s.target.known().and_then(|i| i.records.known()).map_or(&[][..], Vec::as_slice);
    let ended = records
        .iter()
        .map(|r| &r.transition)
        .filter(|t| t.ended.is_some() && t.fork.eq_ignore_ascii_case(fork))
        .count();
    Transition::begin(&pool.fqdn, &pool.primary.name, &pool.backup.name, fork, ended, s.at)
}

/// The pool has failed over as the resource asks. If somebody did that by hand and left the last steps undone, they are carried
/// out: whoever stops in the middle of the runbook at night wants the rest of it. What a transition of ours has completed is
/// never touched again.
fn finish(pool: &Pool, s: &Situation, silence: SignedDuration) -> Result<Option<Transition>, Problem> {
    let Some(target) = s.target.known() else { return Ok(None) };
    let (Some(records), Some(fork)) =
        (target.records.known(), target.database.as_ref().and_then(|d| d.fork.clone()))
    else {
        return Ok(None);
    };
    let same = |x: &Option<String>| x.as_ref().is_some_and(|x| x.eq_ignore_ascii_case(&fork));
    if records.iter().any(|r| r.transition.ended.is_some() && same(&r.transition.recovered_fork)) {
        return Ok(None);
    }
    let t = Transition { adopted_fork: Some(fork.clone()), ..new_transition(pool, s, &fork) };
    let view = View::new(pool, s, &t, None, silence);
    let undone = [StepId::MirrorEstablished, StepId::ActiveServersSet]
        .into_iter()
        .any(|step| matches!(steps::decide(step, &view), Decision::Act(_)));
    drop(view);
    if undone { go_on(pool, s, t).map(Some) } else { Ok(None) }
}

/// A transition that goes on from a pool that somebody else has failed over. Not beside a live primary.
fn go_on(pool: &Pool, s: &Situation, mut t: Transition) -> Result<Transition, Problem> {
    let target = s.target.get().map_err(Clone::clone)?;
    if let Some(server) = s.source.live().map(|i| i.server_name.clone()) {
        return Err(active::split_brain(pool, &server, target, "FailedOver"));
    }
    t.adopted_fork = target.database.as_ref().and_then(|d| d.fork.clone());
    Ok(t)
}

/// A transition that goes on with a database that somebody else recovered, if a human agrees to that. What is known about the
/// primary is part of what the human agrees to.
fn adopt(
    pool: &Pool,
    goal: &Goal,
    s: &Situation,
    silence: SignedDuration,
    mut t: Transition,
    fork: Option<&String>,
    problem: &Problem,
) -> Result<Transition, Problem> {
    let Some(fork) = fork else { return Err(problem.clone()) };
    let verdict = fencing::verdict(&s.source, s.at, silence);
    match &verdict {
        Verdict::Alive(p) => {
            return Err(Problem { what: format!("{}; and: {}", problem.what, p.what), ..p.clone() });
        }
        Verdict::SilentSoFar(until) => {
            return Err(Problem::retry(
                Reason::WaitingForSilence,
                format!("{}; the primary is watched until {until} before anything goes on", problem.what),
                "Nothing to do: it is looked at again",
            ));
        }
        Verdict::Dead | Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => {}
    }
    let terms = acceptance::terms(None, &verdict, &s.source, pool.policy.consent, Some(fork));
    match Acceptance::of(terms, &t, goal.consent.as_ref()).require() {
        Err(ask) => Err(Problem {
            reason: problem.reason,
            what: format!("{}. {}", problem.what.trim_end_matches('.'), ask.what),
            ..ask
        }),
        Ok(()) => {
            t.adopted_fork = Some(fork.clone());
            Ok(t)
        }
    }
}

fn carry_on(
    pool: &Pool,
    goal: &Goal,
    s: &Situation,
    t: Transition,
    active: Active,
    trouble: &BTreeMap<StepId, Trouble>,
    silence: SignedDuration,
) -> Plan {
    let view = View::new(pool, s, &t, goal.consent.as_ref(), silence);
    let needed = view.accepted.terms();
    let consent_needed = (needed.is_needed() && view.accepted.accepted().is_none() && !view.is_beyond())
        .then(|| needed.clone());
    let accepted = view.accepted.accepted().map(|c| (c.clone(), needed.clone()));
    let mut steps = Vec::new();
    let mut next = Next::Finish;
    for stage in stages(t.procedure) {
        let words: Vec<(StepId, Decision<Effect>)> =
            stage.steps().iter().map(|id| (*id, said(*id, &view))).collect();
        let done = words.iter().all(|(_, d)| d.is_done());
        steps.extend(words.iter().cloned());
        if !done {
            next = at_work(&words, trouble, s.at);
            break;
        }
    }
    if goal.suspend {
        next = Next::Wait(Waiting {
            reason: Reason::Suspended,
            message: "spec.suspend is set: nothing is done until it is taken away".into(),
            until: None,
        });
    }
    let pieces = stages(t.procedure).iter().flat_map(|s| s.steps());
    let left = pieces.filter_map(|id| Some((*id, steps::progress(*id, &view)?))).collect();
    drop(view);
    Plan { active, transition: Some(t), steps, consent_needed, accepted, left, next }
}

/// A step's word. Where its goal holds and it never did anything for that, it says so.
fn said(step: StepId, view: &View<'_>) -> Decision<Effect> {
    match steps::decide(step, view) {
        Decision::Done(e) if e.reason == Reason::Completed && !steps::is_own(step, view.t) => {
            Decision::Done(Evidence { reason: Reason::AlreadyDone, ..e })
        }
        word @ (Decision::Done(_) | Decision::Act(_) | Decision::Wait(_) | Decision::Blocked(_)) => word,
    }
}

/// What a stage at work does: its effects, unless each of them has just failed; else what it waits for or is blocked by.
fn at_work(words: &[(StepId, Decision<Effect>)], trouble: &BTreeMap<StepId, Trouble>, at: Timestamp) -> Next {
    let (mut effects, mut held, mut waiting, mut blocked) = (vec![], None, None, None);
    for (step, word) in words {
        match word {
            Decision::Done(_) => {}
            Decision::Act(e) => match trouble.get(step) {
                Some(t) if at < t.next => held = held.or(Some((t.problem.clone(), t.next))),
                Some(_) | None => effects.push(e.clone()),
            },
            Decision::Wait(w) => waiting = waiting.or(Some(w.clone())),
            Decision::Blocked(p) => blocked = blocked.or(Some(p.clone())),
        }
    }
    match (effects.is_empty(), held, waiting, blocked) {
        (false, _, _, _) => Next::Act(effects),
        (true, Some((problem, until)), _, _) => {
            if problem.class == Class::Retry {
                Next::Wait(Waiting { reason: problem.reason, message: problem.message(), until: Some(until) })
            } else {
                Next::Blocked(problem)
            }
        }
        (true, None, _, Some(problem)) => Next::Blocked(problem),
        (true, None, Some(w), None) => Next::Wait(w),
        (true, None, None, None) => Next::Finish,
    }
}

/// Writes down when steps began and ended, and what they waited for. `before` is the time of the previous look.
pub fn note_times(
    t: &mut Transition,
    steps: &[(StepId, Decision<Effect>)],
    at: Timestamp,
    before: Option<Timestamp>,
) {
    for (step, word) in steps {
        let h = t.steps.entry(*step).or_default();
        h.started = h.started.or(Some(at));
        let waited_for = match word {
            Decision::Done(_) => {
                h.ended = h.ended.or(Some(at));
                None
            }
            Decision::Act(_) => None,
            Decision::Wait(w) => Some(w.reason),
            Decision::Blocked(p) => Some(p.reason),
        };
        if let (Some(reason), Some(before)) = (waited_for, before) {
            *h.waited.entry(reason.as_str().into()).or_default() +=
                at.duration_since(before).as_secs().max(0);
        }
    }
}
