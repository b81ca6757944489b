//! SQL Server: the statements, the session over tiberius, the classes of errors, and what rows mean.

pub mod agent;
pub mod content;
pub mod database;
pub mod database_files;
pub mod errors;
pub mod job_steps;
pub mod log_shipping_script;
pub mod lost_messages;
pub mod numbers;
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
    /// Without what its answer says nothing.
    pub proof: Proof,
}

/// What the answer to a statement must hold to be believed. An attention, a KILL, a statement that was given up: each can end an
/// answer without any error, and the driver takes that for the end of a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A result set, with or without rows, and the row of [`statements::ENDING`] behind it: a set that was broken off looks like one
    /// with fewer rows, or none.
    ResultSet,
    /// The row of [`statements::ENDING`], as the last thing of all.
    Ending,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// nvarchar.
    Text(String),
    /// int.
    Int(i32),
    /// bigint.
    BigInt(i64),
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

impl From<i64> for Parameter {
    fn from(n: i64) -> Self {
        Parameter::BigInt(n)
    }
}

impl Statement {
    /// A statement that only looks; it is given the row that it ends in.
    pub fn read(text: impl Into<String>, parameters: Vec<Parameter>) -> Self {
        Statement {
            text: statements::ended(text),
            parameters,
            doing: "looking",
            long: false,
            proof: Proof::ResultSet,
        }
    }
    /// A statement that writes and answers soon; its text ends in [`statements::ENDING`].
    pub fn write(doing: &'static str, text: impl Into<String>, parameters: Vec<Parameter>) -> Self {
        Statement { text: text.into(), parameters, doing, long: false, proof: Proof::Ending }
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
                Parameter::BigInt(n) => format!("@P{} = {n}", i + 1),
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

/// The rows of a result set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Column names in their order.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// Everything that came back for a statement.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its result sets, in their order.
    pub sets: Vec<Rows>,
    /// The first of its errors: the driver gives no other.
    pub error: Option<ServerError>,
}

/// An error as the server gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerError {
    /// Error number.
    pub number: u32,
    /// State.
    pub state: u8,
    /// Severity.
    pub class: u8,
    /// The server's words.
    pub message: String,
    /// `@@ERROR` after the statement that failed, if it is another number: of several errors the one that came last, as is believed
    /// (`systems::assumptions::LAST_ERROR`).
    pub last: Option<u32>,
}

impl Answer {
    /// What is to be believed of it.
    pub fn believed(mut self, proof: Proof) -> Result<Rows, SqlError> {
        match (self.error, self.sets.pop().and_then(|set| Ending::of(&set))) {
            (Some(e), Some(ending)) => {
                let last = Some(ending.error).filter(|last| *last != 0 && *last != e.number);
                return Err(SqlError::Server(ServerError { last, ..e }));
            }
            (Some(e), None) => return Err(SqlError::Server(e)),
            (None, Some(Ending { error: 0, returned: 0 })) => {}
            (None, Some(ending)) => return Err(SqlError::Returned(ending)),
            (None, None) => {
                let why = "it ended without the row that says that all was carried out";
                return Err(SqlError::Lost(why.into()));
            }
        }
        match proof {
            Proof::Ending => Ok(Rows::default()),
            Proof::ResultSet if self.sets.is_empty() => {
                Err(SqlError::Lost("it ended without any result set".into()))
            }
            Proof::ResultSet => {
                let first = self.sets.iter().position(|set| !set.rows.is_empty()).unwrap_or(0);
                Ok(self.sets.swap_remove(first))
            }
        }
    }
}

/// The row of [`statements::ENDING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// `@@ERROR` of the last statement.
    pub error: u32,
    /// What the procedure returned; 0 without one.
    pub returned: i64,
}

impl Ending {
    fn of(set: &Rows) -> Option<Ending> {
        let [row] = set.rows.as_slice() else { return None };
        match (set.columns.as_slice(), row.as_slice()) {
            ([error, returned], [Cell::Int(e), Cell::Int(r)])
                if error == "error" && returned == "returned" =>
            {
                Some(Ending { error: u32::try_from(*e).ok()?, returned: *r })
            }
            _ => None,
        }
    }
}

/// Why a statement or a connection failed.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlError {
    /// Nobody there: refused, timed out, no route, no such name. Nothing was sent.
    Unreachable(String),
    /// Something accepted the connection and did not answer, or hung up: it is there, starved or not what it should be. Nothing was sent.
    Unanswered(String),
    /// The certificate is not trusted or names another host, or TLS is not spoken. Nothing was sent.
    Tls(String),
    /// The login was refused.
    Login {
        /// Error number: 18456, 4060 …
        number: u32,
        /// The server's words.
        message: String,
    },
    /// The server refused the statement. Below class 20 the session lives on; from there on, what stood before may be done.
    Server(ServerError),
    /// A procedure returned a code that is not 0, or its last statement failed, and no error was sent.
    Returned(Ending),
    /// The connection was lost, or the deadline passed, after the statement was sent: it may have been executed.
    Lost(String),
    /// The server said something that we cannot read.
    Protocol(String),
    /// We could not even begin (no Secret, not meant for this host).
    NotAsked(crate::domain::problem::Problem),
}

