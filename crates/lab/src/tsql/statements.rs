//! The small statements: variables, SELECT, KILL.

use super::Seat;
use super::batch::Batch;
use super::lexer::Token;
use super::values::{Cell, Event, SqlMessage};
use crate::sql::catalog;

impl Batch {
    /// `DECLARE @a int, @b nvarchar(10) = expression`.
    pub(super) fn declare(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<(), SqlMessage> {
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
                Some(equals) => self.scalar(seat, &one[equals + 1..])?,
                None => Cell::Null,
            };
            self.variables.insert(name.to_lowercase(), value);
        }
        Ok(())
    }

    pub(super) fn set(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<(), SqlMessage> {
        match t.get(1) {
            Some(Token::Word(v)) if v.starts_with('@') => {
                let value = self.scalar(seat, t.get(3..).unwrap_or_default())?;
                self.variables.insert(v.to_lowercase(), value);
                Ok(())
            }
            // Options of the session change nothing here.
            _ => Ok(()),
        }
    }

    fn scalar(&self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Cell, SqlMessage> {
        let mut select = vec![Token::Word("SELECT".into())];
        select.extend_from_slice(t);
        let (_, rows) = catalog::select(seat, &select, &self.variables)?;
        Ok(rows.into_iter().next().and_then(|r| r.into_iter().next()).unwrap_or(Cell::Null))
    }

    pub(super) fn select(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<(), SqlMessage> {
        if let (Some(Token::Word(v)), true) = (t.get(1), t.get(2).is_some_and(|x| x.sign("=")))
            && v.starts_with('@')
        {
            return self.assign(seat, v, t);
        }
        let (columns, rows) = catalog::select(seat, t, &self.variables)?;
        out.push(Event::Rows { columns, rows });
        Ok(())
    }

    /// `SELECT @v = expression …`: an assignment for every row.
    fn assign(&mut self, seat: &mut Seat<'_>, v: &str, t: &[Token]) -> Result<(), SqlMessage> {
        let from = t.iter().position(|x| x.is("FROM")).unwrap_or(t.len());
        let (expression, rest) = (&t[3..from], &t[from..]);
        // Each row appends to what the rows before it made: the part after the variable itself.
        let own = expression.first().is_some_and(|x| x.ident().is_some_and(|n| n.eq_ignore_ascii_case(v)));
        let part = if own { expression.get(2..).unwrap_or_default() } else { expression };
        let mut query = vec![Token::Word("SELECT".into())];
        query.extend_from_slice(part);
        query.extend_from_slice(rest);
        let (_, rows) = catalog::select(seat, &query, &self.variables)?;
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
        Ok(())
    }

    pub(super) fn kill(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<(), SqlMessage> {
        let n = t
            .get(1)
            .and_then(|x| if let Token::Number(n) = x { n.parse::<u32>().ok() } else { None })
            .unwrap_or(0);
        let entry = self.journal_write(seat, t);
        let found = seat.instance_mut().and_then(|i| i.sessions.get_mut(&n)).map(|s| s.killed = true);
        seat.finish(entry, Ok(()))?;
        found.ok_or_else(|| SqlMessage::refusal(6106, format!("Process ID {n} is not an active process ID.")))
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
