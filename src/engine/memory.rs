//! What a process keeps between two looks, and what it makes of a look with that. Losing it costs time only.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::observe::Observer;
use super::pause::{Then, back_off};
use super::plan::{Next, Plan, Trouble, note_times, plan};
use super::wishes::Wish;
use super::{Clock, World};
use crate::domain::decision::Waiting;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::situation::{Moved, Situation};
use crate::domain::step::StepId;
use crate::domain::transition::Transition;
use crate::domain::wish::LastWish;
use crate::permit::Permit;
use crate::procedures::{Stage, stages};
use crate::steps::{self, Effect, Reads};
use crate::systems::Systems;

/// A look that takes longer than this is old when it has been taken: a call has hung, and what was seen before it began so long ago.
pub const LONG_LOOK: SignedDuration = SignedDuration::from_secs(10);
/// How many of them in a row are not acted on where that matters.
const LONG_LOOKS: u32 = 3;

/// What a worker keeps while it lives.
#[derive(Default)]
pub struct Memory {
    observer: Observer,
    /// The last wish that was taken up.
    heard: Option<LastWish>,
    /// The transition as it was last decided on.
    begun: Option<Transition>,
    /// The transition that this process last carried on, as its record stood then.
    in_hand: Option<Transition>,
    trouble: BTreeMap<StepId, Trouble>,
    /// Each step's last effect that was answered without complaint.
    answered: BTreeMap<StepId, Effect>,
    /// How often in a row the lock was refused.
    denied: u32,
    /// What a human was about to be called for, and to do: the second look decides.
    asked: Option<Problem>,
    /// Looks in a row that met a problem.
    unwell: u32,
    looked: Option<Timestamp>,
    /// How long the last look took.
    took: SignedDuration,
    /// Looks in a row that took long.
    long_looks: u32,
    /// What the next look must see, and what the last one saw.
    reads: Reads,
    seen: Reads,
}

impl Memory {
    /// What a process knows when it starts: the last wish and the newest failover or switch, as the status has them.
    pub fn new(heard: Option<LastWish>, moved: Option<Moved>) -> Memory {
        Memory { heard, observer: Observer::knowing(moved), ..Memory::default() }
    }

    /// The last wish that was taken up.
    pub fn heard(&self) -> Option<&LastWish> {
        self.heard.as_ref()
    }

    /// Steps in trouble.
    pub fn trouble(&self) -> &BTreeMap<StepId, Trouble> {
        &self.trouble
    }

    /// How many looks in a row have met a problem.
    pub fn unwell(&self) -> u32 {
        self.unwell
    }

    /// One look at what is to be seen next.
    pub async fn look<S: Systems, C: Clock>(
        &mut self,
        world: &World<'_, S, C>,
        permit: Option<&Permit<'_, S>>,
    ) -> Situation {
        let current = self.current(permit);
        // What comes next is foreseen by who does it; without a permit another may have done anything since the last look.
        self.seen = if permit.is_some() { self.reads } else { Reads::ALL };
        let began = world.clock.now();
        let seen = self.observer.look(world, self.seen, current.as_ref()).await;
        self.took = world.clock.now().duration_since(began);
        self.long_looks = if self.took > LONG_LOOK { self.long_looks.saturating_add(1) } else { 0 };
        seen
    }

    /// How long the last look took: what it saw first is as old.
    pub fn took(&self) -> SignedDuration {
        self.took
    }

    /// Remembers what a permit carries on: who has begun something finishes it, also without the lease.
    pub fn takes_in_hand<S: Systems>(&mut self, permit: Option<&Permit<'_, S>>) {
        if let Some(written) = permit.and_then(Permit::written) {
            self.in_hand = Some(written).filter(|t| t.ended.is_none());
        }
    }

    /// Whether there is a transition that this process carries on.
    pub fn has_something_in_hand(&self) -> bool {
        self.in_hand.is_some()
    }

