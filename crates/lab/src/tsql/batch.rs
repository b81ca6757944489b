//! A batch in execution: it goes on until it has ended, is held, or waits for a RESTORE.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Seat;
use super::compile::{Op, compile};
use super::lexer::Token;
use super::restore::Restoring;
use super::values::{Cell, Errors, Event, SqlMessage};
use crate::sql::catalog;
use crate::world::World;
use crate::world::breakpoints::{Arrival, Moment};
use crate::world::journal::{Begun, Effect, Kind};

/// The variable that `@@ERROR` is for the engine that answers SELECT.
pub(crate) const ERROR: &str = "@last_error__";

/// How soon a batch that is held looks again whether it may go on.
const HELD: SignedDuration = SignedDuration::from_millis(5);

/// A batch in execution.
#[derive(Clone)]
pub struct Batch {
    ops: Arc<[Op]>,
    at: usize,
    pub(super) variables: BTreeMap<String, Cell>,
    handlers: Vec<usize>,
    text: String,
    pub(super) restoring: Option<Restoring>,
    /// The breakpoint that it is held at.
    hold: Option<u64>,
    /// The statement that was held before it was carried out: it is not held there again.
    passed: Option<usize>,
    /// `@@ERROR` that dynamic SQL in the statement at work has left.
    inner: Option<u32>,
}

/// Whether a batch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has.
    Finished,
    /// It goes on when the world's clock has reached this moment.
    Until(Timestamp),
}

/// Begins a batch in a session.
pub fn begin(
    world: &mut World,
    host: &str,
    id: u32,
    text: &str,
    parameters: Vec<(String, Cell)>,
) -> Result<(), SqlMessage> {
    let ops = compile(text)?;
    let variables = parameters.into_iter().map(|(n, v)| (n.to_lowercase(), v)).collect();
    if let Some(s) = (Seat { world, host, id }).session_mut() {
        s.batch = Some(Batch::new(ops, variables, text.into()));
    }
    Ok(())
}

