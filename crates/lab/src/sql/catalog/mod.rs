//! SELECT and data changes: rewritten for SQLite, over catalog tables that are filled from the world before each statement.

mod functions;
mod rewrite;
mod views;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::{Value as Sqlite, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::Instance;
use crate::tsql::lexer::Token;
use crate::tsql::{Cell, ColumnType, Seat, SqlMessage};
use functions::{Shown, locked};
use rewrite::rewrite;
use views::Table;

type Rows = (Vec<(String, ColumnType)>, Vec<Vec<Cell>>);

/// Time as every time column carries it.
pub(crate) fn time(t: jiff::Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

/// The engine that answers SELECT for one instance: tables that clients made, catalog tables as they were last filled.
pub(super) struct Store {
    connection: Connection,
    /// What the functions of T-SQL see: set before each statement. They are registered once, since to register one anew
    /// makes SQLite compile every statement again.
    seen: Shown,
    /// Rows that each catalog table was last filled with.
    filled: RefCell<BTreeMap<String, Vec<Vec<Sqlite>>>>,
    /// Whether a table may have come since `OBJECT_ID` learnt the names.
    new_tables: RefCell<bool>,
}

impl Store {
    pub(super) fn new() -> Result<Self, rusqlite::Error> {
        let store = Store {
            connection: Connection::open_in_memory()?,
            seen: Shown::default(),
            filled: RefCell::default(),
            new_tables: RefCell::new(true),
        };
        store.connection.set_prepared_statement_cache_capacity(256);
        functions::register(&store.connection, &store.seen)?;
        Ok(store)
    }

    /// Shows the functions the world as it is now, to one session.
    fn show(&self, seat: &Seat<'_>) -> Result<(), rusqlite::Error> {
        let w = &*seat.world;
        let Some(i) = seat.instance() else { return Ok(()) };
        let mut seen = locked(&self.seen);
        seen.session = seat.id;
        seen.now = w.now;
        if seen.server_name != i.server_name {
            seen.server_name = i.server_name.clone();
        }
        let hostile = w.scenario.hostile_text.as_deref().unwrap_or_default();
        if seen.hostile != hostile {
            seen.hostile = hostile.into();
        }
        if !seen.databases.iter().eq(i.databases.keys()) {
            seen.databases = i.databases.keys().cloned().collect();
        }
        if seen.locks != i.locks {
            seen.locks = i.locks.clone();
        }
        if self.new_tables.replace(false) {
            let mut s =
                self.connection.prepare("SELECT lower(name) FROM sqlite_master WHERE type = 'table'")?;
            seen.tables = s.query_map([], |r| r.get::<_, String>(0))?.collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Fills a catalog table, if it does not hold these rows already.
    fn fill(&self, name: &str, table: Table) -> Result<(), rusqlite::Error> {
        let mut filled = self.filled.borrow_mut();
        match filled.get(name) {
            Some(rows) if *rows == table.rows => return Ok(()),
            Some(_) => {
                self.connection.prepare_cached(&format!("DELETE FROM \"{name}\""))?.execute([])?;
            }
            None => {
                let columns: Vec<String> =
                    table.columns.iter().map(|n| format!("\"{n}\" COLLATE NOCASE")).collect();
                self.connection.execute_batch(&format!(
                    "DROP TABLE IF EXISTS \"{name}\"; CREATE TABLE \"{name}\" ({});",
                    columns.join(", ")
                ))?;
                self.new_tables.replace(true);
            }
        }
        let marks = vec!["?"; table.columns.len()].join(", ");
        let mut insert =
            self.connection.prepare_cached(&format!("INSERT INTO \"{name}\" VALUES ({marks})"))?;
        for row in &table.rows {
            insert.execute(params_from_iter(row))?;
        }
        filled.insert(name.into(), table.rows);
        Ok(())
    }
}

/// Answers a SELECT.
pub(crate) fn select(
    seat: &Seat<'_>,
    t: &[Token],
    variables: &BTreeMap<String, Cell>,
) -> Result<Rows, SqlMessage> {
    let rewritten = rewrite(seat, t);
    let (sql, tables) = &*rewritten;
    prepare(seat, tables)?;
    let told = |e: rusqlite::Error| sqlite_error(&e, sql);
    let mut statement = store(seat)?.connection.prepare_cached(sql).map_err(told)?;
    let values = bind(&mut statement, variables)?;
    let names: Vec<String> = statement.column_names().iter().map(ToString::to_string).collect();
    let mut found = statement.query(params_from_iter(values)).map_err(told)?;
    let mut raw: Vec<Vec<Sqlite>> = Vec::new();
    while let Some(row) = found.next().map_err(told)? {
        let cells = (0..names.len()).map(|n| row.get_ref(n).map(ValueRef::into));
        raw.push(cells.collect::<Result<_, _>>().map_err(told)?);
    }
    let columns: Vec<(String, ColumnType)> = names
        .into_iter()
        .enumerate()
        .map(|(n, name)| {
            let kind = column_type(&name, raw.iter().find_map(|r| r.get(n).filter(|v| **v != Sqlite::Null)));
            (name, kind)
        })
        .collect();
    let rows = raw
        .into_iter()
        .map(|r| r.into_iter().zip(&columns).map(|(v, (_, kind))| cell(v, *kind)).collect())
        .collect();
    Ok((columns, rows))
}

/// Carries out CREATE TABLE, INSERT, UPDATE or DELETE on a table that clients made.
pub(crate) fn change(
    seat: &Seat<'_>,
    t: &[Token],
    variables: &BTreeMap<String, Cell>,
) -> Result<u64, SqlMessage> {
    let rewritten = rewrite(seat, t);
    let (sql, tables) = &*rewritten;
    if let Some(catalog) = tables.iter().find(|n| views::is_known(n)) {
        return Err(SqlMessage::simulator(format!("will not change {catalog} directly")));
    }
    let told = |e: rusqlite::Error| sqlite_error(&e, sql);
    let store = store(seat)?;
    store.show(seat).map_err(told)?;
    let mut statement = store.connection.prepare_cached(sql).map_err(told)?;
    let values = bind(&mut statement, variables)?;
    store.new_tables.replace(true);
    // What a client writes into a table of the world lasts until it is filled again, as ever.
    store.filled.borrow_mut().retain(|name, _| !tables.contains(name));
    statement.execute(params_from_iter(values)).map(|n| n as u64).map_err(told)
}

fn instance<'s>(seat: &'s Seat<'_>) -> Result<&'s Instance, SqlMessage> {
    seat.instance().ok_or_else(|| SqlMessage::simulator("no such instance"))
}

fn store<'s>(seat: &'s Seat<'_>) -> Result<&'s Store, SqlMessage> {
    instance(seat).map(|i| &i.store)
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
                Some(Cell::Int(v) | Cell::Lsn(v)) => Box::new(*v),
                Some(Cell::Bit(v)) => Box::new(i64::from(*v)),
                Some(Cell::Float(v)) => Box::new(*v),
                Some(Cell::Text(v) | Cell::Guid(v) | Cell::Time(v)) => Box::new(v.clone()),
                None => {
                    let what = format!("Must declare the scalar variable \"{name}\".");
                    return Err(SqlMessage::error(137, 15, what));
                }
            };
            Ok(value)
        })
        .collect()
}

fn sqlite_error(e: &rusqlite::Error, sql: &str) -> SqlMessage {
    let text = e.to_string();
    if let Some(name) = text.strip_prefix("no such table: ") {
        if name.to_lowercase().starts_with("sys.") || name.to_lowercase().starts_with("msdb.") {
            return SqlMessage::simulator(format!("the catalog object {name} is not simulated"));
        }
        return SqlMessage::error(208, 16, format!("Invalid object name '{name}'."));
    }
    if let Some(name) = text.strip_prefix("no such column: ") {
        return SqlMessage::error(207, 16, format!("Invalid column name '{name}'."));
    }
    SqlMessage::simulator(format!("cannot execute this statement ({text}): {sql}"))
}

fn column_type(name: &str, sample: Option<&Sqlite>) -> ColumnType {
    let n = name.to_lowercase();
    if n.ends_with("_lsn") {
        ColumnType::Lsn
    } else if n.ends_with("_guid") {
        ColumnType::Guid
    } else if (n.starts_with("is_") && n != "is_sysadmin") || n == "enabled_bit" {
        ColumnType::Bit
    } else if matches!(n.as_str(), "active_start_date" | "active_end_date") {
        // Numbers like 20260101 (msdb.dbo.sysschedules).
        ColumnType::Int
    } else if n.ends_with("_date")
        || n.ends_with("_date_utc")
        || n == "utc_now"
        || n == "newest"
        || n == "serverlastpingtime"
    {
        ColumnType::Time
    } else {
        match sample {
            Some(Sqlite::Integer(_)) => ColumnType::Int,
            Some(Sqlite::Real(_)) => ColumnType::Float,
            Some(Sqlite::Text(_) | Sqlite::Blob(_) | Sqlite::Null) | None => ColumnType::Text,
        }
    }
}

fn cell(v: Sqlite, kind: ColumnType) -> Cell {
    match (v, kind) {
        (Sqlite::Null, _) => Cell::Null,
        (Sqlite::Integer(n), ColumnType::Lsn) => Cell::Lsn(n),
        (Sqlite::Integer(n), ColumnType::Bit) => Cell::Bit(n != 0),
        (Sqlite::Integer(n), ColumnType::Float) => Cell::Float(n as f64),
        (Sqlite::Integer(n), ColumnType::Int) => Cell::Int(n),
        (Sqlite::Integer(n), ColumnType::Text | ColumnType::Guid | ColumnType::Time) => {
            Cell::Text(n.to_string())
        }
        (Sqlite::Real(x), _) => Cell::Float(x),
        (Sqlite::Text(s), ColumnType::Guid) => Cell::Guid(s),
        (Sqlite::Text(s), ColumnType::Time) => Cell::Time(s),
        (Sqlite::Text(s), _) => Cell::Text(s),
        (Sqlite::Blob(_), _) => Cell::Null,
    }
}
/// Fills the tables of the world that a statement mentions.
fn prepare(seat: &Seat<'_>, tables: &BTreeSet<String>) -> Result<(), SqlMessage> {
    let i = instance(seat)?;
    let filled = || -> Result<(), rusqlite::Error> {
        i.store.show(seat)?;
        for name in tables {
            if let Some(table) = views::of(seat.world, i, name) {
                i.store.fill(name, table)?;
            }
        }
        Ok(())
    };
    filled().map_err(SqlMessage::simulator)?;
    // A database in the middle of a restore cannot be entered.
    for name in tables {
        let database = name.split('.').next().unwrap_or_default();
        if let Some(db) = i.databases.get(database)
            && db.state != 0
        {
            let what = format!("Database '{}' cannot be opened. It is in the middle of a restore.", db.name);
            return Err(SqlMessage::error(927, 14, what));
        }
    }
    Ok(())
}