    /// Whether a plan does nothing but carry on what this process had in hand: the same transition in the same direction, with which
    /// nobody else has gone on since. What waits for a human waits for whoever leads.
    pub fn has_in_hand(&self, plan: &Plan, s: &Situation) -> bool {
        let (Some(ours), Some(t)) = (&self.in_hand, &plan.transition) else { return false };
        let is_newer = |r: &Transition| r.revision > ours.revision;
        !plan.next.is_for_a_human()
            && t.id == ours.id
            && t.route == ours.route
            && !s.recorded(&t.id).is_some_and(is_newer)
    }

    fn current<S: Systems>(&self, permit: Option<&Permit<'_, S>>) -> Option<Transition> {
        permit.map(Permit::transition).or_else(|| self.begun.clone())
    }

    /// What follows from a look.
    pub fn decide<S: Systems, C: Clock>(
        &mut self,
        world: &World<'_, S, C>,
        wish: &Wish,
        situation: &Situation,
        permit: Option<&Permit<'_, S>>,
    ) -> Plan {
        let current = self.current(permit);
        // Under a permit nobody else can have gone on; without one, what the record says now is newer than what we remember.
        let current = match permit {
            Some(_) => current,
            None => current.map(|t| match situation.recorded(&t.id) {
                // Of a copy that missed the last writes nothing is learnt.
                Some(r) if r.revision >= t.revision => r.clone().with_times_of(&t),
                Some(_) | None => t,
            }),
        };
        let heard = self.heard.as_ref();
        let mut plan = plan(world.pool, &wish.goal, situation, current.as_ref(), heard, &self.trouble);
        self.look_twice_before_a_human_is_called(&mut plan);
        self.heard.clone_from(&plan.heard);
        if let Some(t) = plan.transition.as_mut() {
            note_times(t, &plan.steps, situation.at, self.looked);
        }
        self.looked = Some(situation.at);
        self.begun.clone_from(&plan.transition);
        self.trouble.retain(|step, _| plan.steps.iter().any(|(id, d)| id == step && !d.is_done()));
        // The first trouble is looked at again soon; only what stays is looked at more and more rarely.
        self.unwell = if is_unwell(situation, &plan) { self.unwell.saturating_add(1) } else { 0 };
        self.reads = next_reads(&plan);
        plan
    }

    /// A look is no snapshot: what was read first may be older than what was read last. Nobody is called for what one look saw; the
    /// second one decides, if it asks for the same.
    fn look_twice_before_a_human_is_called(&mut self, plan: &mut Plan) {
        let asks = match &plan.next {
            Next::Blocked(x) if x.class != Class::Retry => Some(x.clone()),
            Next::Blocked(_) | Next::Settled | Next::Act(_) | Next::Finish | Next::Wait(_) => None,
        };
        let same =
            |x: &Problem| self.asked.as_ref().is_some_and(|a| (a.reason, &a.fix) == (x.reason, &x.fix));
        if let Some(x) = asks.as_ref().filter(|x| !same(x)) {
            plan.next = Next::Wait(Waiting { reason: x.reason, message: x.message(), until: None });
            // A wish is not spent on what one look saw, either.
            plan.heard.clone_from(&self.heard);
        }
        self.asked = asks;
    }

    /// The next look is at everything: what was seen before may be another's doing, or hours old.
    pub fn look_at_everything(&mut self) {
        self.reads = Reads::ALL;
    }

    /// The next look is also at what these effects decide on; whether the last one was not.
    pub fn must_see_more_for(&mut self, effects: &[Effect]) -> bool {
        let needed = effects.iter().map(|e| steps::reads(e.step())).fold(Reads::default(), Reads::and);
        let more = !self.seen.covers(needed);
        if more {
            self.reads = self.reads.and(needed);
        }
        more
    }

