//! How a command ends other than as wanted: what it says, and the code that it ends with.

/// Why a command did not end as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was called wrongly, or what it needs cannot be had: no cluster, no such resource, no such file.
    Unable(String),
    /// Nothing goes on without a human.
    HumanNeeded(String),
    /// It was refused, or what was waited for was given up.
    Refused(String),
    /// It did not come in time.
    TimedOut(String),
}

impl Failure {
    /// The exit code. Scripts rely on it (docs/operations.md).
    pub const fn code(&self) -> u8 {
        match self {
            Failure::Unable(_) => 1,
            Failure::HumanNeeded(_) => 2,
            Failure::Refused(_) => 3,
            Failure::TimedOut(_) => 124,
        }
    }

    /// What is wrong, and what to do.
    pub fn message(&self) -> &str {
        match self {
            Failure::Unable(m) | Failure::HumanNeeded(m) | Failure::Refused(m) | Failure::TimedOut(m) => m,
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Unable(message)
    }
}
