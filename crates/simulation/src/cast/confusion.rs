//! What makes it hard to say who lives, each for a while.

use persistent_chat_failover::domain::side::Side;
use serde::{Deserialize, Serialize};

use super::hands;
use crate::sides;
use crate::world::Shared;

/// Something that makes it hard to say who lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confusion {
    /// The SQL Servers of a side accept connections and say nothing to new ones, and no operator reaches its other ports.
    SilentPorts(Side),
    /// The same, and no operator reaches their ports either: what is left is what the other side's Management Shell sees.
    SilentBehindAWall(Side),
    /// No Management Shell host resolves the names of a side's SQL Servers.
    Unresolved(Side),
    /// No session configuration shows `Test-NetConnection`.
    NoTestNetConnection,
    /// No session configuration shows `Test-CsDatabase`.
    NoTestCsDatabase,
}

impl Confusion {
    /// It begins, or is over.
    pub fn befall(self, s: &mut Shared, on: bool) -> Result<(), String> {
        let hide = |s: &mut Shared, name: &str| {
            s.world.chat.hidden.retain(|h| h != name);
            s.world.chat.hidden.extend(on.then(|| name.to_string()));
        };
        match self {
            Confusion::SilentPorts(side) => fall_silent(s, side, on, false)?,
            Confusion::SilentBehindAWall(side) => fall_silent(s, side, on, true)?,
            Confusion::Unresolved(side) => {
                let d = sides::data_center(&s.world.scenario, side);
                let hosts = [d.sql_server.clone(), d.mirror.clone()];
                s.world.chat.unresolved = if on { hosts.into() } else { vec![] };
            }
            Confusion::NoTestNetConnection => hide(s, "Test-NetConnection"),
            Confusion::NoTestCsDatabase => hide(s, "Test-CsDatabase"),
        }
        Ok(())
    }

    /// Its kind, for counting.
    pub fn name(self) -> &'static str {
        match self {
            Confusion::SilentPorts(_) => "SQL Servers fall silent at an open port, or speak again",
            Confusion::SilentBehindAWall(_) => "the same, and no operator reaches them",
            Confusion::Unresolved(_) => "names are not resolved, or are again",
            Confusion::NoTestNetConnection => "Test-NetConnection is not shown, or is again",
            Confusion::NoTestCsDatabase => "Test-CsDatabase is not shown, or is again",
        }
    }
}

/// The SQL Servers of a side fall silent, or speak again. What no operator reaches is a wall in front of the other ports, or of all.
fn fall_silent(s: &mut Shared, side: Side, on: bool, all: bool) -> Result<(), String> {
    s.filtered = on.then_some(side);
    s.walled = s.filtered.filter(|_| all);
    hands::on_servers(s, side, |w, host| {
        w.sql.get_mut(host).into_iter().for_each(|i| i.silent = on);
        Ok(())
    })
}
