//! What a step says after it looked at a situation, and how an effect ended.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::problem::{Problem, Reason};

/// A step's word on a situation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision<E> {
    /// The goal holds.
    Done(Evidence),
    /// One effect brings it nearer.
    Act(E),
    /// Something else is at work; look again.
    Wait(Waiting),
    /// Nothing can be done until somebody or something changes the world.
    Blocked(Problem),
}

impl<E> Decision<E> {
    /// Whether the goal holds.
    pub fn is_done(&self) -> bool {
        matches!(self, Decision::Done(_))
    }
    /// The same decision about another type of effect.
    pub fn map<F>(self, f: impl FnOnce(E) -> F) -> Decision<F> {
        match self {
            Decision::Done(e) => Decision::Done(e),
            Decision::Act(e) => Decision::Act(f(e)),
            Decision::Wait(w) => Decision::Wait(w),
            Decision::Blocked(p) => Decision::Blocked(p),
        }
    }
}

/// Why a goal is taken to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// `Completed`, `AlreadyDone` or `NotConfigured`.
    pub reason: Reason,
    /// What was seen.
    pub message: String,
}

impl Evidence {
    /// The goal holds, by what is said.
    pub fn new(message: impl Into<String>) -> Self {
        Evidence { reason: Reason::Completed, message: message.into() }
    }
    /// The goal is none of this resource's.
    pub fn not_configured(message: impl Into<String>) -> Self {
        Evidence { reason: Reason::NotConfigured, message: message.into() }
    }
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Its word.
    pub reason: Reason,
    /// For a human.
    pub message: String,
    /// When it makes sense to look again at the latest; absent: at the usual pace.
    pub until: Option<Timestamp>,
}

impl Waiting {
    /// A job of SQL Server's Agent is at work, or what it does has not been seen yet.
    pub fn for_job(message: impl Into<String>) -> Self {
        Waiting { reason: Reason::WaitingForJob, message: message.into(), until: None }
    }
}

/// How an effect ended, as far as the caller knows. There is no success here: that is what the next situation shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The other side answered without complaint.
    Answered,
    /// It was refused, or certainly did not happen.
    Refused(Problem),
    /// The answer was lost: it may have happened.
    Unknown(Problem),
}

/// How much is left of what a step does piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Pieces that are still to be done.
    pub pieces: i64,
    /// What a piece is: `files`.
    pub unit: &'static str,
    /// The piece at work is a RESTORE, which says itself how far it is.
    pub restores: bool,
}
