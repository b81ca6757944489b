//! A batch in execution: it goes on until it has ended, is held, or waits for a RESTORE, a full backup, a lock or a WAITFOR.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Seat;
use super::backup::Backing;
use super::compile::{Op, compile};
use super::ends::{Said, command, number_of};
use super::languages;
use super::lexer::Token;
use super::restore::Restoring;
use super::values::{Cell, Ends, Errors, Event, Kind, SqlMessage};
use crate::sql::catalog;
use crate::world::World;
use crate::world::breakpoints::{Arrival, Moment};
use crate::world::journal::{Begun, Effect, Kind as JournalKind};

/// The variable that `@@ERROR` is for the engine that answers SELECT.
pub(crate) const ERROR: &str = "@last_error__";
/// The variable that `@@ROWCOUNT` is for it.
pub(crate) const ROWCOUNT: &str = "@last_rows__";

/// The functions that tell of the error that a CATCH is for, and the variables that they are for the engine.
pub(crate) const CAUGHT: [(&str, &str); 5] = [
    ("ERROR_NUMBER", "@caught_number__"),
    ("ERROR_MESSAGE", "@caught_message__"),
    ("ERROR_SEVERITY", "@caught_severity__"),
    ("ERROR_STATE", "@caught_state__"),
    ("ERROR_PROCEDURE", "@caught_procedure__"),
];

/// How soon a batch that is held, or that waits for a lock, looks again whether it may go on.
const HELD: SignedDuration = SignedDuration::from_millis(5);

/// What a client wants to be told beside rows, errors and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Rows,
    /// Where each statement of a batch ends.
    Batch,
    /// The same of a remote call of `sp_executesql`: at the end what it returns.
    Call,
}

/// A batch in execution.
#[derive(Clone)]
pub struct Batch {
    ops: Arc<[Op]>,
    pub(super) at: usize,
    pub(super) variables: BTreeMap<String, Cell>,
    pub(super) types: BTreeMap<String, Kind>,
    pub(super) handlers: Vec<usize>,
    text: String,
    pub(super) restoring: Option<Restoring>,
    pub(super) backing: Option<Backing>,
    /// The breakpoint that it is held at.
    hold: Option<u64>,
    /// The statement that was held before it was carried out: it is not held there again.
    passed: Option<usize>,
    /// `@@ERROR` that dynamic SQL, or a procedure, in the statement at work has left.
    pub(super) inner: Option<u32>,
    pub(super) wanted: Wanted,
    pub(super) outputs: Vec<String>,
    pub(super) ends: Ends,
    /// Until when a WAITFOR, or a procedure that waits for a lock, waits.
    pub(super) waits: Option<Timestamp>,
    /// The error that a CATCH is for.
    pub(super) caught: Option<SqlMessage>,
}

/// Whether a batch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has.
    Finished,
    /// It goes on when the world's clock has reached this moment.
    Until(Timestamp),
}

/// What is to be run.
pub struct Asked {
    /// The statements.
    pub text: String,
    /// Values of their parameters.
    pub parameters: Vec<(String, Cell)>,
    /// What the parameters were declared as.
    pub types: BTreeMap<String, Kind>,
    /// Parameters that give something back.
    pub outputs: Vec<String>,
    /// What is to be told.
    pub wanted: Wanted,
}

/// Begins a batch in a session, for a client that looks at rows and errors only.
pub fn begin(
    world: &mut World,
    host: &str,
    id: u32,
    text: &str,
    parameters: Vec<(String, Cell)>,
) -> Result<(), SqlMessage> {
    let asked = Asked {
        text: text.into(),
        parameters,
        types: BTreeMap::new(),
        outputs: vec![],
        wanted: Wanted::Rows,
    };
    begin_as(world, host, id, asked)
}

