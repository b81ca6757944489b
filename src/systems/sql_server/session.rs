//! A session over tiberius.
//!
//! The driver cannot cancel a statement, and a future that is dropped leaves its stream in the middle of an answer. So a
//! session is used until the first doubt and then thrown away: after every error but a plain one of the server, and after
//! every deadline. A RESTORE is never given a deadline of ours.

use std::time::Duration;

use futures::TryStreamExt as _;
use tiberius::{AuthMethod, Client, ColumnData, Config, EncryptionLevel, QueryItem};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use super::SqlSession;
use super::{Answer, Cell, Parameter, Rows, ServerError, SqlError, Statement, statements};
use crate::domain::pool::SqlServer;
use crate::systems::secrets::Credentials;
use crate::systems::settings::Settings;

/// Log target of the driver that repeats every message of the server; the binaries silence it.
pub const QUIET_TARGET: &str = "tiberius::tds::stream::token";

/// A session on a SQL Server.
pub struct TdsSession {
    client: Option<Client<Compat<TcpStream>>>,
}

/// How long connecting and logging in may take.
const CONNECT: Duration = Duration::from_secs(8);

/// A dead connection is found out within a minute.
fn keepalive() -> socket2::TcpKeepalive {
    socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3)
}

impl TdsSession {
    /// Connects, logs in, and sets the session's options.
    pub async fn open(
        server: &SqlServer,
        settings: &Settings,
        who: &Credentials,
        ca: Option<&tempfile::NamedTempFile>,
    ) -> Result<Self, SqlError> {
        let mut config = Config::new();
        config.host(&server.host);
        config.port(server.port);
        config.database("master");
        config.application_name("persistent-chat-failover");
        config.encryption(EncryptionLevel::Required);
        // Half a minute without an answer, if nobody says otherwise: no RESTORE that takes longer would ever come to its end. Each
        // statement has a deadline of its own, or none.
        config.command_timeout(None);
        config.authentication(AuthMethod::sql_server(&who.username, who.password.reveal()));
        if let Some(file) = ca {
            config.trust_cert_ca(file.path().to_string_lossy());
        }
        let (host, port) = settings.destination(&server.host, server.port);
        // One after the other, each with a time of its own: who accepts a connection and says nothing is there (a server without a free
        // worker does so), and nobody may take it for dead.
        let connect = tokio::time::timeout(CONNECT, TcpStream::connect((host.as_str(), port))).await;
        let tcp = connect
            .map_err(|_| SqlError::Unreachable("timed out".into()))?
            .map_err(|e| SqlError::Unreachable(e.to_string()))?;
        tcp.set_nodelay(true).map_err(|e| SqlError::Unanswered(e.to_string()))?;
        // A RESTORE has no deadline: that its server has lost its power, or a firewall its memory, must show by itself.
        socket2::SockRef::from(&tcp)
            .set_tcp_keepalive(&keepalive())
            .map_err(|e| SqlError::Unanswered(e.to_string()))?;
        let client = tokio::time::timeout(CONNECT, Client::connect(config, tcp.compat_write()))
            .await
            .map_err(|_| SqlError::Unanswered(format!("no answer within {} s", CONNECT.as_secs())))?
            .map_err(|e| connect_error(&e))?;
        let mut session = TdsSession { client: Some(client) };
        session
            .send(&Statement::write("setting up the session", statements::session(), vec![]), Some(CONNECT))
            .await?;
        Ok(session)
    }

    /// Everything that comes back: what stands before and after an error is read as well, and the error comes last.
    async fn run(
        client: &mut Client<Compat<TcpStream>>,
        statement: &Statement,
    ) -> Result<Answer, tiberius::error::Error> {
        let mut answer = Answer::default();
        let sent = if statement.parameters.is_empty() {
            client.simple_query(statement.text.as_str()).await
        } else {
            let mut query = tiberius::Query::new(statement.text.as_str());
            for p in &statement.parameters {
                match p {
                    Parameter::Text(t) => query.bind(t.as_str()),
                    Parameter::Int(n) => query.bind(*n),
                    Parameter::BigInt(n) => query.bind(*n),
                }
            }
            query.query(client).await
        };
        let mut items = match sent {
            Ok(items) => items,
            Err(e) => return answer.ended_by(e),
        };
        loop {
            match items.try_next().await {
                Ok(None) => return Ok(answer),
                Ok(Some(QueryItem::Metadata(m))) => {
                    let columns = m.columns().iter().map(|c| c.name().to_string()).collect();
                    answer.sets.push(Rows { columns, rows: Vec::new() });
                }
                Ok(Some(QueryItem::Row(row))) => {
                    let row = row.into_iter().map(|c| cell(&c)).collect::<Result<_, _>>()?;
                    if let Some(set) = answer.sets.last_mut() {
                        set.rows.push(row);
                    }
                }
                Err(e) => return answer.ended_by(e),
            }
        }
    }
}

impl Answer {
    /// The answer with the error that it ended with, if that is one of the server's.
    fn ended_by(self, e: tiberius::error::Error) -> Result<Answer, tiberius::error::Error> {
        match e {
            tiberius::error::Error::Server(e) => Ok(Answer {
                error: Some(ServerError {
                    number: e.code(),
                    state: e.state(),
                    class: e.class(),
                    message: e.message().into(),
                    last: None,
                }),
                ..self
            }),
            other => Err(other),
        }
    }
}

