//! The product's own tables, in a database that is live.

use std::time::Duration;

use jiff::Timestamp;

use super::errors::problem;
use super::read::facts;
use super::{Cell, Rows, SqlSession, Statement, statements};
use crate::domain::pool::{Pool, SqlServer};
use crate::domain::reading::Reading;
use crate::domain::sql_server::Instance;

/// What is asked of the product's own tables in a database that is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// When its chat servers last reported themselves alive.
    pub reports: bool,
    /// When its newest message was written: of a database that chat does not use yet only.
    pub newest_message: bool,
}

/// Longest wait for an answer out of the product's own tables: nothing depends on one of them alone.
const CONTENT: Duration = Duration::from_secs(5);

/// Reads the product's own tables, on a session that serves nothing else: they are large, and the product locks them for minutes. What
/// cannot be read is unknown, and holds up nothing.
pub async fn read<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    pool: &Pool,
    what: Content,
    i: &mut Instance,
) {
    if what.reports {
        let text = statements::server_identities(&pool.database);
        let reports = table(session, server, "reading tblServerIdentity", &text, |r, row| {
            Ok((r.must(row, "serverAddress")?, r.utc(row, "serverLastPingTime")?))
        })
        .await;
        // A server that has never reported (a row of the other side, say) has nothing that could advance.
        i.server_identities =
            reports.map(|v| v.into_iter().filter_map(|(host, at)| Some((host, at?))).collect());
    }
    if what.newest_message {
        let text = statements::newest_message(&pool.database);
        let newest =
            table(session, server, "reading tblChat", &text, |r, row| r.chat_date(row, "newest")).await;
        i.newest_message = newest.map(|v| v.into_iter().next().flatten());
    }
}

async fn table<S: SqlSession, T>(
    session: &mut S,
    server: &SqlServer,
    doing: &str,
    text: &str,
    read: impl Fn(&Rows, &[Cell]) -> Result<T, String>,
) -> Reading<Vec<T>> {
    match session.send(&Statement::read(text, vec![]), Some(CONTENT)).await {
        Ok(rows) => facts(&rows, server, doing, read),
        Err(e) => Reading::Unknown(problem(&e, server, doing)),
    }
}

impl Rows {
    fn chat_date(&self, row: &[Cell], name: &str) -> Result<Option<Timestamp>, String> {
        match self.cell(row, name)? {
            Cell::Int(n) => {
                let unknown = || format!("column {name} is {n}, a date in a unit that is not known");
                chat_date(*n).map(Some).ok_or_else(unknown)
            }
            Cell::Null => Ok(None),
            other => Err(format!("column {name} is {other:?}, expected a bigint")),
        }
    }
}

/// The moment of a date of tblChat: a bigint whose unit is nowhere documented (Lync Server 2013). Each unit that a Windows
/// program would write has numbers of a size that no other one has in this century: .NET's ticks, FILETIME, milliseconds, seconds.
fn chat_date(n: i64) -> Option<Timestamp> {
    const TICKS: i64 = 621_355_968_000_000_000;
    const FILE_TIME: i64 = 116_444_736_000_000_000;
    match n {
        630_000_000_000_000_000..=670_000_000_000_000_000 => {
            Timestamp::from_nanosecond(i128::from(n - TICKS) * 100).ok()
        }
        125_000_000_000_000_000..=160_000_000_000_000_000 => {
            Timestamp::from_nanosecond(i128::from(n - FILE_TIME) * 100).ok()
        }
        946_684_800_000..=4_102_444_800_000 => Timestamp::from_millisecond(n).ok(),
        946_684_800..=4_102_444_800 => Timestamp::from_second(n).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_date_of_a_message_is_told_by_its_size() {
        let at: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let seconds = at.as_second();
        let hundreds = seconds * 10_000_000;
        for n in
            [seconds, seconds * 1000, hundreds + 621_355_968_000_000_000, hundreds + 116_444_736_000_000_000]
        {
            assert_eq!(chat_date(n), Some(at), "{n}");
        }
        for n in [0, -1, 20_260_301, i64::MAX, i64::MIN, hundreds] {
            assert_eq!(chat_date(n), None, "{n}");
        }
    }
}
