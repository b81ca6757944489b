//! What was read from the world: known, or not known and why. Unknown is never false.

use serde::{Deserialize, Serialize};

use super::problem::{Problem, Reason};

/// One reading of the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reading<T> {
    /// It was read.
    Known(T),
    /// It could not be read.
    Unknown(Problem),
}

/// Why something that was not looked at is not known.
pub fn not_looked() -> Problem {
    Problem::retry(Reason::NotStarted, "not looked at yet", "")
}

impl<T> Reading<T> {
    /// The value, if known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Reading::Known(v) => Some(v),
            Reading::Unknown(_) => None,
        }
    }
    /// Not looked at yet.
    pub fn not_looked() -> Self {
        Reading::Unknown(not_looked())
    }
    /// The same, of what a function makes of the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Reading::Known(v) => Reading::Known(f(v)),
            Reading::Unknown(p) => Reading::Unknown(p),
        }
    }
    /// The value, or why it is not known.
    pub fn get(&self) -> Result<&T, &Problem> {
        match self {
            Reading::Known(v) => Ok(v),
            Reading::Unknown(p) => Err(p),
        }
    }
}

impl<T> From<Result<T, Problem>> for Reading<T> {
    fn from(r: Result<T, Problem>) -> Self {
        match r {
            Ok(v) => Reading::Known(v),
            Err(p) => Reading::Unknown(p),
        }
    }
}
