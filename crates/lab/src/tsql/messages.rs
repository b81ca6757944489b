//! What a batch says, and what it waits for: PRINT, RAISERROR, THROW, WAITFOR.

use jiff::SignedDuration;

use super::Seat;
use super::batch::Batch;
use super::ends::{Said, command};
use super::lexer::Token;
use super::values::{Cell, Errors, Event, SqlMessage};

/// The longest text of a RAISERROR, in characters (recorded).
const LONGEST: usize = 2047;

impl Batch {
    pub(super) fn print(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, SqlMessage> {
        let text = self.scalar(seat, t.get(1..).unwrap_or_default())?.shown().unwrap_or_default();
        out.push(Event::Info(SqlMessage::info(0, text)));
        Ok(Said::Plain(command::PRINT))
    }

    /// RAISERROR: up to class 10 it is only told (recorded).
    pub(super) fn raise(&mut self, t: &[Token], out: &mut Vec<Event>) -> Result<Said, Errors> {
        let open = usize::from(t.get(1).is_some_and(|x| x.sign("(")));
        let close = if open == 1 { t.iter().rposition(|x| x.sign(")")).unwrap_or(t.len()) } else { t.len() };
        let inside = t.get(1 + open..close).unwrap_or_default();
        let mut values = inside.split(|x| x.sign(",")).map(|one| self.argument(one));
        let what = values.next().unwrap_or(Cell::Null);
        let number = |c: Option<Cell>, absent: i64| match c {
            Some(Cell::Int(n)) => n,
            Some(_) | None => absent,
        };
        let (class, state) = (number(values.next(), 16), number(values.next(), 1));
        let text = match what {
            Cell::Text(text) => formatted(&text, values),
            Cell::Int(id) => {
                let what = format!(
                    "Error {id}, severity {class}, state {state} was raised, but no message with that error number was found in sys.messages. If error is larger than 50000, make sure the user-defined message is added using sp_addmessage."
                );
                return Err(SqlMessage::refusal(18054, what).into());
            }
            other => other.shown().unwrap_or_default(),
        };
        let options = t.get(close..).unwrap_or_default();
        let with = |word: &str| options.iter().any(|x| x.is(word));
        if class > 18 && !with("LOG") {
            let what = "Error severity levels greater than 18 can only be specified by members of the sysadmin role, using the WITH LOG option.";
            return Err(SqlMessage::refusal(2754, what).into());
        }
        let class = u8::try_from(class.clamp(0, 25)).unwrap_or(16);
        // -1 is 1, and what is above 255 begins anew (recorded).
        let state = if state < 0 { 1 } else { (state % 256) as u8 };
        let message = SqlMessage { class, state, ..SqlMessage::refusal(50000, text) };
        if message.is_error() {
            return Err(message.into());
        }
        // Class 10 arrives as class 0 (recorded).
        let class = if class == 10 { 0 } else { class };
        out.push(Event::Info(SqlMessage { class, ..message }));
        self.inner = with("SETERROR").then_some(50000);
        Ok(Said::Plain(command::RAISERROR))
    }

    /// A value as it stands in a list of arguments.
    fn argument(&self, t: &[Token]) -> Cell {
        match t {
            [Token::Text(s)] => Cell::Text(s.clone()),
            [Token::Number(n)] => n.parse().map_or(Cell::Null, Cell::Int),
            [minus, Token::Number(n)] if minus.sign("-") => {
                n.parse().map_or(Cell::Null, |n: i64| Cell::Int(-n))
            }
            [Token::Word(v)] if v.starts_with('@') => {
                self.variables.get(&v.to_lowercase()).cloned().unwrap_or(Cell::Null)
            }
            _ => Cell::Null,
        }
    }

    /// The error of a THROW: of class 16; without anything behind it the one that was caught.
    pub(super) fn thrown(&mut self, t: &[Token]) -> SqlMessage {
        let mut values = t.get(1..).unwrap_or_default().split(|x| x.sign(",")).map(|one| self.argument(one));
        match (values.next(), values.next(), values.next()) {
            (Some(Cell::Int(n)), Some(text), state) => {
                let state = if let Some(Cell::Int(s)) = state { u8::try_from(s).unwrap_or(1) } else { 1 };
                SqlMessage::refusal(u32::try_from(n).unwrap_or(50000), text.shown().unwrap_or_default())
                    .in_state(state)
            }
            _ => match self.caught.clone() {
                Some(error) => error,
                None => SqlMessage::error(
                    10704,
                    15,
                    "To rethrow an error, a THROW statement must be used inside a CATCH block.",
                ),
            },
        }
    }

    pub(super) fn wait_for(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Said, SqlMessage> {
        if self.waits.is_some() {
            return Ok(Said::Plain(command::WAITFOR));
        }
        let given = t.get(2..).unwrap_or_default();
        let text = self.argument(given).shown().unwrap_or_default();
        let (true, Some(length)) = (t.get(1).is_some_and(|x| x.is("DELAY")), duration(&text)) else {
            return Err(SqlMessage::error(
                148,
                15,
                format!("Incorrect time syntax in time string '{text}' used with WAITFOR."),
            ));
        };
        self.waits = Some(seat.world.now + length);
        Ok(Said::Plain(command::WAITFOR))
    }
}

/// `hh:mm:ss.fff`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut seconds = 0f64;
    let parts: Vec<&str> = text.split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    for (part, unit) in parts.iter().zip([3600.0, 60.0, 1.0]) {
        seconds += part.parse::<f64>().ok()? * unit;
    }
    SignedDuration::try_from_secs_f64(seconds).ok()
}

/// A text with its arguments in it, cut as the server cuts it. What is missing is `(null)` (recorded).
fn formatted(text: &str, mut values: impl Iterator<Item = Cell>) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '%' => match rest.next() {
                Some('s' | 'd' | 'i' | 'u') => {
                    out.push_str(&values.next().and_then(|v| v.shown()).unwrap_or_else(|| "(null)".into()));
                }
                Some('%') | None => out.push('%'),
                Some(other) => out.extend(['%', other]),
            },
            other => out.push(other),
        }
    }
    match out.char_indices().nth(LONGEST) {
        Some(_) => out.chars().take(LONGEST - 3).chain("...".chars()).collect(),
        None => out,
    }
}
