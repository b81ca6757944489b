//! SQL Server: the statements, the session over tiberius, the classes of errors, and what rows mean.

pub mod errors;
pub mod log_shipping_script;
pub mod read;
pub mod session;
pub mod statements;

use std::future::Future;
use std::time::Duration;

/// A statement with its parameters `@P1` ….
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The text. Constant, or made of constants and quoted names by [`statements`].
    pub text: String,
    /// The values.
    pub parameters: Vec<Parameter>,
    /// What it does, for messages.
    pub doing: &'static str,
    /// Whether it takes as long as it takes (RESTORE): then it has no deadline, and how far it is is looked up elsewhere.
    pub long: bool,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// nvarchar.
    Text(String),
    /// int.
    Int(i32),
}

impl From<&str> for Parameter {
    fn from(s: &str) -> Self {
        Parameter::Text(s.into())
    }
}
impl From<String> for Parameter {
    fn from(s: String) -> Self {
        Parameter::Text(s)
    }
}
impl From<i32> for Parameter {
    fn from(n: i32) -> Self {
        Parameter::Int(n)
    }
}

impl Statement {
    /// A statement that only looks.
    pub fn read(text: impl Into<String>, parameters: Vec<Parameter>) -> Self {
        Statement::write("looking", text, parameters)
    }
    /// A statement that writes and answers soon.
    pub fn write(doing: &'static str, text: impl Into<String>, parameters: Vec<Parameter>) -> Self {
        Statement { text: text.into(), parameters, doing, long: false }
    }
    /// A statement that takes as long as it takes.
    pub fn long(doing: &'static str, text: impl Into<String>, parameters: Vec<Parameter>) -> Self {
        Statement { long: true, ..Statement::write(doing, text, parameters) }
    }
    /// The statement as a human reads it: the text with the values beside it. For plans and logs, never sent.
    pub fn shown(&self) -> String {
        let values: Vec<String> = self
            .parameters
            .iter()
            .enumerate()
            .map(|(i, p)| match p {
                Parameter::Text(t) => {
                    format!("@P{} = {}", i + 1, crate::domain::text::clean(&statements::quote_string(t)))
                }
                Parameter::Int(n) => format!("@P{} = {n}", i + 1),
            })
            .collect();
        if values.is_empty() { self.text.clone() } else { format!("{}  -- {}", self.text, values.join(", ")) }
    }
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// bit.
    Bool(bool),
    /// Any integer type.
    Int(i64),
    /// numeric with scale 0: LSNs.
    Numeric(i128),
    /// float, real.
    Float(f64),
    /// Any text.
    Text(String),
    /// uniqueidentifier, upper-case text as SQL Server prints it.
    Guid(String),
    /// date and time without a zone: the server's local time or UTC, as the column means it.
    DateTime(jiff::civil::DateTime),
    /// binary.
    Bytes(Vec<u8>),
}

/// The rows of the first result set that had columns; later ones are read and dropped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Column names in their order.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// Why a statement or a connection failed.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlError {
    /// Nobody there: refused, timed out, no route, no such name. Nothing was sent.
    Unreachable(String),
    /// The certificate is not trusted or names another host, or TLS is not spoken. Nothing was sent.
    Tls(String),
    /// The login was refused.
    Login {
        /// Error number: 18456, 4060 …
        number: u32,
        /// The server's words.
        message: String,
    },
    /// The server refused the statement. Below class 20 the session lives on.
    Server {
        /// Error number.
        number: u32,
        /// State.
        state: u8,
        /// Severity.
        class: u8,
        /// The server's words.
        message: String,
    },
    /// The connection was lost, or the deadline passed, after the statement was sent: it may have been executed.
    Lost(String),
    /// The server said something that we cannot read.
    Protocol(String),
    /// We could not even begin (no Secret, not meant for this host).
    NotAsked(crate::domain::problem::Problem),
}

/// A session on a SQL Server.
pub trait SqlSession: Send {
    /// Sends one statement and reads everything that comes back. After any error but [`SqlError::Server`] of a class below 20
    /// the session is dead. Dropping the future kills the session. `None` as deadline: as long as it takes (RESTORE).
    fn send(
        &mut self,
        statement: &Statement,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<Rows, SqlError>> + Send;
}
