//! What a server answers: tokens of rows, errors and counts.

use crate::tsql::{Cell, ColumnType, Event, SqlMessage};

/// The answer to a request that has ended.
pub(super) fn answer(events: &[Event], rpc: bool, server: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let inner = if rpc { 0xff } else { 0xfd };
    let mut failed = false;
    for e in events {
        match e {
            Event::Rows { columns, rows } => {
                metadata(&mut out, columns);
                for row in rows {
                    out.push(0xd1);
                    for (value, (_, kind)) in row.iter().zip(columns) {
                        cell(&mut out, value, *kind);
                    }
                }
                done(&mut out, inner, 0x11, rows.len() as u64);
            }
            Event::Error(m) => {
                failed = true;
                error_token(&mut out, 0xaa, m, server);
                done(&mut out, inner, 0x03, 0);
            }
            Event::Info(m) => error_token(&mut out, 0xab, m, server),
            Event::Count(n) => done(&mut out, inner, 0x11, *n),
        }
    }
    if rpc {
        out.push(0x79);
        out.extend(i32::from(failed).to_le_bytes());
        done(&mut out, 0xfe, if failed { 0x02 } else { 0 }, 0);
    } else {
        done(&mut out, 0xfd, if failed { 0x02 } else { 0 }, 0);
    }
    out
}

/// That a statement, or everything, is done.
pub(super) fn done(out: &mut Vec<u8>, token: u8, status: u16, count: u64) {
    out.push(token);
    out.extend(status.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out.extend(count.to_le_bytes());
}

/// An error (`0xaa`) or a text (`0xab`).
pub(super) fn error_token(out: &mut Vec<u8>, token: u8, m: &SqlMessage, server: &str) {
    let text: Vec<u16> = m.message.encode_utf16().collect();
    let name: Vec<u16> = server.encode_utf16().collect();
    let mut body = Vec::new();
    body.extend(m.number.to_le_bytes());
    body.push(m.state);
    body.push(m.class);
    body.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    body.extend(text.iter().flat_map(|u| u.to_le_bytes()));
    body.push(u8::try_from(name.len()).unwrap_or(0));
    body.extend(name.iter().flat_map(|u| u.to_le_bytes()));
    body.push(0);
    body.extend(1u32.to_le_bytes());
    out.push(token);
    out.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(body);
}

const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];

fn metadata(out: &mut Vec<u8>, columns: &[(String, ColumnType)]) {
    out.push(0x81);
    out.extend(u16::try_from(columns.len()).unwrap_or(0).to_le_bytes());
    for (name, kind) in columns {
        out.extend(0u32.to_le_bytes());
        out.extend(9u16.to_le_bytes());
        match kind {
            ColumnType::Int => out.extend([0x26, 8]),
            ColumnType::Lsn => out.extend([0x6c, 13, 25, 0]),
            ColumnType::Bit => out.extend([0x68, 1]),
            ColumnType::Float => out.extend([0x6d, 8]),
            ColumnType::Guid => out.extend([0x24, 16]),
            ColumnType::Time => out.extend([0x2a, 6]),
            ColumnType::Text => {
                out.extend([0xe7, 0xff, 0xff]);
                out.extend(COLLATION);
            }
        }
        let name: Vec<u16> = name.encode_utf16().collect();
        out.push(u8::try_from(name.len()).unwrap_or(0));
        out.extend(name.iter().flat_map(|u| u.to_le_bytes()));
    }
}

fn cell(out: &mut Vec<u8>, v: &Cell, kind: ColumnType) {
    match (kind, v) {
        (ColumnType::Text, Cell::Null) => out.extend([0xff; 8]),
        (_, Cell::Null) => out.push(0),
        (ColumnType::Int, Cell::Int(n) | Cell::Lsn(n)) => {
            out.push(8);
            out.extend(n.to_le_bytes());
        }
        (ColumnType::Lsn, Cell::Lsn(n) | Cell::Int(n)) => {
            out.extend([13, u8::from(*n >= 0)]);
            out.extend(n.unsigned_abs().to_le_bytes());
            out.extend([0; 4]);
        }
        (ColumnType::Bit, Cell::Bit(b)) => out.extend([1, u8::from(*b)]),
        (ColumnType::Float, Cell::Float(f)) => {
            out.push(8);
            out.extend(f.to_le_bytes());
        }
        (ColumnType::Guid, Cell::Guid(g)) => match uuid::Uuid::parse_str(g) {
            Ok(id) => {
                out.push(16);
                out.extend(id.to_bytes_le());
            }
            Err(_) => out.push(0),
        },
        (ColumnType::Time, Cell::Time(t)) => {
            let Ok(d) = t.parse::<jiff::civil::DateTime>() else { return out.push(0) };
            let seconds = i64::from(d.hour()) * 3600 + i64::from(d.minute()) * 60 + i64::from(d.second());
            // datetime2(6): five bytes of microseconds, three of days since year 1.
            let micros = seconds * 1_000_000 + i64::from(d.subsec_nanosecond()) / 1000;
            let first = jiff::civil::date(1, 1, 1);
            let days = d.date().since(first).map_or(0, |s| s.get_days());
            out.push(8);
            out.extend(&micros.to_le_bytes()[..5]);
            out.extend(&days.to_le_bytes()[..3]);
        }
        (_, other) => {
            let text = match other {
                Cell::Text(t) | Cell::Guid(t) | Cell::Time(t) => t.clone(),
                Cell::Int(n) | Cell::Lsn(n) => n.to_string(),
                Cell::Bit(b) => b.to_string(),
                Cell::Float(f) => f.to_string(),
                Cell::Null => String::new(),
            };
            if kind == ColumnType::Text {
                let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                out.extend((bytes.len() as u64).to_le_bytes());
                if !bytes.is_empty() {
                    out.extend(u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
                    out.extend(bytes);
                }
                out.extend(0u32.to_le_bytes());
            } else {
                out.push(0);
            }
        }
    }
}
