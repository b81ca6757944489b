//! Why a command could not be run, or its answer was lost.

use crate::wsman;

/// Why a command could not be run, or its answer was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody there, or no engine could be started. Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// TLS failed: certificate, name, or no TLS at all. Nothing was sent.
    #[error("TLS: {0}")]
    Tls(String),
    /// The logon was refused, and what the host says that it would take. Nothing was done.
    #[error("the logon was refused ({0})")]
    Unauthorized(String),
    /// The service answered with a fault.
    #[error("WS-Man fault {:#x} {}: {}", .0.code, .0.subcode, .0.message)]
    Fault(wsman::Fault),
    /// The command was not begun: the time was over, or the pool was lost, while it waited for a runspace. Nothing of it was
    /// sent, so nothing of it was done.
    #[error("the command was not begun: {0}")]
    NotBegun(String),
    /// The connection was lost, or the deadline passed, after a request was sent. What the command did is unknown.
    #[error("the answer was lost: {0}")]
    Lost(String),
    /// The server said something that cannot be read, or more than is read. What the command did is unknown.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

impl Error {
    /// Once a command has been handed over, whatever goes wrong says nothing about what it did.
    pub(crate) fn after_start(self) -> Error {
        match self {
            Error::Lost(why) => Error::Lost(why),
            Error::Protocol(why) => Error::Protocol(why),
            other @ (Error::Connect(_)
            | Error::Tls(_)
            | Error::Unauthorized(_)
            | Error::Fault(_)
            | Error::NotBegun(_)) => Error::Lost(other.to_string()),
        }
    }

    /// Before a command was handed over, a lost or strange answer was about the pool: this command was not begun.
    pub(crate) fn before_start(self) -> Error {
        match self {
            Error::Lost(why) => Error::NotBegun(why),
            strange @ Error::Protocol(_) => Error::NotBegun(strange.to_string()),
            other @ (Error::Connect(_)
            | Error::Tls(_)
            | Error::Unauthorized(_)
            | Error::Fault(_)
            | Error::NotBegun(_)) => other,
        }
    }

    /// Whether the request may have been executed all the same.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Error::Connect(_)
            | Error::Tls(_)
            | Error::Unauthorized(_)
            | Error::Fault(_)
            | Error::NotBegun(_) => false,
            Error::Lost(_) | Error::Protocol(_) => true,
        }
    }
}
