//! Which columns a view, a table of msdb or RESTORE HEADERONLY has in a version of SQL Server, and of which types.
//!
//! `shapes/*.txt` say so, with their sources.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::scenario::SqlServerVersion;
use crate::tsql::{ColumnType, Kind};

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: ColumnType,
    since: u8,
    until: u8,
}

type Shapes = BTreeMap<&'static str, Vec<Column>>;

fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(|| {
        let mut all = Shapes::new();
        let mut name = "";
        for line in [include_str!("shapes/tables.txt"), include_str!("shapes/headers.txt")]
            .iter()
            .flat_map(|t| t.lines())
        {
            if let Some(next) = line.strip_prefix("= ") {
                name = next;
            } else if let Some(column) = column(line) {
                all.entry(name).or_default().push(column);
            }
        }
        all
    })
}

/// A line: name, type, `null`, versions.
fn column(line: &'static str) -> Option<Column> {
    if line.starts_with('#') {
        return None;
    }
    let mut words = line.split(' ');
    let (name, kind) = (words.next()?, Kind::parse(words.next()?)?);
    let (mut nullable, mut since, mut until) = (false, 0, u8::MAX);
    for word in words {
        match word.split_once('-') {
            None => nullable = true,
            Some((from, to)) => {
                since = from.parse().unwrap_or(0);
                until = to.parse().unwrap_or(u8::MAX);
            }
        }
    }
    Some(Column { name, kind: ColumnType { kind, nullable }, since, until })
}

/// The columns of a view or a table, by lower-case name, in a version; nothing if it is none that is known.
pub(super) fn columns(
    table: &str,
    version: SqlServerVersion,
) -> Option<impl Iterator<Item = &'static Column>> {
    let major = version.numbers().0;
    let all = shapes().get(table).or_else(|| {
        // Of any database: without its name.
        shapes().get(table.split_once('.')?.1)
    })?;
    Some(all.iter().filter(move |c| c.since <= major && major <= c.until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood_and_every_version_has_its_headers() {
        let lines = include_str!("shapes/tables.txt").lines().filter(|l| !l.starts_with(['#', '=']));
        assert_eq!(lines.clone().count(), lines.filter(|l| column(l).is_some()).count());
        let counts = SqlServerVersion::ALL.map(|v| columns("RESTORE HEADERONLY", v).unwrap().count());
        assert_eq!(counts, [52, 53, 56, 56, 56, 56, 59]);
        let has = |v| columns("sys.dm_exec_sessions", v).unwrap().any(|c| c.name == "database_id");
        assert!(!has(SqlServerVersion::V2008R2) && has(SqlServerVersion::V2012));
    }
}
