//! How statements end: what is said of it, what `@@ERROR` is after it, and which errors end a batch, as recorded.

use super::Seat;
use super::batch::{Batch, CAUGHT, ERROR, ROWCOUNT, Wanted};
use super::compile::Op;
use super::lexer::Token;
use super::values::{Cell, Done, Ends, Errors, Event, SqlMessage};

/// What a statement that was carried out says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing, or it has said so itself.
    Nothing,
    /// The same, with what `@@ROWCOUNT` is after it.
    Silent(u64),
    /// That it has ended: the number of its kind.
    Plain(u16),
    /// The same with rows that it counts.
    Counted(u16, u64),
    /// The same of a result set.
    Rows(u16, u64),
}

/// Numbers of statements in a DONE, as recorded.
pub(crate) mod command {
    pub const SELECT: u16 = 193;
    pub const CONDITION: u16 = 192;
    pub const SET_ON: u16 = 185;
    pub const SET_OFF: u16 = 186;
    pub const INSERT: u16 = 195;
    pub const DELETE: u16 = 196;
    pub const UPDATE: u16 = 197;
    pub const CREATE_TABLE: u16 = 198;
    pub const ROLLBACK: u16 = 210;
    pub const BEGIN: u16 = 212;
    pub const COMMIT: u16 = 213;
    pub const ALTER_DATABASE: u16 = 215;
    pub const RETURN: u16 = 219;
    pub const EXEC: u16 = 224;
    pub const USE: u16 = 226;
    pub const BACKUP: u16 = 228;
    pub const RESTORE: u16 = 229;
    pub const HEADERS: u16 = 230;
    pub const BACKUP_LOG: u16 = 235;
    pub const WAITFOR: u16 = 243;
    pub const RAISERROR: u16 = 246;
    pub const PRINT: u16 = 247;
    pub const HEADERS_ENDED: u16 = 250;
    pub const OTHER: u16 = 253;
    pub const TRY: u16 = 349;
    pub const CATCH: u16 = 350;
    pub const END: u16 = 351;
}

/// The number of a statement that has failed.
pub(super) fn number_of(t: &[Token]) -> u16 {
    let word = |n: usize| t.get(n).and_then(Token::ident).unwrap_or_default().to_uppercase();
    match (word(0).as_str(), word(1).as_str()) {
        ("SELECT" | "SET" | "DECLARE", _) => command::SELECT,
        ("INSERT", _) => command::INSERT,
        ("DELETE", _) => command::DELETE,
        ("UPDATE", _) => command::UPDATE,
        ("CREATE", _) => command::CREATE_TABLE,
        ("ALTER", "DATABASE") => command::ALTER_DATABASE,
        ("EXEC" | "EXECUTE", _) => command::EXEC,
        ("BACKUP", "LOG") => command::BACKUP_LOG,
        ("BACKUP", _) => command::BACKUP,
        ("RESTORE", "HEADERONLY" | "LABELONLY" | "FILELISTONLY") => command::HEADERS_ENDED,
        ("RESTORE", _) => command::RESTORE,
        ("RAISERROR" | "THROW", _) => command::RAISERROR,
        _ => command::OTHER,
    }
}

impl Batch {
    /// Tells how a statement has ended; whether its batch ends with it.
    pub(super) fn ended(
        &mut self,
        seat: &Seat<'_>,
        op: &Op,
        result: Result<Said, Errors>,
        out: &mut Vec<Event>,
    ) -> bool {
        let inner = self.inner.take().unwrap_or(0);
        match result {
            Ok(said) => {
                let rows = match said {
                    Said::Nothing | Said::Plain(_) => 0,
                    Said::Silent(n) | Said::Counted(_, n) | Said::Rows(_, n) => n,
                };
                // RETURN, and the beginning of a CATCH, leave it as it is (recorded).
                let keeps = match op {
                    Op::Catch => true,
                    Op::Statement(t, _) => t.first().is_some_and(|x| x.is("RETURN")),
                    Op::JumpUnless(..) | Op::Jump(_) | Op::Try(_) | Op::EndTry | Op::EndCatch => false,
                };
                if !keeps {
                    self.ended_with(inner, rows);
                }
                self.say(seat, said, out);
                false
            }
            Err(errors) => {
                // Of several the last one: believed, as the operator believes it, and nowhere recorded.
                let last = errors.iter().rfind(|e| e.is_error()).map_or(inner, |e| e.number);
                self.ended_with(last, 0);
                self.failed(seat, op, errors, out)
            }
        }
    }

    /// Says that a statement has ended, to who wants to know.
    pub(super) fn say(&self, seat: &Seat<'_>, said: Said, out: &mut Vec<Event>) {
        let (command, count, rows) = match said {
            Said::Nothing | Said::Silent(_) => return,
            Said::Plain(command) => (command, None, false),
            Said::Counted(command, n) => (command, Some(n), false),
            Said::Rows(command, n) => (command, Some(n), true),
        };
        if self.wanted == Wanted::Rows {
            let changes = [command::INSERT, command::UPDATE, command::DELETE, command::CREATE_TABLE];
            if changes.contains(&command) {
                out.push(Event::Count(count.unwrap_or(0)));
            }
            return;
        }
        self.done(seat, Done { ends: self.ends, command, count, failed: false, rows, nocount: false }, out);
    }

