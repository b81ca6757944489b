//! The T-SQL front end: a batch becomes a small program that can wait (for a RESTORE) and go on when the clock has moved.
//!
//! Control flow and the administrative statements are interpreted here; SELECT, INSERT, UPDATE and CREATE TABLE are rewritten
//! for SQLite, over tables that [`super::catalog`] fills from the world. What is not understood is error 50000 whose text
//! begins with "simulator:", never an empty result.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Restored, Running, backup, catalog};
use crate::world::World;
use crate::world::breakpoints::{Arrival, Moment};
use crate::world::journal::{Effect, Kind, Outcome};

/// How soon a batch that is held looks again whether it may go on.
const HELD: SignedDuration = SignedDuration::from_millis(5);

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
    fn simulator(what: impl std::fmt::Display) -> Self {
        SqlMessage::error(50000, 16, format!("simulator: {what}"))
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

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// Identifier or keyword, or `@variable`.
    Word(String),
    /// `[name]` or `"name"`.
    Name(String),
    /// `'text'` or `N'text'`.
    Text(String),
    /// Number.
    Number(String),
    /// Operator or punctuation.
    Sign(String),
}

impl Token {
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(w) if w.eq_ignore_ascii_case(word))
    }
    fn sign(&self, s: &str) -> bool {
        matches!(self, Token::Sign(t) if t == s)
    }
    pub(crate) fn ident(&self) -> Option<&str> {
        match self {
            Token::Word(w) | Token::Name(w) => Some(w),
            Token::Text(_) | Token::Number(_) | Token::Sign(_) => None,
        }
    }
}

/// Cuts a text into tokens.
pub fn tokens(text: &str) -> Result<Vec<Token>, SqlMessage> {
    let c: Vec<char> = text.chars().collect();
    let (mut i, mut out) = (0, Vec::new());
    let unclosed = || SqlMessage::error(105, 15, "Unclosed quotation mark after the character string.");
    let quoted = |from: usize, close: char| -> Result<(String, usize), SqlMessage> {
        let (mut s, mut j) = (String::new(), from);
        loop {
            match (c.get(j), c.get(j + 1)) {
                (Some(&x), Some(&y)) if x == close && y == close => {
                    s.push(close);
                    j += 2;
                }
                (Some(&x), _) if x == close => return Ok((s, j + 1)),
                (Some(&x), _) => {
                    s.push(x);
                    j += 1;
                }
                (None, _) => return Err(unclosed()),
            }
        }
    };
    while let Some(&ch) = c.get(i) {
        let next = c.get(i + 1).copied();
        match ch {
            _ if ch.is_whitespace() => i += 1,
            '-' if next == Some('-') => {
                while c.get(i).is_some_and(|x| *x != '\n') {
                    i += 1;
                }
            }
            '/' if next == Some('*') => {
                while i < c.len() && !(c.get(i) == Some(&'*') && c.get(i + 1) == Some(&'/')) {
                    i += 1;
                }
                i += 2;
            }
            '\'' => {
                let (s, j) = quoted(i + 1, '\'')?;
                out.push(Token::Text(s));
                i = j;
            }
            'N' | 'n' if next == Some('\'') => {
                let (s, j) = quoted(i + 2, '\'')?;
                out.push(Token::Text(s));
                i = j;
            }
            '[' | '"' => {
                let (s, j) = quoted(i + 1, if ch == '[' { ']' } else { '"' })?;
                out.push(Token::Name(s));
                i = j;
            }
            _ if ch.is_alphabetic() || matches!(ch, '_' | '@' | '#') => {
                let from = i;
                while c.get(i).is_some_and(|x| x.is_alphanumeric() || matches!(x, '_' | '@' | '#' | '$')) {
                    i += 1;
                }
                out.push(Token::Word(c[from..i].iter().collect()));
            }
            _ if ch.is_ascii_digit() => {
                let from = i;
                while c.get(i).is_some_and(|x| x.is_ascii_digit() || *x == '.') {
                    i += 1;
                }
                out.push(Token::Number(c[from..i].iter().collect()));
            }
            _ => {
                let pair: String = [Some(ch), next].into_iter().flatten().collect();
                if ["<>", "<=", ">=", "!=", "+="].contains(&pair.as_str()) {
                    out.push(Token::Sign(pair));
                    i += 2;
                } else {
                    out.push(Token::Sign(ch.into()));
                    i += 1;
                }
            }
        }
    }
    Ok(out)
}

#[derive(Clone, Debug)]
enum Op {
    Statement(Arc<[Token]>),
    /// A SELECT of 1 or 0, and where to go if it is not 1.
    JumpUnless(Arc<[Token]>, usize),
    Jump(usize),
    Try(usize),
    EndTry,
}

const STARTS: &[&str] = &[
    "BEGIN",
    "IF",
    "RAISERROR",
    "RETURN",
    "CREATE",
    "UPDATE",
    "INSERT",
    "DELETE",
    "EXEC",
    "EXECUTE",
    "SELECT",
    "RESTORE",
    "SET",
    "DECLARE",
    "ALTER",
    "KILL",
    "PRINT",
    "USE",
    "WAITFOR",
];

struct Parser {
    t: Vec<Token>,
    at: usize,
    ops: Vec<Op>,
}

