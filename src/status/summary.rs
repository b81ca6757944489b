//! Ready, Reconciling, Stalled. Never both of the latter.

use super::conditions::{ConditionStatus, Conditions};
use super::moving::{moving, what};
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::route::Procedure;
use crate::domain::serving::{Pings, serving};
use crate::domain::side::Side;
use crate::domain::situation::Situation;
use crate::engine::plan::Next;
use crate::engine::report::Report;

/// Says whether the desired state holds, and otherwise what is done about it or who must.
pub fn project(c: &mut Conditions<'_>, pool: &Pool, r: &Report<'_>) {
    match procedure(r) {
        Some(Procedure::Protect) if r.plan.active.side() == Some(r.goal.active) => protecting(c, pool, r),
        Some(Procedure::Failover | Procedure::Switch | Procedure::Protect | Procedure::Align) | None => {
            at_work(c, pool, r)
        }
    }
}

fn procedure(r: &Report<'_>) -> Option<Procedure> {
    r.plan.transition.as_ref().map(|t| t.route.procedure)
}

fn at_work(c: &mut Conditions<'_>, pool: &Pool, r: &Report<'_>) {
    match &r.plan.next {
        Next::Settled => match serves(pool, r.situation, r.goal.active) {
            Ok(message) => c.ready(Reason::Active, &message),
            Err(message) => c.reconciling(ConditionStatus::False, Reason::WaitingForChat, &message),
        },
        Next::Act(_) | Next::Finish => {
            c.reconciling(ConditionStatus::False, reason(procedure(r)), &moving(pool, r));
        }
        Next::Wait(w) if w.reason == Reason::Suspended => {
            c.resting(w.reason, &with_what(pool, r, &w.message))
        }
        Next::Wait(w) => c.reconciling(ConditionStatus::False, w.reason, &with_what(pool, r, &w.message)),
        Next::Blocked(p) => match p.class {
            Class::Retry => c.reconciling(ConditionStatus::False, p.reason, &p.message()),
            Class::AskHuman | Class::Refuse => c.stalled(p.reason, &p.message()),
        },
    }
}

/// The wanted side is active, and only its protection is worked on: whether chat serves is what counts.
fn protecting(c: &mut Conditions<'_>, pool: &Pool, r: &Report<'_>) {
    let doing = match &r.plan.next {
        Next::Settled | Next::Act(_) | Next::Finish => moving(pool, r),
        Next::Wait(w) => with_what(pool, r, &w.message),
        Next::Blocked(p) => with_what(pool, r, &p.message()),
    };
    let chat = match serves(pool, r.situation, r.goal.active) {
        Ok(chat) => format!("{chat}; {doing}"),
        Err(message) => {
            let message = format!("{message}; {doing}");
            return c.reconciling(ConditionStatus::False, Reason::WaitingForChat, &message);
        }
    };
    let nobody_works = match &r.plan.next {
        Next::Wait(w) => w.reason == Reason::Suspended,
        // A side that is gone may stay away for weeks.
        Next::Blocked(p) => needs_a_human(p) || p.reason == Reason::HostUnreachable,
        Next::Settled | Next::Act(_) | Next::Finish => false,
    };
    match nobody_works {
        true => c.ready(Reason::Active, &chat),
        false => c.ready_while(&chat, Reason::Protecting, &doing),
    }
}

/// What protects the side that is not active, if only a human can help it on.
pub fn unprotected<'a>(r: &'a Report<'_>) -> Option<&'a Problem> {
    match &r.plan.next {
        Next::Blocked(p) if procedure(r) == Some(Procedure::Protect) && needs_a_human(p) => Some(p),
        Next::Settled | Next::Act(_) | Next::Finish | Next::Wait(_) | Next::Blocked(_) => None,
    }
}

fn needs_a_human(p: &Problem) -> bool {
    match p.class {
        Class::Retry => false,
        Class::AskHuman | Class::Refuse => true,
    }
}

const fn reason(procedure: Option<Procedure>) -> Reason {
    match procedure {
        Some(Procedure::Failover | Procedure::Switch) | None => Reason::Switching,
        Some(Procedure::Align) => Reason::Aligning,
        Some(Procedure::Protect) => Reason::Protecting,
    }
}

/// What is waited for says itself what it is; where chat goes on meanwhile, so is what for.
fn with_what(pool: &Pool, r: &Report<'_>, message: &str) -> String {
    match &r.plan.transition {
        Some(t) => match t.route.procedure {
            Procedure::Failover | Procedure::Switch => message.into(),
            Procedure::Protect | Procedure::Align => format!("{}: {message}", what(pool, r.situation, t)),
        },
        None => message.into(),
    }
}

fn serves(pool: &Pool, s: &Situation, side: Side) -> Result<String, String> {
    let name = pool.name(side);
    let missing = |why: &str| format!("{name} is active, but chat does not serve: {why}");
    let live = s.sites[side].live().ok_or_else(|| missing("no live database was seen there"))?;
    match serving(&s.lync, live, &pool.sites[side], Pings::NotSilent) {
        Ok(_) => Ok(format!("Chat serves from {name}")),
        Err(why) => Err(missing(&why)),
    }
}