/// Begins what is asked for in a session.
pub fn begin_as(world: &mut World, host: &str, id: u32, asked: Asked) -> Result<(), SqlMessage> {
    let ops = compile(&asked.text)?;
    let variables = asked.parameters.into_iter().map(|(n, v)| (n.to_lowercase(), v)).collect();
    if let Some(s) = (Seat { world, host, id }).session_mut() {
        let mut batch = Batch::new(ops, variables, asked.text);
        batch.types = asked.types;
        batch.wanted = asked.wanted;
        batch.outputs = asked.outputs;
        s.batch = Some(batch);
    }
    Ok(())
}

/// Lets a session's batch go on as far as it can.
pub fn step(world: &mut World, host: &str, id: u32, out: &mut Vec<Event>) -> Progress {
    let mut seat = Seat { world, host, id };
    let Some(mut batch) = seat.session_mut().and_then(|s| s.batch.take()) else { return Progress::Finished };
    let before = out.len();
    let progress = batch.run(&mut seat, out);
    let language = seat.session_mut().map(|s| s.options.language).unwrap_or_default();
    languages::translate(language, out.get_mut(before..).unwrap_or_default());
    if let (Progress::Until(_), Some(s)) = (progress, seat.session_mut()) {
        s.batch = Some(batch);
    }
    progress
}

impl Batch {
    fn new(ops: Arc<[Op]>, variables: BTreeMap<String, Cell>, text: String) -> Self {
        let mut batch = Batch {
            ops,
            at: 0,
            variables,
            types: BTreeMap::new(),
            handlers: Vec::new(),
            text,
            restoring: None,
            backing: None,
            hold: None,
            passed: None,
            inner: None,
            wanted: Wanted::Rows,
            outputs: Vec::new(),
            ends: Ends::Statement,
            waits: None,
            caught: None,
        };
        batch.ended_with(0, 0);
        batch
    }

    /// The breakpoint that this batch is held at.
    pub fn hold(&self) -> Option<u64> {
        self.hold
    }

    /// Holds the batch at a statement if it is to be held there.
    fn held_at(&mut self, world: &mut World, host: &str, moment: Moment, statement: usize) -> bool {
        if !world.breakpoints.are_set() {
            return false;
        }
        let Some(Op::Statement(t, _)) = self.ops.get(statement) else { return false };
        let Some((name, target)) = self.named(t) else { return false };
        let arrival = Arrival { server: host.into(), name, target, parameters: self.shown_variables() };
        self.hold = world.breakpoints.ask(moment, &arrival);
        self.hold.is_some()
    }

    fn run(&mut self, seat: &mut Seat<'_>, out: &mut Vec<Event>) -> Progress {
        if let Some(waiting) = self.still_waits(seat, out) {
            return waiting;
        }
        while let Some(op) = self.ops.get(self.at).cloned() {
            let statement = self.at;
            if self.passed != Some(statement)
                && self.held_at(seat.world, seat.host, Moment::Before, statement)
            {
                self.passed = Some(statement);
                return Progress::Until(seat.world.now + HELD);
            }
            self.at += 1;
            let result = self.carry_out(seat, &op, out);
            if let Some(until) = self.waits.filter(|until| seat.world.now < *until) {
                // It is carried out again when there is something new: a lock may be free.
                self.passed = Some(statement);
                return Progress::Until(until.min(seat.world.now + HELD));
            }
            self.waits = None;
            let carried_out = result.is_ok();
            if self.ended(seat, &op, result, out) {
                return Progress::Finished;
            }
            if let Some(ends) = seat.session().and_then(|s| s.running.as_ref()).map(|r| r.ends) {
                return Progress::Until(ends);
            }
            if carried_out && self.held_at(seat.world, seat.host, Moment::After, statement) {
                return Progress::Until(seat.world.now + HELD);
            }
        }
        if self.wanted == Wanted::Call && self.ends == Ends::Statement {
            for name in &self.outputs {
                let value = self.variables.get(&name.to_lowercase()).cloned().unwrap_or(Cell::Null);
                out.push(Event::Output(name.clone(), value));
            }
            out.push(Event::Ended(Some(self.error()), false));
        }
        Progress::Finished
    }