impl Parser {
    fn peek(&self, word: &str) -> bool {
        self.t.get(self.at).is_some_and(|t| t.is(word))
    }
    fn peek2(&self, a: &str, b: &str) -> bool {
        self.peek(a) && self.t.get(self.at + 1).is_some_and(|t| t.is(b))
    }
    fn statement(&mut self) -> Result<(), SqlMessage> {
        while self.t.get(self.at).is_some_and(|t| t.sign(";")) {
            self.at += 1;
        }
        if self.peek2("BEGIN", "TRY") {
            self.at += 2;
            let try_at = self.ops.len();
            self.ops.push(Op::Try(0));
            self.block("TRY")?;
            self.ops.push(Op::EndTry);
            let jump = self.ops.len();
            self.ops.push(Op::Jump(0));
            self.ops[try_at] = Op::Try(self.ops.len());
            if !self.peek2("BEGIN", "CATCH") {
                return Err(SqlMessage::error(102, 15, "simulator: incorrect syntax near 'TRY'."));
            }
            self.at += 2;
            self.block("CATCH")?;
            self.ops[jump] = Op::Jump(self.ops.len());
        } else if self.peek("BEGIN") {
            self.at += 1;
            self.block("")?;
        } else if self.peek("IF") {
            self.at += 1;
            let condition = self.condition();
            let branch = self.ops.len();
            self.ops.push(Op::Jump(0));
            self.statement()?;
            while self.t.get(self.at).is_some_and(|t| t.sign(";")) {
                self.at += 1;
            }
            if self.peek("ELSE") {
                self.at += 1;
                let jump = self.ops.len();
                self.ops.push(Op::Jump(0));
                self.ops[branch] = Op::JumpUnless(condition, self.ops.len());
                self.statement()?;
                self.ops[jump] = Op::Jump(self.ops.len());
            } else {
                self.ops[branch] = Op::JumpUnless(condition, self.ops.len());
            }
        } else if self.at < self.t.len() {
            let from = self.at;
            let (mut depth, mut cases) = (0usize, 0usize);
            while let Some(t) = self.t.get(self.at) {
                match t {
                    t if t.sign("(") => depth += 1,
                    t if t.sign(")") => depth = depth.saturating_sub(1),
                    t if t.sign(";") && depth == 0 => break,
                    t if t.is("CASE") => cases += 1,
                    t if t.is("END") && cases > 0 => cases -= 1,
                    t if (t.is("END") || t.is("ELSE")) && depth == 0 && cases == 0 => break,
                    _ => {}
                }
                self.at += 1;
            }
            self.ops.push(Op::Statement(self.t[from..self.at].into()));
        }
        Ok(())
    }
    fn condition(&mut self) -> Arc<[Token]> {
        let (from, mut depth) = (self.at, 0usize);
        while let Some(t) = self.t.get(self.at) {
            if t.sign("(") {
                depth += 1;
            } else if t.sign(")") {
                depth = depth.saturating_sub(1);
            } else if depth == 0 && matches!(t, Token::Word(w) if STARTS.contains(&w.to_uppercase().as_str()))
            {
                break;
            }
            self.at += 1;
        }
        let mut select: Vec<Token> = ["SELECT", "CASE", "WHEN"].map(|w| Token::Word(w.into())).into();
        select.extend_from_slice(&self.t[from..self.at]);
        for word in ["THEN", "1", "ELSE", "0", "END"] {
            select.push(if word.len() == 1 { Token::Number(word.into()) } else { Token::Word(word.into()) });
        }
        select.into()
    }
    fn block(&mut self, kind: &str) -> Result<(), SqlMessage> {
        loop {
            while self.t.get(self.at).is_some_and(|t| t.sign(";")) {
                self.at += 1;
            }
            if self.peek("END") && (kind.is_empty() || self.peek2("END", kind)) {
                self.at += if kind.is_empty() { 1 } else { 2 };
                return Ok(());
            }
            if self.at >= self.t.len() {
                return Err(SqlMessage::error(
                    102,
                    15,
                    "simulator: incorrect syntax near the end of the batch.",
                ));
            }
            self.statement()?;
        }
    }
}

/// Most batches that are kept compiled.
const KEPT: usize = 1024;

thread_local! {
    static COMPILED: RefCell<HashMap<String, Arc<[Op]>>> = RefCell::default();
}

fn compile(text: &str) -> Result<Arc<[Op]>, SqlMessage> {
    if let Some(known) = COMPILED.with_borrow(|kept| kept.get(text).cloned()) {
        return Ok(known);
    }
    let new: Arc<[Op]> = compile_anew(text)?.into();
    COMPILED.with_borrow_mut(|kept| {
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(text.into(), new.clone());
    });
    Ok(new)
}

fn compile_anew(text: &str) -> Result<Vec<Op>, SqlMessage> {
    let mut p = Parser { t: tokens(text)?, at: 0, ops: Vec::new() };
    while p.at < p.t.len() {
        let before = p.at;
        p.statement()?;
        if p.at == before {
            return Err(SqlMessage::error(
                102,
                15,
                format!("simulator: incorrect syntax near {:?}.", p.t.get(before)),
            ));
        }
    }
    Ok(p.ops)
}

