//! What a batch takes and gives: values, messages, result sets, and where a statement ends.

use std::borrow::Cow;

pub use super::types::{ColumnType, Kind};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL
    Null,
    /// tinyint to bigint
    Int(i64),
    /// numeric(25,0): 22 digits are in the wild.
    Lsn(i128),
    /// bit
    Bit(bool),
    /// float
    Float(f64),
    /// nvarchar
    Text(String),
    /// uniqueidentifier
    Guid(String),
    /// datetime and datetime2, UTC text `YYYY-MM-DDTHH:MM:SS.ffffff`
    Time(String),
}

impl Cell {
    /// As the journal shows it; NULL is not shown.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Cell::Null => None,
            Cell::Int(n) => Some(n.to_string()),
            Cell::Lsn(n) => Some(n.to_string()),
            Cell::Bit(b) => Some(b.to_string()),
            Cell::Float(f) => Some(f.to_string()),
            Cell::Text(s) | Cell::Guid(s) | Cell::Time(s) => Some(s.clone()),
        }
    }
}

impl Cell {
    /// As a text that is sent: a bit is a number there.
    pub(crate) fn shown_on_wire(&self) -> Option<String> {
        match self {
            Cell::Bit(b) => Some(u8::from(*b).to_string()),
            other => other.shown(),
        }
    }
}

/// An error or information message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlMessage {
    /// Number.
    pub number: u32,
    /// Severity: from 11 on it is an error.
    pub class: u8,
    /// State.
    pub state: u8,
    /// Text.
    pub message: String,
    /// The procedure that says it; empty for a batch.
    pub procedure: Cow<'static, str>,
    /// The line of the batch or the procedure; 0 for what concerns parameters.
    pub line: u32,
}

impl SqlMessage {
    /// An error.
    pub fn error(number: u32, class: u8, message: impl Into<String>) -> Self {
        SqlMessage { number, class, state: 1, message: message.into(), procedure: "".into(), line: 1 }
    }

    /// A refusal of severity 16, as most are.
    pub(crate) fn refusal(number: u32, message: impl Into<String>) -> Self {
        SqlMessage::error(number, 16, message)
    }

    /// What is only told.
    pub(crate) fn info(number: u32, message: impl Into<String>) -> Self {
        SqlMessage::error(number, 0, message)
    }

    /// The same with another state.
    pub(crate) fn in_state(self, state: u8) -> Self {
        SqlMessage { state, ..self }
    }

    /// The same as said by a procedure, on one of its lines.
    pub(crate) fn of(self, procedure: impl Into<Cow<'static, str>>, line: u32) -> Self {
        SqlMessage { procedure: procedure.into(), line, ..self }
    }

    /// What the simulator does not understand.
    pub(crate) fn simulator(what: impl std::fmt::Display) -> Self {
        SqlMessage::refusal(50000, format!("simulator: {what}"))
    }

    /// Whether it is an error, and not only told.
    pub(crate) fn is_error(&self) -> bool {
        self.class > 10
    }

    /// Whether the simulator did not understand.
    pub(crate) fn is_simulators(&self) -> bool {
        self.message.starts_with("simulator")
    }

    /// The event that it is.
    pub(crate) fn event(self) -> Event {
        if self.is_error() { Event::Error(self) } else { Event::Info(self) }
    }
}

/// Refuses a statement with an error of severity 16.
pub(crate) fn refuse<T>(number: u32, message: impl Into<String>) -> Result<T, SqlMessage> {
    Err(SqlMessage::refusal(number, message))
}

/// The errors of one statement, in the order that the server sends them, with what it tells beside them.
pub type Errors = Vec<SqlMessage>;

impl From<SqlMessage> for Errors {
    fn from(one: SqlMessage) -> Self {
        vec![one]
    }
}

/// What ends with a [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// A statement.
    Statement,
    /// A statement inside of a procedure or of dynamic SQL.
    Inner,
    /// A procedure that the batch has called.
    Procedure,
}

/// That something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What has ended.
    pub ends: Ends,
    /// The number that the server has for statements of its kind.
    pub command: u16,
    /// Rows, if it counts them.
    pub count: Option<u64>,
    /// Whether it has failed.
    pub failed: bool,
    /// Whether it has sent a result set.
    pub rows: bool,
    /// Whether the session's `NOCOUNT` was on.
    pub nocount: bool,
}

/// What a batch sends back.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A result set.
    Rows {
        /// Its columns.
        columns: Vec<(String, ColumnType)>,
        /// Its rows.
        rows: Vec<Vec<Cell>>,
        /// The columns that it is ordered by, counted from 1.
        order: Vec<u16>,
    },
    /// An error.
    Error(SqlMessage),
    /// An information message.
    Info(SqlMessage),
    /// A statement ended with so many rows. Only to who does not ask for [`Event::Done`].
    Count(u64),
    /// Something is done. Only to who asks for it, as are the following.
    Done(Done),
    /// What a procedure has returned.
    Returned(i32),
    /// Something about the session has changed: number of the change, new and old value as they are sent.
    Environment(u8, Vec<u8>, Vec<u8>),
    /// The call has ended: what it returns, if it was not broken off, and whether that is a failure.
    Ended(Option<i32>, bool),
    /// What a parameter of the call gives back: by its name.
    Output(String, Cell),
}
