//! Where a session is and what it has open: USE, and transactions, inside of which nothing can be changed here.

use super::Seat;
use super::batch::Batch;
use super::ends::{Said, command};
use super::lexer::Token;
use super::values::{Errors, Event, SqlMessage};
use crate::sql::{Database, Instance};

/// Collation of the servers, as it is sent: `SQL_Latin1_General_CP1_CI_AS` (recorded).
pub(crate) const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];

/// A text as a change of the session's environment carries it.
pub(crate) fn environment_text(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The databases that every instance has, with their numbers.
pub(crate) const SYSTEM_DATABASES: [(&str, i64); 4] =
    [("master", 1), ("tempdb", 2), ("model", 3), ("msdb", 4)];

/// Why a session cannot be in a database, if it cannot.
pub(crate) fn entrance(i: &Instance, name: &str, session: u32) -> Result<String, SqlMessage> {
    let key = name.trim_end().to_lowercase();
    if let Some((system, _)) = SYSTEM_DATABASES.iter().find(|(n, _)| *n == key) {
        return Ok((*system).into());
    }
    let Some(db) = i.databases.get(&key) else {
        let what = format!("Database '{name}' does not exist. Make sure that the name is entered correctly.");
        return Err(SqlMessage::refusal(911, what));
    };
    enterable(i, db, session)?;
    Ok(db.name.clone())
}

/// Whether a session may be in a database: 927 while it restores, 924 while another session has it for itself.
pub(crate) fn enterable(i: &Instance, db: &Database, session: u32) -> Result<(), SqlMessage> {
    if db.state != 0 {
        let what = format!("Database '{}' cannot be opened. It is in the middle of a restore.", db.name);
        return Err(SqlMessage::error(927, 14, what).in_state(2));
    }
    if db.user_access == 1 && i.holder(db).is_some_and(|holder| holder != session) {
        let what = format!("Database '{}' is already open and can only have one user at a time.", db.name);
        return Err(SqlMessage::error(924, 14, what));
    }
    Ok(())
}

impl Batch {
    /// USE: what it says and changes is recorded; inside of dynamic SQL it says nothing.
    pub(super) fn enter(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, SqlMessage> {
        let name = t.get(1).and_then(Token::ident).unwrap_or_default();
        let id = seat.id;
        let i = seat.instance().ok_or_else(|| SqlMessage::simulator("no instance"))?;
        let entered = entrance(i, name, id)?;
        let before = seat.session().map(|s| s.database.clone()).unwrap_or_default();
        if let Some(s) = seat.session_mut() {
            s.database = entered.to_lowercase();
        }
        if self.tells_environment() {
            out.push(Event::Environment(1, environment_text(&entered), environment_text(&before)));
            let what = format!("Changed database context to '{entered}'.");
            out.push(Event::Info(SqlMessage::info(5701, what)));
            out.push(Event::Environment(7, COLLATION.to_vec(), COLLATION.to_vec()));
        }
        Ok(Said::Plain(command::USE))
    }

    pub(super) fn transaction(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let first = t.first().and_then(Token::ident).unwrap_or_default().to_uppercase();
        let (said, change) = match first.as_str() {
            "BEGIN" => (command::BEGIN, Transaction::Begin),
            "COMMIT" => (command::COMMIT, Transaction::Commit),
            _ => (command::ROLLBACK, Transaction::Rollback),
        };
        let told = change_transaction(seat, change)?;
        if self.tells_environment() {
            out.extend(told);
        }
        Ok(Said::Plain(said))
    }
}

/// What becomes of a session's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transaction {
    /// It begins, or the one that is open is nested one deeper.
    Begin,
    /// It ends.
    Commit,
    /// It ends, however deep it is nested.
    Rollback,
}

/// Changes a session's transaction: what is told about its environment.
pub(crate) fn change_transaction(
    seat: &mut Seat<'_>,
    change: Transaction,
) -> Result<Option<Event>, SqlMessage> {
    let id = u64::from(seat.id);
    let Some(s) = seat.session_mut() else { return Err(SqlMessage::simulator("no session")) };
    let descriptor = |n: u64| ((n << 32) | id).to_le_bytes().to_vec();
    match (change, s.transaction) {
        (Transaction::Begin, Some((n, depth))) => {
            s.transaction = Some((n, depth + 1));
            Ok(None)
        }
        (Transaction::Begin, None) => {
            s.transactions += 1;
            s.transaction = Some((s.transactions, 1));
            Ok(Some(Event::Environment(8, descriptor(s.transactions), vec![])))
        }
        (Transaction::Commit, Some((n, depth))) if depth > 1 => {
            s.transaction = Some((n, depth - 1));
            Ok(None)
        }
        (Transaction::Commit, Some((n, _))) => {
            s.transaction = None;
            Ok(Some(Event::Environment(9, vec![], descriptor(n))))
        }
        (Transaction::Rollback, Some((n, _))) => {
            s.transaction = None;
            Ok(Some(Event::Environment(10, vec![], descriptor(n))))
        }
        (Transaction::Commit, None) => {
            let what = "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.";
            Err(SqlMessage::refusal(3902, what))
        }
        (Transaction::Rollback, None) => {
            let what = "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.";
            Err(SqlMessage::refusal(3903, what))
        }
    }
}