impl SqlError {
    /// Whether the session can be used no more. Only a plain refusal, or a code that was returned, leaves it as it was.
    pub fn ends_the_session(&self) -> bool {
        match self {
            SqlError::Server(e) => e.class >= 20,
            SqlError::Returned(_) | SqlError::NotAsked(_) => false,
            SqlError::Unreachable(_)
            | SqlError::Unanswered(_)
            | SqlError::Tls(_)
            | SqlError::Login { .. }
            | SqlError::Lost(_)
            | SqlError::Protocol(_) => true,
        }
    }
    /// Whether a statement may have been carried out all the same.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            // 596 and its like come in the middle: what stood before is done.
            SqlError::Server(e) => e.class >= 20,
            SqlError::Lost(_) | SqlError::Protocol(_) => true,
            SqlError::Unreachable(_)
            | SqlError::Unanswered(_)
            | SqlError::Tls(_)
            | SqlError::Login { .. }
            | SqlError::Returned(_)
            | SqlError::NotAsked(_) => false,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(error: i64, returned: Cell) -> Rows {
        Rows {
            columns: ["error", "returned"].map(String::from).to_vec(),
            rows: vec![vec![Cell::Int(error), returned]],
        }
    }
    fn refusal(number: u32, last: Option<u32>) -> ServerError {
        ServerError { number, state: 1, class: 16, message: String::new(), last }
    }

    #[test]
    fn an_answer_without_its_proof_is_lost_and_not_empty() {
        for proof in [Proof::ResultSet, Proof::Ending] {
            let cut_off = Answer::default().believed(proof);
            assert!(matches!(cut_off, Err(SqlError::Lost(_))), "{proof:?}: {cut_off:?}");
        }
        // Rows that are none of the ending's are no proof of an effect, and no rows of a set are one of a look.
        let row = Rows { columns: vec!["rc".into()], rows: vec![vec![Cell::Int(0)]] };
        let other = Answer { sets: vec![row], error: None }.believed(Proof::Ending);
        assert!(matches!(other, Err(SqlError::Lost(_))), "{other:?}");
        let empty = Rows { columns: vec!["name".into()], rows: vec![] };
        let sets = |ended: bool| {
            let all = [Some(empty.clone()), ended.then(|| ending(0, Cell::Int(0)))];
            all.into_iter().flatten().collect()
        };
        let none = Answer { sets: sets(true), error: None }.believed(Proof::ResultSet);
        assert_eq!(none, Ok(empty.clone()));
        // Without the row behind it nobody knows whether there would have been more.
        let broken_off = Answer { sets: sets(false), error: None }.believed(Proof::ResultSet);
        assert!(matches!(broken_off, Err(SqlError::Lost(_))), "{broken_off:?}");
        let ends_only = Answer { sets: vec![ending(0, Cell::Int(0))], error: None };
        assert!(matches!(ends_only.believed(Proof::ResultSet), Err(SqlError::Lost(_))));
    }

    #[test]
    fn what_the_ending_says_decides() {
        let of =
            |set: Rows, error: Option<ServerError>| Answer { sets: vec![set], error }.believed(Proof::Ending);
        assert_eq!(of(ending(0, Cell::Int(0)), None), Ok(Rows::default()));
        for (error, returned) in [(0, 1), (0, -999), (15625, 0)] {
            let said = Ending { error: u32::try_from(error).unwrap_or(0), returned };
            assert_eq!(of(ending(error, Cell::Int(returned)), None), Err(SqlError::Returned(said)));
        }
        // A procedure that was never called has returned nothing.
        assert!(matches!(of(ending(0, Cell::Null), None), Err(SqlError::Lost(_))));
        let first = |last| Some(refusal(3013, last));
        let told = |last| Err(SqlError::Server(refusal(3013, last)));
        assert_eq!(of(ending(3441, Cell::Int(0)), first(None)), told(Some(3441)));
        assert_eq!(of(ending(3013, Cell::Int(0)), first(None)), told(None));
        assert_eq!(Answer { sets: vec![], error: first(None) }.believed(Proof::Ending), told(None));
    }

    #[test]
    fn a_session_that_ended_in_the_middle_leaves_the_outcome_unknown() {
        let ended = SqlError::Server(ServerError { class: 21, ..refusal(596, None) });
        assert!(ended.outcome_unknown() && ended.ends_the_session());
        let refused = SqlError::Server(refusal(4305, None));
        assert!(!refused.outcome_unknown() && !refused.ends_the_session());
        assert!(SqlError::Protocol(String::new()).outcome_unknown());
    }
}
