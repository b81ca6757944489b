//! A thin TDS 7.4 server over the world's SQL Servers: framing, TLS, login, batches and RPC, tokens.

mod framing;
mod request;
mod tokens;

use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_openssl::SslStream;

use crate::sql;
use crate::tsql::{Event, Progress, SqlMessage, batch};
use crate::world::SharedWorld;
use framing::{Wrapped, frame, message};
use request::{Request, request, utf16};
use tokens::{answer, done, error_token};

const BATCH: u8 = 1;
const RPC: u8 = 3;
const TABULAR: u8 = 4;
const ATTENTION: u8 = 6;
const LOGIN7: u8 = 16;
const PRELOGIN: u8 = 18;

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

type Tls = SslStream<Wrapped>;

async fn connection(
    world: SharedWorld,
    host: &str,
    mut tcp: TcpStream,
    tls: &SslAcceptor,
) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    while world.now().sql.get(host).is_some_and(|i| i.silent) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (kind, asked) = message(&mut tcp).await?;
    if kind != PRELOGIN {
        return Err(std::io::Error::other("the first packet is no PRELOGIN"));
    }
    tcp.write_all(&frame(TABULAR, &prelogin(&asked))).await?;
    let mut stream = encrypted(tcp, tls).await?;
    let (kind, login) = message(&mut stream).await?;
    if kind != LOGIN7 {
        return Err(std::io::Error::other("expected LOGIN7"));
    }
    let server_name = world.now().sql.get(host).map(|i| i.server_name.clone()).unwrap_or_default();
    let id = match log_in(&world, host, &login) {
        Ok(id) => id,
        Err(refused) => {
            send(&mut stream, &failed(&refused, &server_name)).await?;
            return stream.flush().await;
        }
    };
    // Whatever ends this connection ends the session, and with it a RESTORE at work.
    let session = Session { world, host: host.into(), id, server_name };
    send(&mut stream, &welcome()).await?;
    stream.flush().await?;
    session.serve(stream).await
}

/// The answer to a PRELOGIN: only the options that the client sent; encryption is always required.
fn prelogin(asked: &[u8]) -> Vec<u8> {
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
    table
}

async fn encrypted(tcp: TcpStream, tls: &SslAcceptor) -> std::io::Result<Tls> {
    let ssl = Ssl::new(tls.context()).map_err(std::io::Error::other)?;
    let mut stream = SslStream::new(ssl, Wrapped::new(tcp)).map_err(std::io::Error::other)?;
    Pin::new(&mut stream).accept().await.map_err(std::io::Error::other)?;
    stream.flush().await?;
    stream.get_mut().handshake_ended();
    Ok(stream)
}

/// Checks a LOGIN7: the session's id, or the error by which it is refused.
fn log_in(world: &SharedWorld, host: &str, login: &[u8]) -> Result<u32, SqlMessage> {
    let word = |i: usize| login.get(i..i + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let field = |at: usize| login.get(word(at)..word(at) + word(at + 2) * 2).unwrap_or_default();
    let (client, user, program) = (utf16(field(36)), utf16(field(40)), utf16(field(48)));
    let plain: Vec<u8> = field(44).iter().map(|b| (b ^ 0xa5).rotate_left(4)).collect();
    let logged_in = sql::login(&mut world.now(), host, &user, &utf16(&plain), &client, &program);
    logged_in.map_err(|(number, text)| SqlMessage::error(number, 14, text))
}

/// What is said to who has logged in.
fn welcome() -> Vec<u8> {
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
    out
}

/// An error, and nothing after it.
fn failed(error: &SqlMessage, server: &str) -> Vec<u8> {
    let mut out = Vec::new();
    error_token(&mut out, 0xaa, error, server);
    done(&mut out, 0xfd, 0x02, 0);
    out
}

async fn send<W: AsyncWrite + Unpin>(to: &mut W, tokens: &[u8]) -> std::io::Result<()> {
    to.write_all(&frame(TABULAR, tokens)).await
}

/// A session that somebody has logged in to. It ends with this value.
struct Session {
    world: SharedWorld,
    host: String,
    id: u32,
    server_name: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        sql::logout(&mut self.world.now(), &self.host, self.id);
        self.world.announce();
    }
}

impl Session {
    /// Answers requests until the client is gone or the session is killed.
    async fn serve(self, stream: Tls) -> std::io::Result<()> {
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
            let asked = match request(kind, &payload) {
                Ok(Some(asked)) => asked,
                Ok(None) => {
                    let mut out = Vec::new();
                    done(&mut out, 0xfd, if kind == ATTENTION { 0x20 } else { 0 }, 0);
                    send(&mut writer, &out).await?;
                    continue;
                }
                Err(what) => {
                    let error = SqlMessage::error(50000, 16, format!("simulator: {what}"));
                    send(&mut writer, &failed(&error, &self.server_name)).await?;
                    continue;
                }
            };
            let is_rpc = asked.is_rpc;
            let Some(events) = self.carry_out(asked, &mut rx).await else { return Ok(()) };
            if !sql::session_alive(&self.world.now(), &self.host, self.id) {
                let killed = "Cannot continue the execution because the session is in the kill state.";
                let error = SqlMessage::error(596, 21, killed);
                send(&mut writer, &failed(&error, &self.server_name)).await?;
                return writer.flush().await;
            }
            self.world.announce();
            send(&mut writer, &answer(&events, is_rpc, &self.server_name)).await?;
            writer.flush().await?;
        }
        Ok(())
    }

    /// Carries out a request: what it came to; nothing if the client has gone, or called it off, meanwhile.
    async fn carry_out(
        &self,
        asked: Request,
        inbox: &mut mpsc::Receiver<(u8, Vec<u8>)>,
    ) -> Option<Vec<Event>> {
        let (host, id) = (self.host.as_str(), self.id);
        let mut events = Vec::new();
        let begun = batch::begin(&mut self.world.now(), host, id, &asked.text, asked.parameters);
        if let Err(e) = begun {
            events.push(Event::Error(e));
        }
        loop {
            let progress = batch::step(&mut self.world.now(), host, id, &mut events);
            let Progress::Until(until) = progress else { return Some(events) };
            let wait = until.duration_since(Timestamp::now());
            let pause = Duration::try_from(wait).unwrap_or(Duration::ZERO).min(Duration::from_millis(200))
                + Duration::from_millis(1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                m = inbox.recv() => if m.is_none_or(|(kind, _)| kind == ATTENTION) { return None },
            }
        }
    }
}
