//! Decide: from a situation to what happens next. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::goal::Goal;
use super::readiness::readiness;
use super::start::{Ask, What, align, begin, go_on, protect};
use crate::domain::active::{self, Active};
use crate::domain::consent::{Consent, Terms};
use crate::domain::decision::{Decision, Evidence, Left, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::route::Course;
use crate::domain::side::Side;
use crate::domain::situation::Situation;
use crate::domain::step::StepId;
use crate::domain::transition::Transition;
use crate::domain::wish::LastWish;
use crate::procedures::stages;
use crate::steps::findings::gate;
use crate::steps::view::Said;
use crate::steps::{self, Effect, View};

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
    /// The active side; while that is not certain, the one that the pool says it uses, else the wanted one.
    pub supposed: Side,
    /// What would stop a failover from there. None: one runs already.
    pub readiness: Option<Result<(), Problem>>,
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
    /// The wish, and what became of it: what the next look and the next process must know. None: nothing can be said yet.
    pub heard: Option<LastWish>,
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
    /// Whether nothing goes on before a human has done something.
    pub fn is_for_a_human(&self) -> bool {
        match self {
            Next::Blocked(problem) => problem.class != Class::Retry,
            Next::Wait(w) => w.reason == Reason::Suspended,
            Next::Settled | Next::Act(_) | Next::Finish => false,
        }
    }
}

/// What follows from a situation. `current` is the transition under a permit, or the one that was begun in memory only; `heard` is the
/// last wish that was taken up.
pub fn plan(
    pool: &Pool,
    goal: &Goal,
    s: &Situation,
    current: Option<&Transition>,
    heard: Option<&LastWish>,
    trouble: &BTreeMap<StepId, Trouble>,
) -> Plan {
    let ask = Ask::new(pool, goal, s, heard);
    let current = current.filter(|t| s.recorded(&t.id).is_none_or(|r| r.ended.is_none()));
    let recorded = s.open_move();
    // What was begun in memory, or carried by us, is overtaken by a later one that somebody has recorded.
    let newest = s.transitions().into_iter().find(|t| t.route.procedure.moves_chat());
    let is_overtaken =
        |c: &Transition| s.is_overtaken(c) || newest.is_some_and(|n| n.id != c.id && n.number >= c.number);
    let moving = current.filter(|t| t.route.procedure.moves_chat() && !is_overtaken(t));
    let failover = match (recorded, moving) {
        // What is under the permit is newer than what was read before it; unless somebody else has gone on since.
        (Some(r), Some(c)) if r.id == c.id && c.revision >= r.revision => Some(c),
        (r, c) => r.or(c),
    };
    let active = active::active(pool, s, failover);
    let begun = |t: &Transition| recorded.is_some() || t.steps.values().any(|h| h.attempts > 0);
    let choice = match failover {
        Some(t) if begun(t) => {
            let choice = go_on(&ask, t, &active);
            // What follows on a switch that can lose nothing any more was begun in memory at an earlier look.
            match current.filter(|c| c.id != t.id) {
                Some(c) => choice.resuming(c),
                None => choice,
            }
        }
        // Begun in memory only: nothing was done, so the world decides anew whether it is still asked for.
        Some(t) => begin(&ask, &active::active(pool, s, None)).resuming(t),
        None => begin(&ask, &active),
    };
    let work = Work { ask: &ask, heard: choice.heard.clone(), active, trouble };
    let plan = match choice.what {
        What::Carry(t) if t.route.procedure.moves_chat() => work.carry_on(t),
        What::Carry(t) => work.carry_on(newer(current, t)),
        What::Blocked(problem, transition) => Plan { transition, ..work.idle(Next::Blocked(problem)) },
        What::Settled => work.settle(current),
    };
    let moves = plan.transition.as_ref().is_some_and(|t| t.route.procedure.moves_chat());
    Plan { readiness: (!moves).then(|| readiness(pool, s, plan.supposed)), ..plan }
}

/// A transition as it is under the permit or in memory, if that is not older.
fn newer(current: Option<&Transition>, t: Transition) -> Transition {
    current.filter(|c| c.id == t.id && c.revision >= t.revision).cloned().unwrap_or(t)
}

/// What a plan is made with.
struct Work<'a> {
    ask: &'a Ask<'a>,
    heard: Option<LastWish>,
    active: Active,
    trouble: &'a BTreeMap<StepId, Trouble>,
}

