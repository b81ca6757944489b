//! SELECT and data changes: rewritten for SQLite, over catalog tables that are filled from the world before each statement.

mod answers;
mod functions;
mod infer;
mod rewrite;
mod shapes;
mod store;
mod views;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::{Value as Sqlite, ValueRef};
use rusqlite::{ToSql, params_from_iter};

use super::backup::BackupHeader;
use super::{DatabaseFile, Instance};
use crate::tsql::lexer::Token;
use crate::tsql::{Cell, ColumnType, Kind, Seat, SqlMessage, enterable};
use rewrite::{Rewritten, rewrite};
use store::Engine;
pub(super) use store::Store;

/// What a SELECT has found.
#[derive(Clone)]
pub(crate) struct Selected {
    pub(crate) columns: Vec<(String, ColumnType)>,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// The columns that it is ordered by, counted from 1.
    pub(crate) order: Vec<u16>,
    /// What has ended it after its columns were known.
    pub(crate) failed: Option<SqlMessage>,
    /// The columns that are variables.
    variables: Vec<(usize, String)>,
}

impl Selected {
    /// Gives the columns that are variables the types that those were declared with.
    pub(crate) fn type_variables(&mut self, types: &BTreeMap<String, Kind>) {
        for (n, variable) in &self.variables {
            if let (Some((_, of)), Some(kind)) = (self.columns.get_mut(*n), types.get(variable)) {
                *of = ColumnType::null(*kind);
            }
        }
    }
}

/// How texts compare: without case and blanks at the end, and without what weighs nothing (recorded). What comes before what is not
/// as on a server, where that depends on its collation.
fn compare(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        let (a, b) = (a.trim_end_matches([' ', '\0']).bytes(), b.trim_end_matches([' ', '\0']).bytes());
        return a.map(|c| c.to_ascii_lowercase()).cmp(b.map(|c| c.to_ascii_lowercase()));
    }
    let weighs =
        |c: &char| u32::from(*c) < 0x1_0000 && !matches!(c, '\0' | '\u{200d}' | '\u{200e}' | '\u{feff}');
    let folded = |t: &str| {
        t.trim_end_matches(' ').chars().filter(weighs).flat_map(char::to_lowercase).collect::<String>()
    };
    folded(a).trim_end_matches(' ').cmp(folded(b).trim_end_matches(' '))
}

/// The name of that collation.
const COLLATION: &str = "TSQL";

/// Digits of a numeric as a text: so many that texts compare as their numbers do.
const DIGITS: usize = 38;

/// A numeric as it is stored.
fn stored(n: i128) -> String {
    format!("{n:0DIGITS$}")
}