    /// What the batch is held at or waits for, if it still does; what it has waited for is ended.
    fn still_waits(&mut self, seat: &mut Seat<'_>, out: &mut Vec<Event>) -> Option<Progress> {
        if let Some(hold) = self.hold {
            if seat.world.breakpoints.holds(hold) {
                return Some(Progress::Until(seat.world.now + HELD));
            }
            self.hold = None;
        }
        if let Some(running) = seat.session().and_then(|s| s.running.clone()) {
            if seat.world.now < running.ends {
                return Some(Progress::Until(running.ends));
            }
            if let Some(s) = seat.session_mut() {
                s.running = None;
            }
            let ended = match self.backing.take() {
                Some(backing) => self.backed_up(seat, &running, backing, out),
                None => self.restored(seat, &running, out),
            };
            if let Err(errors) = ended {
                let op = self.ops.get(self.at - 1).cloned().unwrap_or(Op::EndTry);
                return self.ended(seat, &op, Err(errors), out).then_some(Progress::Finished);
            }
            if self.held_at(seat.world, seat.host, Moment::After, self.at - 1) {
                return Some(Progress::Until(seat.world.now + HELD));
            }
        }
        if self.waits.is_some() {
            self.at -= 1;
        }
        None
    }

    fn carry_out(&mut self, seat: &mut Seat<'_>, op: &Op, out: &mut Vec<Event>) -> Result<Said, Errors> {
        match op {
            Op::Jump(to) => self.at = *to,
            Op::Try(handler) => {
                self.handlers.push(*handler);
                return Ok(Said::Plain(command::TRY));
            }
            Op::EndTry => {
                self.handlers.pop();
                return Ok(Said::Plain(command::END));
            }
            Op::Catch => return Ok(Said::Plain(command::CATCH)),
            Op::EndCatch => {
                self.catch(None);
                return Ok(Said::Plain(command::END));
            }
            Op::JumpUnless(condition, to) => {
                let selected = catalog::select(seat, condition, &self.variables)?;
                if selected.rows.first().and_then(|r| r.first()) != Some(&Cell::Int(1)) {
                    self.at = *to;
                }
                return Ok(Said::Plain(command::CONDITION));
            }
            Op::Statement(t, _) => return self.execute(seat, t, out),
        }
        Ok(Said::Nothing)
    }

    fn execute(&mut self, seat: &mut Seat<'_>, t: &[Token], out: &mut Vec<Event>) -> Result<Said, Errors> {
        let word = |n: usize| t.get(n).and_then(Token::ident).unwrap_or_default().to_uppercase();
        let (first, second) = (word(0), word(1));
        match first.as_str() {
            "SET" => Ok(self.set(seat, t)?),
            "DECLARE" => Ok(self.declare(seat, t)?),
            "USE" => Ok(self.enter(seat, t, out)?),
            "PRINT" => Ok(self.print(seat, t, out)?),
            "RETURN" => {
                self.at = self.ops.len();
                Ok(Said::Plain(command::RETURN))
            }
            "RAISERROR" => self.raise(t, out),
            "THROW" => Err(self.thrown(t).into()),
            "WAITFOR" => Ok(self.wait_for(seat, t)?),
            "BEGIN" | "COMMIT" | "ROLLBACK" => self.transaction(seat, t, out),
            "SELECT" => self.select(seat, t, out),
            "INSERT" | "UPDATE" | "DELETE" | "CREATE" => self.change(seat, t),
            "EXEC" | "EXECUTE" => self.exec(seat, t, out),
            "KILL" => Ok(self.kill(seat, t)?),
            "ALTER" => self.alter(seat, t, out),
            "RESTORE" if second == "HEADERONLY" => self.headers(seat, t, out),
            "RESTORE" if second == "LABELONLY" => self.label(seat, t, out),
            "RESTORE" if second == "FILELISTONLY" => self.file_list(seat, t, out),
            "RESTORE" => self.restore(seat, t),
            "BACKUP" => self.backup(seat, t, out),
            _ => Err(SqlMessage::simulator(format!("does not know the statement {first} {second}")).into()),
        }
    }

