//! What a server answers: tokens of rows, messages, ends and counts, in the forms that were recorded of real servers.

use crate::tsql::ends::command;
use crate::tsql::transactions::COLLATION;
use crate::tsql::{Cell, ColumnType, Done, Ends, Event, Kind, SqlMessage};

const MORE: u16 = 0x01;
const ERROR: u16 = 0x02;
const COUNT: u16 = 0x10;
/// Ends of a batch, of a procedure, inside of a procedure.
const DONE: u8 = 0xfd;
const DONE_PROCEDURE: u8 = 0xfe;
const DONE_INSIDE: u8 = 0xff;

/// What a value is given back as, at the end of a call.
pub(super) struct Output {
    /// The place of the parameter, from 0.
    pub(super) place: u16,
    /// Its name.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: Kind,
    /// Its value.
    pub(super) value: Cell,
}

/// The tokens of an answer as they come together.
pub(super) struct Answer<'a> {
    out: Vec<u8>,
    /// What the server calls itself.
    server: &'a str,
    /// Whether it answers a call.
    call: bool,
    /// Where the status of the last end stands.
    last: Option<usize>,
    /// Where each token begins.
    begins: Vec<usize>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(server: &'a str, call: bool) -> Self {
        Answer { out: Vec::new(), server, call, last: None, begins: Vec::new() }
    }

    /// What a request came to.
    pub(super) fn events(&mut self, events: &[Event], outputs: &mut [Output]) {
        for e in events {
            match e {
                Event::Rows { columns, rows, order } => self.rows(columns, rows, order),
                Event::Error(m) => self.message(0xaa, m),
                Event::Info(m) => self.message(0xab, m),
                Event::Count(_) => {}
                Event::Done(done) => self.end(done),
                Event::Returned(code) => self.returned(*code),
                Event::Environment(kind, new, old) => self.environment(*kind, new, old),
                Event::Output(name, value) => {
                    for o in outputs.iter_mut().filter(|o| o.name.eq_ignore_ascii_case(name)) {
                        o.value = value.clone();
                    }
                }
                Event::Ended(code, failed) => {
                    if let Some(code) = code {
                        self.returned(*code);
                        outputs.iter().for_each(|o| self.output(o));
                    }
                    self.done(DONE_PROCEDURE, if *failed { ERROR } else { 0 }, command::EXEC, 0);
                }
            }
        }
    }

    /// What there is of it, as it is.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// The answer as it is sent: nothing follows its last end.
    pub(super) fn finished(mut self) -> Vec<u8> {
        match self.last {
            Some(at) => {
                if let Some(status) = self.out.get_mut(at) {
                    *status &= !(MORE as u8);
                }
            }
            None => self.done(if self.call { DONE_PROCEDURE } else { DONE }, 0, command::OTHER, 0),
        }
        self.out
    }

    /// The first of its tokens.
    pub(super) fn first(mut self, tokens: usize) -> Self {
        if let Some(at) = self.begins.get(tokens) {
            self.out.truncate(*at);
            self.begins.truncate(tokens);
            self.last = None;
        }
        self
    }

    /// A token begins.
    fn token(&mut self, token: u8) {
        self.begins.push(self.out.len());
        self.out.push(token);
    }

    /// The answer to what was given up: an end with an error that nobody tells (recorded).
    pub(super) fn given_up(mut self) -> Vec<u8> {
        let (token, command) =
            if self.call { (DONE_PROCEDURE, command::EXEC) } else { (DONE, command::OTHER) };
        self.done(token, ERROR, command, 0);
        self.out
    }

    /// The answer of a session that was killed (recorded).
    pub(super) fn killed(mut self) -> Vec<u8> {
        let what = "Cannot continue the execution because the session is in the kill state.";
        self.message(0xaa, &SqlMessage::error(596, 21, what).of("", 0));
        self.done(DONE, 0x100 | ERROR, command::OTHER, 0);
        self.out
    }

    fn end(&mut self, done: &Done) {
        // Without counts only result sets and errors are told inside of a call or a procedure (recorded).
        let inside = self.call || done.ends != Ends::Statement;
        if done.nocount && inside && done.ends != Ends::Procedure && !done.rows && !done.failed {
            return;
        }
        let token = match done.ends {
            Ends::Procedure => DONE_PROCEDURE,
            Ends::Inner => DONE_INSIDE,
            Ends::Statement if self.call => DONE_INSIDE,
            Ends::Statement => DONE,
        };
        let mut status = MORE;
        if done.failed {
            status |= ERROR;
        }
        if done.count.is_some() && !done.nocount {
            status |= COUNT;
        }
        self.done(token, status, done.command, done.count.unwrap_or(0));
    }

    /// That a statement, or everything, is done.
    pub(super) fn done(&mut self, token: u8, status: u16, command: u16, count: u64) {
        self.token(token);
        self.last = Some(self.out.len());
        self.out.extend(status.to_le_bytes());
        self.out.extend(command.to_le_bytes());
        self.out.extend(count.to_le_bytes());
    }

    fn returned(&mut self, code: i32) {
        self.token(0x79);
        self.out.extend(code.to_le_bytes());
    }

    /// A change of the session's environment: texts are counted in characters, all else in bytes.
    pub(super) fn environment(&mut self, kind: u8, new: &[u8], old: &[u8]) {
        let per = if matches!(kind, 1 | 2 | 4) { 2 } else { 1 };
        let mut body = vec![kind];
        for value in [new, old] {
            body.push(u8::try_from(value.len() / per).unwrap_or(0));
            body.extend(value);
        }
        self.token(0xe3);
        self.out.extend(u16::try_from(body.len()).unwrap_or(0).to_le_bytes());
        self.out.extend(body);
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend(bytes);
    }

    /// An error (`0xaa`) or a text (`0xab`).
    pub(super) fn message(&mut self, token: u8, m: &SqlMessage) {
        let text: Vec<u16> = m.message.encode_utf16().collect();
        let mut body = Vec::new();
        body.extend(m.number.to_le_bytes());
        body.extend([m.state, m.class]);
        body.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
        body.extend(text.iter().flat_map(|u| u.to_le_bytes()));
        name(&mut body, self.server);
        name(&mut body, &m.procedure);
        body.extend(m.line.to_le_bytes());
        self.token(token);
        self.out.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.out.extend(body);
    }

    fn rows(&mut self, columns: &[(String, ColumnType)], rows: &[Vec<Cell>], order: &[u16]) {
        self.token(0x81);
        self.out.extend(u16::try_from(columns.len()).unwrap_or(0).to_le_bytes());
        for (column, of) in columns {
            self.out.extend(0u32.to_le_bytes());
            self.out.extend((0x8 | u16::from(of.nullable)).to_le_bytes());
            type_info(&mut self.out, *of);
            name(&mut self.out, column);
        }
        if !order.is_empty() {
            self.token(0xa9);
            self.out.extend(u16::try_from(order.len() * 2).unwrap_or(0).to_le_bytes());
            self.out.extend(order.iter().flat_map(|n| n.to_le_bytes()));
        }
        for row in rows {
            self.token(0xd1);
            for (v, (_, of)) in row.iter().zip(columns) {
                value(&mut self.out, v, *of);
            }
        }
    }

    fn output(&mut self, o: &Output) {
        let of = ColumnType { kind: o.kind, nullable: true };
        self.token(0xac);
        self.out.extend(o.place.to_le_bytes());
        name(&mut self.out, &o.name);
        self.out.push(1);
        self.out.extend(0u32.to_le_bytes());
        self.out.extend(1u16.to_le_bytes());
        type_info(&mut self.out, of);
        value(&mut self.out, &o.value, of);
    }
}