/// Time as every time column carries it.
pub(crate) fn time(t: jiff::Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

/// Answers a SELECT.
pub(crate) fn select(
    seat: &Seat<'_>,
    t: &[Token],
    variables: &BTreeMap<String, Cell>,
) -> Result<Selected, SqlMessage> {
    let rewritten = rewrite(seat, t);
    prepare(seat, &rewritten.tables)?;
    let engine = engine(seat)?;
    let stamp = rewritten.lasts.then(|| engine.stamp(&rewritten.tables));
    let known = stamp.as_ref().and_then(|stamp| engine.answers.find(&rewritten, variables, stamp));
    if let Some(known) = known {
        return Ok(known);
    }
    let selected = ask(engine, t, &rewritten, variables)?;
    if let (Some(stamp), None) = (stamp, &selected.failed) {
        engine.answers.keep(&rewritten, variables, stamp, &selected);
    }
    Ok(selected)
}

/// Lets SQLite answer a SELECT.
fn ask(
    engine: &Engine,
    t: &[Token],
    rewritten: &Rewritten,
    variables: &BTreeMap<String, Cell>,
) -> Result<Selected, SqlMessage> {
    let sql = &*rewritten.sql;
    let told = |e: rusqlite::Error| sqlite_error(&e, sql, engine);
    let mut statement = engine.connection.prepare_cached(sql).map_err(told)?;
    let values = bind(&mut statement, variables)?;
    let heading = engine.heading(t, rewritten, &statement);
    let count = heading.columns.len();
    let mut found = statement.query(params_from_iter(values)).map_err(told)?;
    let mut raw: Vec<Vec<Sqlite>> = Vec::new();
    let failed = loop {
        match found.next() {
            Ok(None) => break None,
            Ok(Some(row)) => {
                let cells = (0..count).map(|n| row.get_ref(n).map(ValueRef::into));
                raw.push(cells.collect::<Result<_, _>>().map_err(told)?);
            }
            Err(e) => break Some(told(e)),
        }
    };
    if let Some(e) = failed.as_ref().filter(|e| e.is_simulators()) {
        return Err(e.clone());
    }
    let column = |(n, (name, of)): (usize, &(String, Option<ColumnType>))| {
        let of = of.unwrap_or_else(|| by_values(raw.iter().filter_map(|r| r.get(n))));
        (name.clone(), of)
    };
    let columns: Vec<(String, ColumnType)> = heading.columns.iter().enumerate().map(column).collect();
    let rows = raw
        .into_iter()
        .map(|r| r.into_iter().zip(&columns).map(|(v, (_, of))| cell(v, of.kind)).collect())
        .collect();
    let (order, variables) = (heading.order.clone(), heading.variables.clone());
    Ok(Selected { columns, rows, order, failed, variables })
}

/// The answer to RESTORE HEADERONLY: the columns of the version, a row for each set with its position. What a set of the lab does not
/// say is NULL.
pub(crate) fn headers(
    seat: &Seat<'_>,
    sets: &[(usize, BackupHeader)],
) -> (Vec<(String, ColumnType)>, Vec<Vec<Cell>>) {
    let version = seat.version();
    let columns: Vec<(String, ColumnType)> = shapes::columns("RESTORE HEADERONLY", version)
        .map(|all| all.map(|c| (c.name.to_string(), c.kind)).collect())
        .unwrap_or_default();
    let taken_by = |h: &BackupHeader| h.extra.version.unwrap_or(version).numbers();
    let value = |name: &str, position: usize, h: &BackupHeader| match name {
        "BackupName" if h.extra.hidden => Cell::Text("***Password Protected***".into()),
        "Position" => Cell::Int(i64::try_from(position).unwrap_or(1)),
        _ if h.extra.hidden => Cell::Null,
        "BackupType" => Cell::Int(h.kind.into()),
        "BackupTypeDescription" => {
            Cell::Text(if h.kind == 2 { "Transaction Log" } else { "Database" }.into())
        }
        "Compressed" | "DeviceType" | "Containment" => Cell::Int(if name == "DeviceType" { 2 } else { 0 }),
        "ServerName" => Cell::Text(h.server.clone()),
        "MachineName" => Cell::Text(h.server.split('\\').next().unwrap_or_default().into()),
        "DatabaseName" => Cell::Text(h.database.clone()),
        "FirstLSN" => Cell::Lsn(h.first_lsn),
        "LastLSN" => Cell::Lsn(h.last_lsn),
        "CheckpointLSN" | "DatabaseBackupLSN" => Cell::Lsn(h.first_lsn),
        "BackupStartDate" => Cell::Time(time(h.start)),
        "BackupFinishDate" => Cell::Time(time(h.finish)),
        "RecoveryForkID" => Cell::Guid(h.last_fork.clone()),
        "FirstRecoveryForkID" => Cell::Guid(h.first_fork.clone()),
        "ForkPointLSN" => h.extra.fork_point.map_or(Cell::Null, Cell::Lsn),
        "FamilyGUID" | "BindingID" => Cell::Guid(h.family.clone()),
        "HasBackupChecksums" => Cell::Bit(h.checksums),
        "HasBulkLoggedData" => Cell::Bit(h.extra.bulk),
        "IsDamaged" => Cell::Bit(h.extra.damaged),
        "HasIncompleteMetaData" => Cell::Bit(h.extra.incomplete),
        "IsForceOffline" => Cell::Bit(h.extra.tail),
        "IsCopyOnly" => Cell::Bit(h.extra.copy_only),
        "IsSnapshot" | "IsReadOnly" | "IsSingleUser" | "BeginsLogChain" => Cell::Bit(false),
        "BackupSetGUID" => Cell::Guid(set_guid(seat, h)),
        // 16: checksums; 64 and 256: the tail of a log, taken WITH NORECOVERY.
        "Flags" => {
            Cell::Int(512 + if h.checksums { 16 } else { 0 } + if h.extra.tail { 64 + 256 } else { 0 })
        }
        "RecoveryModel" => Cell::Text("FULL".into()),
        "Collation" => Cell::Text("SQL_Latin1_General_CP1_CI_AS".into()),
        "SoftwareVersionMajor" => Cell::Int(taken_by(h).0.into()),
        "SoftwareVersionMinor" => Cell::Int(taken_by(h).1.into()),
        "SoftwareVersionBuild" => Cell::Int(taken_by(h).2.into()),
        "BackupSize" | "CompressedBackupSize" => Cell::Int(i64::try_from(h.payload).unwrap_or(0)),
        "CompatibilityLevel" => Cell::Int(i64::from(taken_by(h).0) * 10),
        // The servers' clocks show UTC.
        "TimeZone" if h.kind == 2 => Cell::Int(0),
        "LastValidRestoreTime" if h.kind == 2 => Cell::Time(time(h.finish)),
        _ => Cell::Null,
    };
    let row = |(position, h): &(usize, BackupHeader)| {
        columns.iter().map(|(name, _)| value(name, *position, h)).collect()
    };
    let rows = sets.iter().map(row).collect();
    (columns, rows)
}

/// The same in every file that a set is striped over, and in every copy of it.
fn set_guid(seat: &Seat<'_>, h: &BackupHeader) -> String {
    let set = format!("set {} {} {} {} {}", h.server, h.kind, h.first_lsn, h.last_lsn, h.start);
    crate::sql::guid(seat.world.scenario.seed, &set)
}

/// The row of `RESTORE LABELONLY`.
pub(crate) fn label(seat: &Seat<'_>, h: &BackupHeader) -> (Vec<(String, ColumnType)>, Vec<Vec<Cell>>) {
    let version = seat.version();
    let columns: Vec<(String, ColumnType)> = shapes::columns("RESTORE LABELONLY", version)
        .map(|all| all.map(|c| (c.name.to_string(), c.kind)).collect())
        .unwrap_or_default();
    let stripe = h.extra.stripe.as_ref();
    let media_set = || crate::sql::guid(seat.world.scenario.seed, &format!("media {}", set_guid(seat, h)));
    let value = |name: &str| match name {
        "MediaSetId" => Cell::Guid(stripe.map_or_else(media_set, |s| s.media_set.clone())),
        "FamilyCount" => Cell::Int(stripe.map_or(1, |s| i64::from(s.families))),
        "FamilySequenceNumber" => Cell::Int(stripe.map_or(1, |s| i64::from(s.family))),
        "MediaSequenceNumber" | "Mirror_Count" => Cell::Int(1),
        "MediaLabelPresent" => Cell::Int(0),
        "MediaDate" => Cell::Time(time(h.start)),
        "IsCompressed" => Cell::Bit(false),
        _ => Cell::Null,
    };
    let row = columns.iter().map(|(name, _)| value(name)).collect();
    (columns, vec![row])
}

/// The answer to RESTORE FILELISTONLY: the columns of the version, a row for each file. 0 stands where nothing has happened (recorded).
pub(crate) fn file_list(seat: &Seat<'_>, h: &BackupHeader) -> (Vec<(String, ColumnType)>, Vec<Vec<Cell>>) {
    let version = seat.version();
    let columns: Vec<(String, ColumnType)> = shapes::columns("RESTORE FILELISTONLY", version)
        .map(|all| all.map(|c| (c.name.to_string(), c.kind)).collect())
        .unwrap_or_default();
    let value = |name: &str, f: &DatabaseFile| match name {
        "LogicalName" => Cell::Text(f.name.clone()),
        "PhysicalName" => Cell::Text(f.path.clone()),
        "Type" => Cell::Text(if f.log { "L" } else { "D" }.into()),
        "FileGroupName" if !f.log => Cell::Text("PRIMARY".into()),
        "Size" | "MaxSize" => Cell::Int(8 << 20),
        "FileId" => Cell::Int(f.id),
        "CreateLSN" => Cell::Lsn(f.created),
        "DropLSN" | "ReadOnlyLSN" | "ReadWriteLSN" | "DifferentialBaseLSN" => Cell::Lsn(0),
        "UniqueId" => Cell::Guid(crate::sql::guid(seat.world.scenario.seed, &format!("file {}", f.name))),
        "BackupSizeInBytes" => Cell::Int(0),
        "SourceBlockSize" => Cell::Int(512),
        "FileGroupId" => Cell::Int(i64::from(!f.log)),
        "IsReadOnly" => Cell::Bit(false),
        "IsPresent" => Cell::Bit(true),
        _ => Cell::Null,
    };
    let row = |f: &DatabaseFile| columns.iter().map(|(name, _)| value(name, f)).collect();
    let rows = h.extra.files.iter().map(row).collect();
    (columns, rows)
}

/// Carries out CREATE TABLE, INSERT, UPDATE or DELETE on a table that clients made.
pub(crate) fn change(
    seat: &Seat<'_>,
    t: &[Token],
    variables: &BTreeMap<String, Cell>,
) -> Result<u64, SqlMessage> {
    let rewritten = rewrite(seat, t);
    let (sql, tables) = (&*rewritten.sql, &rewritten.tables);
    if let Some(catalog) = tables.iter().find(|n| views::is_known(n)) {
        return Err(SqlMessage::simulator(format!("will not change {catalog} directly")));
    }
    let engine = engine(seat)?;
    let told = |e: rusqlite::Error| sqlite_error(&e, sql, engine);
    engine.show(seat).map_err(told)?;
    let mut statement = engine.connection.prepare_cached(sql).map_err(told)?;
    let values = bind(&mut statement, variables)?;
    engine.changed();
    engine.written_by_a_client(tables);
    statement.execute(params_from_iter(values)).map(|n| n as u64).map_err(told)
}

fn instance<'s>(seat: &'s Seat<'_>) -> Result<&'s Instance, SqlMessage> {
    seat.instance().ok_or_else(|| SqlMessage::simulator("no such instance"))
}

fn engine<'s>(seat: &'s Seat<'_>) -> Result<&'s Engine, SqlMessage> {
    instance(seat)?.store.engine()
}

fn bind(
    statement: &mut rusqlite::Statement<'_>,
    variables: &BTreeMap<String, Cell>,
) -> Result<Vec<Box<dyn ToSql>>, SqlMessage> {
    (1..=statement.parameter_count())
        .map(|n| {
            let name = statement.parameter_name(n).unwrap_or_default().to_lowercase();
            let value: Box<dyn ToSql> = match variables.get(&name) {
                Some(Cell::Null) => Box::new(Sqlite::Null),
                Some(Cell::Int(v)) => Box::new(*v),
                Some(Cell::Lsn(v)) => Box::new(stored(*v)),
                Some(Cell::Bit(v)) => Box::new(i64::from(*v)),
                Some(Cell::Float(v)) => Box::new(*v),
                Some(Cell::Text(v) | Cell::Guid(v) | Cell::Time(v)) => Box::new(v.clone()),
                // What the engine keeps for itself, and nobody has set.
                None if name.ends_with("__") => Box::new(Sqlite::Null),
                None => {
                    let what = format!("Must declare the scalar variable \"{name}\".");
                    return Err(SqlMessage::error(137, 15, what));
                }
            };
            Ok(value)
        })
        .collect()
}

fn sqlite_error(e: &rusqlite::Error, sql: &str, engine: &Engine) -> SqlMessage {
    let text = e.to_string();
    if let Some(refused) = functions::refused(&text) {
        return refused;
    }
    if let Some(name) = text.strip_prefix("no such table: ") {
        let known = name.to_lowercase();
        let theirs = known.starts_with("sys.") || known.starts_with("msdb.");
        if theirs && shapes::columns(&known, engine.version).is_none() {
            return SqlMessage::simulator(format!("the catalog object {name} is not simulated"));
        }
        return SqlMessage::error(208, 16, format!("Invalid object name '{name}'."));
    }
    if let Some(name) = text.strip_prefix("no such column: ") {
        let name = name.rsplit('.').next().unwrap_or(name);
        return SqlMessage::error(207, 16, format!("Invalid column name '{name}'."));
    }
    if let Some(columns) = text.strip_prefix("UNIQUE constraint failed: ") {
        let object = columns.rsplit_once('.').map_or(columns, |(table, _)| table);
        let object = object.rsplit(", ").next().unwrap_or(object);
        let what =
            format!("Violation of PRIMARY KEY constraint. Cannot insert duplicate key in object '{object}'.");
        return SqlMessage::error(2627, 14, what);
    }
    if let Some(column) = text.strip_prefix("NOT NULL constraint failed: ") {
        let (table, column) = column.rsplit_once('.').unwrap_or(("", column));
        let what = format!(
            "Cannot insert the value NULL into column '{column}', table '{table}'; column does not allow nulls. INSERT fails."
        );
        return SqlMessage::error(515, 16, what).in_state(2);
    }
    SqlMessage::simulator(format!("cannot execute this statement ({text}): {sql}"))
}

/// The type of a column that nothing tells, by its values.
fn by_values<'v>(values: impl Iterator<Item = &'v Sqlite>) -> ColumnType {
    let mut kind = None;
    for value in values {
        let new = match value {
            Sqlite::Null => continue,
            Sqlite::Integer(n) if i32::try_from(*n).is_ok() => Kind::Int(4),
            Sqlite::Integer(_) => Kind::Int(8),
            Sqlite::Real(_) => Kind::Float(8),
            Sqlite::Text(t) if t.len() <= 4000 => Kind::NVarChar(4000),
            Sqlite::Text(_) | Sqlite::Blob(_) => Kind::NVarChar(0),
        };
        kind = match (kind, new) {
            (Some(Kind::Int(8)), Kind::Int(_)) => Some(Kind::Int(8)),
            (Some(Kind::NVarChar(0)), Kind::NVarChar(_)) => Some(Kind::NVarChar(0)),
            _ => Some(new),
        };
    }
    ColumnType::null(kind.unwrap_or(Kind::NVarChar(4000)))
}

