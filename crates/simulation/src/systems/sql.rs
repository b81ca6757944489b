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
use crate::world::{Fate, Handle};

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
            Fate::Ok | Fate::AnswerLost | Fate::KillBefore | Fate::KillDuring | Fate::KillAfter => {}
        }
        let silent = {
            let s = self.shared.now();
            let silent = s.world.sql.get(&server.host).is_some_and(|i| i.silent);
            (silent && lab::sql::is_up(&s.world, &server.host)).then_some(s.world.scenario.connect_ms)
        };
        if let Some(patience) = silent {
            tokio::time::sleep(Duration::from_millis(patience)).await;
            return Err(SqlError::Unreachable("timed out".into()));
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
        let (fate, latency) = self.shared.now().point(self.who, is_write(&statement.text), || {
            format!("{} {}", connection.host, brief(statement))
        });
        tokio::time::sleep(latency).await;
        // Every second request that goes wrong is given up by the server without an error: an attention, a KILL.
        let without_a_word = latency.as_millis() % 2 == 1;
        match fate {
            Fate::KillBefore => {
                let _open = connection;
                return die(&self.shared, self.who).await;
            }
            Fate::FailBefore if without_a_word => {
                return self.ended_with(connection, Answer::default(), statement);
            }
            Fate::FailBefore => return connection.lost("connection reset before anything was sent"),
            Fate::Ok | Fate::AnswerLost | Fate::Hang | Fate::KillDuring | Fate::KillAfter => {}
        }
        let Some(mut events) = connection.begin(statement) else {
            return connection.lost("connection reset by peer");
        };
        let mut step = connection.step(&mut events);
        match fate {
            Fate::KillDuring => {
                let _open = connection;
                return die(&self.shared, self.who).await;
            }
            Fate::Hang => {
                let patience = deadline.unwrap_or(NETWORK);
                connection.abandon(i64::try_from(patience.as_secs()).unwrap_or(60) + 5);
                tokio::time::sleep(patience).await;
                return Err(SqlError::Lost("no answer in time".into()));
            }
            Fate::Ok | Fate::FailBefore | Fate::AnswerLost | Fate::KillBefore | Fate::KillAfter => {}
        }
        let mut waited = Duration::ZERO;
        while let Step::Goes(pause) = step {
            waited += pause;
            if deadline.is_some_and(|d| waited > d) {
                return connection.lost("no answer in time");
            }
            tokio::time::sleep(pause).await;
            step = connection.step(&mut events);
        }
        if let Step::Cut = step {
            return connection.lost("connection reset by peer");
        }
        match fate {
            Fate::AnswerLost if without_a_word => {
                return self.ended_with(connection, Answer::default(), statement);
            }
            Fate::AnswerLost => return connection.lost("connection reset before the answer"),
            Fate::KillAfter => {
                let _open = connection;
                return die(&self.shared, self.who).await;
            }
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore | Fate::KillDuring => {}
        }
        self.ended_with(connection, answer(events), statement)
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

/// How far a batch has come.
enum Step {
    /// Its session has been ended.
    Cut,
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
        if !lab::sql::session_alive(&s.world, &self.host, self.id) {
            return Step::Cut;
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
        })
        .collect();
    format!("{} [{}]", text.split_whitespace().take(7).collect::<Vec<_>>().join(" "), values.join(", "))
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
