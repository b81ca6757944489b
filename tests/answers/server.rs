//! A SQL Server of a lab, and what it is to answer.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lab::scenario::Scenario;
use lab::serve::Lab;
use lab::sql::{SQL_PASSWORD, SQL_USER};
use lab::tsql::{Event, SqlMessage};
use lab::world::answers::Answered;

use crate::product::{
    Credentials, Password, Pool, Settings, SqlError, SqlServer, TdsSession, convert, from_file,
};

/// What is answered for a text.
type Chosen = Arc<Mutex<BTreeMap<String, Answered>>>;

pub struct Server {
    pub lab: Lab,
    pub pool: Pool,
    /// The one that is asked.
    pub at: SqlServer,
    settings: Settings,
    ca: tempfile::NamedTempFile,
    chosen: Chosen,
    _directory: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(Scenario::default(), directory.path()).await.unwrap();
        let chosen = Chosen::default();
        let answers = chosen.clone();
        lab.answer_by(Some(Box::new(move |request| answers.lock().unwrap().get(request.text).cloned())));
        let (resource, _) = from_file(&lab.resource("litware")).unwrap();
        let pool = convert::pool(&resource.spec).unwrap();
        let connect = lab.operator_env()["PCF_CONNECT_TO"].clone();
        let address = |text: &str| {
            let (host, port) = text.rsplit_once(':').unwrap();
            (host.to_string(), port.parse::<u16>().unwrap())
        };
        let settings = Settings {
            connect_to: connect
                .split(',')
                .map(|entry| entry.split_once('=').unwrap())
                .map(|(from, to)| (address(from), address(to)))
                .collect(),
            volumes: BTreeMap::new(),
            silence: jiff::SignedDuration::from_secs(2),
            poll: Duration::from_secs(1),
        };
        let mut ca = tempfile::Builder::new().suffix(".pem").tempfile().unwrap();
        ca.write_all(&std::fs::read(directory.path().join("ca.crt")).unwrap()).unwrap();
        let at = pool.sites.iter().next().unwrap().1.sql_server.clone();
        Server { lab, pool, at, settings, ca, chosen, _directory: directory }
    }

    /// What is answered for a text from now on.
    pub fn answer(&self, text: &str, answered: Answered) {
        self.chosen.lock().unwrap().insert(text.into(), answered);
    }

    /// A session as the operator opens it, on the server that is asked or on another one.
    pub async fn open_at(&self, at: &SqlServer) -> Result<TdsSession, SqlError> {
        let who = Credentials { username: SQL_USER.into(), password: Password::new(SQL_PASSWORD) };
        TdsSession::open(at, &self.settings, &who, Some(&self.ca)).await
    }

    pub async fn try_open(&self) -> Result<TdsSession, SqlError> {
        self.open_at(&self.at).await
    }

    /// The same until it opens: that a busy machine is slow says nothing about answers.
    pub async fn open(&self) -> TdsSession {
        loop {
            match self.try_open().await {
                Err(SqlError::Unreachable(_)) => {}
                other => return other.unwrap(),
            }
        }
    }
}

/// A message with as many words as SQL Server uses.
pub fn message(number: u32, class: u8, state: u8) -> SqlMessage {
    SqlMessage { state, ..SqlMessage::error(number, class, format!("What {number} says, in some words.")) }
}

pub fn error(number: u32, class: u8, state: u8) -> Event {
    Event::Error(message(number, class, state))
}

pub fn info(number: u32) -> Event {
    Event::Info(message(number, 0, 1))
}
