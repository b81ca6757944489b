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
        let (doing, text) = ("reading tblServerIdentity", Statement::read(text, vec![]));
        let reports = table(session, server, (doing, &text), CONTENT, |r, row| {
            Ok((r.must(row, "serverAddress")?, r.utc(row, "serverLastPingTime")?))
        })
        .await;
        // A server that has never reported (a row of the other side, say) has nothing that could advance.
        i.server_identities =
            reports.map(|v| v.into_iter().filter_map(|(host, at)| Some((host, at?))).collect());
    }
    if what.newest_message {
        let text = statements::newest_message(&pool.database);
        let (doing, text) = ("reading tblChat", Statement::read(text, vec![]));
        let newest =
            table(session, server, (doing, &text), CONTENT, |r, row| r.chat_date(row, "newest")).await;
        i.newest_message = newest.map(|v| v.into_iter().next().flatten());
    }
}

/// The rows of a product's table, or why they cannot be read.
pub(super) async fn table<S: SqlSession, T>(
    session: &mut S,
    server: &SqlServer,
    (doing, statement): (&str, &Statement),
    deadline: Duration,
    read: impl Fn(&Rows, &[Cell]) -> Result<T, String>,
) -> Reading<Vec<T>> {
    match session.send(statement, Some(deadline)).await {
        Ok(rows) => facts(&rows, server, doing, read),
        Err(e) => Reading::Unknown(problem(&e, server, doing)),
    }
}

impl Rows {
    /// A bigint.
    pub(super) fn big(&self, row: &[Cell], name: &str) -> Result<Option<i64>, String> {
        match self.cell(row, name)? {
            Cell::Int(n) => Ok(Some(*n)),
            Cell::Null => Ok(None),
            other => Err(format!("column {name} is {other:?}, expected a bigint")),
        }
    }
    /// A bigint that is never NULL.
    pub(super) fn must_big(&self, row: &[Cell], name: &str) -> Result<i64, String> {
        self.big(row, name)?.ok_or_else(|| format!("column {name} is NULL"))
    }
    fn chat_date(&self, row: &[Cell], name: &str) -> Result<Option<Timestamp>, String> {
        let Some(n) = self.big(row, name)? else { return Ok(None) };
        let unknown = || format!("column {name} is {n}, a date in a unit that is not known");
        DateUnit::of(n).and_then(|unit| unit.moment(n)).map(Some).ok_or_else(unknown)
    }
}

/// What dates of tblChat count: bigints whose unit is nowhere documented (Lync Server 2013). Each unit that a Windows program would write
/// has numbers of a size that no other one has in this century.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateUnit {
    /// .NET's ticks: 100 ns since the year 1.
    Ticks,
    /// Windows' FILETIME: 100 ns since 1601.
    FileTime,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Seconds since 1970.
    Seconds,
}

impl DateUnit {
    /// From the year 1 to 1970, in ticks.
    const TICKS: i128 = 621_355_968_000_000_000;
    /// From 1601 to 1970, in the unit of FILETIME.
    const FILE_TIME: i128 = 116_444_736_000_000_000;

    /// The unit of a date, by its size; none: it is none of these.
    pub(super) fn of(n: i64) -> Option<DateUnit> {
        match n {
            630_000_000_000_000_000..=670_000_000_000_000_000 => Some(DateUnit::Ticks),
            125_000_000_000_000_000..=160_000_000_000_000_000 => Some(DateUnit::FileTime),
            946_684_800_000..=4_102_444_800_000 => Some(DateUnit::Milliseconds),
            946_684_800..=4_102_444_800 => Some(DateUnit::Seconds),
            _ => None,
        }
    }
    fn moment(self, n: i64) -> Option<Timestamp> {
        let hundreds = |since: i128| Timestamp::from_nanosecond((i128::from(n) - since) * 100).ok();
        match self {
            DateUnit::Ticks => hundreds(Self::TICKS),
            DateUnit::FileTime => hundreds(Self::FILE_TIME),
            DateUnit::Milliseconds => Timestamp::from_millisecond(n).ok(),
            DateUnit::Seconds => Timestamp::from_second(n).ok(),
        }
    }
    /// A moment as a date of this unit.
    pub(super) fn number(self, at: Timestamp) -> i64 {
        let hundreds = |since: i128| i64::try_from(at.as_nanosecond() / 100 + since).unwrap_or(i64::MAX);
        match self {
            DateUnit::Ticks => hundreds(Self::TICKS),
            DateUnit::FileTime => hundreds(Self::FILE_TIME),
            DateUnit::Milliseconds => at.as_millisecond(),
            DateUnit::Seconds => at.as_second(),
        }
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
            let unit = DateUnit::of(n).unwrap();
            assert_eq!((unit.moment(n), unit.number(at)), (Some(at), n), "{n}");
        }
        for n in [0, -1, 20_260_301, i64::MAX, i64::MIN, hundreds] {
            assert_eq!(DateUnit::of(n), None, "{n}");
        }
    }
}
