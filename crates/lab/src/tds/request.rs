//! What a client asks for: a batch, a remote procedure call with its parameters, a change of its transaction.

use super::{ATTENTION, BATCH, RPC, TRANSACTION};
use crate::tsql::transactions::Transaction;
use crate::tsql::{Cell, Kind};

/// What is to be done.
pub(super) enum Request {
    /// Statements.
    Batch(String),
    /// A call of a procedure.
    Call(Call),
    /// The transaction of the session.
    Transaction(Transaction),
    /// Nothing is at work that could be given up.
    Attention,
}

/// A call of a procedure.
pub(super) struct Call {
    /// Its name, lower case.
    pub(super) name: String,
    /// Its parameters.
    pub(super) parameters: Vec<Parameter>,
}

/// A parameter of a call.
pub(super) struct Parameter {
    /// Its name; empty where its place tells which it is.
    pub(super) name: String,
    /// Its value.
    pub(super) value: Cell,
    /// Its type.
    pub(super) kind: Kind,
    /// Whether it gives something back.
    pub(super) output: bool,
    /// Whether it is a text of one byte a character.
    pub(super) narrow: bool,
}

/// Text as TDS carries it.
pub(super) fn utf16(bytes: &[u8]) -> String {
    String::from_utf16_lossy(
        &bytes.chunks(2).map(|b| u16::from_le_bytes([b[0], *b.get(1).unwrap_or(&0)])).collect::<Vec<_>>(),
    )
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (a, b) = self.0.split_at_checked(n).ok_or("a request is cut off")?;
        self.0 = b;
        Ok(a)
    }
    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }
    fn u16(&mut self) -> Result<usize, String> {
        let b = self.take(2)?;
        Ok(usize::from(u16::from_le_bytes([b[0], b[1]])))
    }
    fn u32(&mut self) -> Result<usize, String> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    }
    /// A signed number of up to eight bytes.
    fn signed(&mut self, length: usize) -> Result<i64, String> {
        let bytes = self.take(length)?;
        let fill = if length > 1 && bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut all = [fill; 8];
        for (to, from) in all.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(i64::from_le_bytes(all))
    }
}

/// The procedures that are called by number.
fn numbered(n: usize) -> Option<&'static str> {
    Some(match n {
        10 => "sp_executesql",
        11 => "sp_prepare",
        12 => "sp_execute",
        13 => "sp_prepexec",
        15 => "sp_unprepare",
        _ => return None,
    })
}

/// What a message asks for.
pub(super) fn request(kind: u8, payload: &[u8]) -> Result<Request, String> {
    let mut c = Cursor(payload);
    if kind == ATTENTION {
        return Ok(Request::Attention);
    }
    let headers = c.u32()?;
    c.take(headers.saturating_sub(4))?;
    match kind {
        BATCH => Ok(Request::Batch(utf16(c.0))),
        RPC => call(&mut c).map(Request::Call),
        TRANSACTION => match c.u16()? {
            5 => Ok(Request::Transaction(Transaction::Begin)),
            7 => Ok(Request::Transaction(Transaction::Commit)),
            8 => Ok(Request::Transaction(Transaction::Rollback)),
            n => Err(format!("does not know the request {n} about transactions")),
        },
        other => Err(format!("does not know requests of type {other}")),
    }
}

fn call(c: &mut Cursor<'_>) -> Result<Call, String> {
    let length = c.u16()?;
    let name = if length == 0xffff {
        let n = c.u16()?;
        numbered(n).ok_or_else(|| format!("does not know the procedure number {n}"))?.to_string()
    } else {
        utf16(c.take(length * 2)?).to_lowercase()
    };
    c.u16()?;
    let mut parameters = Vec::new();
    while !c.0.is_empty() {
        let n = usize::from(c.u8()?);
        let name = utf16(c.take(n * 2)?);
        let status = c.u8()?;
        let (value, kind, narrow) = parameter(c)?;
        parameters.push(Parameter { name, value, kind, output: status & 1 != 0, narrow });
    }
    Ok(Call {
        name: name.rsplit('.').next().unwrap_or(&name).trim_matches(['[', ']']).to_string(),
        parameters,
    })
}

