//! SQL Server: sessions of one operator on the lab's instances.

use std::time::Duration;

use jiff::Timestamp;
use lab::sql::{SQL_PASSWORD, SQL_USER};
use lab::tsql::{Cell as LabCell, Event, Progress, SqlMessage, batch};
use persistent_chat_failover::domain::pool::SqlServer;
use persistent_chat_failover::systems::SqlSession;
use persistent_chat_failover::systems::sql_server::{
    Answer, Cell, Parameter, Rows, ServerError, SqlError, Statement,
};

use super::{SimSystems, die};
use crate::fate::{self, Call, Fate, SqlFate};
use crate::sides;
use crate::world::Handle;

/// How long a statement without a deadline may hang before the network gives it up.
const NETWORK: Duration = Duration::from_secs(180);

impl SimSystems {
    /// Logs on.
    pub(super) async fn connect(&self, server: &SqlServer) -> Result<SimSession, SqlError> {
        match self.point(false, || format!("connect {}", server.host)).await {
            Fate::FailBefore => return Err(SqlError::Unreachable("timed out".into())),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(8)).await;
                return Err(SqlError::Unreachable("timed out".into()));
            }
            Fate::AnswerLost => {
                return Err(SqlError::Unanswered("the connection was closed before an answer".into()));
            }
            Fate::Ok | Fate::KillBefore | Fate::KillDuring | Fate::KillAfter | Fate::Sql(_) => {}
        }
        let silent = {
            let s = self.shared.now();
            let silent = s.world.sql.get(&server.host).is_some_and(|i| i.silent);
            let side = sides::of_host(&s.world.scenario, &server.host);
            let walled = s.walled.is_some() && s.walled == side;
            (silent && lab::sql::is_up(&s.world, &server.host))
                .then_some((s.world.scenario.connect_ms, walled))
        };
        if let Some((patience, walled)) = silent {
            tokio::time::sleep(Duration::from_millis(patience)).await;
            let why = "timed out".to_string();
            return Err(if walled { SqlError::Unreachable(why) } else { SqlError::Unanswered(why) });
        }
        let mut s = self.shared.now();
        if !lab::sql::is_up(&s.world, &server.host) {
            return Err(SqlError::Unreachable("connection refused".into()));
        }
        let client = format!("operator-{}", self.who);
        let id = lab::sql::login(
            &mut s.world,
            &server.host,
            SQL_USER,
            SQL_PASSWORD,
            &client,
            "persistent-chat-failover",
        )
        .map_err(|(number, message)| SqlError::Login { number, message })?;
        if let Some(p) = s.operators.get_mut(self.who) {
            p.sessions.insert((server.host.clone(), id));
        }
        drop(s);
        let connection = Connection {
            shared: self.shared.clone(),
            who: self.who,
            host: server.host.clone(),
            id,
            open: true,
        };
        Ok(SimSession { shared: self.shared.clone(), who: self.who, connection: Some(connection) })
    }
}

/// A session, as its client holds it.
pub struct SimSession {
    shared: Handle,
    who: usize,
    connection: Option<Connection>,
}

/// A connection that is closed when its client lets go of it. A killed client lets go of nothing.
struct Connection {
    shared: Handle,
    who: usize,
    host: String,
    id: u32,
    open: bool,
}

impl Connection {
    fn lost(self, why: &str) -> Result<Rows, SqlError> {
        self.cut();
        Err(SqlError::Lost(why.into()))
    }
    fn cut(mut self) {
        self.close();
    }
    fn close(&mut self) {
        self.open = false;
        let mut s = self.shared.now();
        if let Some(o) = s.operators.get_mut(self.who) {
            o.sessions.remove(&(self.host.clone(), self.id));
        }
        lab::sql::logout(&mut s.world, &self.host, self.id);
        s.observe();
    }
    /// Nobody listens any more, the server goes on for a while.
    fn abandon(mut self, seconds: i64) {
        self.open = false;
        self.shared.now().abandon(self.who, &self.host, self.id, seconds);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.open {
            self.close();
        }
    }
}

