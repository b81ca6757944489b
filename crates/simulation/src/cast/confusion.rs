//! What makes it hard to say who lives, each for a while.

use persistent_chat_failover::domain::problem::{Problem, Reason};
use persistent_chat_failover::domain::side::Side;
use serde::{Deserialize, Serialize};

use super::{Act, act, hands};
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
    /// Another instance of the host answers at the port of a side's SQL Server, with a copy of the same database.
    OtherInstance(Side),
    /// The folders of a side's log backups are not mounted for the operators: they are empty, and that is no error.
    Unmounted(Side),
    /// Somebody restores another database on the SQL Server of a side. It takes all night.
    OtherRestore(Side),
    /// The services of a side's chat servers run, connect to the database, and do not report themselves.
    ChatHangs(Side),
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
            Confusion::OtherInstance(side) => answer_as_another(s, side, on)?,
            Confusion::Unmounted(side) => s.unmounted = on.then_some(side),
            Confusion::OtherRestore(side) => {
                let host = sides::data_center(&s.world.scenario, side).sql_server.clone();
                lab::sql::restore_another_by_hand(&mut s.world, &host, "other")?;
            }
            Confusion::ChatHangs(side) => {
                let hosts = &sides::data_center(&s.world.scenario, side).servers;
                let of_side = s.world.chat.servers.iter_mut().filter(|(host, _)| hosts.contains(host));
                of_side.for_each(|(_, server)| server.hangs = on);
            }
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
            Confusion::OtherInstance(_) => "another instance answers at the port, or the right one again",
            Confusion::Unmounted(_) => "the folders of log backups are not mounted, or are again",
            Confusion::OtherRestore(_) => "another database is restored on the same server",
            Confusion::ChatHangs(_) => "chat servers connect and do not report themselves, or do again",
        }
    }
}

/// The instance at the port of a side's SQL Server calls itself otherwise, or as it should again. Where the resource names none, any is
/// the right one.
fn answer_as_another(s: &mut Shared, side: Side, on: bool) -> Result<(), String> {
    let d = sides::data_center(&s.world.scenario, side).clone();
    if d.instance.is_empty() {
        return Err("the resource names no instance".into());
    }
    let instance = s.world.sql.get_mut(&d.sql_server).ok_or("no such server")?;
    let machine = instance.server_name.split('\\').next().unwrap_or_default();
    instance.server_name = format!(r"{machine}\{}", if on { "OTHER" } else { &d.instance });
    // Who talks to an instance goes on talking to that one: where another one takes the port, the first has gone.
    super::end_sessions(s, &d.sql_server, |_| true);
    Ok(())
}

/// What the human on call does where a message says that something of this is so. Whether it does.
pub fn clear_up(s: &mut Shared, problem: &Problem) -> bool {
    let there = sides::to_side(&s.world.scenario);
    let confusion = match problem.reason {
        Reason::FolderUnusable
            if problem.fix.contains("Check the mount") || problem.fix.contains("Mount the folder anew") =>
        {
            Confusion::Unmounted(there)
        }
        Reason::InvalidSpec if problem.fix.contains("SQL Server Configuration Manager") => {
            Confusion::OtherInstance(there)
        }
        _ => return false,
    };
    act(s, &Act::Confuse(confusion, false));
    true
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