fn parameter(c: &mut Cursor<'_>) -> Result<(Cell, Kind, bool), String> {
    let kind = c.u8()?;
    let plain = |(cell, kind)| Ok((cell, kind, false));
    match kind {
        0xe7 | 0xef | 0xa7 | 0xaf => {
            let (cell, kind) = text(c, kind)?;
            Ok((cell, kind, matches!(kind, Kind::VarChar(_) | Kind::Char(_))))
        }
        0x1f => plain((Cell::Null, Kind::Int(4))),
        0x26 => {
            let of = Kind::Int(c.u8()?);
            let n = usize::from(c.u8()?);
            plain((if n == 0 { Cell::Null } else { Cell::Int(c.signed(n)?) }, of))
        }
        0x30 => plain((Cell::Int(c.signed(1)?), Kind::Int(1))),
        0x34 => plain((Cell::Int(c.signed(2)?), Kind::Int(2))),
        0x38 => plain((Cell::Int(c.signed(4)?), Kind::Int(4))),
        0x7f => plain((Cell::Int(c.signed(8)?), Kind::Int(8))),
        0x32 => plain((Cell::Bit(c.u8()? != 0), Kind::Bit)),
        0x68 => {
            c.u8()?;
            let n = usize::from(c.u8()?);
            plain((c.take(n)?.first().map_or(Cell::Null, |b| Cell::Bit(*b != 0)), Kind::Bit))
        }
        0x6d => {
            c.u8()?;
            let n = usize::from(c.u8()?);
            let bytes = c.take(n)?;
            let value = match bytes.try_into() {
                Ok(eight) => Cell::Float(f64::from_le_bytes(eight)),
                Err(_) => bytes
                    .try_into()
                    .map_or(Cell::Null, |four| Cell::Float(f64::from(f32::from_le_bytes(four)))),
            };
            plain((value, Kind::Float(8)))
        }
        0x24 => {
            c.u8()?;
            let n = usize::from(c.u8()?);
            let value = c.take(n)?.try_into().map_or(Cell::Null, |bytes| {
                Cell::Guid(uuid::Uuid::from_bytes_le(bytes).to_string().to_uppercase())
            });
            plain((value, Kind::Guid))
        }
        0x6a | 0x6c => plain(numeric(c)?),
        other => Err(format!("does not know parameters of type {other:#x}")),
    }
}

fn text(c: &mut Cursor<'_>, kind: u8) -> Result<(Cell, Kind), String> {
    let max = c.u16()?;
    c.take(5)?;
    let length = |per: usize| if max == 0xffff { 0 } else { u16::try_from(max / per).unwrap_or(0) };
    let of = match kind {
        0xe7 => Kind::NVarChar(length(2)),
        0xef => Kind::NChar(length(2)),
        0xa7 => Kind::VarChar(length(1)),
        _ => Kind::Char(length(1)),
    };
    let bytes = if max == 0xffff {
        let total = c.take(8)?;
        if total == [0xff; 8] {
            return Ok((Cell::Null, of));
        }
        let mut all = Vec::new();
        loop {
            let n = c.u32()?;
            if n == 0 {
                break;
            }
            all.extend_from_slice(c.take(n)?);
        }
        all
    } else {
        let n = c.u16()?;
        if n == 0xffff {
            return Ok((Cell::Null, of));
        }
        c.take(n)?.to_vec()
    };
    let wide = matches!(of, Kind::NVarChar(_) | Kind::NChar(_));
    let text = if wide { utf16(&bytes) } else { String::from_utf8_lossy(&bytes).into_owned() };
    Ok((Cell::Text(text), of))
}

fn numeric(c: &mut Cursor<'_>) -> Result<(Cell, Kind), String> {
    c.u8()?;
    let (precision, scale) = (c.u8()?, c.u8()?);
    let of = Kind::Numeric(precision, scale);
    let n = usize::from(c.u8()?);
    let Some((sign, digits)) = c.take(n)?.split_first() else { return Ok((Cell::Null, of)) };
    let mut all = [0u8; 16];
    for (to, from) in all.iter_mut().zip(digits) {
        *to = *from;
    }
    let whole = i128::from_le_bytes(all) / 10i128.pow(scale.into());
    Ok((Cell::Lsn(if *sign == 0 { -whole } else { whole }), of))
}