    /// INSERT, UPDATE, DELETE, CREATE TABLE.
    fn change(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Said, Errors> {
        let entry = self.journal_write(seat, t);
        let result = match seat.session() {
            Some(s) if s.transaction.is_some() => Err(SqlMessage::simulator(
                "changes nothing inside of a transaction, since it could not take it back",
            )),
            Some(_) | None => catalog::change(seat, t, &self.variables),
        };
        let number = number_of(t);
        match seat.finish(entry, result) {
            Ok(_) if number == command::CREATE_TABLE => Ok(Said::Plain(number)),
            Ok(n) => Ok(Said::Counted(number, n)),
            Err(e) if matches!(e.number, 2627 | 515) => {
                let terminated = SqlMessage::info(3621, "The statement has been terminated.").in_state(0);
                Err(vec![e, terminated])
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Dynamic SQL: statement by statement in this same session. `@@ERROR` of its last one.
    pub(super) fn dynamic(
        &mut self,
        seat: &mut Seat<'_>,
        text: Option<String>,
        out: &mut Vec<Event>,
    ) -> Result<u32, Errors> {
        let Some(text) = text else { return Ok(0) };
        let ops = compile(&text)?;
        // It is held as a whole, by the statement that it stands in.
        let mut inner = Batch::new(ops, self.variables.clone(), text);
        inner.wanted = self.wanted;
        inner.ends = Ends::Inner;
        inner.types = self.types.clone();
        let set = std::mem::take(&mut seat.world.breakpoints);
        let options = seat.session().map(|s| s.options);
        let progress = inner.run(seat, out);
        // What it has set ends with it (recorded).
        if let (Some(s), Some(options)) = (seat.session_mut(), options) {
            s.options = options;
        }
        seat.world.breakpoints = set;
        match progress {
            Progress::Finished => {
                let error = u32::try_from(inner.error()).unwrap_or(0);
                self.inner = Some(error);
                Ok(error)
            }
            Progress::Until(_) => Err(SqlMessage::simulator("a RESTORE inside of dynamic SQL").into()),
        }
    }

    /// Whether changes of the session are told: not inside of dynamic SQL (recorded), and to nobody who does not ask.
    pub(super) fn tells_environment(&self) -> bool {
        self.wanted != Wanted::Rows && self.ends == Ends::Statement
    }

    /// Whether the statement at work stands in a TRY.
    pub(super) fn in_try(&self) -> bool {
        !self.handlers.is_empty()
    }

    pub(super) fn shown_variables(&self) -> BTreeMap<String, String> {
        let clients = self.variables.iter().filter(|(n, _)| !n.ends_with("__"));
        clients.filter_map(|(n, c)| c.shown().map(|c| (n.clone(), c))).collect()
    }

    /// Begins a statement's entry in the journal.
    pub(super) fn journal(
        &self,
        seat: &mut Seat<'_>,
        effect: Effect,
        name: &str,
        target: Option<String>,
    ) -> u64 {
        let client = seat.session().map(|s| format!("{} ({})", s.program, s.host)).unwrap_or_default();
        let entry = Begun {
            server: seat.host,
            kind: JournalKind::Statement,
            effect,
            name,
            target,
            text: &self.text,
            client: &client,
        };
        seat.world.journal.begin(seat.world.now, entry)
    }

    /// Begins the entry of a statement that may change something.
    pub(super) fn journal_write(&self, seat: &mut Seat<'_>, t: &[Token]) -> u64 {
        let (name, target) = self.named(t).unwrap_or_default();
        let entry = self.journal(seat, Effect::Write, &name, target);
        seat.world.journal.with_parameters(entry, self.shown_variables());
        entry
    }
}
