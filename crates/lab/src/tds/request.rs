//! What a client asks for: a batch or a remote procedure call, with its parameters.

use super::{ATTENTION, BATCH, RPC};
use crate::tsql::Cell;

/// What is to be run.
pub(super) struct Request {
    /// The statements.
    pub text: String,
    /// Their parameters.
    pub parameters: Vec<(String, Cell)>,
    /// Whether it came as a call of `sp_executesql`.
    pub is_rpc: bool,
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
}

/// A batch or `sp_executesql` with its parameters; nothing for requests that only want an acknowledgement.
pub(super) fn request(kind: u8, payload: &[u8]) -> Result<Option<Request>, String> {
    let mut c = Cursor(payload);
    if kind == ATTENTION {
        return Ok(None);
    }
    let headers = c.u32()?;
    c.take(headers.saturating_sub(4))?;
    match kind {
        BATCH => Ok(Some(Request { text: utf16(c.0), parameters: Vec::new(), is_rpc: false })),
        RPC => {
            let length = c.u16()?;
            let name = if length == 0xffff {
                match c.u16()? {
                    10 => "sp_executesql".to_string(),
                    n => return Err(format!("does not know the procedure number {n}")),
                }
            } else {
                utf16(c.take(length * 2)?).to_lowercase()
            };
            c.u16()?;
            if name != "sp_executesql" {
                return Err(format!("does not know the remote procedure {name}"));
            }
            let mut values = Vec::new();
            while !c.0.is_empty() {
                let n = usize::from(c.u8()?);
                let name = utf16(c.take(n * 2)?);
                c.u8()?;
                values.push((name, parameter(&mut c)?));
            }
            let mut values = values.into_iter();
            let Some((_, Cell::Text(text))) = values.next() else {
                return Err("sp_executesql without a statement".into());
            };
            let declared = match values.next() {
                Some((_, Cell::Text(d))) => d,
                _ => String::new(),
            };
            let mut names =
                declared.split(',').filter_map(|p| p.split_whitespace().next()).map(str::to_string);
            let parameters = values
                .map(|(n, v)| {
                    let declared = names.next();
                    (if n.is_empty() { declared.unwrap_or_default() } else { n }, v)
                })
                .collect();
            Ok(Some(Request { text, parameters, is_rpc: true }))
        }
        other => Err(format!("does not know requests of type {other}")),
    }
}

fn parameter(c: &mut Cursor<'_>) -> Result<Cell, String> {
    let kind = c.u8()?;
    match kind {
        0xe7 | 0xef | 0xa7 => {
            let max = c.u16()?;
            c.take(5)?;
            let bytes = if max == 0xffff {
                let total = c.take(8)?;
                if total == [0xff; 8] {
                    return Ok(Cell::Null);
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
                    return Ok(Cell::Null);
                }
                c.take(n)?.to_vec()
            };
            Ok(Cell::Text(if kind == 0xa7 {
                String::from_utf8_lossy(&bytes).into_owned()
            } else {
                utf16(&bytes)
            }))
        }
        0x26 => {
            c.u8()?;
            let n = usize::from(c.u8()?);
            let mut b = [0u8; 8];
            b[..n.min(8)].copy_from_slice(&c.take(n)?[..n.min(8)]);
            let raw = i64::from_le_bytes(b);
            Ok(match n {
                0 => Cell::Null,
                4 => Cell::Int(i64::from(raw as i32)),
                2 => Cell::Int(i64::from(raw as i16)),
                _ => Cell::Int(raw),
            })
        }
        0x38 => {
            let n = c.u32()?;
            Ok(Cell::Int(i64::from(u32::try_from(n).unwrap_or(0) as i32)))
        }
        0x68 => {
            c.u8()?;
            let n = usize::from(c.u8()?);
            Ok(c.take(n)?.first().map_or(Cell::Null, |b| Cell::Bit(*b != 0)))
        }
        other => Err(format!("does not know parameters of type {other:#x}")),
    }
}
