//! Act: what was decided is carried out under a permit, and what is to be remembered of it is written down first.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use jiff::{SignedDuration, Timestamp};

use super::memory::{LONG_LOOK, Memory};
use super::pause::Then;
use super::plan::{Next, Plan, Trouble};
use super::report::{Decided, Report, Tell};
use super::{Clock, World};
use crate::domain::consent::AcceptedConsent;
use crate::domain::decision::Outcome;
use crate::domain::pool::Pool;
use crate::domain::premises::Premises;
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::{Course, Procedure, Route};
use crate::domain::side::Seat;
use crate::domain::situation::Situation;
use crate::domain::sql_server::RunningRestore;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::{Ended, Transition};
use crate::permit::Permit;
use crate::steps::Effect;
use crate::systems::sql_server::{Cell, Statement, statements};
use crate::systems::{SqlSession, Systems};

/// Where the record before a first effect takes longer than this to write, what was decided before it is decided anew.
const HELD_UP: SignedDuration = SignedDuration::from_secs(5);

/// Goes on with a transition under its permit.
pub async fn carry_on<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    memory: &mut Memory,
    permit: &Permit<'_, S>,
    d: &Decided<'_>,
    tell: &Tell<'_>,
) -> Then {
    let (Some(t), s) = (&d.plan.transition, d.situation) else {
        return Then::rest(world.pace, d, memory.unwell());
    };
    permit.seen(s);
    let adopted = &t.facts.adopted_fork;
    if adopted.is_some() && permit.written().and_then(|w| w.facts.adopted_fork) != *adopted {
        // Before anything follows from it: after a crash nobody could tell whose database it is.
        let fork = adopted.clone();
        return match permit.intend(move |x| x.facts.adopted_fork = fork).await {
            Outcome::Answered => Then::again(),
            Outcome::Refused(_) | Outcome::Unknown(_) => Then::not_recorded(s.at),
        };
    }
    permit.update(|x| *x = learnt(x, d.plan, s));
    match &d.plan.next {
        Next::Act(effects) => act(world, memory, permit, d, effects, tell).await,
        Next::Finish => close(world, memory, permit, s).await,
        Next::Settled | Next::Wait(_) | Next::Blocked(_) => Then::rest(world.pace, d, memory.unwell()),
    }
}

/// A transition with what one more look has taught: how its steps went, the newest message that was kept (read before anybody can
/// write again), and the consent that is used.
fn learnt(t: &Transition, plan: &Plan, s: &Situation) -> Transition {
    let mut t = t.clone();
    if let Some(planned) = &plan.transition {
        t.steps.clone_from(&planned.steps);
        t.wish.clone_from(&planned.wish);
        t.route = planned.route;
    }
    if let (Some(loss), Ok(i)) = (t.facts.loss.as_mut(), s.sites[t.route.to].main())
        && let (None, Some(Some(at))) = (loss.newest_message, i.newest_message.known())
    {
        loss.newest_message = Some(*at);
    }
    // What leaves no side asks nobody, unless it overwrites something.
    if (t.route.procedure.moves_chat()
        || plan.accepted.as_ref().is_some_and(|(_, terms)| !terms.overwrites.is_empty()))
        && let Some((c, terms)) = &plan.accepted
        && !t.consents.iter().any(|known| known.situation == c.situation)
    {
        t.consents.push(AcceptedConsent {
            situation: c.situation.clone(),
            by: c.by.clone(),
            at: s.at,
            why: terms.why.clone(),
            terms: terms.clone(),
        });
    }
    t
}

/// Carries out the effects of a stage, beside each other, and tells how far they are.
async fn act<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    memory: &mut Memory,
    permit: &Permit<'_, S>,
    d: &Decided<'_>,
    effects: &[Effect],
    tell: &Tell<'_>,
) -> Then {
    // A stage that has just begun decides on what the one before it looked at: hours may lie between.
    if memory.must_see_more_for(effects) {
        return Then::again();
    }
    // Nor is it a proof of silence by its end.
    if memory.must_see_anew_for(effects) || (d.took > LONG_LOOK && !are_silent_still(permit, d).await) {
        return Then::again();
    }
    let before = world.clock.now();
    if !record_first_attempts(permit, effects).await {
        return Then::not_recorded(d.situation.at);
    }
    // A server that hung over the record: the world has gone on meanwhile, and a side may be lost.
    if world.clock.now().duration_since(before) > HELD_UP {
        return Then::again();
    }
    let outcomes = {
        let acts = join_all(effects.iter().map(|e| e.act(permit)));
        let telling = tell_progress(world, d, memory.trouble(), tell);
        futures::pin_mut!(telling);
        match select(acts, telling).await {
            Either::Left((outcomes, _)) => outcomes,
            Either::Right(((), acts)) => acts.await,
        }
    };
    memory.went_on(permit.transition());
    let mut doubt = false;
    for (effect, outcome) in effects.iter().zip(outcomes) {
        doubt |= note(memory, permit, effect, outcome, d.situation.at);
    }
    // After any doubt a fresh session: the old one may have lost its lock or its place in an answer.
    Then { give_back: doubt, ..Then::again() }
}