    /// Says that something is done, to who wants to know.
    pub(super) fn done(&self, seat: &Seat<'_>, done: Done, out: &mut Vec<Event>) {
        if self.wanted != Wanted::Rows {
            let nocount = seat.session().is_some_and(|s| s.options.nocount);
            out.push(Event::Done(Done { nocount, ..done }));
        }
    }

    /// Sets `@@ERROR` and `@@ROWCOUNT`: each statement does.
    pub(super) fn ended_with(&mut self, number: u32, rows: u64) {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        for (name, value) in [(ERROR, i64::from(number)), (ROWCOUNT, rows)] {
            match self.variables.get_mut(name) {
                Some(cell) => *cell = Cell::Int(value),
                None => drop(self.variables.insert(name.into(), Cell::Int(value))),
            }
        }
    }

    /// `@@ERROR`.
    pub(super) fn error(&self) -> i32 {
        match self.variables.get(ERROR) {
            Some(Cell::Int(n)) => i32::try_from(*n).unwrap_or(0),
            Some(_) | None => 0,
        }
    }

    /// A statement has failed: whether its batch ends with it.
    pub(super) fn failed(&mut self, seat: &Seat<'_>, op: &Op, errors: Errors, out: &mut Vec<Event>) -> bool {
        let (number, line) = match op {
            Op::Statement(t, line) => (number_of(t), *line),
            _ => (command::CONDITION, 1),
        };
        let of_line = |e: SqlMessage| {
            if e.procedure.is_empty() && e.line == 1 { SqlMessage { line, ..e } } else { e }
        };
        let errors: Errors = errors.into_iter().map(of_line).collect();
        let first = errors.iter().find(|e| e.is_error()).map_or(0, |e| e.number);
        // What is not for this database has no number of its own (recorded).
        let number = if matches!(first, 5058 | 12104) { command::OTHER } else { number };
        // What does not even bind is caught by nobody in its own batch.
        let binds = !matches!(first, 207 | 208);
        if let Some(handler) = self.handlers.pop_if(|_| binds) {
            self.catch(errors.into_iter().rfind(SqlMessage::is_error));
            self.at = handler;
            let quiet = number == command::EXEC;
            self.say(seat, if quiet { Said::Nothing } else { Said::Plain(number) }, out);
            return false;
        }
        // A failed statement ends, its batch goes on, as in SQL Server; some errors end it (recorded).
        let thrown = matches!(op, Op::Statement(t, _) if t.first().is_some_and(|x| x.is("THROW")));
        let converted = matches!(first, 245 | 8114);
        let aborts =
            seat.session().is_some_and(|s| s.options.xact_abort) && matches!(first, 8134 | 2627 | 515 | 547);
        let fatal = errors.iter().any(|e| e.is_simulators() || e.class >= 20)
            || matches!(first, 102 | 105 | 137 | 207 | 208)
            || thrown
            || converted
            || aborts;
        // A call that does not even bind raises nothing inside (recorded).
        let binds_call = first != 2812;
        let of_procedure = errors
            .last()
            .filter(|e| !e.procedure.is_empty() && !fatal)
            .map(|e| if binds_call { e.line } else { 0 });
        // What is told beside an error (3621) is not, where the batch ends with it.
        out.extend(errors.into_iter().filter(|e| e.is_error() || !fatal).map(SqlMessage::event));
        match (self.wanted, self.ends) {
            (Wanted::Rows, _) => {}
            (Wanted::Call, Ends::Statement) if fatal => {
                // What a parameter gives back is lost then (recorded).
                let returned = (!thrown && !converted && !aborts).then_some(self.error());
                out.extend(self.outputs.iter().map(|name| Event::Output(name.clone(), Cell::Null)));
                out.push(Event::Ended(returned, true));
            }
            (Wanted::Batch | Wanted::Call, _) if of_procedure.is_some() && number == command::EXEC => {
                let line = of_procedure.unwrap_or(0);
                if line > 0 {
                    // One that raises an error, and returns (recorded of procedures that do so; not of the server's own).
                    self.done(seat, failed(Ends::Inner, command::RAISERROR), out);
                    out.push(Event::Returned(1));
                }
                self.done(seat, Done { failed: line == 0, ..failed(Ends::Procedure, number) }, out);
            }
            (Wanted::Batch | Wanted::Call, ends) => self.done(seat, failed(ends, number), out),
        }
        fatal
    }

    /// A CATCH begins with an error, or ends without one.
    pub(super) fn catch(&mut self, error: Option<SqlMessage>) {
        for (_, variable) in CAUGHT {
            let value = match (&error, variable) {
                (None, _) => Cell::Null,
                (Some(e), "@caught_number__") => Cell::Int(e.number.into()),
                (Some(e), "@caught_message__") => Cell::Text(e.message.clone()),
                (Some(e), "@caught_severity__") => Cell::Int(e.class.into()),
                (Some(e), "@caught_state__") => Cell::Int(e.state.into()),
                (Some(e), _) if e.procedure.is_empty() => Cell::Null,
                (Some(e), _) => Cell::Text(e.procedure.to_string()),
            };
            self.variables.insert(variable.into(), value);
        }
        self.caught = error;
    }
}

/// That something has failed.
pub(super) fn failed(ends: Ends, command: u16) -> Done {
    Done { ends, command, count: None, failed: true, rows: false, nocount: false }
}

/// The end of a batch that does not even compile (recorded).
pub(crate) fn refused() -> Event {
    Event::Done(failed(Ends::Statement, command::OTHER))
}
