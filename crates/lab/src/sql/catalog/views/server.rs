//! Sessions, what they run and what they lock; logins.

use rusqlite::types::Value as Sqlite;

use super::{Table, n, numbered, s, table};
use crate::sql::agent::AGENT;
use crate::sql::{Instance, SQL_USER};
use crate::tsql::transactions::SYSTEM_DATABASES;
use crate::world::World;

pub(super) fn sessions(_: &World, i: &Instance) -> Table {
    let columns = [
        "session_id",
        "login_name",
        "host_name",
        "program_name",
        "is_user_process",
        "database_id",
        "status",
        "original_login_name",
    ];
    let clients = i.sessions.iter().map(|(id, x)| {
        let status = if x.batch.is_some() || x.running.is_some() { "running" } else { "sleeping" };
        let names = [&x.login, &x.host, &x.program, &x.login].map(|t| s(t));
        let [login, host, program, original] = names;
        vec![n(*id), login, host, program, n(1), n(id_of(i, &x.database)), s(status), original]
    });
    // SQL Server Agent keeps sessions of its own in msdb as long as it lives.
    let agent = (!i.agent_stopped).then(|| {
        let program = "SQLAgent - Generic Refresher";
        let login = AGENT;
        vec![n(49), s(login), s(&i.server_name), s(program), n(1), n(4), s("sleeping"), s(login)]
    });
    table(&columns, clients.chain(agent))
}

/// The number of a database; that of `master` for one that is none of the world's.
fn id_of(i: &Instance, key: &str) -> i64 {
    let system = || SYSTEM_DATABASES.iter().find(|(name, _)| *name == key).map_or(1, |(_, id)| *id);
    i.databases.keys().position(|k| k == key).map_or_else(system, |k| k as i64 + 5)
}

/// `sys.sysprocesses`: the database of each session, in every version.
pub(super) fn processes(_: &World, i: &Instance) -> Table {
    table(
        &["spid", "ecid", "dbid"],
        i.sessions.iter().map(|(id, x)| vec![n(*id), n(0), n(id_of(i, &x.database))]),
    )
}

pub(super) fn requests(w: &World, i: &Instance) -> Table {
    let columns = ["session_id", "command", "percent_complete", "database_id"];
    let running = i.sessions.iter().filter_map(|(id, x)| x.running.as_ref().map(|r| (id, r)));
    let rows = running.map(|(id, r)| {
        let (all, done) = (r.ends.duration_since(r.began), w.now.duration_since(r.began));
        let percent = (100.0 * done.as_secs_f64() / all.as_secs_f64().max(0.001)).min(100.0);
        vec![n(*id), s(&r.command), Sqlite::Real(percent), n(1)]
    });
    table(&columns, rows)
}

pub(super) fn locks(_: &World, i: &Instance) -> Table {
    let columns = [
        "request_session_id",
        "resource_type",
        "resource_database_id",
        "resource_description",
        "request_status",
    ];
    let inside = i.sessions.iter().filter(|(_, x)| i.databases.contains_key(&x.database));
    let inside =
        inside.map(|(id, x)| vec![n(*id), s("DATABASE"), n(id_of(i, &x.database)), s(""), s("GRANT")]);
    // Whoever has a database for itself holds it from everywhere (recorded).
    let holders = numbered(i).filter_map(|(number, d)| {
        let id =
            d.holder.filter(|id| i.sessions.get(id).is_some_and(|x| x.database != d.name.to_lowercase()))?;
        (d.user_access == 1).then(|| vec![n(id), s("DATABASE"), n(number), s(""), s("GRANT")])
    });
    // Whoever restores a database holds it: that a RESTORE shows so is nowhere recorded.
    let restoring = i.sessions.iter().filter_map(|(id, x)| x.running.as_ref().map(|r| (id, r)));
    let restoring =
        restoring.map(|(id, r)| vec![n(*id), s("DATABASE"), n(id_of(i, &r.database)), s(""), s("GRANT")]);
    let inside = inside.chain(holders).chain(restoring);
    let rows = i.locks.iter().map(|lock| {
        let short: String = lock.resource.chars().take(32).collect();
        vec![
            n(lock.holder),
            s("APPLICATION"),
            n(id_of(i, &lock.database)),
            s(&format!("0:[{short}]:(1a2b3c4d)")),
            s("GRANT"),
        ]
    });
    table(&columns, rows.chain(inside))
}

pub(super) fn principals(w: &World, _: &Instance) -> Table {
    let names = ["RTCComponentService", SQL_USER].into_iter().chain(w.scenario.hostile_text.as_deref());
    table(&["name", "sid", "type"], names.map(|name| vec![s(name), s(&format!("sid {name}")), s("S")]))
}
