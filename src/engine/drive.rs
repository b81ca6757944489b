//! The loop: observe, decide, permit, act, observe.

use super::act::carry_on;
use super::goal::Goal;
use super::memory::Memory;
use super::pause::{Then, pause};
use super::plan::{Next, Plan};
use super::report::{Decided, Tell};
use super::wishes::{Wish, Wishes};
use super::{Clock, World};
use crate::domain::pool::{Pool, WhenActiveAnswers};
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::{Course, Procedure};
use crate::domain::transition::Transition;
use crate::permit::{Permit, Watch};
use crate::systems::Systems;

/// Works until the pool's description changes, a wish says stop, or the lease is lost with no transition in hand.
pub async fn drive<S: Systems, C: Clock>(
    world: World<'_, S, C>,
    memory: &mut Memory,
    wishes: &mut Wishes,
    tell: &Tell<'_>,
) {
    let latest = wishes.clone();
    let now = || world.clock.now();
    let wanted = |t: &Transition, past: bool| {
        may_begin(t, latest.leads())?;
        latest.peek(|wish| still_wanted(wish, world.pool, t, past))
    };
    let watch = Watch { now: &now, wanted: &wanted };
    let mut permit: Option<Permit<'_, S>> = None;
    while let Some(wish) = wishes.read(world.pool) {
        memory.takes_in_hand(permit.as_ref());
        if !wishes.leads() && !memory.has_something_in_hand() {
            return;
        }
        let situation = memory.look(&world, permit.as_ref()).await;
        let heard = memory.heard().cloned();
        let plan = memory.decide(&world, &wish, &situation, permit.as_ref());
        if !wishes.leads() && !memory.has_in_hand(&plan, &situation) {
            return;
        }
        let took = memory.took();
        let decided =
            Decided { wish: &wish, heard: heard.as_ref(), situation: &situation, took, plan: &plan };
        tell(&decided.report(memory.trouble()));
        let then = match (&plan.transition, &permit) {
            (None, _) => Then::rest(world.pace, &decided, memory.unwell()).giving_back(),
            (Some(t), Some(permit)) if is_overtaken(&permit.transition(), t) => Then::again().giving_back(),
            (Some(_), Some(permit)) => carry_on(&world, memory, permit, &decided, tell).await,
            (Some(t), None) if plan.next.writes() => {
                match Permit::obtain(world.systems, world.pool, &situation, t, watch).await {
                    Ok(granted) => {
                        permit = Some(granted);
                        memory.granted()
                    }
                    Err(problem) => {
                        let plan = Plan { next: Next::Blocked(problem), ..plan.clone() };
                        tell(&Decided { plan: &plan, ..decided }.report(memory.trouble()));
                        memory.denied(situation.at)
                    }
                }
            }
            (Some(_), None) => Then::rest(world.pace, &decided, memory.unwell()),
        };
        if then.give_back {
            permit = None;
        }
        if let Some(d) = then.pause {
            pause(world.clock, wishes, d).await;
        }
    }
}

/// Whether another transition comes first now, or somebody else has gone on with this one: then the lock is not ours any more.
fn is_overtaken(ours: &Transition, t: &Transition) -> bool {
    ours.id != t.id || t.revision > ours.revision
}

/// The lease chooses who begins; who has begun carries on without it.
fn may_begin(t: &Transition, leads: bool) -> Result<(), Problem> {
    if leads || t.is_recorded() {
        return Ok(());
    }
    Err(Problem::retry(
        Reason::NotLeading,
        "This replica does not hold the lease any more: it begins nothing",
        "Nothing to do: the replica that holds it looks at the pool",
    ))
}

/// Whether the resource still asks for a transition, at the last moment before an effect.
fn still_wanted(wish: &Wish, pool: &Pool, t: &Transition, past: bool) -> Result<(), Problem> {
    let not = |what: &str| Err(Problem::retry(Reason::Suspended, what, "It is looked at again"));
    if wish.stop || *wish.pool != *pool {
        not("The operator stops, or the resource describes the pool in another way now")
    } else if wish.goal.suspend {
        not("spec.suspend was set meanwhile")
    } else if !past && !is_asked_for(&wish.goal, pool, t) {
        not("spec.activeDataCenter was changed meanwhile")
    } else {
        Ok(())
    }
}

/// Onward, a transition makes the wanted side the active one, or works for it; back, it leaves the side that is not wanted any more. A side
/// that a switch is to go to is protected first, and a cmdlet that works on the side that it leaves is looked after until it has ended.
fn is_asked_for(goal: &Goal, pool: &Pool, t: &Transition) -> bool {
    let comes_first = match (t.route.procedure, pool.policy.when_active_answers) {
        (Procedure::Protect, WhenActiveAnswers::Switch) => goal.active == t.route.to,
        (Procedure::Align, WhenActiveAnswers::Switch) => t.open_job().is_some(),
        (Procedure::Protect | Procedure::Align, WhenActiveAnswers::Refuse)
        | (Procedure::Failover | Procedure::Switch, _) => false,
    };
    match t.route.course {
        Course::Onward => goal.active == t.route.home() || comes_first,
        Course::Back => goal.active != t.route.to,
    }
}
