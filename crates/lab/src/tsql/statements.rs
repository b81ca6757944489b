//! The small statements: variables, SELECT, KILL.

use super::Seat;
use super::batch::Batch;
use super::ends::{Said, command};
use super::languages;
use super::lexer::Token;
use super::types::Kind;
use super::values::{Cell, Errors, Event, SqlMessage};
use crate::sql::catalog;

impl Batch {
    /// `DECLARE @a int, @b nvarchar(10) = expression`.
    pub(super) fn declare(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Said, SqlMessage> {
        let mut said = Said::Nothing;
        let mut depth = 0usize;
        let one = |t: &Token| {
            match t {
                t if t.sign("(") => depth += 1,
                t if t.sign(")") => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && t.sign(",")
        };
        for one in t[1..].split(one) {
            let Some(Token::Word(name)) =
                one.first().filter(|x| x.ident().is_some_and(|n| n.starts_with('@')))
            else {
                return Err(SqlMessage::simulator("this DECLARE"));
            };
            let value = match one.iter().position(|x| x.sign("=")) {
                Some(equals) => {
                    said = Said::Counted(command::SELECT, 1);
                    self.scalar(seat, &one[equals + 1..])?
                }
                None => Cell::Null,
            };
            let name = name.to_lowercase();
            let after_as = 1 + usize::from(one.get(1).is_some_and(|x| x.is("AS")));
            if let Some((kind, _)) = Kind::of(one.get(after_as..).unwrap_or_default()) {
                self.types.insert(name.clone(), kind);
            }
            self.variables.insert(name, value);
        }
        Ok(said)
    }

    pub(super) fn set(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Said, SqlMessage> {
        if let Some(Token::Word(v)) = t.get(1).filter(|x| x.ident().is_some_and(|n| n.starts_with('@'))) {
            let value = self.scalar(seat, t.get(3..).unwrap_or_default())?;
            self.variables.insert(v.to_lowercase(), value);
            return Ok(Said::Counted(command::SELECT, 1));
        }
        // Other options of the session change nothing here.
        let off = t.last().is_some_and(|x| x.is("OFF"));
        if let (Some(s), Some(option)) = (seat.session_mut(), t.get(1)) {
            if option.is("NOCOUNT") {
                s.options.nocount = !off;
            } else if option.is("XACT_ABORT") {
                s.options.xact_abort = !off;
            } else if option.is("LANGUAGE") {
                languages::set(s, t)?;
            }
        }
        Ok(Said::Plain(if off { command::SET_OFF } else { command::SET_ON }))
    }

    pub(super) fn scalar(&self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Cell, SqlMessage> {
        match t {
            [Token::Text(s)] => return Ok(Cell::Text(s.clone())),
            [Token::Number(n)] if !n.contains('.') => {
                return n
                    .parse()
                    .map(Cell::Int)
                    .map_err(|_| SqlMessage::simulator(format!("the number {n}")));
            }
            _ => {}
        }
        let mut select = vec![Token::Word("SELECT".into())];
        select.extend_from_slice(t);
        let selected = catalog::select(seat, &select, &self.variables)?;
        if let Some(e) = selected.failed {
            return Err(e);
        }
        Ok(selected.rows.into_iter().next().and_then(|r| r.into_iter().next()).unwrap_or(Cell::Null))
    }

    pub(super) fn select(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        if let (Some(Token::Word(v)), true) = (t.get(1), t.get(2).is_some_and(|x| x.sign("=")))
            && v.starts_with('@')
        {
            return Ok(self.assign(seat, v, t)?);
        }
        let mut selected = catalog::select(seat, t, &self.variables)?;
        selected.type_variables(&self.types);
        let count = selected.rows.len() as u64;
        // The columns are sent before the rows are made (recorded).
        out.push(Event::Rows { columns: selected.columns, rows: selected.rows, order: selected.order });
        match selected.failed {
            Some(e) => Err(e.into()),
            None => Ok(Said::Rows(command::SELECT, count)),
        }
    }

    /// `SELECT @v = expression …`: an assignment for every row.
    fn assign(&mut self, seat: &mut Seat<'_>, v: &str, t: &[Token]) -> Result<Said, SqlMessage> {
        let from = t.iter().position(|x| x.is("FROM")).unwrap_or(t.len());
        let (expression, rest) = (&t[3..from], &t[from..]);
        // Each row appends to what the rows before it made: the part after the variable itself.
        let own = expression.first().is_some_and(|x| x.ident().is_some_and(|n| n.eq_ignore_ascii_case(v)));
        let part = if own { expression.get(2..).unwrap_or_default() } else { expression };
        let mut query = vec![Token::Word("SELECT".into())];
        query.extend_from_slice(part);
        query.extend_from_slice(rest);
        let rows = catalog::select(seat, &query, &self.variables)?.rows;
        let count = rows.len() as u64;
        let name = v.to_lowercase();
        if own {
            let mut text = match self.variables.get(&name) {
                Some(Cell::Text(s)) => s.clone(),
                Some(_) | None => String::new(),
            };
            for row in rows {
                if let Some(Cell::Text(s)) = row.into_iter().next() {
                    text.push_str(&s);
                }
            }
            self.variables.insert(name, Cell::Text(text));
        } else if let Some(value) = rows.into_iter().next_back().and_then(|r| r.into_iter().next()) {
            self.variables.insert(name, value);
        }
        Ok(Said::Counted(command::SELECT, count))
    }

    /// KILL ends a session at once, with the RESTORE that it runs. Its errors are recorded, that it takes a RESTORE with it at once is
    /// not. The session itself, system sessions and nobody are refused.
    pub(super) fn kill(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Said, SqlMessage> {
        let n = match t.get(1) {
            Some(Token::Number(n)) => n.parse::<u32>().unwrap_or(0),
            Some(_) | None => return Err(SqlMessage::error(102, 15, "Incorrect syntax near 'KILL'.")),
        };
        let entry = self.journal_write(seat, t);
        let result = if n == seat.id {
            refuse_kill(6104, 1, "Cannot use KILL to kill your own process.")
        } else if (1..=50).contains(&n) {
            refuse_kill(6107, 1, "Only user processes can be killed.")
        } else if !seat.instance().is_some_and(|i| i.sessions.contains_key(&n)) {
            refuse_kill(6106, 2, &format!("Process ID {n} is not an active process ID."))
        } else {
            crate::sql::logout(seat.world, seat.host, n);
            Ok(())
        };
        seat.finish(entry, result)?;
        Ok(Said::Plain(command::OTHER))
    }

    /// What a token stands for: a variable's value, or its own text.
    pub(super) fn value(&self, token: Option<&Token>) -> String {
        match token {
            Some(Token::Word(v)) if v.starts_with('@') => {
                self.variables.get(&v.to_lowercase()).and_then(Cell::shown).unwrap_or_default()
            }
            Some(Token::Word(s) | Token::Name(s) | Token::Text(s) | Token::Number(s) | Token::Sign(s)) => {
                s.clone()
            }
            None => String::new(),
        }
    }
}

fn refuse_kill(number: u32, state: u8, what: &str) -> Result<(), SqlMessage> {
    Err(SqlMessage::refusal(number, what).in_state(state))
}