/// Whether the servers that a failover leaves are as silent as the look that it goes on from saw them. Past the point of no return it goes
/// on in any case.
async fn are_silent_still<S: Systems>(permit: &Permit<'_, S>, d: &Decided<'_>) -> bool {
    let Some(t) = &d.plan.transition else { return true };
    let leaves = t.route.procedure == Procedure::Failover && t.route.course == Course::Onward;
    if !leaves || d.situation.is_past(t) {
        return true;
    }
    let silent = Premises::of(permit.pool(), d.situation, t).silent;
    permit.still_silent(&silent).await.is_ok()
}

/// Before a step's first effect there is a record: whoever comes next knows that the transition runs, and whose work the step is.
async fn record_first_attempts<S: Systems>(permit: &Permit<'_, S>, effects: &[Effect]) -> bool {
    let written = permit.written();
    let attempts = |step: StepId| written.as_ref().and_then(|w| w.steps.get(&step)).map_or(0, |h| h.attempts);
    let begins = effects.iter().any(|e| attempts(e.step()) == 0);
    permit.update(|x| {
        for e in effects {
            x.steps.entry(e.step()).or_default().attempts += 1;
        }
    });
    !begins || permit.intend(|_| {}).await == Outcome::Answered
}

/// Remembers how an effect ended. Whether it leaves a doubt about the session.
fn note<S: Systems>(
    memory: &mut Memory,
    permit: &Permit<'_, S>,
    effect: &Effect,
    outcome: Outcome,
    at: Timestamp,
) -> bool {
    let step = effect.step();
    match outcome {
        Outcome::Answered => {
            // Decided once more although it was answered: whatever that answer meant, the world has not changed.
            if memory.answered(effect) {
                memory.suffers(step, without_effect(effect, permit.pool(), permit.route()), at);
            } else {
                memory.recovers(step);
            }
            false
        }
        // It is in the record, and the next decision follows from that: no reason to wait.
        Outcome::Refused(problem) if problem.reason == Reason::BackupDamaged => {
            memory.recovers(step);
            false
        }
        Outcome::Refused(problem) | Outcome::Unknown(problem) => {
            memory.suffers(step, problem, at);
            true
        }
    }
}

fn without_effect(effect: &Effect, pool: &Pool, route: Route) -> Problem {
    let shown = effect.shown(pool, route).join("; ");
    Problem::retry(
        Reason::EffectFailed,
        format!(
            "{} was answered without complaint, but nothing has changed: {}",
            effect.step().title(),
            clean(&shown)
        ),
        "It is tried again with growing pauses; look into the server's own log if it stays so",
    )
}

/// Everything is done: the record says so.
async fn close<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    memory: &mut Memory,
    permit: &Permit<'_, S>,
    s: &Situation,
) -> Then {
    let ended = world.clock.now();
    let live = s.sites[permit.route().home()].live().and_then(|i| i.database.as_ref());
    let fork = live.and_then(|d| d.fork.clone());
    let closed = permit
        .intend(move |x| {
            x.ended = Some(Ended { at: ended, aborted: x.route.course == Course::Back });
            x.facts.live_fork = fork;
        })
        .await;
    match closed {
        Outcome::Answered => {
            memory.went_on(permit.transition());
            memory.look_at_everything();
        }
        Outcome::Refused(_) | Outcome::Unknown(_) => {}
    }
    Then::again().giving_back()
}

/// While an effect runs: how far a RESTORE is, from a second connection. Never ends by itself while it can still look.
async fn tell_progress<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    d: &Decided<'_>,
    trouble: &BTreeMap<StepId, Trouble>,
    tell: &Tell<'_>,
) {
    world.clock.sleep(Duration::from_secs(1)).await;
    let Some(t) = &d.plan.transition else { return };
    let seat = Seat { side: t.route.to, place: d.situation.sites[t.route.to].main_place() };
    let Some(server) = world.pool.server(seat) else { return };
    let Ok(mut session) = world.systems.sql(server).await else { return };
    let running = Statement::read(statements::RUNNING, vec![world.pool.database.as_str().into()]);
    loop {
        let Ok(rows) = session.send(&running, Some(Duration::from_secs(10))).await else {
            return;
        };
        let at = |row: &[Cell], name: &str| {
            rows.columns.iter().position(|c| c.eq_ignore_ascii_case(name)).and_then(|i| row.get(i).cloned())
        };
        let command = |row: &[Cell]| match at(row, "command") {
            Some(Cell::Text(t)) => t,
            _ => String::new(),
        };
        let restore = rows.rows.iter().find(|row| command(row).starts_with("RESTORE"));
        let restoring = restore.map(|row| RunningRestore {
            session: 0,
            command: command(row),
            percent: match at(row, "percent_complete") {
                Some(Cell::Float(f)) => f,
                _ => 0.0,
            },
            by: String::new(),
        });
        tell(&Report { restoring, ..d.report(trouble) });
        world.clock.sleep(Duration::from_secs(2)).await;
    }
}
