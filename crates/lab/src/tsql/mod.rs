//! The T-SQL front end: a batch becomes a small program that can wait (for a RESTORE) and go on when the clock has moved.
//!
//! Control flow and the administrative statements are interpreted here; SELECT, INSERT, UPDATE and CREATE TABLE are rewritten
//! for SQLite, over tables that the catalog fills from the world. What is not understood is error 50000 whose text begins with
//! "simulator:", never an empty result.

mod alter;
mod backup;
pub mod batch;
mod compile;
pub(crate) mod ends;
mod headers;
mod languages;
pub mod lexer;
mod messages;
mod named;
mod procedures;
pub(crate) mod restore;
mod restore_full;
mod statements;
pub(crate) mod transactions;
mod types;
pub mod values;

pub use batch::{Batch, Progress, Wanted};
pub(crate) use transactions::enterable;
pub use values::{Cell, ColumnType, Done, Ends, Event, Kind, SqlMessage};

use crate::scenario::SqlServerVersion;
use crate::sql::{Database, Instance, Session};
use crate::world::World;
use crate::world::journal::Outcome;

/// Where a batch runs: a session of one instance of a world.
pub(crate) struct Seat<'w> {
    /// The world.
    pub(crate) world: &'w mut World,
    /// FQDN of the instance's host.
    pub(crate) host: &'w str,
    /// Id of the session.
    pub(crate) id: u32,
}

impl Seat<'_> {
    /// The instance.
    pub(crate) fn instance(&self) -> Option<&Instance> {
        self.world.sql.get(self.host)
    }

    /// The version of the server that answers.
    pub(crate) fn version(&self) -> SqlServerVersion {
        self.instance().map_or(self.world.scenario.dialect.sql_server, Instance::version)
    }

    /// The instance, to be changed.
    pub(crate) fn instance_mut(&mut self) -> Option<&mut Instance> {
        self.world.sql.get_mut(self.host)
    }

    /// One of the instance's databases, by lower-case name.
    pub(crate) fn database_mut(&mut self, key: &str) -> Option<&mut Database> {
        self.instance_mut().and_then(|i| i.databases.get_mut(key))
    }

    /// The session.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.instance().and_then(|i| i.sessions.get(&self.id))
    }

    /// The session, to be changed.
    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        let id = self.id;
        self.instance_mut().and_then(|i| i.sessions.get_mut(&id))
    }

    /// Ends a statement's entry in the journal, and hands its result on.
    fn finish<T>(&mut self, entry: u64, result: Result<T, SqlMessage>) -> Result<T, SqlMessage> {
        let outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(e) => Outcome::Failed(format!("{}: {}", e.number, e.message)),
        };
        self.world.journal.end(entry, self.world.now, outcome);
        result
    }
}