/// Lets a session's batch go on as far as it can.
pub fn step(world: &mut World, host: &str, id: u32, out: &mut Vec<Event>) -> Progress {
    let mut seat = Seat { world, host, id };
    let Some(mut batch) = seat.session_mut().and_then(|s| s.batch.take()) else { return Progress::Finished };
    let progress = batch.run(&mut seat, out);
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
            handlers: Vec::new(),
            text,
            restoring: None,
            hold: None,
            passed: None,
            inner: None,
        };
        batch.ended_with(0);
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
        let Some(Op::Statement(t)) = self.ops.get(statement) else { return false };
        let Some((name, target)) = self.named(t) else { return false };
        let arrival = Arrival { server: host.into(), name, target, parameters: self.shown_variables() };
        self.hold = world.breakpoints.ask(moment, &arrival);
        self.hold.is_some()
    }

    fn run(&mut self, seat: &mut Seat<'_>, out: &mut Vec<Event>) -> Progress {
        let held = |seat: &Seat<'_>| Progress::Until(seat.world.now + HELD);
        if let Some(hold) = self.hold {
            if seat.world.breakpoints.holds(hold) {
                return held(seat);
            }
            self.hold = None;
        }
        if let Some(running) = seat.session().and_then(|s| s.running.clone()) {
            if seat.world.now < running.ends {
                return Progress::Until(running.ends);
            }
            self.restored(seat, running, out);
            if self.held_at(seat.world, seat.host, Moment::After, self.at - 1) {
                return held(seat);
            }
        }
        while let Some(op) = self.ops.get(self.at).cloned() {
            let statement = self.at;
            if self.passed != Some(statement)
                && self.held_at(seat.world, seat.host, Moment::Before, statement)
            {
                self.passed = Some(statement);
                return held(seat);
            }
            self.at += 1;
            let result = self.carry_out(seat, &op, out);
            let carried_out = result.is_ok();
            let inner = self.inner.take().unwrap_or(0);
            self.ended_with(
                result.as_ref().err().and_then(|errors| errors.last()).map_or(inner, |e| e.number),
            );
            if let Err(errors) = result
                && self.failed(errors, out)
            {
                return Progress::Finished;
            }
            if let Some(ends) = seat.session().and_then(|s| s.running.as_ref()).map(|r| r.ends) {
                return Progress::Until(ends);
            }
            if carried_out && self.held_at(seat.world, seat.host, Moment::After, statement) {
                return held(seat);
            }
        }
        Progress::Finished
    }

    fn carry_out(&mut self, seat: &mut Seat<'_>, op: &Op, out: &mut Vec<Event>) -> Result<(), Errors> {
        match op {
            Op::Jump(to) => self.at = *to,
            Op::Try(handler) => self.handlers.push(*handler),
            Op::EndTry => _ = self.handlers.pop(),
            Op::JumpUnless(condition, to) => {
                let (_, rows) = catalog::select(seat, condition, &self.variables)?;
                if rows.first().and_then(|r| r.first()) != Some(&Cell::Int(1)) {
                    self.at = *to;
                }
            }
            Op::Statement(t) => return self.execute(seat, t, out),
        }
        Ok(())
    }

    /// Sets `@@ERROR`: each statement does, to 0 where it was carried out.
    fn ended_with(&mut self, number: u32) {
        self.variables.insert(ERROR.into(), Cell::Int(number.into()));
    }

    /// A statement has failed: whether its batch ends with it.
    fn failed(&mut self, errors: Errors, out: &mut Vec<Event>) -> bool {
        if let Some(handler) = self.handlers.pop() {
            self.at = handler;
            return false;
        }
        // A failed statement ends, its batch goes on, as in SQL Server. What does not even bind ends it.
        let fatal = errors.iter().any(|e| {
            matches!(e.number, 102 | 105 | 137 | 207 | 208 | 50000) && e.message.starts_with("simulator")
                || e.class >= 20
        });
        out.extend(errors.into_iter().map(Event::Error));
        fatal
    }

    fn execute(&mut self, seat: &mut Seat<'_>, t: &[Token], out: &mut Vec<Event>) -> Result<(), Errors> {
        let word = |n: usize| t.get(n).and_then(Token::ident).unwrap_or_default().to_uppercase();
        let (first, second) = (word(0), word(1));
        match first.as_str() {
            "SET" => Ok(self.set(seat, t)?),
            "DECLARE" => Ok(self.declare(seat, t)?),
            "USE" => {
                let name = t.get(1).and_then(Token::ident).unwrap_or_default().to_lowercase();
                if let Some(s) = seat.session_mut() {
                    s.database = name;
                }
                Ok(())
            }
            "PRINT" => Ok(()),
            "RETURN" => {
                self.at = self.ops.len();
                Ok(())
            }
            "RAISERROR" => Err(raised(t).into()),
            "SELECT" => Ok(self.select(seat, t, out)?),
            "INSERT" | "UPDATE" | "DELETE" | "CREATE" => {
                let entry = self.journal_write(seat, t);
                let result = catalog::change(seat, t, &self.variables);
                out.push(Event::Count(seat.finish(entry, result)?));
                Ok(())
            }
            "EXEC" | "EXECUTE" => self.exec(seat, t, out),
            "KILL" => Ok(self.kill(seat, t)?),
            "ALTER" => self.alter(seat, t),
            "RESTORE" if second == "HEADERONLY" => self.headers(seat, t, out),
            "RESTORE" => self.restore(seat, t),
            _ => Err(SqlMessage::simulator(format!("does not know the statement {first} {second}")).into()),
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
        let set = std::mem::take(&mut seat.world.breakpoints);
        let progress = inner.run(seat, out);
        seat.world.breakpoints = set;
        match progress {
            Progress::Finished => {
                let error = match inner.variables.get(ERROR) {
                    Some(Cell::Int(n)) => u32::try_from(*n).unwrap_or(0),
                    Some(_) | None => 0,
                };
                self.inner = Some(error);
                Ok(error)
            }
            Progress::Until(_) => Err(SqlMessage::simulator("a RESTORE inside of dynamic SQL").into()),
        }
    }

    /// Whether the statement at work stands in a TRY.
    pub(super) fn in_try(&self) -> bool {
        !self.handlers.is_empty()
    }

    pub(super) fn shown_variables(&self) -> BTreeMap<String, String> {
        let clients = self.variables.iter().filter(|(n, _)| n.as_str() != ERROR);
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
            kind: Kind::Statement,
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

/// The error of a RAISERROR: its text, severity and state.
fn raised(t: &[Token]) -> SqlMessage {
    let text = t.iter().find_map(|x| if let Token::Text(s) = x { Some(s.clone()) } else { None });
    let numbers: Vec<u8> =
        t.iter().filter_map(|x| if let Token::Number(n) = x { n.parse().ok() } else { None }).collect();
    let class = numbers.first().copied().unwrap_or(16);
    let state = numbers.get(1).copied().unwrap_or(1);
    SqlMessage { state, ..SqlMessage::error(50000, class, text.unwrap_or_default()) }
}
