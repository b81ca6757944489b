//! Ready, Reconciling, Stalled. Never both of the latter.

use super::conditions::{ConditionStatus, Conditions};
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Reason};
use crate::domain::serving::{Pings, serving};
use crate::domain::situation::Situation;
use crate::engine::plan::Next;
use crate::engine::report::Report;

/// Says whether the desired state holds, and otherwise what is done about it or who must.
pub fn project(c: &mut Conditions<'_>, pool: &Pool, r: &Report<'_>) {
    let desired = r.goal.desired.as_str();
    match &r.plan.next {
        Next::Settled => match serves(pool, r.situation, desired) {
            Ok(message) => c.ready(Reason::Active, &message),
            Err(message) => c.reconciling(
                ConditionStatus::False,
                Reason::WaitingForChat,
                &format!("{desired} is active, but chat does not serve: {message}"),
            ),
        },
        Next::Act(_) | Next::Finish => c.reconciling(ConditionStatus::False, Reason::Switching, &moving(r)),
        Next::Wait(w) => c.reconciling(ConditionStatus::False, w.reason, &w.message),
        Next::Blocked(p) => match p.class {
            Class::Retry => c.reconciling(ConditionStatus::False, p.reason, &p.message()),
            Class::AskHuman | Class::Refuse => c.stalled(p.reason, &p.message()),
        },
    }
}

fn moving(r: &Report<'_>) -> String {
    match (&r.plan.transition, r.plan.at_work()) {
        (Some(t), Some(step)) => {
            format!("{} from {} to {}: {}", t.procedure.as_str(), t.from, t.to, step.title())
        }
        (Some(t), None) => {
            format!("{} from {} to {}: closing the record", t.procedure.as_str(), t.from, t.to)
        }
        (None, _) => "At work".into(),
    }
}

fn serves(pool: &Pool, s: &Situation, desired: &str) -> Result<String, String> {
    let (instance, here) = if desired == pool.backup.name {
        (s.target.known(), &pool.backup)
    } else {
        (s.source.live(), &pool.primary)
    };
    let instance = instance.ok_or("no live database was seen there")?;
    serving(&s.chat, instance, here, Pings::NotSilent).map(|_| format!("Chat serves from {desired}"))
}
