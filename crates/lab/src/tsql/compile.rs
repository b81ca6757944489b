//! Makes a small program of a batch: statements, jumps, handlers. It can be left between any two statements and gone on with.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::lexer::{Token, cut};
use super::values::SqlMessage;

/// One instruction of a compiled batch.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A statement, and the line that it begins on.
    Statement(Arc<[Token]>, u32),
    /// A SELECT of 1 or 0, and where to go if it is not 1.
    JumpUnless(Arc<[Token]>, usize),
    /// Go on there.
    Jump(usize),
    /// What follows is in a TRY whose CATCH begins there.
    Try(usize),
    /// The innermost TRY has ended.
    EndTry,
    /// A CATCH begins.
    Catch,
    /// A CATCH has ended.
    EndCatch,
}

/// Words that begin a statement, and so end the condition before it.
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
    "ROLLBACK",
    "COMMIT",
    "THROW",
    "BACKUP",
];

struct Parser {
    t: Vec<Token>,
    lines: Vec<u32>,
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
    fn skip_semicolons(&mut self) {
        while self.t.get(self.at).is_some_and(|t| t.sign(";")) {
            self.at += 1;
        }
    }

    fn statement(&mut self) -> Result<(), SqlMessage> {
        self.skip_semicolons();
        if self.peek2("BEGIN", "TRY") {
            self.at += 2;
            self.try_and_catch()
        } else if self.peek("BEGIN") && !self.peek2("BEGIN", "TRAN") && !self.peek2("BEGIN", "TRANSACTION") {
            self.at += 1;
            self.block("")
        } else if self.peek("IF") {
            self.at += 1;
            self.branches()
        } else {
            self.plain()
        }
    }

    fn try_and_catch(&mut self) -> Result<(), SqlMessage> {
        let try_at = self.ops.len();
        self.ops.push(Op::Try(0));
        self.block("TRY")?;
        self.ops.push(Op::EndTry);
        let jump = self.ops.len();
        self.ops.push(Op::Jump(0));
        self.ops[try_at] = Op::Try(self.ops.len());
        if !self.peek2("BEGIN", "CATCH") {
            return Err(incorrect("TRY"));
        }
        self.at += 2;
        self.ops.push(Op::Catch);
        self.block("CATCH")?;
        self.ops.push(Op::EndCatch);
        self.ops[jump] = Op::Jump(self.ops.len());
        Ok(())
    }

    fn branches(&mut self) -> Result<(), SqlMessage> {
        let condition = self.condition();
        let branch = self.ops.len();
        self.ops.push(Op::Jump(0));
        self.statement()?;
        self.skip_semicolons();
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
        Ok(())
    }

    /// A statement without others in it: up to its semicolon, or to the END or ELSE that is not its own.
    fn plain(&mut self) -> Result<(), SqlMessage> {
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
        let statement = self.t.get(from..self.at).unwrap_or_default();
        let line = self.lines.get(from).copied().unwrap_or(1);
        match statement {
            [] => return Ok(()),
            [first, _, ..] if first.is("RETURN") => {
                let what = "A RETURN statement with a return value cannot be used in this context.";
                return Err(SqlMessage::error(178, 15, what).of("", line));
            }
            // `SET @x =` with nothing behind it.
            [.., last] if last.sign("=") => return Err(incorrect("=").of("", line)),
            [..] => {}
        }
        self.ops.push(Op::Statement(statement.into(), line));
        Ok(())
    }

    /// The condition of an IF, as a SELECT that answers 1 or 0.
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
            self.skip_semicolons();
            if self.peek("END") && (kind.is_empty() || self.peek2("END", kind)) {
                self.at += if kind.is_empty() { 1 } else { 2 };
                return Ok(());
            }
            if self.at >= self.t.len() {
                return Err(incorrect("END"));
            }
            self.statement()?;
        }
    }
}

fn incorrect(near: &str) -> SqlMessage {
    SqlMessage::error(102, 15, format!("Incorrect syntax near '{near}'."))
}

/// Most batches that are kept compiled.
const KEPT: usize = 1024;

thread_local! {
    static COMPILED: RefCell<HashMap<String, Arc<[Op]>>> = RefCell::default();
}

/// Compiles a batch, or takes what was compiled of the same text before.
pub(super) fn compile(text: &str) -> Result<Arc<[Op]>, SqlMessage> {
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
    let (t, lines) = cut(text)?;
    let mut p = Parser { t, lines, at: 0, ops: Vec::new() };
    while p.at < p.t.len() {
        let before = p.at;
        p.statement()?;
        if p.at == before {
            let near = p.t.get(before).map(|t| format!("{t:?}")).unwrap_or_default();
            return Err(incorrect(&near));
        }
    }
    Ok(p.ops)
}