fn cell(v: Sqlite, kind: Kind) -> Cell {
    match (v, kind) {
        (Sqlite::Null, _) => Cell::Null,
        (Sqlite::Integer(n), Kind::Numeric(..)) => Cell::Lsn(n.into()),
        (Sqlite::Integer(n), Kind::Bit) => Cell::Bit(n != 0),
        (Sqlite::Integer(n), Kind::Float(_)) => Cell::Float(n as f64),
        (Sqlite::Integer(n), Kind::Int(_)) => Cell::Int(n),
        (Sqlite::Integer(n), _) => Cell::Text(n.to_string()),
        (Sqlite::Real(x), _) => Cell::Float(x),
        (Sqlite::Text(s), Kind::Numeric(..)) => s.parse().map_or(Cell::Text(s), Cell::Lsn),
        (Sqlite::Text(s), Kind::Int(_)) => s.trim().parse().map_or(Cell::Text(s), Cell::Int),
        (Sqlite::Text(s), Kind::Guid) => Cell::Guid(s),
        (Sqlite::Text(s), Kind::DateTime | Kind::DateTime2(_)) => Cell::Time(s),
        (Sqlite::Text(s), _) => Cell::Text(s),
        (Sqlite::Blob(_), _) => Cell::Null,
    }
}

/// Fills the tables of the world that a statement mentions.
fn prepare(seat: &Seat<'_>, tables: &BTreeSet<String>) -> Result<(), SqlMessage> {
    let (i, engine) = (instance(seat)?, engine(seat)?);
    let filled = || -> Result<(), rusqlite::Error> {
        engine.show(seat)?;
        for name in tables {
            if let Some(table) = views::of(seat.world, i, name) {
                engine.fill(name, table)?;
            }
        }
        Ok(())
    };
    filled().map_err(SqlMessage::simulator)?;
    // A database in the middle of a restore cannot be entered, nor one that another session has for itself.
    for name in tables {
        let database = name.split('.').next().unwrap_or_default();
        if let Some(db) = i.databases.get(database) {
            enterable(i, db, seat.id)?;
        }
    }
    Ok(())
}
