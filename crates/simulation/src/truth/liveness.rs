//! It ends well, and then it is quiet.

use lab::world::World;
use persistent_chat_failover::status::conditions;

use super::{Truth, is_live};
use crate::sides;
use crate::world::Shared;

/// Operators at rest leave the API server alone.
pub fn at_rest(truth: &mut Truth, writing: &[usize]) {
    truth.check("an idle operator does not write", writing.is_empty(), || {
        format!("operators {writing:?} still write their status although nothing changes")
    });
}

/// What is missing for chat to be live on the other side, with every operator that lives knowing it, telling it and at rest;
/// empty: nothing. `dead` says of each operator whether it waits to be started again.
pub fn unrest(s: &Shared, dead: &[bool]) -> Vec<String> {
    let mut out = missing(&s.world);
    let there = sides::to_side(&s.world.scenario);
    let to = sides::to(&s.world.scenario).name.as_str();
    let mut somebody = false;
    for (who, dead) in dead.iter().enumerate() {
        // Who is dead is no burden to others; whom no API server answers cannot be told what is wanted.
        let stored = s.clusters.get(who).and_then(|c| c.get().ok());
        let (Some(p), Some(o), false) = (s.operators.get(who), stored, *dead) else { continue };
        somebody = true;
        if p.next != "Settled" || p.active != Some(there) {
            out.push(format!("operator {who} takes {:?} for active and is at {:?}", p.active, p.next));
            continue;
        }
        let ready = o.status.conditions.iter().any(|c| c.type_ == conditions::READY && c.status == "True");
        if !ready || o.status.active_data_center.as_deref() != Some(to) {
            out.push(format!("the status of operator {who} does not say what it knows"));
        }
    }
    if !somebody {
        out.push("no operator lives".into());
    }
    out
}

/// What is missing for chat to be live on the other side; empty: nothing.
pub fn missing(w: &World) -> Vec<String> {
    let mut out = Vec::new();
    let to = sides::to(&w.scenario);
    let key = w.scenario.database.to_lowercase();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            out.push(what.to_string());
        }
    };
    let db = w.sql.get(&to.sql_server).and_then(|i| i.databases.get(&key));
    expect(db.is_some_and(|d| is_live(d) && !d.read_only && d.user_access == 0), "the database is online");
    expect(db.and_then(|d| d.mirroring.as_ref()).is_some_and(|m| m.state == 4), "the mirror is synchronized");
    let state = sides::pool_state_there(&w.scenario);
    expect(w.chat.master.pool_state == state, &format!("the pool's state is {state}"));
    expect(w.chat.master.active == to.servers, "the active servers are those of the other side");
    let serving = to.servers.iter().any(|s| {
        let session = w.chat.servers.get(s).and_then(|c| c.session.as_ref());
        session.is_some_and(|(host, _)| *host == to.sql_server)
    });
    expect(serving, "a chat server is in the database");
    out
}
