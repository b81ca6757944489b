//! What a transition does, in words.

use crate::domain::pool::Pool;
use crate::domain::route::{Course, Procedure};
use crate::domain::side::Side;
use crate::domain::situation::Situation;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::engine::report::Report;

/// A transition, and the step at work.
pub fn moving(pool: &Pool, r: &Report<'_>) -> String {
    let Some(t) = &r.plan.transition else { return "At work".into() };
    let at_work = match (t.route.course, r.plan.at_work()) {
        (Course::Onward, Some(step)) => step.title(),
        (Course::Onward, None) => "closing the record",
        (Course::Back, _) => "it is undone",
    };
    format!("{}: {at_work}", what(pool, r.situation, t))
}

/// What a transition is about.
pub fn what(pool: &Pool, s: &Situation, t: &Transition) -> String {
    let (from, to) = (pool.name(t.route.from), pool.name(t.route.to));
    let procedure = t.route.procedure.as_str();
    match t.route.procedure {
        Procedure::Failover | Procedure::Switch | Procedure::Protect => {
            format!("{procedure} from {from} to {to}")
        }
        Procedure::Align => match differences(pool, s, t.route.to) {
            found if found.is_empty() => format!("{procedure} of {to}"),
            found => format!("{procedure} of {to} ({})", found.join("; ")),
        },
    }
}

/// What the active side has that the resource does not name, or the other way round.
fn differences(pool: &Pool, s: &Situation, side: Side) -> Vec<String> {
    let here = &pool.sites[side];
    let mut found = Vec::new();
    let live = s.sites[side].live().and_then(|i| i.database.as_ref());
    if let (Some(mirror), Some(db)) = (&here.mirror, live)
        && !db.has_safe_mirror()
    {
        let state = db.mirroring.as_ref().map_or("missing", |m| m.state_text());
        found.push(format!("the mirror on {} is {state}", clean(&mirror.host)));
    }
    if let Some(service) = s.lync.service.known() {
        let sorted = |list: &[String]| {
            let mut list: Vec<String> = list.iter().map(|x| clean(x)).collect();
            list.sort();
            list.join(", ")
        };
        let (wanted, active) = (sorted(&here.active_servers), sorted(&service.active));
        if wanted != active {
            let active = if active.is_empty() { "none".into() } else { active };
            found.push(format!("the active servers are {active}, the resource names {wanted}"));
        }
    }
    found
}
