//! What a batch takes and gives: values, messages, result sets.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL
    Null,
    /// int
    Int(i64),
    /// numeric(25,0)
    Lsn(i64),
    /// bit
    Bit(bool),
    /// float
    Float(f64),
    /// nvarchar
    Text(String),
    /// uniqueidentifier
    Guid(String),
    /// datetime2, UTC text `YYYY-MM-DDTHH:MM:SS.ffffff`
    Time(String),
}

impl Cell {
    /// As the journal shows it; NULL is not shown.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Cell::Null => None,
            Cell::Int(n) | Cell::Lsn(n) => Some(n.to_string()),
            Cell::Bit(b) => Some(b.to_string()),
            Cell::Float(f) => Some(f.to_string()),
            Cell::Text(s) | Cell::Guid(s) | Cell::Time(s) => Some(s.clone()),
        }
    }
}

/// An error or information message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlMessage {
    /// Number.
    pub number: u32,
    /// Severity.
    pub class: u8,
    /// State.
    pub state: u8,
    /// Text.
    pub message: String,
}

impl SqlMessage {
    /// An error.
    pub fn error(number: u32, class: u8, message: impl Into<String>) -> Self {
        SqlMessage { number, class, state: 1, message: message.into() }
    }

    /// A refusal of severity 16, as most are.
    pub(crate) fn refusal(number: u32, message: impl Into<String>) -> Self {
        SqlMessage::error(number, 16, message)
    }

    /// What the simulator does not understand.
    pub(crate) fn simulator(what: impl std::fmt::Display) -> Self {
        SqlMessage::refusal(50000, format!("simulator: {what}"))
    }
}

/// Refuses a statement with an error of severity 16.
pub(crate) fn refuse<T>(number: u32, message: impl Into<String>) -> Result<T, SqlMessage> {
    Err(SqlMessage::refusal(number, message))
}

/// The errors of one statement, in the order that the server sends them.
pub type Errors = Vec<SqlMessage>;

impl From<SqlMessage> for Errors {
    fn from(one: SqlMessage) -> Self {
        vec![one]
    }
}

/// Kinds of column, as TDS must announce them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// int (8 bytes)
    Int,
    /// numeric(25,0)
    Lsn,
    /// bit
    Bit,
    /// float
    Float,
    /// nvarchar
    Text,
    /// uniqueidentifier
    Guid,
    /// datetime2
    Time,
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
    },
    /// An error.
    Error(SqlMessage),
    /// An information message.
    Info(SqlMessage),
    /// A statement ended with so many rows.
    Count(u64),
}
