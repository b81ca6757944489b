//! The procedures: stages of steps, as constants. A stage begins when every step of all earlier stages is seen done.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use crate::domain::step::StepId;
use crate::domain::transition::Procedure;

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

/// The primary data centre is lost: the seven steps of the runbook, towards the backup store.
pub const FAILOVER: &[Stage] = &[
    Stage::One(StepId::PreflightPassed),
    Stage::One(StepId::LogShippingRemoved),
    // File n is restored while file n + 1 is copied.
    Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),
    Stage::One(StepId::DatabaseOnline),
    Stage::One(StepId::PoolStateSet),
    Stage::Overlap(&[StepId::MirrorEstablished, StepId::ActiveServersSet]),
    Stage::One(StepId::ChatServing),
];

/// The stages of a procedure.
pub const fn stages(procedure: Procedure) -> &'static [Stage] {
    match procedure {
        Procedure::Failover => FAILOVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_has_every_step_once_and_in_the_order_of_the_runbook() {
        let steps: Vec<StepId> = FAILOVER.iter().flat_map(|s| s.steps()).copied().collect();
        assert_eq!(steps, StepId::ALL);
    }
}