/// A batch in execution.
#[derive(Clone)]
pub struct Batch {
    ops: Arc<[Op]>,
    at: usize,
    variables: BTreeMap<String, Cell>,
    handlers: Vec<usize>,
    text: String,
    restoring: Option<Restoring>,
    /// The breakpoint that it is held at.
    hold: Option<u64>,
    /// The statement that was held before it was carried out: it is not held there again.
    passed: Option<usize>,
}

#[derive(Clone)]
enum Restoring {
    Log { path: String, set: Box<backup::BackupHeader> },
    Recovery,
    NoRecovery,
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
    if let Some(s) = world.sql.get_mut(host).and_then(|i| i.sessions.get_mut(&id)) {
        s.batch = Some(Batch::new(ops, variables, text.into()));
    }
    Ok(())
}

/// Lets a session's batch go on as far as it can.
pub fn step(world: &mut World, host: &str, id: u32, out: &mut Vec<Event>) -> Progress {
    let take = |w: &mut World| {
        w.sql.get_mut(host).and_then(|i| i.sessions.get_mut(&id)).and_then(|s| s.batch.take())
    };
    let Some(mut batch) = take(world) else { return Progress::Finished };
    let progress = batch.run(world, host, id, out);
    if let (Progress::Until(_), Some(s)) =
        (progress, world.sql.get_mut(host).and_then(|i| i.sessions.get_mut(&id)))
    {
        s.batch = Some(batch);
    }
    progress
}

impl Batch {
    fn new(ops: Arc<[Op]>, variables: BTreeMap<String, Cell>, text: String) -> Self {
        Batch { ops, at: 0, variables, handlers: Vec::new(), text, restoring: None, hold: None, passed: None }
    }

    /// The breakpoint that this batch is held at.
    pub fn hold(&self) -> Option<u64> {
        self.hold
    }

    /// Holds the batch at a statement if it is to be held there.
    fn held_at(&mut self, w: &mut World, host: &str, moment: Moment, statement: usize) -> bool {
        if !w.breakpoints.are_set() {
            return false;
        }
        let Some(Op::Statement(t)) = self.ops.get(statement) else { return false };
        let Some((name, target)) = self.named(t) else { return false };
        let arrival = Arrival { server: host.into(), name, target, parameters: self.shown_variables() };
        self.hold = w.breakpoints.ask(moment, &arrival);
        self.hold.is_some()
    }

    fn run(&mut self, w: &mut World, host: &str, id: u32, out: &mut Vec<Event>) -> Progress {
        if let Some(hold) = self.hold {
            if w.breakpoints.holds(hold) {
                return Progress::Until(w.now + HELD);
            }
            self.hold = None;
        }
        if let Some(running) = session(w, host, id).and_then(|s| s.running.clone()) {
            if w.now < running.ends {
                return Progress::Until(running.ends);
            }
            self.restored(w, host, id, running, out);
            if self.held_at(w, host, Moment::After, self.at - 1) {
                return Progress::Until(w.now + HELD);
            }
        }
        while let Some(op) = self.ops.get(self.at).cloned() {
            if self.passed != Some(self.at) && self.held_at(w, host, Moment::Before, self.at) {
                self.passed = Some(self.at);
                return Progress::Until(w.now + HELD);
            }
            self.at += 1;
            let statement = self.at - 1;
            let result = match op {
                Op::Jump(to) => {
                    self.at = to;
                    Ok(())
                }
                Op::Try(handler) => {
                    self.handlers.push(handler);
                    Ok(())
                }
                Op::EndTry => {
                    self.handlers.pop();
                    Ok(())
                }
                Op::JumpUnless(condition, to) => match self.condition(w, host, id, &condition) {
                    Ok(true) => Ok(()),
                    Ok(false) => {
                        self.at = to;
                        Ok(())
                    }
                    Err(e) => Err(vec![e]),
                },
                Op::Statement(t) => self.execute(w, host, id, &t, out),
            };
            let carried_out = result.is_ok();
            if let Err(errors) = result {
                match self.handlers.pop() {
                    Some(handler) => self.at = handler,
                    None => {
                        // A failed statement ends, its batch goes on, as in SQL Server. What does not even bind ends it.
                        let fatal = errors.iter().any(|e| {
                            matches!(e.number, 102 | 105 | 137 | 207 | 208 | 50000)
                                && e.message.starts_with("simulator")
                                || e.class >= 20
                        });
                        out.extend(errors.into_iter().map(Event::Error));
                        if fatal {
                            return Progress::Finished;
                        }
                    }
                }
            }
            if let Some(running) = session(w, host, id).and_then(|s| s.running.clone()) {
                return Progress::Until(running.ends);
            }
            if carried_out && self.held_at(w, host, Moment::After, statement) {
                return Progress::Until(w.now + HELD);
            }
        }
        Progress::Finished
    }

