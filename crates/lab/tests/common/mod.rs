//! A simulated SQL Server that is asked without a network.

use lab::scenario::Scenario;
use lab::sql::{self, SQL_PASSWORD, SQL_USER};
use lab::tsql::{Cell, Event, Progress, batch};
use lab::world::World;
use lab::world::files::MemoryFiles;

pub const LIVE: &str = "atl-sql-1.litwareinc.com";
pub const COPY: &str = "sea-sql-1.litwareinc.com";

pub fn world(scenario: Scenario) -> World {
    let start = "2026-03-01T12:00:00Z".parse().unwrap();
    World::new(scenario, Box::<MemoryFiles>::default(), start).unwrap()
}

pub fn log_in(w: &mut World, host: &str) -> u32 {
    sql::login(w, host, SQL_USER, SQL_PASSWORD, "client", "test").unwrap()
}

/// What is answered to a batch, once it has ended.
pub fn send(w: &mut World, host: &str, id: u32, text: &str, parameters: Vec<(String, Cell)>) -> Vec<Event> {
    let mut out = Vec::new();
    match batch::begin(w, host, id, text, parameters) {
        Err(e) => out.push(Event::Error(e)),
        Ok(()) => {
            while let Progress::Until(at) = batch::step(w, host, id, &mut out) {
                w.advance(at);
            }
        }
    }
    out
}