/// A name with its length in one byte.
fn name(out: &mut Vec<u8>, name: &str) {
    let name: Vec<u16> = name.encode_utf16().take(255).collect();
    out.push(u8::try_from(name.len()).unwrap_or(0));
    out.extend(name.iter().flat_map(|u| u.to_le_bytes()));
}

/// How long values of a text or a binary can be, in bytes.
fn length(characters: u16, per: u16) -> [u8; 2] {
    if characters == 0 { [0xff; 2] } else { characters.saturating_mul(per).to_le_bytes() }
}

/// A type as it is announced: what cannot be NULL has a fixed one (recorded).
fn type_info(out: &mut Vec<u8>, of: ColumnType) {
    match (of.kind, of.nullable) {
        (Kind::Int(1), false) => out.push(0x30),
        (Kind::Int(2), false) => out.push(0x34),
        (Kind::Int(8), false) => out.push(0x7f),
        (Kind::Int(_), false) => out.push(0x38),
        (Kind::Bit, false) => out.push(0x32),
        (Kind::Float(4), false) => out.push(0x3b),
        (Kind::Float(_), false) => out.push(0x3e),
        (Kind::DateTime, false) => out.push(0x3d),
        (Kind::Int(width), true) => out.extend([0x26, width]),
        (Kind::Bit, true) => out.extend([0x68, 1]),
        (Kind::Float(width), true) => out.extend([0x6d, width]),
        (Kind::DateTime, true) => out.extend([0x6f, 8]),
        // 17 whatever the precision (recorded).
        (Kind::Numeric(precision, scale), _) => out.extend([0x6c, 17, precision, scale]),
        (Kind::Guid, _) => out.extend([0x24, 16]),
        (Kind::DateTime2(scale), _) => out.extend([0x2a, scale]),
        (Kind::Variant, _) => {
            out.push(0x62);
            out.extend(8009u32.to_le_bytes());
        }
        (Kind::VarBinary(n), _) => {
            out.push(0xa5);
            out.extend(length(n, 1));
        }
        (Kind::Binary(n), _) => {
            out.push(0xad);
            out.extend(length(n, 1));
        }
        (Kind::NVarChar(n), _) => text_info(out, 0xe7, length(n, 2)),
        (Kind::NChar(n), _) => text_info(out, 0xef, length(n, 2)),
        (Kind::VarChar(n), _) => text_info(out, 0xa7, length(n, 1)),
        (Kind::Char(n), _) => text_info(out, 0xaf, length(n, 1)),
    }
}