    /// Name and target, for the journal, of a statement that may change something.
    fn named(&self, t: &[Token]) -> Option<(String, Option<String>)> {
        let word = |i: usize| t.get(i).and_then(Token::ident).unwrap_or_default().to_uppercase();
        let first = word(0);
        match first.as_str() {
            "INSERT" | "UPDATE" | "DELETE" | "CREATE" => {
                let target = t
                    .iter()
                    .filter_map(Token::ident)
                    .find(|x| x.contains("persistent_chat") || x.starts_with("tbl"))
                    .map(str::to_string);
                Some((if first == "CREATE" { "CREATE TABLE".to_string() } else { first }, target))
            }
            "KILL" => match t.get(1) {
                Some(Token::Number(n)) => Some((first, Some(n.clone()))),
                _ => Some((first, None)),
            },
            "ALTER" => {
                let name = t.get(2).and_then(Token::ident).unwrap_or_default().to_string();
                Some((format!("ALTER {}", word(1)), Some(name)))
            }
            "RESTORE" if word(1) != "HEADERONLY" => {
                let verb = format!("RESTORE {}", self.value(t.get(1)).to_uppercase());
                match t.iter().position(|x| x.is("DISK")) {
                    Some(i) => Some((verb, Some(self.value(t.get(i + 2))))),
                    None if is_recovery(t) => {
                        Some((format!("{verb} WITH RECOVERY"), Some(self.value(t.get(2)))))
                    }
                    None => Some((format!("{verb} WITH NORECOVERY"), Some(self.value(t.get(2))))),
                }
            }
            "EXEC" | "EXECUTE" => {
                if let Some(text) = self.dynamic_text(t) {
                    // Dynamic SQL: by the first of its statements that may change something.
                    let ops = compile(&text).ok()?;
                    return ops.iter().find_map(|op| match op {
                        Op::Statement(inner) => self.named(inner),
                        Op::JumpUnless(..) | Op::Jump(_) | Op::Try(_) | Op::EndTry => None,
                    });
                }
                let (name, rest) = procedure(t);
                let argument = match name.as_str() {
                    "sp_update_job" | "sp_stop_job" => "@job_id",
                    "sp_delete_log_shipping_secondary_database" => "@secondary_database",
                    _ => return None,
                };
                let target = match self.argument(rest, argument) {
                    Some(Cell::Text(s)) => s,
                    Some(Cell::Int(n)) => n.to_string(),
                    _ => String::new(),
                };
                Some((format!("EXEC {name}"), Some(target)))
            }
            _ => None,
        }
    }

    /// The text of `EXEC (@text)` or `sp_executesql`.
    fn dynamic_text(&self, t: &[Token]) -> Option<String> {
        if t.get(1).is_some_and(|x| x.sign("(")) {
            return match t.get(2) {
                Some(Token::Word(v)) => match self.variables.get(&v.to_lowercase()) {
                    Some(Cell::Text(s)) => Some(s.clone()),
                    _ => None,
                },
                Some(Token::Text(s)) => Some(s.clone()),
                _ => None,
            };
        }
        let (name, rest) = procedure(t);
        if name != "sp_executesql" {
            return None;
        }
        rest.iter().find_map(|x| if let Token::Text(s) = x { Some(s.clone()) } else { None })
    }

    fn shown_variables(&self) -> BTreeMap<String, String> {
        let shown = |c: &Cell| match c {
            Cell::Null => None,
            Cell::Int(n) | Cell::Lsn(n) => Some(n.to_string()),
            Cell::Bit(b) => Some(b.to_string()),
            Cell::Float(f) => Some(f.to_string()),
            Cell::Text(s) | Cell::Guid(s) | Cell::Time(s) => Some(s.clone()),
        };
        self.variables.iter().filter_map(|(n, c)| shown(c).map(|c| (n.clone(), c))).collect()
    }

