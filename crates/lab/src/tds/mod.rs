//! A thin TDS 7.4 server over the world's SQL Servers: framing, TLS, login, batches and RPC, tokens.

use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::sql;
use crate::tsql::{Cell, ColumnType, Event, Progress, SqlMessage, batch};
use crate::world::SharedWorld;

const BATCH: u8 = 1;
const RPC: u8 = 3;
const TABULAR: u8 = 4;
const ATTENTION: u8 = 6;
const LOGIN7: u8 = 16;
const PRELOGIN: u8 = 18;
const PACKET: usize = 4096;

/// Serves one SQL Server until `stop` says so; then every connection is cut and the port refuses.
pub async fn serve(
    world: SharedWorld,
    host: String,
    listener: TcpListener,
    tls: SslAcceptor,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.wait_for(|s| *s) => break,
            accepted = listener.accept() => match accepted {
                // The machine is up, its SQL Server is not: nothing answers.
                Ok((tcp, _)) if !sql::is_up(&world.now(), &host) => drop(tcp),
                Ok((tcp, _)) => {
                    let (world, host, tls) = (world.clone(), host.clone(), tls.clone());
                    connections.spawn(async move {
                        if let Err(e) = connection(world, &host, tcp, &tls).await {
                            tracing::debug!(host, error = %e, "TDS connection ended");
                        }
                    });
                }
                Err(e) => tracing::warn!(host, error = %e, "cannot accept"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

/// TLS of TDS 7.x hides inside PRELOGIN packets until the handshake has ended.
struct Wrapped {
    tcp: TcpStream,
    handshake: bool,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
}

impl AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if !self.handshake && self.inbound.is_empty() {
            return Pin::new(&mut self.tcp).poll_read(cx, buf);
        }
        loop {
            if self.handshake && self.inbound.len() >= 8 {
                let length = usize::from(u16::from_be_bytes([self.inbound[2], self.inbound[3]]));
                if length >= 8 && self.inbound.len() > 8 {
                    let take = (self.inbound.len().min(length) - 8).min(buf.remaining());
                    buf.put_slice(&self.inbound[8..8 + take]);
                    self.inbound.drain(8..8 + take);
                    // What is left of the packet keeps a shortened header.
                    let rest = length - take;
                    if rest == 8 {
                        self.inbound.drain(..8);
                    } else {
                        let r = u16::try_from(rest).unwrap_or(8).to_be_bytes();
                        self.inbound[2] = r[0];
                        self.inbound[3] = r[1];
                    }
                    return std::task::Poll::Ready(Ok(()));
                }
            } else if !self.handshake {
                let take = self.inbound.len().min(buf.remaining());
                buf.put_slice(&self.inbound[..take]);
                self.inbound.drain(..take);
                return std::task::Poll::Ready(Ok(()));
            }
            let mut chunk = [0u8; 4096];
            let mut read = ReadBuf::new(&mut chunk);
            std::task::ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return std::task::Poll::Ready(Ok(()));
            }
            let filled = read.filled().to_vec();
            self.inbound.extend_from_slice(&filled);
        }
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        if !self.handshake {
            return Pin::new(&mut self.tcp).poll_write(cx, data);
        }
        self.outbound.extend_from_slice(data);
        std::task::Poll::Ready(Ok(data.len()))
    }
    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let me = &mut *self;
        if me.handshake && !me.outbound.is_empty() && me.outbound.first() != Some(&PRELOGIN) {
            let framed = frame(PRELOGIN, &me.outbound);
            me.outbound = framed;
        }
        while !me.outbound.is_empty() {
            let n = std::task::ready!(Pin::new(&mut me.tcp).poll_write(cx, &me.outbound))?;
            me.outbound.drain(..n);
        }
        Pin::new(&mut me.tcp).poll_flush(cx)
    }
    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let chunks: Vec<&[u8]> =
        if payload.is_empty() { vec![payload] } else { payload.chunks(PACKET - 8).collect() };
    let last = chunks.len() - 1;
    for (n, chunk) in chunks.iter().enumerate() {
        let length = u16::try_from(chunk.len() + 8).unwrap_or(u16::MAX).to_be_bytes();
        out.extend_from_slice(&[
            kind,
            u8::from(n == last),
            length[0],
            length[1],
            0,
            0,
            ((n + 1) & 0xff) as u8,
            0,
        ]);
        out.extend_from_slice(chunk);
    }
    out
}