    /// Whether these effects wait for a look that does not take long. Who chats comes back while a call hangs, and is cut off by the tail; and a
    /// mirror that somebody has built meanwhile would be built again. Where every look takes long, nothing waits for a better one.
    pub fn must_see_anew_for(&self, effects: &[Effect]) -> bool {
        let of_the_moment = |e: &Effect| [StepId::TailTaken, StepId::MirrorEstablished].contains(&e.step());
        effects.iter().any(of_the_moment) && (1..=LONG_LOOKS).contains(&self.long_looks)
    }

    /// The lock was given. Decided again with the lock in hand: what was seen before it may be another's doing.
    pub fn granted(&mut self) -> Then {
        self.denied = 0;
        self.look_at_everything();
        Then::again()
    }

    /// The lock was refused: it is asked for again after a pause that grows.
    pub fn denied(&mut self, at: Timestamp) -> Then {
        self.denied = self.denied.saturating_add(1);
        Then::pausing(back_off(self.denied.saturating_sub(1), Class::Retry, at))
    }

    /// The transition as a permit has it after effects.
    pub fn went_on(&mut self, t: Transition) {
        self.begun = Some(t);
    }

    /// An effect was answered. Whether the same one had been answered before, so that it had none.
    pub fn answered(&mut self, effect: &Effect) -> bool {
        self.answered.insert(effect.step(), effect.clone()).as_ref() == Some(effect)
    }

    /// A step's last effect went well.
    pub fn recovers(&mut self, step: StepId) {
        self.trouble.remove(&step);
    }

    /// A step's last effect did not go well: it is not tried again before some time.
    pub fn suffers(&mut self, step: StepId, problem: Problem, at: Timestamp) {
        let attempts = self.trouble.get(&step).map_or(1, |t| t.attempts.saturating_add(1));
        // What only a human can mend is still looked at again, rarely.
        let next = at.checked_add(back_off(attempts - 1, problem.class, at)).unwrap_or(at);
        tracing::warn!(step = step.as_str(), attempts, reason = problem.reason.as_str(), problem = %problem.message(), "an effect did not go well");
        self.trouble.insert(step, Trouble { problem, attempts, next });
    }
}

/// The stage at work says what must be seen next; with no transition, everything.
fn next_reads(plan: &Plan) -> Reads {
    let Some(t) = &plan.transition else { return Reads::ALL };
    // Where chat goes on, a transition may wait for days, and the desired state is more than what it waits for.
    if !t.route.procedure.moves_chat() && !plan.next.writes() {
        return Reads::ALL;
    }
    // A stage that has just ended hands over to one that wants to see everything of its own.
    if plan.steps.iter().all(|(_, d)| d.is_done()) {
        return Reads::ALL;
    }
    let is_done = |id: &StepId| plan.steps.iter().any(|(step, d)| step == id && d.is_done());
    let mut rest = stages(t.route).iter().skip_while(|stage| stage.steps().iter().all(is_done));
    let Some(at_work) = rest.next() else { return Reads::ALL };
    // Chat stands still: where the stage may be over by then, what comes next is seen with it and not by one more look. Not between the
    // pieces of a long one.
    let left: i64 = at_work.steps().iter().filter_map(|s| plan.left.get(s)).map(|l| l.pieces).sum();
    let next = rest.next().filter(|_| t.route.procedure.moves_chat() && left <= 1);
    let seen = std::iter::once(at_work).chain(next).flat_map(Stage::steps);
    seen.map(|s| steps::reads(*s)).fold(Reads::default(), Reads::and)
}

/// Whether a look met something that did not answer as it should.
fn is_unwell(s: &Situation, plan: &Plan) -> bool {
    // That the host of a lost side does not answer is no news.
    let shell = s.lync.shell_trouble.as_ref().is_some_and(|p| p.reason != Reason::HostUnreachable);
    s.turns_away() || shell || s.lync.state.known().is_none() || matches!(plan.next, Next::Blocked(_))
}
