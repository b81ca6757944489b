//! What held operators back, and how often nothing else did: which situations the cast brings about at all.

use std::collections::{BTreeMap, BTreeSet};

use persistent_chat_failover::domain::decision::Decision;
use persistent_chat_failover::domain::pool::Pool;
use persistent_chat_failover::domain::problem::Reason;
use persistent_chat_failover::domain::step::StepId;
use persistent_chat_failover::engine::plan::Next;
use persistent_chat_failover::engine::report::Report;
use persistent_chat_failover::procedures::stages;
use persistent_chat_failover::steps::findings::findings;
use persistent_chat_failover::steps::view::{Said, View};

/// A step that did not go on, and why; without a step: nothing was begun, or nothing gone on with.
pub type Guard = (Option<StepId>, Reason);

/// How often a guard held something back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Episodes: one lasts until a report does not name it any more.
    pub times: u64,
    /// Of those, how many began while nothing else that a look shows held back what is at work: it was needed.
    pub alone: u64,
}

/// What holds one operator back, and what has held all of them back.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    now: BTreeMap<usize, BTreeSet<Guard>>,
    all: BTreeMap<Guard, Held>,
}

impl Guards {
    /// An operator reports.
    pub fn report(&mut self, who: usize, pool: &Pool, r: &Report<'_>) {
        let holding = holding(r);
        let before = self.now.remove(&who).unwrap_or_default();
        for guard in holding.difference(&before) {
            let held = self.all.entry(*guard).or_default();
            held.times += 1;
            held.alone += u64::from(holding.len() == 1 && is_one_finding(pool, r, *guard));
        }
        self.now.insert(who, holding);
    }

    /// What has held back, so often.
    pub fn all(&self) -> BTreeMap<Guard, Held> {
        self.all.clone()
    }
}

/// What holds back the stage at work, or that a stage begins.
fn holding(r: &Report<'_>) -> BTreeSet<Guard> {
    let said = match &r.plan.next {
        Next::Blocked(p) => Some((None, p.reason)),
        Next::Wait(w) => Some((None, w.reason)),
        Next::Settled | Next::Act(_) | Next::Finish => None,
    };
    let Some(t) = &r.plan.transition else { return said.into_iter().collect() };
    let at_work = r.plan.at_work();
    let stage = stages(t.route).iter().find(|s| at_work.is_some_and(|id| s.steps().contains(&id)));
    let of_stage = |id: &StepId| stage.is_some_and(|s| s.steps().contains(id));
    let words = r.plan.steps.iter().filter(|(id, _)| of_stage(id));
    let mut holding: BTreeSet<Guard> = words
        .filter_map(|(id, word)| match word {
            Decision::Blocked(p) => Some((Some(*id), p.reason)),
            Decision::Wait(w) => Some((Some(*id), w.reason)),
            Decision::Done(_) | Decision::Act(_) => None,
        })
        .collect();
    // What was decided and then refused: by the last look before an effect, by the lock, or by a server.
    holding.extend(r.trouble.iter().map(|(id, trouble)| (Some(*id), trouble.problem.reason)));
    // Past what the steps say: suspended, no lock, no lease, overtaken.
    if holding.is_empty() || said == Some((None, Reason::Suspended)) {
        holding.extend(said);
    }
    holding
}

/// Whether the step is not gated by several findings at once, of which it tells one reason.
fn is_one_finding(pool: &Pool, r: &Report<'_>, (step, _): Guard) -> bool {
    let (Some(step), Some(t)) = (step, &r.plan.transition) else { return true };
    let said = Said { consent: r.goal.consent.as_ref(), is_uttered: true };
    let view = View::new(pool, r.situation, t, said);
    findings(&view).iter().filter(|f| f.gates == step).count() <= 1
}