fn text_info(out: &mut Vec<u8>, token: u8, length: [u8; 2]) {
    out.push(token);
    out.extend(length);
    out.extend(COLLATION);
}

/// A value as its column has announced it.
fn value(out: &mut Vec<u8>, v: &Cell, of: ColumnType) {
    let sized = |out: &mut Vec<u8>, bytes: Option<Vec<u8>>| match bytes {
        Some(bytes) => {
            if of.nullable {
                out.push(u8::try_from(bytes.len()).unwrap_or(0));
            }
            out.extend(bytes);
        }
        None => out.push(0),
    };
    match of.kind {
        Kind::Int(width) => sized(out, integer(v, width).or((!of.nullable).then(|| vec![0; width.into()]))),
        Kind::Bit => sized(out, bit(v).or((!of.nullable).then(|| vec![0]))),
        Kind::Float(width) => sized(out, float(v, width).or((!of.nullable).then(|| vec![0; width.into()]))),
        Kind::DateTime => sized(out, datetime(v).or((!of.nullable).then(|| vec![0; 8]))),
        Kind::Numeric(precision, scale) => match numeric(v, precision, scale) {
            Some(bytes) => {
                out.push(u8::try_from(bytes.len()).unwrap_or(0));
                out.extend(bytes);
            }
            None => out.push(0),
        },
        Kind::Guid => match v {
            Cell::Guid(g) | Cell::Text(g) => match uuid::Uuid::parse_str(g) {
                Ok(id) => {
                    out.push(16);
                    out.extend(id.to_bytes_le());
                }
                Err(_) => out.push(0),
            },
            _ => out.push(0),
        },
        Kind::DateTime2(scale) => match datetime2(v, scale) {
            Some(bytes) => {
                out.push(u8::try_from(bytes.len()).unwrap_or(0));
                out.extend(bytes);
            }
            None => out.push(0),
        },
        Kind::Variant => variant(out, v),
        Kind::NVarChar(n) => text(out, v.shown_on_wire().map(|t| wide(&t)), n, 2),
        Kind::VarChar(n) | Kind::VarBinary(n) => text(out, v.shown_on_wire().map(|t| narrow(&t)), n, 1),
        Kind::NChar(n) => text(out, v.shown_on_wire().map(|t| padded(wide(&t), n, &[b' ', 0])), n, 2),
        Kind::Char(n) => text(out, v.shown_on_wire().map(|t| padded(narrow(&t), n, b" ")), n, 1),
        Kind::Binary(n) => text(out, v.shown_on_wire().map(|t| padded(narrow(&t), n, &[0])), n, 1),
    }
}

