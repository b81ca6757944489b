//! What the engine tells after each look and during an effect: what a status is projected from.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::goal::Goal;
use super::plan::{Next, Plan, Trouble};
use super::wishes::Wish;
use crate::domain::situation::Situation;
use crate::domain::sql_server::RunningRestore;
use crate::domain::step::StepId;
use crate::domain::wish::LastWish;

/// Who is told.
pub type Tell<'a> = dyn Fn(&Report<'_>) + Send + Sync + 'a;

/// One report.
pub struct Report<'a> {
    /// What the resource asked for when this was decided.
    pub goal: &'a Goal,
    /// The last wish that had been taken up before.
    pub heard: Option<&'a LastWish>,
    /// What was seen.
    pub situation: &'a Situation,
    /// How long that look took: what it saw first is as old.
    pub took: SignedDuration,
    /// What follows.
    pub plan: &'a Plan,
    /// A RESTORE of ours that runs.
    pub restoring: Option<RunningRestore>,
    /// Effects are at work.
    pub acting: bool,
    /// Steps in trouble.
    pub trouble: &'a BTreeMap<StepId, Trouble>,
}

/// A look, what was wanted, and what follows from both.
#[derive(Clone, Copy)]
pub struct Decided<'a> {
    /// What was wanted.
    pub wish: &'a Wish,
    /// The last wish that had been taken up before.
    pub heard: Option<&'a LastWish>,
    /// What was seen.
    pub situation: &'a Situation,
    /// How long that look took: what it saw first is as old.
    pub took: SignedDuration,
    /// What follows.
    pub plan: &'a Plan,
}

impl<'a> Decided<'a> {
    /// The report of it.
    pub fn report(&self, trouble: &'a BTreeMap<StepId, Trouble>) -> Report<'a> {
        Report {
            goal: &self.wish.goal,
            heard: self.heard,
            situation: self.situation,
            took: self.took,
            plan: self.plan,
            restoring: None,
            acting: matches!(self.plan.next, Next::Act(_)),
            trouble,
        }
    }
}