impl Work<'_> {
    fn idle(&self, next: Next) -> Plan {
        let said = || self.ask.situation.used();
        Plan {
            active: self.active.clone(),
            supposed: self.active.side().or_else(said).unwrap_or(self.ask.goal.active),
            readiness: None,
            transition: None,
            steps: vec![],
            consent_needed: None,
            accepted: None,
            left: BTreeMap::new(),
            heard: self.heard.clone(),
            next,
        }
    }

    /// The active side is the wanted one: what it lacks, and what protects it. What can be done comes before what is waited for, and
    /// that before what is in the way: neither keeps the other from going on.
    fn settle(&self, current: Option<&Transition>) -> Plan {
        let wanted = [align(self.ask), protect(self.ask, self.ask.goal.active)].into_iter().flatten();
        let plans = wanted.map(|t| self.carry_on(newer(current, t)));
        let rank = |p: &Plan| match p.next {
            Next::Act(_) | Next::Finish => 0,
            Next::Wait(_) => 1,
            Next::Blocked(_) | Next::Settled => 2,
        };
        plans.min_by_key(rank).unwrap_or_else(|| self.idle(Next::Settled))
    }

    fn carry_on(&self, t: Transition) -> Plan {
        let (ask, s) = (self.ask, self.ask.situation);
        let t = Transition { wish: self.heard.clone().or(t.wish), ..t };
        let is_uttered = t.has_begun() || ask.asks_for(t.route);
        let said = Said { consent: ask.goal.consent.as_ref(), is_uttered };
        let view = View::new(ask.pool, s, &t, said);
        let needed = view.accepted.terms();
        // What is taken back asks also where nobody sees whether it is too late.
        let may_ask = t.route.course == Course::Back || !view.is_beyond();
        // A yes to a seed that could not be restored would help nobody.
        let may_seed = || !needed.overwrites.is_empty() && gate(&view, StepId::OldSideFenced).is_none();
        let may_ask = may_ask && (t.route.procedure.moves_chat() || may_seed());
        let accepted = view.accepted.accepted().map(|c| (c.clone(), needed.clone()));
        let mut steps = Vec::new();
        let mut next = Next::Finish;
        for stage in stages(t.route) {
            let words: Vec<(StepId, Decision<Effect>)> =
                stage.steps().iter().map(|id| (*id, said_by(*id, &view))).collect();
            let done = words.iter().all(|(_, d)| d.is_done());
            steps.extend(words.iter().cloned());
            if !done {
                next = at_work(&words, self.trouble, s.at);
                break;
            }
        }
        // Where nothing but the policy asks, it asks at one step only.
        let asks = may_ask && (needed.is_needed() || needed.policy && waits_for_a_yes(&next));
        let consent_needed = (asks && view.accepted.accepted().is_none()).then(|| needed.clone());
        if ask.goal.suspend {
            next = Next::Wait(suspended(&steps));
        }
        let pieces = stages(t.route).iter().flat_map(|s| s.steps());
        let left = pieces.filter_map(|id| Some((*id, steps::progress(*id, &view)?))).collect();
        drop(view);
        Plan { transition: Some(t), steps, consent_needed, accepted, left, ..self.idle(next) }
    }
}

fn waits_for_a_yes(next: &Next) -> bool {
    match next {
        Next::Blocked(p) => [Reason::ConsentRequired, Reason::ConsentDoesNotFit].contains(&p.reason),
        Next::Settled | Next::Act(_) | Next::Finish | Next::Wait(_) => false,
    }
}

fn suspended(steps: &[(StepId, Decision<Effect>)]) -> Waiting {
    let next = steps.iter().find(|(_, d)| !d.is_done()).map(|(id, _)| id.title());
    let next = next.map(|title| format!(" (next: {title})")).unwrap_or_default();
    Waiting {
        reason: Reason::Suspended,
        message: format!("spec.suspend is set: nothing is done until it is taken away{next}"),
        until: None,
    }
}

/// A step's word. Where its goal holds and it never did anything for that, it says so; but while a partner is not to be seen, whose record
/// may tell more, nobody knows whose work it was, unless a human has said so.
fn said_by(step: StepId, view: &View<'_>) -> Decision<Effect> {
    let by_consent = || view.transition.consents.iter().any(|c| c.terms.adopt.is_some());
    let is_others =
        || !steps::is_own(step, view.transition) && (view.target_site().unseen().is_none() || by_consent());
    match steps::decide(step, view) {
        Decision::Done(e) if e.reason == Reason::Completed && is_others() => {
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
