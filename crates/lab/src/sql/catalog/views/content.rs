//! Tables of the content database itself.

use jiff::Timestamp;

use super::super::time;
use super::{Table, n, s, table};
use crate::sql::{Database, DateUnit};
use crate::world::World;

/// Makes the rows of a table of a content database.
type View = fn(&World, &Database) -> Table;

/// The tables of a content database, by lower-case name without the database's.
pub(super) const TABLES: &[(&str, View)] = &[
    ("dbo.tblserveridentity", server_identities),
    ("dbo.tblchat", messages),
    ("sys.database_principals", principals),
];

/// A table of the content database, by lower-case name without the database's.
pub(super) fn of(w: &World, db: &Database, name: &str) -> Option<Table> {
    TABLES.iter().find(|(known, _)| *known == name).map(|(_, view)| view(w, db))
}

fn server_identities(_: &World, db: &Database) -> Table {
    let columns = ["serverID", "serverAddress", "serverLastPingTime"];
    // "Server address using the Windows Communication Foundation address" (tblServerIdentity, Lync Server 2013). Scheme and port are
    // those of its services between servers; the path is nowhere shown, and made up.
    let address = |host: &str| format!("net.tcp://{host}:8011/PersistentChat");
    table(
        &columns,
        (1..).zip(&db.identities).map(|(id, (host, at))| vec![n(id), s(&address(host)), s(&time(*at))]),
    )
}

fn messages(w: &World, db: &Database) -> Table {
    let columns = ["channelId", "chatId", "chatDate"];
    let rows = w.messages.of(db).map(|m| vec![n(m.channel()), n(m.id()), n(chat_date(m.at, db.date_unit))]);
    table(&columns, rows)
}

/// `tblChat.chatDate`: a bigint (Lync Server 2013), in a unit that is nowhere shown.
fn chat_date(at: Timestamp, unit: DateUnit) -> i64 {
    // From the year 1, and from 1601, to 1970.
    const TICKS: i128 = 621_355_968_000_000_000;
    const FILE_TIME: i128 = 116_444_736_000_000_000;
    let hundreds = at.as_nanosecond() / 100;
    let number = match unit {
        DateUnit::Ticks => hundreds + TICKS,
        DateUnit::FileTime => hundreds + FILE_TIME,
        DateUnit::Milliseconds => at.as_millisecond().into(),
        DateUnit::Seconds => at.as_second().into(),
    };
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn principals(_: &World, db: &Database) -> Table {
    let columns = ["name", "principal_id", "type", "sid"];
    let rows = (5..).zip(&db.users).map(|(id, (user, mapped))| {
        let sid = if *mapped { format!("sid {user}") } else { format!("sid of another server {user}") };
        vec![s(user), n(id), s("S"), s(&sid)]
    });
    table(&columns, rows)
}