impl SqlSession for TdsSession {
    async fn send(&mut self, statement: &Statement, deadline: Option<Duration>) -> Result<Rows, SqlError> {
        // Taken out: whoever drops this future, or whatever fails, the connection is gone with it.
        let Some(mut client) = self.client.take() else {
            return Err(SqlError::Lost("the session has ended".into()));
        };
        let run = Self::run(&mut client, statement);
        let result = match deadline {
            Some(deadline) => match tokio::time::timeout(deadline, run).await {
                Ok(result) => result,
                Err(_) => return Err(SqlError::Lost(format!("no answer within {} s", deadline.as_secs()))),
            },
            None => run.await,
        };
        match result {
            Ok(answer) => {
                let believed = answer.believed(statement.proof);
                if !believed.as_ref().is_err_and(SqlError::ends_the_session) {
                    self.client = Some(client);
                }
                believed
            }
            Err(tiberius::error::Error::Io { message, .. }) => Err(SqlError::Lost(message)),
            Err(other) => Err(SqlError::Protocol(other.to_string())),
        }
    }
}

fn connect_error(e: &tiberius::error::Error) -> SqlError {
    match e {
        tiberius::error::Error::Server(e) => {
            SqlError::Login { number: e.code(), message: e.message().into() }
        }
        tiberius::error::Error::Tls(why) => SqlError::Tls(why.clone()),
        tiberius::error::Error::Io { message, .. } => SqlError::Unanswered(message.clone()),
        other => SqlError::Unanswered(other.to_string()),
    }
}

fn cell(c: &ColumnData<'static>) -> Result<Cell, tiberius::error::Error> {
    Ok(match c {
        ColumnData::U8(v) => v.map_or(Cell::Null, |n| Cell::Int(n.into())),
        ColumnData::I16(v) => v.map_or(Cell::Null, |n| Cell::Int(n.into())),
        ColumnData::I32(v) => v.map_or(Cell::Null, |n| Cell::Int(n.into())),
        ColumnData::I64(v) => v.map_or(Cell::Null, Cell::Int),
        ColumnData::F32(v) => v.map_or(Cell::Null, |n| Cell::Float(n.into())),
        ColumnData::F64(v) => v.map_or(Cell::Null, Cell::Float),
        ColumnData::Bit(v) => v.map_or(Cell::Null, Cell::Bool),
        ColumnData::String(v) => v.as_ref().map_or(Cell::Null, |s| Cell::Text(s.to_string())),
        ColumnData::Guid(v) => v.map_or(Cell::Null, |g| Cell::Guid(g.to_string().to_uppercase())),
        ColumnData::Binary(v) => v.as_ref().map_or(Cell::Null, |b| Cell::Bytes(b.to_vec())),
        ColumnData::Numeric(v) => match v {
            None => Cell::Null,
            Some(n) => Cell::Numeric(whole(n.value(), n.scale()).ok_or_else(|| unreadable(c))?),
        },
        other @ (ColumnData::DateTime(_) | ColumnData::SmallDateTime(_) | ColumnData::DateTime2(_)) => {
            date_time(other)?.map_or(Cell::Null, Cell::DateTime)
        }
        // Nothing that we ask for comes like this: a value that cannot be read must not look like one that is missing.
        other @ (ColumnData::Xml(_)
        | ColumnData::Date(_)
        | ColumnData::Time(_)
        | ColumnData::DateTimeOffset(_)) => {
            return Err(unreadable(other));
        }
    })
}

fn unreadable(c: &ColumnData<'static>) -> tiberius::error::Error {
    tiberius::error::Error::Conversion(format!("a value that is not understood: {c:?}").into())
}

/// A numeric without a fraction: one that has one is no number that we ask for.
fn whole(value: i128, scale: u8) -> Option<i128> {
    let unit = 10i128.checked_pow(scale.into())?;
    (value % unit == 0).then_some(value / unit)
}

/// datetime counts 1/300 s from 1900, smalldatetime minutes, datetime2 its own fractions from year 1.
fn date_time(c: &ColumnData<'static>) -> Result<Option<jiff::civil::DateTime>, tiberius::error::Error> {
    let bad = |e: jiff::Error| tiberius::error::Error::Conversion(e.to_string().into());
    let at = |days: i64,
              from: jiff::civil::Date,
              nanos: i64|
     -> Result<jiff::civil::DateTime, tiberius::error::Error> {
        let date = from.checked_add(jiff::Span::new().days(days)).map_err(bad)?;
        date.at(0, 0, 0, 0).checked_add(jiff::SignedDuration::from_nanos(nanos)).map_err(bad)
    };
    Ok(match c {
        ColumnData::DateTime(Some(d)) => Some(at(
            d.days().into(),
            jiff::civil::date(1900, 1, 1),
            i64::from(d.seconds_fragments()) * 10_000_000 / 3,
        )?),
        ColumnData::SmallDateTime(Some(d)) => Some(at(
            d.days().into(),
            jiff::civil::date(1900, 1, 1),
            i64::from(d.seconds_fragments()) * 60_000_000_000,
        )?),
        ColumnData::DateTime2(Some(d)) => {
            let unit = 10i64.pow(9 - u32::from(d.time().scale().min(9)));
            let increments = i64::try_from(d.time().increments()).map_err(|_| unreadable(c))?;
            Some(at(d.date().days().into(), jiff::civil::date(1, 1, 1), increments.saturating_mul(unit))?)
        }
        _ => None,
    })
}