async fn message<R: AsyncRead + Unpin>(r: &mut R) -> std::io::Result<(u8, Vec<u8>)> {
    let mut payload = Vec::new();
    loop {
        let mut header = [0u8; 8];
        r.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length < 8 || payload.len() > 16 * 1024 * 1024 {
            return Err(std::io::Error::other("a packet has an impossible length"));
        }
        let mut chunk = vec![0; length - 8];
        r.read_exact(&mut chunk).await?;
        payload.extend(chunk);
        if header[1] & 1 == 1 {
            return Ok((header[0], payload));
        }
    }
}

async fn connection(
    world: SharedWorld,
    host: &str,
    mut tcp: TcpStream,
    tls: &SslAcceptor,
) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let (kind, asked) = message(&mut tcp).await?;
    if kind != PRELOGIN {
        return Err(std::io::Error::other("the first packet is no PRELOGIN"));
    }
    // Answer only the options that the client sent; encryption is always required.
    let sent: Vec<u8> = asked.chunks(5).map_while(|c| c.first().copied().filter(|t| *t != 0xff)).collect();
    let data = |t: u8| match t {
        0 => Some(vec![11, 0, 0x1b, 0x59, 0, 0]),
        1 => Some(vec![3]),
        2 => Some(vec![0]),
        3 => Some(vec![]),
        4 => Some(vec![0]),
        _ => None,
    };
    let answered: Vec<(u8, Vec<u8>)> = sent.iter().filter_map(|t| data(*t).map(|d| (*t, d))).collect();
    let mut offset = answered.len() * 5 + 1;
    let (mut table, mut values) = (Vec::new(), Vec::new());
    for (t, d) in &answered {
        let (o, l) = (
            u16::try_from(offset).unwrap_or(0).to_be_bytes(),
            u16::try_from(d.len()).unwrap_or(0).to_be_bytes(),
        );
        table.extend_from_slice(&[*t, o[0], o[1], l[0], l[1]]);
        values.extend_from_slice(d);
        offset += d.len();
    }
    table.push(0xff);
    table.extend(values);
    tcp.write_all(&frame(TABULAR, &table)).await?;
    let ssl = Ssl::new(tls.context()).map_err(std::io::Error::other)?;
    let wrapped = Wrapped { tcp, handshake: true, inbound: Vec::new(), outbound: Vec::new() };
    let mut stream = tokio_openssl::SslStream::new(ssl, wrapped).map_err(std::io::Error::other)?;
    Pin::new(&mut stream).accept().await.map_err(std::io::Error::other)?;
    stream.flush().await?;
    stream.get_mut().handshake = false;

    let (kind, login) = message(&mut stream).await?;
    if kind != LOGIN7 {
        return Err(std::io::Error::other("expected LOGIN7"));
    }
    let field = |at: usize| -> String {
        let word =
            |i: usize| login.get(i..i + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        let (offset, length) = (word(at), word(at + 2));
        let bytes = login.get(offset..offset + length * 2).unwrap_or_default();
        String::from_utf16_lossy(
            &bytes.chunks(2).map(|b| u16::from_le_bytes([b[0], *b.get(1).unwrap_or(&0)])).collect::<Vec<_>>(),
        )
    };
    let (client, user, program) = (field(36), field(40), field(48));
    let password = {
        let word =
            |i: usize| login.get(i..i + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        let bytes = login.get(word(44)..word(44) + word(46) * 2).unwrap_or_default();
        let plain: Vec<u8> = bytes.iter().map(|b| (b ^ 0xa5).rotate_left(4)).collect();
        String::from_utf16_lossy(
            &plain.chunks(2).map(|b| u16::from_le_bytes([b[0], *b.get(1).unwrap_or(&0)])).collect::<Vec<_>>(),
        )
    };
    let server_name = world.now().sql.get(host).map(|i| i.server_name.clone()).unwrap_or_default();
    let logged_in = sql::login(&mut world.now(), host, &user, &password, &client, &program);
    let id = match logged_in {
        Ok(id) => id,
        Err((number, text)) => {
            let mut out = Vec::new();
            error_token(&mut out, 0xaa, &SqlMessage::error(number, 14, text), &server_name);
            done(&mut out, 0xfd, 0x02, 0);
            stream.write_all(&frame(TABULAR, &out)).await?;
            stream.flush().await?;
            return Ok(());
        }
    };
    // Whatever ends this connection ends the session, and with it a RESTORE at work.
    let session = SessionGuard { world: world.clone(), host: host.into(), id };
    let mut out = Vec::new();
    let env = |out: &mut Vec<u8>, kind: u8, new: &str, old: &str| {
        let mut body = vec![kind];
        for t in [new, old] {
            body.push(u8::try_from(t.encode_utf16().count()).unwrap_or(0));
            body.extend(t.encode_utf16().flat_map(u16::to_le_bytes));
        }
        out.push(0xe3);
        out.extend(u16::try_from(body.len()).unwrap_or(0).to_le_bytes());
        out.extend(body);
    };
    env(&mut out, 1, "master", "master");
    env(&mut out, 4, "4096", "4096");
    let name: Vec<u8> = "Microsoft SQL Server".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut ack = vec![1, 0x74, 0, 0, 4, 20];
    ack.extend(name);
    ack.extend_from_slice(&[11, 0, 0x1b, 0x59]);
    out.push(0xad);
    out.extend(u16::try_from(ack.len()).unwrap_or(0).to_le_bytes());
    out.extend(ack);
    done(&mut out, 0xfd, 0, 0);
    stream.write_all(&frame(TABULAR, &out)).await?;
    stream.flush().await?;

    // The socket is read in a task of its own, so that an attention or the end is seen while a statement runs.
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (tx, mut rx) = mpsc::channel(8);
    let mut reading = tokio::task::JoinSet::new();
    reading.spawn(async move {
        while let Ok(m) = message(&mut reader).await {
            if tx.send(m).await.is_err() {
                break;
            }
        }
    });
    while let Some((kind, payload)) = rx.recv().await {
        let (text, parameters, rpc) = match request(kind, &payload) {
            Ok(Some(r)) => r,
            Ok(None) => {
                let mut out = Vec::new();
                done(&mut out, 0xfd, if kind == ATTENTION { 0x20 } else { 0 }, 0);
                writer.write_all(&frame(TABULAR, &out)).await?;
                continue;
            }
            Err(what) => {
                let mut out = Vec::new();
                error_token(
                    &mut out,
                    0xaa,
                    &SqlMessage::error(50000, 16, format!("simulator: {what}")),
                    &server_name,
                );
                done(&mut out, 0xfd, 0x02, 0);
                writer.write_all(&frame(TABULAR, &out)).await?;
                continue;
            }
        };
        let mut events = Vec::new();
        let begun = batch::begin(&mut world.now(), host, id, &text, parameters);
        if let Err(e) = begun {
            events.push(Event::Error(e));
        }
        loop {
            let progress = batch::step(&mut world.now(), host, id, &mut events);
            let Progress::Until(until) = progress else { break };
            let wait = until.duration_since(Timestamp::now());
            let pause = Duration::try_from(wait).unwrap_or(Duration::ZERO).min(Duration::from_millis(200))
                + Duration::from_millis(1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                m = rx.recv() => if m.is_none_or(|(k, _)| k == ATTENTION) { drop(session); return Ok(()) },
            }
        }
        if !sql::session_alive(&world.now(), host, id) {
            let mut out = Vec::new();
            error_token(
                &mut out,
                0xaa,
                &SqlMessage::error(
                    596,
                    21,
                    "Cannot continue the execution because the session is in the kill state.",
                ),
                &server_name,
            );
            done(&mut out, 0xfd, 0x02, 0);
            writer.write_all(&frame(TABULAR, &out)).await?;
            writer.flush().await?;
            return Ok(());
        }
        world.announce();
        writer.write_all(&frame(TABULAR, &answer(&events, rpc, &server_name))).await?;
        writer.flush().await?;
    }
    drop(session);
    Ok(())
}

struct SessionGuard {
    world: SharedWorld,
    host: String,
    id: u32,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        sql::logout(&mut self.world.now(), &self.host, self.id);
        self.world.announce();
    }
}

type Parsed = (String, Vec<(String, Cell)>, bool);

fn utf16(bytes: &[u8]) -> String {
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
fn request(kind: u8, payload: &[u8]) -> Result<Option<Parsed>, String> {
    let mut c = Cursor(payload);
    if kind == ATTENTION {
        return Ok(None);
    }
    let headers = c.u32()?;
    c.take(headers.saturating_sub(4))?;
    match kind {
        BATCH => Ok(Some((utf16(c.0), Vec::new(), false))),
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
            Ok(Some((text, parameters, true)))
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

fn answer(events: &[Event], rpc: bool, server: &str) -> Vec<u8> {
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

fn done(out: &mut Vec<u8>, token: u8, status: u16, count: u64) {
    out.push(token);
    out.extend(status.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out.extend(count.to_le_bytes());
}

fn error_token(out: &mut Vec<u8>, token: u8, m: &SqlMessage, server: &str) {
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
