//! Tables of the content database itself.

use super::super::time;
use super::{Table, n, s, table};
use crate::sql::Database;

/// A table of the content database, by lower-case name without the database's.
pub(super) fn of(db: &Database, name: &str) -> Option<Table> {
    match name {
        "dbo.tblserveridentity" => Some(server_identities(db)),
        "dbo.tblchat" => Some(messages(db)),
        "sys.database_principals" => Some(principals(db)),
        _ => None,
    }
}

fn server_identities(db: &Database) -> Table {
    let columns = ["serverID", "serverAddress", "serverLastPingTime"];
    table(&columns, (1..).zip(&db.identities).map(|(id, (host, at))| vec![n(id), s(host), s(&time(*at))]))
}

fn messages(db: &Database) -> Table {
    table(&["chatDate"], db.newest_message.map(|at| vec![s(&time(at))]))
}

fn principals(db: &Database) -> Table {
    let columns = ["name", "principal_id", "type", "sid"];
    let rows = (5..).zip(&db.users).map(|(id, (user, mapped))| {
        let sid = if *mapped { format!("sid {user}") } else { format!("sid of another server {user}") };
        vec![s(user), n(id), s("S"), s(&sid)]
    });
    table(&columns, rows)
}