impl SqlSession for SimSession {
    async fn send(&mut self, statement: &Statement, deadline: Option<Duration>) -> Result<Rows, SqlError> {
        let Some(connection) = self.connection.take() else {
            return Err(SqlError::Lost("the session has ended".into()));
        };
        let call = Call::of(statement);
        let (fate, latency) = self.shared.now().point(self.who, (call, is_write(&statement.text)), || {
            format!("{} {}", connection.host, brief(statement))
        });
        tokio::time::sleep(latency).await;
        match fate {
            Fate::KillBefore => {
                let _open = connection;
                die(&self.shared, self.who).await
            }
            Fate::FailBefore => connection.lost("connection reset before anything was sent"),
            Fate::KillDuring => {
                if let Some(mut events) = connection.begin(statement) {
                    connection.step(&mut events);
                }
                let _open = connection;
                die(&self.shared, self.who).await
            }
            Fate::Hang => {
                let Some(mut events) = connection.begin(statement) else {
                    return connection.lost("connection reset by peer");
                };
                connection.step(&mut events);
                let patience = deadline.unwrap_or(NETWORK);
                connection.abandon(i64::try_from(patience.as_secs()).unwrap_or(60) + 5);
                tokio::time::sleep(patience).await;
                Err(SqlError::Lost("no answer in time".into()))
            }
            Fate::Ok => {
                let (connection, answer) = connection.carry_out(statement, deadline).await?;
                self.ended_with(connection, answer, statement)
            }
            Fate::AnswerLost => {
                let (connection, _) = connection.carry_out(statement, deadline).await?;
                connection.lost("connection reset before the answer")
            }
            Fate::KillAfter => {
                let (_open, _) = connection.carry_out(statement, deadline).await?;
                die(&self.shared, self.who).await
            }
            Fate::Sql(fate) => {
                let (connection, answer) = connection.befallen(fate, statement, deadline).await?;
                self.ended_with(connection, answer, statement)
            }
        }
    }
}

impl SimSession {
    /// What is believed of an answer; the connection is kept where it can be used again.
    fn ended_with(
        &mut self,
        connection: Connection,
        answer: Answer,
        statement: &Statement,
    ) -> Result<Rows, SqlError> {
        let believed = answer.believed(statement.proof);
        if believed.as_ref().is_err_and(SqlError::ends_the_session) {
            connection.cut();
        } else {
            self.connection = Some(connection);
        }
        believed
    }
}

