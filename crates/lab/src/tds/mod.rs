//! A thin TDS 7.4 server over the world's SQL Servers: framing, TLS, login, batches and RPC, tokens.

mod calls;
mod framing;
mod login;
mod request;
mod tokens;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_openssl::SslStream;

use crate::ports::Reservation;
use crate::scenario::SqlServerVersion;
use crate::sql::{self, Instance};
use crate::tsql::batch::{Asked, Wanted};
use crate::tsql::transactions::{COLLATION, environment_text};
use crate::tsql::{Cell, Event, Progress, SqlMessage, batch, ends};
use crate::world::SharedWorld;
use crate::world::answers::{Answered, End, Request as Arrived};
use framing::{Message, Wrapped, frame, frame_of_a_part, message};
use login::{Login, log_in};
use request::{Request, request};
use tokens::{Answer, Output};

const BATCH: u8 = 1;
const RPC: u8 = 3;
const TABULAR: u8 = 4;
const ATTENTION: u8 = 6;
const TRANSACTION: u8 = 14;
const LOGIN7: u8 = 16;
const PRELOGIN: u8 = 18;

/// How often a connection looks whether its session still lives: a killed one is closed without a word (recorded).
const LOOK: Duration = Duration::from_millis(20);

/// Serves one SQL Server at a port until `stop` says so; then every connection is cut and the port refuses. So it does while the machine is
/// up and its SQL Server is not: nothing listens there.
pub async fn serve(
    world: SharedWorld,
    host: String,
    (port, listener): (Arc<Reservation>, TcpListener),
    tls: SslAcceptor,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    let mut listener = Some(listener);
    loop {
        match (sql::is_up(&world.now(), &host), &listener) {
            (false, Some(_)) => listener = None,
            (true, None) => match port.listen() {
                Ok(listening) => listener = Some(listening),
                Err(e) => tracing::warn!(host, error = %e, "cannot listen"),
            },
            (true, Some(_)) | (false, None) => {}
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stop.wait_for(|s| *s) => break,
            () = tokio::time::sleep(LOOK) => {}
            accepted = accepted => match accepted {
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
    let asked = message(&mut tcp).await?;
    if asked.kind != PRELOGIN {
        return Err(std::io::Error::other("the first packet is no PRELOGIN"));
    }
    let version = {
        let world = world.now();
        world.sql.get(host).map_or(world.scenario.dialect.sql_server, Instance::version)
    };
    tcp.write_all(&frame(TABULAR, 0, &prelogin(version, &asked.payload))).await?;
    let mut stream = encrypted(tcp, tls).await?;
    let login = message(&mut stream).await?;
    if login.kind != LOGIN7 {
        return Err(std::io::Error::other("expected LOGIN7"));
    }
    let server_name = world.now().sql.get(host).map(|i| i.server_name.clone()).unwrap_or_default();
    let (id, login) = match log_in(&world, host, &login.payload) {
        Ok(logged_in) => logged_in,
        Err(refused) => {
            let mut answer = Answer::new(&server_name, false);
            refused.iter().for_each(|e| answer.message(0xaa, e));
            answer.done(0xfd, 0x02, 0, 0);
            send(&mut stream, 0, answer.into_bytes()).await?;
            return stream.flush().await;
        }
    };
    // Whatever ends this connection ends the session, and with it a RESTORE at work.
    let session = Session {
        world,
        host: host.into(),
        id,
        server_name,
        database: login.database.clone(),
        prepared: BTreeMap::new(),
        handles: 0,
    };
    send(&mut stream, id, welcome(version, &session.server_name, &login)).await?;
    stream.flush().await?;
    session.serve(stream).await
}

/// The answer to a PRELOGIN: only the options that the client sent; encryption is always required.
fn prelogin(version: SqlServerVersion, asked: &[u8]) -> Vec<u8> {
    let sent: Vec<u8> = asked.chunks(5).map_while(|c| c.first().copied().filter(|t| *t != 0xff)).collect();
    let (major, minor, build) = version.numbers();
    let build = build.to_be_bytes();
    let data = |t: u8| match t {
        0 => Some(vec![major, minor, build[0], build[1], 0, 0]),
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

/// What is said to who has logged in, in the order that was recorded.
fn welcome(version: SqlServerVersion, server: &str, login: &Login) -> Vec<u8> {
    let mut answer = Answer::new(server, false);
    let told = |number, state, what: String| SqlMessage::info(number, what).in_state(state);
    let database = &login.spelt;
    answer.environment(1, &environment_text(database), &environment_text("master"));
    answer.message(0xab, &told(5701, 2, format!("Changed database context to '{database}'.")));
    answer.environment(7, &COLLATION, &[]);
    answer.environment(2, &environment_text("us_english"), &[]);
    answer.message(0xab, &told(5703, 1, "Changed language setting to us_english.".into()));
    let (major, minor, build) = version.numbers();
    // Two characters more than there are in it, as recorded.
    let name = environment_text("Microsoft SQL Server\0\0");
    let mut ack = vec![1];
    ack.extend(login.tds_version.min(login::tds_version(version)).to_be_bytes());
    ack.push(22);
    ack.extend(name);
    ack.extend([major, minor]);
    ack.extend(build.to_be_bytes());
    answer.raw(&[0xad]);
    answer.raw(&u16::try_from(ack.len()).unwrap_or(0).to_le_bytes());
    answer.raw(&ack);
    answer.environment(4, &environment_text("4096"), &environment_text("4096"));
    answer.done(0xfd, 0, 0, 0);
    answer.into_bytes()
}

async fn send<W: AsyncWrite + Unpin>(to: &mut W, session: u32, tokens: Vec<u8>) -> std::io::Result<()> {
    to.write_all(&frame(TABULAR, session, &tokens)).await?;
    to.flush().await
}

/// A session that somebody has logged in to. It ends with this value.
struct Session {
    world: SharedWorld,
    host: String,
    id: u32,
    server_name: String,
    /// The database that it has logged in to.
    database: String,
    /// Statements that were prepared, with the declarations of their parameters.
    prepared: BTreeMap<i64, (String, String)>,
    handles: i64,
}

impl Drop for Session {
    fn drop(&mut self) {
        sql::logout(&mut self.world.now(), &self.host, self.id);
        self.world.announce();
    }
}

/// How a request has ended.
enum Ended {
    /// It was carried out.
    Done,
    /// Its client has called it off.
    Attention,
    /// Its session was killed.
    Killed,
    /// Its client has gone.
    Gone,
    /// Its answer ends otherwise than it should.
    Otherwise(End),
}

impl Session {
    fn alive(&self) -> bool {
        sql::session_alive(&self.world.now(), &self.host, self.id)
    }

    /// Answers requests until the client is gone or the session is killed.
    async fn serve(mut self, stream: Tls) -> std::io::Result<()> {
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
        loop {
            let asked = tokio::select! {
                m = rx.recv() => m,
                () = tokio::time::sleep(LOOK) => {
                    if self.alive() {
                        continue;
                    }
                    // Killed while nothing ran: the socket is closed, and that is all (recorded).
                    return Ok(());
                }
            };
            let Some(asked) = asked else { return Ok(()) };
            if !self.alive() {
                return Ok(());
            }
            if !self.answer(asked, &mut rx, &mut writer).await? {
                return Ok(());
            }
        }
    }

    /// Answers one request; whether there can be another.
    async fn answer<W: AsyncWrite + Unpin>(
        &mut self,
        asked: Message,
        inbox: &mut mpsc::Receiver<Message>,
        writer: &mut W,
    ) -> std::io::Result<bool> {
        let server_name = self.server_name.clone();
        let mut answer = Answer::new(&server_name, asked.kind == RPC);
        if asked.reset {
            sql::reset(&mut self.world.now(), &self.host, self.id, &self.database);
            answer.environment(18, &[], &[]);
        }
        if asked.ignore {
            answer.done(0xfd, 0x02, 0, 0);
            send(writer, self.id, answer.into_bytes()).await?;
            return Ok(true);
        }
        let (mut events, mut outputs) = (Vec::new(), Vec::new());
        let ended = match request(asked.kind, &asked.payload) {
            Ok(Request::Attention) => {
                answer.done(0xfd, 0x20, 253, 0);
                send(writer, self.id, answer.into_bytes()).await?;
                return Ok(true);
            }
            Ok(Request::Transaction(change)) => {
                self.transaction(change, &mut events);
                Ended::Done
            }
            Ok(Request::Batch(text)) => {
                let asked = Asked {
                    text,
                    parameters: vec![],
                    types: BTreeMap::new(),
                    outputs: vec![],
                    wanted: Wanted::Batch,
                };
                self.carry_out(asked, inbox, &mut events).await
            }
            Ok(Request::Call(call)) => match self.asked_by(call, &mut outputs) {
                Ok((Some(asked), gives)) => {
                    outputs = gives;
                    let options = self.options();
                    let ended = self.carry_out(asked, inbox, &mut events).await;
                    // What it has set ends with it (recorded).
                    self.set_options(options);
                    ended
                }
                Ok((None, gives)) => {
                    outputs = gives;
                    events.push(Event::Ended(Some(0), false));
                    Ended::Done
                }
                Err(refused) => {
                    events.extend(refused);
                    Ended::Done
                }
            },
            Err(what) => {
                events.push(Event::Error(SqlMessage::simulator(what)));
                events.push(failed_request(asked.kind == RPC));
                Ended::Done
            }
        };
        self.world.announce();
        answer.events(&events, &mut outputs);
        self.send_ended(ended, answer, writer).await
    }

    async fn send_ended<W: AsyncWrite + Unpin>(
        &self,
        ended: Ended,
        answer: Answer<'_>,
        writer: &mut W,
    ) -> std::io::Result<bool> {
        match ended {
            Ended::Done => send(writer, self.id, answer.finished()).await?,
            Ended::Attention => {
                send(writer, self.id, answer.given_up()).await?;
                let mut acknowledged = Answer::new(&self.server_name, false);
                acknowledged.done(0xfd, 0x20, 253, 0);
                send(writer, self.id, acknowledged.into_bytes()).await?;
            }
            Ended::Killed => {
                send(writer, self.id, answer.killed()).await?;
                return Ok(false);
            }
            Ended::Gone => return Ok(false),
            Ended::Otherwise(End::Usual) => send(writer, self.id, answer.finished()).await?,
            Ended::Otherwise(End::GivenUp(tokens)) => {
                send(writer, self.id, answer.first(tokens).given_up()).await?;
            }
            Ended::Otherwise(End::Acknowledged(tokens)) => {
                let mut answer = answer.first(tokens);
                answer.done(0xfd, 0x20, 253, 0);
                send(writer, self.id, answer.into_bytes()).await?;
            }
            Ended::Otherwise(End::CutOff(tokens)) => {
                let part = answer.first(tokens).into_bytes();
                writer.write_all(&frame_of_a_part(TABULAR, self.id, &part)).await?;
                writer.flush().await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Answers a request: as it should, or as somebody has chosen for it.
    async fn carry_out(
        &self,
        asked: Asked,
        inbox: &mut mpsc::Receiver<Message>,
        events: &mut Vec<Event>,
    ) -> Ended {
        let call = asked.wanted == Wanted::Call;
        let chosen = self.world.now().answers.ask(&Arrived { server: &self.host, text: &asked.text });
        match chosen {
            None => self.run(asked, inbox, events).await,
            Some(Answered { instead: Some(given), end }) => {
                events.extend(given);
                if call {
                    events.push(Event::Ended(Some(0), false));
                }
                Ended::Otherwise(end)
            }
            Some(Answered { instead: None, end }) => match self.run(asked, inbox, events).await {
                Ended::Done => Ended::Otherwise(end),
                ended @ (Ended::Attention | Ended::Killed | Ended::Gone | Ended::Otherwise(_)) => ended,
            },
        }
    }

    /// Carries out a request: how it has ended.
    async fn run(&self, asked: Asked, inbox: &mut mpsc::Receiver<Message>, events: &mut Vec<Event>) -> Ended {
        let (host, id) = (self.host.as_str(), self.id);
        let call = asked.wanted == Wanted::Call;
        let outputs = asked.outputs.clone();
        let begun = batch::begin_as(&mut self.world.now(), host, id, asked);
        if let Err(e) = begun {
            let number = i32::try_from(e.number).unwrap_or(0);
            events.push(Event::Error(e));
            events.extend(outputs.into_iter().map(|name| Event::Output(name, Cell::Null)));
            events.push(if call { Event::Ended(Some(number), true) } else { failed_request(false) });
            return Ended::Done;
        }
        loop {
            let progress = batch::step(&mut self.world.now(), host, id, events);
            if !self.alive() {
                return Ended::Killed;
            }
            let Progress::Until(until) = progress else { return Ended::Done };
            let wait = until.duration_since(Timestamp::now());
            let pause =
                Duration::try_from(wait).unwrap_or(Duration::ZERO).min(LOOK) + Duration::from_millis(1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                m = inbox.recv() => match m {
                    None => return Ended::Gone,
                    Some(m) if m.kind == ATTENTION => {
                        sql::cancel(&mut self.world.now(), host, id);
                        return Ended::Attention;
                    }
                    Some(_) => {}
                },
            }
        }
    }
}

/// The end of a request that was not even begun.
fn failed_request(call: bool) -> Event {
    if call { Event::Ended(None, true) } else { ends::refused() }
}
