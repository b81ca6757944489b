//! It ends well, and then it is quiet.

use lab::sql::Instance;
use lab::world::World;
use persistent_chat_failover::domain::problem::Reason;
use persistent_chat_failover::domain::side::Side;
use persistent_chat_failover::status::conditions;

use super::{Truth, log_shipping, seeding};
use crate::sides;
use crate::world::Shared;

/// Operators at rest leave the API server alone.
pub fn at_rest(truth: &mut Truth, writing: &[usize]) {
    truth.check("an idle operator does not write", writing.is_empty(), || {
        format!("operators {writing:?} still write their status although nothing changes")
    });
}

/// What is missing for chat to be live where it is wanted, with every operator that lives knowing it, telling it and at rest; empty:
/// nothing. `dead` says of each operator whether it waits to be started again.
pub fn unrest(s: &Shared, dead: &[bool]) -> Vec<String> {
    let side = s.end();
    let mut out = missing(&s.world, side);
    let name = sides::data_center(&s.world.scenario, side).name.as_str();
    let mut somebody = false;
    for (who, dead) in dead.iter().enumerate() {
        // Who is dead is no burden to others; whom no API server answers cannot be told what is wanted.
        let stored = s.clusters.get(who).and_then(|c| c.get().ok());
        let (Some(p), Some(o), false) = (s.operators.get(who), stored, *dead) else { continue };
        somebody = true;
        // Of a side that is lost in the middle of its protection everything is waited for, and chat is told to be well meanwhile.
        let waits = !sides::stands(&s.world, side.other())
            && p.blocked
                .as_ref()
                .is_some_and(|p| matches!(p.reason, Reason::HostUnreachable | Reason::LockHeld));
        if !(p.next == "Settled" || waits) || p.active != Some(side) {
            out.push(format!("operator {who} takes {:?} for active and is at {:?}", p.active, p.next));
            continue;
        }
        let is = |kind: &str| o.status.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        if !is(conditions::READY) || o.status.active_data_center.as_deref() != Some(name) {
            out.push(format!("the status of operator {who} does not say what it knows"));
        }
    }
    if !somebody {
        out.push("no operator lives".into());
    }
    out
}

/// What is missing for chat to be live on a side, and for the other one to be protected; empty: nothing.
pub fn missing(w: &World, side: Side) -> Vec<String> {
    let mut out = Vec::new();
    let d = sides::data_center(&w.scenario, side);
    let key = w.scenario.database.to_lowercase();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            out.push(what.to_string());
        }
    };
    let principal = sides::principal(w, side);
    let db = principal.and_then(|i| i.databases.get(&key));
    expect(sides::stands(w, side) && db.is_some_and(|d| d.user_access == 0), "the database is online");
    expect(db.and_then(|d| d.mirroring.as_ref()).is_some_and(|m| m.state == 4), "the mirror is synchronized");
    let state = side.pool_state();
    expect(w.chat.master.pool_state == state, &format!("the pool's state is {state}"));
    expect(w.chat.master.active == d.servers, "the active servers are those of the side");
    let serving = d.servers.iter().any(|s| {
        let session = w.chat.servers.get(s).and_then(|c| c.session.as_ref());
        session.zip(principal).is_some_and(|((host, _), i)| *host == i.host)
    });
    expect(serving, "a chat server is in the database");
    expect(principal.is_some_and(is_backed_up), "the log of the live database is backed up");
    let left = seeding::left_behind(w);
    let is_tidy = left.is_empty() || !sides::stands(w, side.other());
    expect(is_tidy, &format!("no job of ours is left behind ({})", left.join(", ")));
    if log_shipping::can_be_fed(w, side.other()) || seeding::can_be_seeded(w, side.other()) {
        let host = &sides::data_center(&w.scenario, side.other()).sql_server;
        expect(w.sql.get(host).is_some_and(is_fed), "log shipping feeds the copy of the other side");
    }
    out
}

/// Whether a schedule starts a job.
fn runs(i: &Instance, job: &str) -> bool {
    i.jobs.iter().any(|j| j.id == job && j.enabled && !j.schedules.is_empty())
}

fn is_backed_up(i: &Instance) -> bool {
    i.log_shipping_primary.iter().any(|p| runs(i, &p.job))
}

fn is_fed(i: &Instance) -> bool {
    i.log_shipping.iter().any(|s| runs(i, &s.copy_job) && runs(i, &s.restore_job))
}