    fn execute(
        &mut self,
        w: &mut World,
        host: &str,
        id: u32,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<(), Vec<SqlMessage>> {
        let first = t.first().and_then(Token::ident).unwrap_or_default().to_uppercase();
        let second = t.get(1).and_then(Token::ident).unwrap_or_default().to_uppercase();
        let one = |r: Result<(), SqlMessage>| r.map_err(|e| vec![e]);
        match first.as_str() {
            "SET" => one(self.set(w, host, id, t)),
            "DECLARE" => {
                for (i, token) in t.iter().enumerate() {
                    if let Token::Word(name) = token
                        && name.starts_with('@')
                    {
                        self.variables.insert(name.to_lowercase(), Cell::Null);
                        if let Some(eq) = t.get(i + 1..).and_then(|r| r.iter().position(|x| x.sign("="))) {
                            let value = self.scalar(w, host, id, &t[i + 2 + eq..]).map_err(|e| vec![e])?;
                            self.variables.insert(name.to_lowercase(), value);
                            break;
                        }
                    }
                }
                Ok(())
            }
            "USE" => {
                let name = t.get(1).and_then(Token::ident).unwrap_or_default().to_lowercase();
                if let Some(s) = session_mut(w, host, id) {
                    s.database = name;
                }
                Ok(())
            }
            "PRINT" => Ok(()),
            "RETURN" => {
                self.at = self.ops.len();
                Ok(())
            }
            "RAISERROR" => {
                let text = t
                    .iter()
                    .find_map(|x| if let Token::Text(s) = x { Some(s.clone()) } else { None })
                    .unwrap_or_default();
                let numbers: Vec<u8> = t
                    .iter()
                    .filter_map(|x| if let Token::Number(n) = x { n.parse().ok() } else { None })
                    .collect();
                let mut e = SqlMessage::error(50000, numbers.first().copied().unwrap_or(16), text);
                e.state = numbers.get(1).copied().unwrap_or(1);
                Err(vec![e])
            }
            "SELECT" => self.select(w, host, id, t, out),
            "INSERT" | "UPDATE" | "DELETE" | "CREATE" => {
                let seq = self.journal_write(w, host, id, t);
                let result = catalog::change(w, host, id, t, &self.variables);
                finish(w, seq, result.as_ref().err());
                out.push(Event::Count(result.map_err(|e| vec![e])?));
                Ok(())
            }
            "EXEC" | "EXECUTE" => self.exec(w, host, id, t, out),
            "KILL" => {
                let n = t
                    .get(1)
                    .and_then(|x| if let Token::Number(n) = x { n.parse::<u32>().ok() } else { None })
                    .unwrap_or(0);
                let seq = self.journal_write(w, host, id, t);
                let found = w.sql.get_mut(host).and_then(|i| i.sessions.get_mut(&n)).map(|s| s.killed = true);
                finish(w, seq, None);
                found.ok_or_else(|| {
                    vec![SqlMessage::error(6106, 16, format!("Process ID {n} is not an active process ID."))]
                })
            }
            "ALTER" => one(self.alter(w, host, id, t)),
            "RESTORE" if second == "HEADERONLY" => self.headers(w, host, id, t, out),
            "RESTORE" => self.restore(w, host, id, t),
            _ => Err(vec![SqlMessage::simulator(format!("does not know the statement {first} {second}"))]),
        }
    }

    fn journal(
        &self,
        w: &mut World,
        host: &str,
        id: u32,
        effect: Effect,
        name: &str,
        target: Option<String>,
    ) -> u64 {
        let client = session(w, host, id).map(|s| format!("{} ({})", s.program, s.host)).unwrap_or_default();
        let now = w.now;
        w.journal.begin(now, host, Kind::Statement, effect, name, target, &self.text, &client)
    }

    /// Begins the entry of a statement that may change something.
    fn journal_write(&self, w: &mut World, host: &str, id: u32, t: &[Token]) -> u64 {
        let (name, target) = self.named(t).unwrap_or_default();
        let seq = self.journal(w, host, id, Effect::Write, &name, target);
        w.journal.with_parameters(seq, self.shown_variables());
        seq
    }

    fn set(&mut self, w: &mut World, host: &str, id: u32, t: &[Token]) -> Result<(), SqlMessage> {
        match t.get(1) {
            Some(Token::Word(v)) if v.starts_with('@') => {
                let value = self.scalar(w, host, id, t.get(3..).unwrap_or_default())?;
                self.variables.insert(v.to_lowercase(), value);
                Ok(())
            }
            // Options of the session change nothing here.
            _ => Ok(()),
        }
    }

    fn scalar(&self, w: &mut World, host: &str, id: u32, t: &[Token]) -> Result<Cell, SqlMessage> {
        let mut select = vec![Token::Word("SELECT".into())];
        select.extend_from_slice(t);
        let (_, rows) = catalog::select(w, host, id, &select, &self.variables)?;
        Ok(rows.into_iter().next().and_then(|r| r.into_iter().next()).unwrap_or(Cell::Null))
    }

    fn condition(&self, w: &mut World, host: &str, id: u32, select: &[Token]) -> Result<bool, SqlMessage> {
        let (_, rows) = catalog::select(w, host, id, select, &self.variables)?;
        Ok(rows.first().and_then(|r| r.first()) == Some(&Cell::Int(1)))
    }

    fn select(
        &mut self,
        w: &mut World,
        host: &str,
        id: u32,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<(), Vec<SqlMessage>> {
        // SELECT @v = expression …: an assignment for every row.
        if let (Some(Token::Word(v)), true) = (t.get(1), t.get(2).is_some_and(|x| x.sign("=")))
            && v.starts_with('@')
        {
            let from = t.iter().position(|x| x.is("FROM")).unwrap_or(t.len());
            let (expression, rest) = (&t[3..from], &t[from..]);
            // Each row appends to what the rows before it made: the part after the variable itself.
            let own =
                expression.first().is_some_and(|x| x.ident().is_some_and(|n| n.eq_ignore_ascii_case(v)));
            let part = if own { expression.get(2..).unwrap_or_default() } else { expression };
            let mut query = vec![Token::Word("SELECT".into())];
            query.extend_from_slice(part);
            query.extend_from_slice(rest);
            let (_, rows) = catalog::select(w, host, id, &query, &self.variables).map_err(|e| vec![e])?;
            let mut text = match self.variables.get(&v.to_lowercase()) {
                Some(Cell::Text(s)) if own => s.clone(),
                _ => String::new(),
            };
            for row in rows {
                if let Some(Cell::Text(s)) = row.into_iter().next() {
                    text.push_str(&s);
                }
            }
            self.variables.insert(v.to_lowercase(), Cell::Text(text));
            return Ok(());
        }
        let (columns, rows) = catalog::select(w, host, id, t, &self.variables).map_err(|e| vec![e])?;
        out.push(Event::Rows { columns, rows });
        Ok(())
    }

    fn argument(&self, t: &[Token], name: &str) -> Option<Cell> {
        let at = t.iter().position(|x| x.is(name))?;
        match t.get(at + 2)? {
            Token::Word(v) if v.starts_with('@') => self.variables.get(&v.to_lowercase()).cloned(),
            Token::Text(s) | Token::Word(s) | Token::Name(s) => Some(Cell::Text(s.clone())),
            Token::Number(n) => n.parse().ok().map(Cell::Int),
            Token::Sign(_) => None,
        }
    }

    fn exec(
        &mut self,
        w: &mut World,
        host: &str,
        id: u32,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<(), Vec<SqlMessage>> {
        // EXEC (@text), sp_executesql: dynamic SQL, statement by statement in this same session.
        let (name, rest) = procedure(t);
        if t.get(1).is_some_and(|x| x.sign("(")) || name == "sp_executesql" {
            return self.dynamic(w, host, id, self.dynamic_text(t), out);
        }
        let into = match (t.get(1), t.get(2)) {
            (Some(Token::Word(v)), Some(s)) if v.starts_with('@') && s.sign("=") => Some(v.to_lowercase()),
            _ => None,
        };
        let text = |c: Option<Cell>| match c {
            Some(Cell::Text(s)) => s,
            Some(Cell::Int(n)) => n.to_string(),
            _ => String::new(),
        };
        let result = match name.as_str() {
            "sp_getapplock" => {
                let resource = text(self.argument(rest, "@Resource"));
                let i = w.sql.get_mut(host).ok_or_else(|| vec![SqlMessage::simulator("no instance")])?;
                match i.locks.get(&resource) {
                    Some(holder) if *holder != id => -1,
                    Some(_) | None => {
                        i.locks.insert(resource, id);
                        0
                    }
                }
            }
            "sp_releaseapplock" => {
                let resource = text(self.argument(rest, "@Resource"));
                if let Some(i) = w.sql.get_mut(host) {
                    i.locks.retain(|r, holder| !(*r == resource && *holder == id));
                }
                0
            }
            "sp_update_job" | "sp_stop_job" => {
                let job = text(self.argument(rest, "@job_id"));
                let seq = self.journal_write(w, host, id, t);
                let found = w
                    .sql
                    .get_mut(host)
                    .and_then(|i| i.jobs.iter_mut().find(|j| j.id.eq_ignore_ascii_case(&job)));
                let result = match found {
                    Some(j) if name == "sp_update_job" => {
                        j.enabled = false;
                        Ok(())
                    }
                    Some(j) => {
                        j.hangs = false;
                        Ok(())
                    }
                    None => Err(SqlMessage::error(
                        14262,
                        16,
                        format!("The specified @job_id ('{job}') does not exist."),
                    )),
                };
                finish(w, seq, result.as_ref().err());
                result.map_err(|e| vec![e])?;
                0
            }
            "sp_delete_log_shipping_secondary_database" => {
                let database = text(self.argument(rest, "@secondary_database"));
                let seq = self.journal_write(w, host, id, t);
                let i = w.sql.get_mut(host).ok_or_else(|| vec![SqlMessage::simulator("no instance")])?;
                let gone: Vec<_> = i
                    .log_shipping
                    .iter()
                    .filter(|l| l.database.eq_ignore_ascii_case(&database))
                    .cloned()
                    .collect();
                let result = if gone.is_empty() {
                    Err(SqlMessage::error(
                        32014,
                        16,
                        format!("Database {database} does not exist as log shipping secondary."),
                    ))
                } else {
                    i.log_shipping.retain(|l| !l.database.eq_ignore_ascii_case(&database));
                    i.jobs.retain(|j| !gone.iter().any(|l| l.copy_job == j.id || l.restore_job == j.id));
                    Ok(())
                };
                finish(w, seq, result.as_ref().err());
                result.map_err(|e| vec![e])?;
                0
            }
            other => {
                return Err(vec![SqlMessage::error(
                    2812,
                    16,
                    format!("simulator: does not know the stored procedure '{other}'."),
                )]);
            }
        };
        if let Some(v) = into {
            self.variables.insert(v, Cell::Int(result));
        }
        Ok(())
    }

    fn dynamic(
        &mut self,
        w: &mut World,
        host: &str,
        id: u32,
        text: Option<String>,
        out: &mut Vec<Event>,
    ) -> Result<(), Vec<SqlMessage>> {
        let Some(text) = text else { return Ok(()) };
        let ops = compile(&text).map_err(|e| vec![e])?;
        // It is held as a whole, by the statement that it stands in.
        let mut inner = Batch::new(ops, self.variables.clone(), text);
        let set = std::mem::take(&mut w.breakpoints);
        let progress = inner.run(w, host, id, out);
        w.breakpoints = set;
        match progress {
            Progress::Finished => Ok(()),
            Progress::Until(_) => Err(vec![SqlMessage::simulator("a RESTORE inside of dynamic SQL")]),
        }
    }

    fn alter(&mut self, w: &mut World, host: &str, id: u32, t: &[Token]) -> Result<(), SqlMessage> {
        let subject = t.get(1).and_then(Token::ident).unwrap_or_default().to_uppercase();
        let name = t.get(2).and_then(Token::ident).unwrap_or_default().to_string();
        let seq = self.journal_write(w, host, id, t);
        let current = w.scenario.database.to_lowercase();
        let db = w.sql.get_mut(host).and_then(|i| {
            let key = if subject == "DATABASE" { name.to_lowercase() } else { current };
            i.databases.get_mut(&key)
        });
        let result = match (subject.as_str(), db) {
            ("DATABASE", Some(db)) if t.iter().any(|x| x.is("MULTI_USER")) => {
                if db.is_live() {
                    db.user_access = 0;
                    Ok(())
                } else {
                    Err(SqlMessage::error(
                        5052,
                        16,
                        "ALTER DATABASE is not permitted while a database is in the Restoring state.",
                    ))
                }
            }
            ("USER", Some(db)) => match db.users.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(&name)) {
                Some(user) => {
                    user.1 = true;
                    Ok(())
                }
                None => Err(SqlMessage::error(
                    15151,
                    16,
                    format!("Cannot alter the user '{name}', because it does not exist."),
                )),
            },
            ("DATABASE", None) => {
                Err(SqlMessage::error(911, 16, format!("Database '{name}' does not exist.")))
            }
            _ => Err(SqlMessage::simulator(format!("does not know this ALTER {subject}"))),
        };
        finish(w, seq, result.as_ref().err());
        result
    }

    fn value(&self, token: Option<&Token>) -> String {
        match token {
            Some(Token::Word(v)) if v.starts_with('@') => match self.variables.get(&v.to_lowercase()) {
                Some(Cell::Text(s)) => s.clone(),
                Some(Cell::Int(n)) => n.to_string(),
                _ => String::new(),
            },
            Some(Token::Word(s) | Token::Name(s) | Token::Text(s) | Token::Number(s) | Token::Sign(s)) => {
                s.clone()
            }
            None => String::new(),
        }
    }

    fn headers(
        &mut self,
        w: &mut World,
        host: &str,
        id: u32,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<(), Vec<SqlMessage>> {
        let path = self.value(t.iter().position(|x| x.sign("=")).and_then(|i| t.get(i + 1)));
        let seq = self.journal(w, host, id, Effect::Read, "RESTORE HEADERONLY", Some(path.clone()));
        match backup::read(w.files.as_ref(), &path) {
            Ok(h) => {
                finish(w, seq, None);
                out.push(catalog::header_row(&h));
                Ok(())
            }
            Err(e) => {
                finish(w, seq, Some(&e));
                Err(vec![e, SqlMessage::error(3013, 16, "RESTORE HEADERONLY is terminating abnormally.")])
            }
        }
    }

    fn restore(&mut self, w: &mut World, host: &str, id: u32, t: &[Token]) -> Result<(), Vec<SqlMessage>> {
        let verb = format!("RESTORE {}", self.value(t.get(1)).to_uppercase());
        let database = self.value(t.get(2));
        let key = database.to_lowercase();
        let path = t.iter().position(|x| x.is("DISK")).map(|i| self.value(t.get(i + 2)));
        let recovery = is_recovery(t);
        let seq = self.journal_write(w, host, id, t);
        let fail = |w: &mut World, e: SqlMessage| {
            finish(w, seq, Some(&e));
            Err(vec![e, SqlMessage::error(3013, 16, format!("{verb} is terminating abnormally."))])
        };
        let busy = w.sql.get(host).is_some_and(|i| {
            i.sessions.iter().any(|(sid, s)| {
                *sid != id && (s.database == key || s.running.as_ref().is_some_and(|r| r.database == key))
            })
        });
        let Some(db) = w.sql.get(host).and_then(|i| i.databases.get(&key)).cloned() else {
            return fail(
                w,
                SqlMessage::error(3118, 16, format!("The database \"{database}\" does not exist.")),
            );
        };
        if w.sql.get(host).is_some_and(|i| i.disk_full) {
            return fail(
                w,
                SqlMessage::error(
                    3257,
                    16,
                    "There is insufficient free space on disk volume 'D:\\' to create the database. Operating system error 112(There is not enough space on the disk.).",
                ),
            );
        }
        let work = match &path {
            Some(path) => match backup::verify(w.files.as_ref(), path) {
                Err(e) => return fail(w, e),
                Ok(set) => {
                    if !set.family.eq_ignore_ascii_case(&db.family) {
                        return fail(
                            w,
                            SqlMessage::error(
                                3154,
                                16,
                                format!(
                                    "The backup set holds a backup of a database other than the existing '{database}' database."
                                ),
                            ),
                        );
                    }
                    if busy {
                        return fail(
                            w,
                            SqlMessage::error(
                                3101,
                                16,
                                "Exclusive access could not be obtained because the database is in use.",
                            ),
                        );
                    }
                    let Some((lsn, fork)) = db.redo.clone() else {
                        return fail(
                            w,
                            SqlMessage::error(
                                3117,
                                16,
                                "The log or differential backup cannot be restored because no files are ready to rollforward.",
                            ),
                        );
                    };
                    if set.last_lsn <= lsn {
                        return fail(
                            w,
                            SqlMessage::error(
                                4326,
                                16,
                                format!(
                                    "The log in this backup set terminates at LSN {}, which is too early to apply to the database. A more recent log backup that includes LSN {lsn} can be restored.",
                                    set.last_lsn
                                ),
                            ),
                        );
                    }
                    if set.first_lsn > lsn {
                        return fail(
                            w,
                            SqlMessage::error(
                                4305,
                                16,
                                format!(
                                    "The log in this backup set begins at LSN {}, which is too recent to apply to the database. An earlier log backup that includes LSN {lsn} can be restored.",
                                    set.first_lsn
                                ),
                            ),
                        );
                    }
                    if !set.first_fork.eq_ignore_ascii_case(&fork) {
                        return fail(
                            w,
                            SqlMessage::error(
                                4330,
                                16,
                                "This backup set cannot be applied because it is on a recovery path that is inconsistent with the database.",
                            ),
                        );
                    }
                    let file = crate::world::files::split(path).1.to_lowercase();
                    if db.interrupted.as_ref().is_some_and(|f| *f != file) {
                        return fail(
                            w,
                            SqlMessage::error(
                                4319,
                                16,
                                "A previous restore operation was interrupted and did not complete processing on file 'mgc'. Either restore the backup set that was interrupted or restart the restore sequence.",
                            ),
                        );
                    }
                    Restoring::Log { path: path.clone(), set: Box::new(set) }
                }
            },
            None if busy => {
                return fail(
                    w,
                    SqlMessage::error(
                        3101,
                        16,
                        "Exclusive access could not be obtained because the database is in use.",
                    ),
                );
            }
            None if recovery && db.is_live() => {
                let mut e = SqlMessage::error(3153, 16, "The database is already fully recovered.");
                e.state = 2;
                return fail(w, e);
            }
            None if recovery => Restoring::Recovery,
            None => Restoring::NoRecovery,
        };
        let takes = match &work {
            Restoring::Log { .. } => w.scenario.restore_ms,
            Restoring::Recovery => w.scenario.recovery_ms,
            Restoring::NoRecovery => 50,
        };
        let file = match &work {
            Restoring::Log { path, .. } => Some(crate::world::files::split(path).1.to_lowercase()),
            Restoring::Recovery | Restoring::NoRecovery => None,
        };
        self.restoring = Some(work);
        let began = w.now;
        let ends = began + SignedDuration::from_millis(i64::try_from(takes).unwrap_or(0));
        if let Some(s) = session_mut(w, host, id) {
            s.running = Some(Running { command: verb, began, ends, journal: seq, database: key, file });
        }
        Ok(())
    }

    fn restored(&mut self, w: &mut World, host: &str, id: u32, running: Running, out: &mut Vec<Event>) {
        if let Some(s) = session_mut(w, host, id) {
            s.running = None;
        }
        let now = w.now;
        match self.restoring.take() {
            Some(Restoring::Log { path, set }) => {
                if let Some(i) = w.sql.get_mut(host)
                    && let Some(db) = i.databases.get_mut(&running.database)
                {
                    db.redo = Some((set.last_lsn, set.last_fork.clone()));
                    db.interrupted = None;
                    db.newest_message = Some(set.start - SignedDuration::from_secs(20));
                    let name = db.name.clone();
                    i.restore_history.push(Restored { at: now, database: name, set: *set, path });
                }
            }
            Some(Restoring::Recovery) => {
                if let Err(e) = super::recover(w, host, &running.database) {
                    out.push(Event::Error(SqlMessage::simulator(e)));
                }
            }
            Some(Restoring::NoRecovery) => {
                if let Some(db) = w.sql.get_mut(host).and_then(|i| i.databases.get_mut(&running.database)) {
                    db.state = 1;
                    db.standby = false;
                    db.read_only = false;
                }
            }
            None => {}
        }
        w.journal.end(running.journal, now, Outcome::Ok);
        out.push(Event::Info(SqlMessage {
            number: 3014,
            class: 0,
            state: 1,
            message: format!("{} successfully processed 0 pages.", running.command),
        }));
    }
}

/// Name of the procedure of an EXEC, without its schema, and what follows EXEC (and `@rc =`).
fn procedure(t: &[Token]) -> (String, &[Token]) {
    let rest = match (t.get(1), t.get(2)) {
        (Some(Token::Word(v)), Some(s)) if v.starts_with('@') && s.sign("=") => t.get(3..),
        _ => t.get(1..),
    }
    .unwrap_or_default();
    let length = rest
        .iter()
        .step_by(2)
        .zip(rest.iter().skip(1).step_by(2))
        .take_while(|(_, dot)| dot.sign("."))
        .count();
    (rest.get(length * 2).and_then(Token::ident).unwrap_or_default().to_lowercase(), rest)
}

fn is_recovery(t: &[Token]) -> bool {
    !t.iter().any(|x| x.is("NORECOVERY") || x.is("STANDBY"))
}

fn finish(w: &mut World, seq: u64, error: Option<&SqlMessage>) {
    let now = w.now;
    let outcome = error.map_or(Outcome::Ok, |e| Outcome::Failed(format!("{}: {}", e.number, e.message)));
    w.journal.end(seq, now, outcome);
}

fn session<'a>(w: &'a World, host: &str, id: u32) -> Option<&'a super::Session> {
    w.sql.get(host).and_then(|i| i.sessions.get(&id))
}

fn session_mut<'a>(w: &'a mut World, host: &str, id: u32) -> Option<&'a mut super::Session> {
    w.sql.get_mut(host).and_then(|i| i.sessions.get_mut(&id))
}
