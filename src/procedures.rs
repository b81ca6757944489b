//! The procedures: stages of steps, as constants. A stage begins when every step of all earlier stages is seen done.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use crate::domain::route::{Course, Procedure, Route};
use crate::domain::step::StepId;

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// One step.
    One(StepId),
    /// Steps that go on beside each other.
    Overlap(&'static [StepId]),
}

impl Stage {
    /// Its steps.
    pub fn steps(&self) -> &[StepId] {
        match self {
            Stage::One(step) => std::slice::from_ref(step),
            Stage::Overlap(steps) => steps,
        }
    }
}

/// What a procedure does, and how it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Courses {
    /// The stages to its target.
    pub onward: &'static [Stage],
    /// The stages back, before the one-way step. None: it is closed as aborted, and what follows is another procedure's.
    pub back: &'static [Stage],
    /// The step that cannot be undone.
    pub one_way: Option<StepId>,
}

/// The active side is lost: the runbook, towards the other side.
const FAILOVER: Courses = Courses {
    onward: &[
        Stage::One(StepId::PreflightPassed),
        Stage::One(StepId::LogShippingRemoved),
        // File n is restored while file n + 1 is copied.
        Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),
        Stage::One(StepId::DatabaseOnline),
        Stage::One(StepId::PoolStateSet),
        Stage::Overlap(&[StepId::MirrorEstablished, StepId::ActiveServersSet]),
        Stage::One(StepId::ChatServing),
    ],
    // Protect re-creates log shipping.
    back: &[],
    one_way: Some(StepId::DatabaseOnline),
};

/// Both sides live: nothing is lost, and chat stands still for as long as the tail of the log takes.
const SWITCH: Courses = Courses {
    onward: &[
        Stage::One(StepId::PreflightPassed),
        Stage::One(StepId::LogShippingRemoved),
        // While chat runs; and once more for the tail, which is one more log backup that can follow.
        Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),
        Stage::One(StepId::ChatDrained),
        Stage::One(StepId::TailTaken),
        Stage::One(StepId::DatabaseOnline),
        Stage::One(StepId::PoolStateSet),
        // Nobody waits for the mirror, not even to be told that chat serves.
        Stage::Overlap(&[StepId::ActiveServersSet, StepId::ChatServing, StepId::MirrorEstablished]),
    ],
    // Align gives the side its mirror and its servers back, and Protect re-creates log shipping.
    back: &[Stage::One(StepId::SourceOnline)],
    one_way: Some(StepId::DatabaseOnline),
};

/// The side that is not active gets its copy fed.
const PROTECT: Courses = Courses {
    onward: &[
        Stage::One(StepId::PreflightPassed),
        Stage::One(StepId::OldSideFenced),
        // The live database's log is backed up meanwhile.
        Stage::Overlap(&[StepId::DatabaseSeeded, StepId::LogShippingEstablished]),
    ],
    back: &[],
    one_way: None,
};

/// The active side gets what the resource names.
const ALIGN: Courses = Courses {
    onward: &[
        Stage::One(StepId::PreflightPassed),
        Stage::Overlap(&[StepId::MirrorEstablished, StepId::ActiveServersSet]),
        Stage::One(StepId::ChatServing),
    ],
    back: &[],
    one_way: None,
};

/// What a procedure does.
pub const fn courses(procedure: Procedure) -> Courses {
    match procedure {
        Procedure::Failover => FAILOVER,
        Procedure::Switch => SWITCH,
        Procedure::Protect => PROTECT,
        Procedure::Align => ALIGN,
    }
}

/// The stages of a route.
pub const fn stages(route: Route) -> &'static [Stage] {
    let courses = courses(route.procedure);
    match route.course {
        Course::Onward => courses.onward,
        Course::Back => courses.back,
    }
}

/// The steps of a procedure, in its order.
pub fn steps(procedure: Procedure) -> impl Iterator<Item = StepId> {
    courses(procedure).onward.iter().flat_map(|s| s.steps()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_belongs_to_a_procedure_and_stands_once_in_it() {
        let mut met: Vec<StepId> = Vec::new();
        for procedure in Procedure::ALL {
            let all: Vec<StepId> = steps(procedure).collect();
            let mut once = all.clone();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), all.len(), "{procedure:?}");
            assert_eq!(all.first(), Some(&StepId::PreflightPassed), "{procedure:?}");
            assert!(courses(procedure).one_way.is_none_or(|s| all.contains(&s)));
            met.extend(all);
            met.extend(courses(procedure).back.iter().flat_map(|s| s.steps()));
        }
        assert!(StepId::ALL.iter().all(|s| met.contains(s)));
    }

    #[test]
    fn nothing_is_recovered_before_everything_is_applied_and_nothing_is_set_before_it_is_recovered() {
        let at = |step| steps(Procedure::Failover).position(|s| s == step);
        assert!(at(StepId::LogShippingRemoved) < at(StepId::LogBackupsApplied));
        assert!(at(StepId::LogBackupsApplied) < at(StepId::DatabaseOnline));
        for later in [StepId::PoolStateSet, StepId::MirrorEstablished, StepId::ActiveServersSet] {
            assert!(at(StepId::DatabaseOnline) < at(later));
        }
    }
}