impl Connection {
    /// A statement is carried out to its end. An error: the connection is gone.
    async fn carry_out(
        self,
        statement: &Statement,
        deadline: Option<Duration>,
    ) -> Result<(Connection, Answer), SqlError> {
        let Some(mut events) = self.begin(statement) else { return self.gone() };
        let mut waited = Duration::ZERO;
        loop {
            match self.step(&mut events) {
                Step::Done => return Ok((self, answer(events))),
                Step::Cut => return self.gone(),
                // Who ends a session that is at work is told to it.
                Step::Ended => return Ok((self, refusal([fate::ended()]))),
                Step::Goes(pause) => {
                    waited += pause;
                    if deadline.is_some_and(|d| waited > d) {
                        self.cut();
                        return Err(SqlError::Lost("no answer in time".into()));
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// What comes back for a statement to which the server does something. An error: the connection is gone.
    async fn befallen(
        self,
        fate: SqlFate,
        statement: &Statement,
        deadline: Option<Duration>,
    ) -> Result<(Connection, Answer), SqlError> {
        let call = Call::of(statement);
        match fate {
            SqlFate::GivenUpBefore => {
                self.carry_out_half(call, statement).await;
                lab::sql::cancel(&mut self.shared.now().world, &self.host, self.id);
                Ok((self, Answer::default()))
            }
            SqlFate::GivenUpAfter => {
                let (connection, mut answer) = self.carry_out(statement, deadline).await?;
                answer.sets.pop();
                if let Some(set) = answer.sets.last_mut() {
                    set.rows.truncate(set.rows.len() / 2);
                }
                Ok((connection, answer))
            }
            SqlFate::EndedIdle => {
                self.end();
                self.gone()
            }
            SqlFate::EndedRunning => {
                self.carry_out_half(call, statement).await;
                self.end();
                Ok((self, refusal([fate::ended()])))
            }
            SqlFate::EndedDone => {
                let (connection, _) = self.carry_out(statement, deadline).await?;
                connection.end();
                Ok((connection, refusal([fate::ended()])))
            }
            SqlFate::Refused(cause, order) => {
                self.shared.now().truth.refused_a_log |= call == Call::RestoreLog;
                let errors = cause.errors(order, call);
                Ok((self, errors.map(refusal).unwrap_or_default()))
            }
        }
    }

    /// Half of what takes its time is carried out, and nothing of what does not.
    async fn carry_out_half(&self, call: Call, statement: &Statement) {
        if !call.is_long() {
            return;
        }
        let Some(mut events) = self.begin(statement) else { return };
        if let Step::Goes(pause) = self.step(&mut events) {
            tokio::time::sleep(pause / 2).await;
        }
    }

    /// The server ends the session: its locks are free.
    fn end(&self) {
        let mut s = self.shared.now();
        lab::sql::logout(&mut s.world, &self.host, self.id);
        s.observe();
    }

    /// The server has closed the connection without a word.
    fn gone<T>(self) -> Result<T, SqlError> {
        self.cut();
        Err(SqlError::Lost("connection reset by peer".into()))
    }
}

/// How far a batch has come.
enum Step {
    /// Its server is gone.
    Cut,
    /// Its session has been ended.
    Ended,
    /// It is carried out.
    Done,
    /// It goes on; it is worth looking again after a while.
    Goes(Duration),
}

impl Connection {
    /// The server begins a batch. `None`: it has ended the session before.
    fn begin(&self, statement: &Statement) -> Option<Vec<Event>> {
        let mut s = self.shared.now();
        if !lab::sql::session_alive(&s.world, &self.host, self.id) {
            return None;
        }
        let parameters = statement.parameters.iter().enumerate().map(|(n, p)| {
            let value = match p {
                Parameter::Text(t) => LabCell::Text(t.clone()),
                Parameter::Int(n) => LabCell::Int(i64::from(*n)),
                Parameter::BigInt(n) => LabCell::Int(*n),
            };
            (format!("@P{}", n + 1), value)
        });
        let begun = batch::begin(&mut s.world, &self.host, self.id, &statement.text, parameters.collect());
        Some(begun.err().map(Event::Error).into_iter().collect())
    }

    /// The server goes on with its batch.
    fn step(&self, events: &mut Vec<Event>) -> Step {
        let mut s = self.shared.now();
        let progress = s.step(&self.host, self.id, events);
        s.observe();
        if !lab::sql::is_up(&s.world, &self.host) {
            return Step::Cut;
        }
        if !lab::sql::session_alive(&s.world, &self.host, self.id) {
            return Step::Ended;
        }
        match progress {
            Progress::Until(until) => Step::Goes(pause(s.time(), until)),
            Progress::Finished => Step::Done,
        }
    }
}

/// How long to wait for something that the server is busy with until a moment.
fn pause(now: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now))
        .unwrap_or(Duration::ZERO)
        .clamp(Duration::from_millis(1), Duration::from_millis(500))
}

fn is_write(text: &str) -> bool {
    text.contains("PCF guard")
}

/// A statement in a word or two.
fn brief(statement: &Statement) -> String {
    let text = statement.text.rsplit("RETURN; END; ").next().unwrap_or(&statement.text);
    let values: Vec<String> = statement
        .parameters
        .iter()
        .map(|p| match p {
            Parameter::Text(t) => t.chars().take(40).collect(),
            Parameter::Int(n) => n.to_string(),
            Parameter::BigInt(n) => n.to_string(),
        })
        .collect();
    format!("{} [{}]", text.split_whitespace().take(7).collect::<Vec<_>>().join(" "), values.join(", "))
}

/// What the driver makes of a refusal: the first of its errors, and what the batch says of the last one if it goes on after it.
fn refusal<const N: usize>(errors: [ServerError; N]) -> Answer {
    let goes_on = errors.iter().all(|e| e.class < 20);
    let last = errors.last().map_or(0, |e| i64::from(e.number));
    let ending = Rows {
        columns: ["error", "returned"].map(String::from).to_vec(),
        rows: vec![vec![Cell::Int(last), Cell::Int(0)]],
    };
    Answer { sets: if goes_on { vec![ending] } else { vec![] }, error: errors.into_iter().next() }
}

/// What the driver makes of an answer: its result sets, and the first error.
fn answer(events: Vec<Event>) -> Answer {
    let mut answer = Answer::default();
    for event in events {
        match event {
            Event::Rows { columns, rows, .. } => answer.sets.push(Rows {
                columns: columns.into_iter().map(|(n, _)| n).collect(),
                rows: rows.into_iter().map(|r| r.into_iter().map(cell).collect()).collect(),
            }),
            Event::Error(m) if answer.error.is_none() => {
                let SqlMessage { number, class, state, message, .. } = m;
                answer.error = Some(ServerError { number, state, class, message, last: None });
            }
            Event::Error(_)
            | Event::Info(_)
            | Event::Count(_)
            | Event::Done(_)
            | Event::Returned(_)
            | Event::Environment(..)
            | Event::Ended(..)
            | Event::Output(..) => {}
        }
    }
    answer
}

fn cell(c: LabCell) -> Cell {
    match c {
        LabCell::Null => Cell::Null,
        LabCell::Int(n) => Cell::Int(n),
        LabCell::Lsn(n) => Cell::Numeric(n),
        LabCell::Bit(b) => Cell::Bool(b),
        LabCell::Float(f) => Cell::Float(f),
        LabCell::Text(t) => Cell::Text(t),
        LabCell::Guid(g) => Cell::Guid(g.to_uppercase()),
        LabCell::Time(t) => t.parse().map_or(Cell::Text(t), Cell::DateTime),
    }
}