fn wide(t: &str) -> Vec<u8> {
    t.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn narrow(t: &str) -> Vec<u8> {
    t.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

fn padded(mut bytes: Vec<u8>, n: u16, with: &[u8]) -> Vec<u8> {
    let full = usize::from(n) * with.len();
    while bytes.len() < full {
        bytes.extend(with);
    }
    bytes
}

/// A text or binary value: with its length, or in parts where there is no longest one.
fn text(out: &mut Vec<u8>, bytes: Option<Vec<u8>>, n: u16, per: usize) {
    match (bytes, n) {
        (None, 0) => out.extend([0xff; 8]),
        (None, _) => out.extend([0xff; 2]),
        (Some(bytes), 0) => {
            out.extend((bytes.len() as u64).to_le_bytes());
            if !bytes.is_empty() {
                out.extend(u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
                out.extend(bytes);
            }
            out.extend(0u32.to_le_bytes());
        }
        (Some(mut bytes), n) => {
            bytes.truncate(usize::from(n) * per);
            out.extend(u16::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
            out.extend(bytes);
        }
    }
}

/// A `sql_variant`: always with a text in it.
fn variant(out: &mut Vec<u8>, v: &Cell) {
    let Some(bytes) = v.shown_on_wire().map(|t| wide(&t)) else { return out.extend(0u32.to_le_bytes()) };
    let longest = u16::try_from(bytes.len()).unwrap_or(0).max(2);
    out.extend(u32::try_from(bytes.len() + 9).unwrap_or(0).to_le_bytes());
    out.extend([0xe7, 7]);
    out.extend(COLLATION);
    out.extend(longest.to_le_bytes());
    out.extend(bytes);
}

fn integer(v: &Cell, width: u8) -> Option<Vec<u8>> {
    let n = match v {
        Cell::Int(n) => *n,
        Cell::Bit(b) => i64::from(*b),
        Cell::Lsn(n) => i64::try_from(*n).ok()?,
        Cell::Null | Cell::Float(_) | Cell::Text(_) | Cell::Guid(_) | Cell::Time(_) => return None,
    };
    Some(n.to_le_bytes().into_iter().take(width.into()).collect())
}

fn bit(v: &Cell) -> Option<Vec<u8>> {
    match v {
        Cell::Bit(b) => Some(vec![u8::from(*b)]),
        Cell::Int(n) => Some(vec![u8::from(*n != 0)]),
        Cell::Null | Cell::Lsn(_) | Cell::Float(_) | Cell::Text(_) | Cell::Guid(_) | Cell::Time(_) => None,
    }
}

fn float(v: &Cell, width: u8) -> Option<Vec<u8>> {
    let x = match v {
        Cell::Float(x) => *x,
        Cell::Int(n) => *n as f64,
        Cell::Null | Cell::Bit(_) | Cell::Lsn(_) | Cell::Text(_) | Cell::Guid(_) | Cell::Time(_) => {
            return None;
        }
    };
    Some(if width == 4 { (x as f32).to_le_bytes().to_vec() } else { x.to_le_bytes().to_vec() })
}

/// A numeric: its length depends on its precision.
fn numeric(v: &Cell, precision: u8, scale: u8) -> Option<Vec<u8>> {
    let n = match v {
        Cell::Lsn(n) => *n,
        Cell::Int(n) => i128::from(*n),
        Cell::Null | Cell::Bit(_) | Cell::Float(_) | Cell::Text(_) | Cell::Guid(_) | Cell::Time(_) => {
            return None;
        }
    };
    let length = match precision {
        ..=9 => 4,
        10..=19 => 8,
        20..=28 => 12,
        29.. => 16,
    };
    let scaled = n.checked_mul(10i128.checked_pow(scale.into())?)?;
    let digits = scaled.unsigned_abs().to_le_bytes();
    Some(std::iter::once(u8::from(n >= 0)).chain(digits.into_iter().take(length)).collect())
}

fn moment(v: &Cell) -> Option<jiff::civil::DateTime> {
    match v {
        Cell::Time(t) | Cell::Text(t) => t.parse().ok(),
        Cell::Null | Cell::Int(_) | Cell::Lsn(_) | Cell::Bit(_) | Cell::Float(_) | Cell::Guid(_) => None,
    }
}

fn days(d: jiff::civil::DateTime, from: jiff::civil::Date) -> i32 {
    d.date().since(from).map_or(0, |s| s.get_days())
}

fn nanoseconds(d: jiff::civil::DateTime) -> i64 {
    let seconds = i64::from(d.hour()) * 3600 + i64::from(d.minute()) * 60 + i64::from(d.second());
    seconds * 1_000_000_000 + i64::from(d.subsec_nanosecond())
}

/// datetime: days since 1900, and parts of the day of a three hundredth of a second.
fn datetime(v: &Cell) -> Option<Vec<u8>> {
    let d = moment(v)?;
    let parts = u32::try_from(nanoseconds(d) * 3 / 10_000_000).unwrap_or(0);
    let days = days(d, jiff::civil::date(1900, 1, 1));
    Some(days.to_le_bytes().into_iter().chain(parts.to_le_bytes()).collect())
}

/// datetime2: parts of the day as fine as its scale, and three bytes of days since the year 1.
fn datetime2(v: &Cell, scale: u8) -> Option<Vec<u8>> {
    let d = moment(v)?;
    let unit = 10i64.pow(9 - u32::from(scale.min(7)));
    let length = match scale {
        ..=2 => 3,
        3..=4 => 4,
        5.. => 5,
    };
    let parts = (nanoseconds(d) / unit).to_le_bytes();
    let days = days(d, jiff::civil::date(1, 1, 1)).to_le_bytes();
    Some(parts.into_iter().take(length).chain(days.into_iter().take(3)).collect())
}
