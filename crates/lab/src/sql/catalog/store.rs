//! The engine that answers SELECT for one instance: tables that clients made, catalog tables as they were last filled, and what was
//! answered from them.

use std::cell::{Cell as Slot, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rusqlite::types::Value as Sqlite;
use rusqlite::{Connection, params_from_iter};

use super::answers::Answers;
use super::functions::{self, Shown, locked};
use super::infer::{self, Item, Shape};
use super::rewrite::{Rewritten, make_room};
use super::views::Table;
use super::{COLLATION, compare, shapes, stored};
use crate::scenario::SqlServerVersion;
use crate::tsql::lexer::Token;
use crate::tsql::{ColumnType, Kind, Seat, SqlMessage};

/// The schema of the tables that clients make. Apart from the world's, so that a new one makes SQLite compile no statement of those anew.
pub(super) const CLIENTS: &str = "clients";

/// The engine of one instance.
///
/// To open one takes longer than to answer a hundred statements, and a simulated night has many: an instance that is gone leaves its own
/// to the next one of its thread, without what clients have made in it.
pub(in crate::sql) struct Store {
    version: SqlServerVersion,
    engine: Option<Engine>,
}

thread_local! {
    /// Engines that are free.
    static FREE: RefCell<Vec<Engine>> = RefCell::default();
}

impl Store {
    pub(in crate::sql) fn new(version: SqlServerVersion) -> Result<Self, rusqlite::Error> {
        let free = FREE.with_borrow_mut(|free| {
            let at = free.iter().position(|engine| engine.version == version)?;
            Some(free.swap_remove(at))
        });
        let engine = match free {
            Some(engine) => engine,
            None => Engine::open(version)?,
        };
        Ok(Store { version, engine: Some(engine) })
    }

    /// The version whose tables and views it has.
    pub(in crate::sql) fn version(&self) -> SqlServerVersion {
        self.version
    }

    /// The engine.
    pub(super) fn engine(&self) -> Result<&Engine, SqlMessage> {
        self.engine.as_ref().ok_or_else(|| SqlMessage::simulator("has no engine"))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        // One that cannot be cleaned is closed; and where the thread ends, so are all of them.
        if engine.forget_clients().is_ok() {
            let _ended = FREE.try_with(|free| free.borrow_mut().push(engine));
        }
    }
}

/// Rows that a table was last filled with, and a number that no other filling has.
struct Filled {
    rows: Vec<Vec<Sqlite>>,
    number: u64,
}

/// Columns as they are sent.
pub(super) struct Heading {
    pub(super) columns: Vec<(String, Option<ColumnType>)>,
    pub(super) order: Vec<u16>,
    pub(super) variables: Vec<(usize, String)>,
}

/// SQLite, with what it holds.
pub(super) struct Engine {
    pub(super) connection: Connection,
    /// What the functions of T-SQL see: set before each statement. They are registered once, since to register one anew
    /// makes SQLite compile every statement again.
    seen: Shown,
    /// What each catalog table was last filled with.
    filled: RefCell<BTreeMap<String, Filled>>,
    /// Whether a table may have come since `OBJECT_ID` learnt the names.
    new_tables: Slot<bool>,
    /// The columns of statements, by their numbers. A new table changes them.
    headings: RefCell<HashMap<u64, Arc<Heading>>>,
    /// What was answered.
    pub(super) answers: Answers,
    /// How often anything changed that an answer depends on beside the rows of catalog tables.
    changes: Slot<u64>,
    /// How often a catalog table was filled.
    fillings: Slot<u64>,
    pub(super) version: SqlServerVersion,
}

impl Engine {
    fn open(version: SqlServerVersion) -> Result<Self, rusqlite::Error> {
        let engine = Engine {
            connection: Connection::open_in_memory()?,
            seen: Shown::default(),
            filled: RefCell::default(),
            new_tables: Slot::new(true),
            headings: RefCell::default(),
            answers: Answers::default(),
            changes: Slot::new(0),
            fillings: Slot::new(0),
            version,
        };
        locked(&engine.seen).version = version.product_version();
        engine.connection.create_collation(COLLATION, compare)?;
        engine.connection.set_prepared_statement_cache_capacity(256);
        engine.connection.execute_batch(&format!("ATTACH DATABASE ':memory:' AS {CLIENTS}"))?;
        functions::register(&engine.connection, &engine.seen)?;
        Ok(engine)
    }

    /// The tables that clients made.
    fn of_clients(&self) -> Result<Vec<String>, rusqlite::Error> {
        let mut s = self
            .connection
            .prepare_cached(&format!("SELECT name FROM {CLIENTS}.sqlite_master WHERE type = 'table'"))?;
        s.query_map([], |r| r.get::<_, String>(0))?.collect()
    }

    /// Drops what clients have made.
    fn forget_clients(&self) -> Result<(), rusqlite::Error> {
        for table in self.of_clients()? {
            self.connection.execute_batch(&format!("DROP TABLE {CLIENTS}.\"{table}\""))?;
        }
        self.changed();
        Ok(())
    }

    /// A client has changed something, perhaps made a table.
    pub(super) fn changed(&self) {
        self.new_tables.set(true);
        self.changes.set(self.changes.get() + 1);
    }

    /// What a client writes into tables of the world lasts until they are filled again, as ever.
    pub(super) fn written_by_a_client(&self, tables: &BTreeSet<String>) {
        self.filled.borrow_mut().retain(|name, _| !tables.contains(name));
    }

    /// What an answer from these tables depends on, as a list of numbers: equal lists, equal answers.
    pub(super) fn stamp(&self, tables: &BTreeSet<String>) -> Vec<u64> {
        let filled = self.filled.borrow();
        let of = |name: &String| filled.get(name).map_or(0, |f| f.number);
        std::iter::once(self.changes.get()).chain(tables.iter().map(of)).collect()
    }

    /// Shows the functions the world as it is now, to one session.
    pub(super) fn show(&self, seat: &Seat<'_>) -> Result<(), rusqlite::Error> {
        let w = &*seat.world;
        let Some(i) = seat.instance() else { return Ok(()) };
        let mut seen = locked(&self.seen);
        seen.session = seat.id;
        seen.now = w.now;
        let mut changed = false;
        if seen.server_name != i.server_name {
            seen.server_name = i.server_name.clone();
            changed = true;
        }
        let hostile = w.scenario.hostile_text.as_deref().unwrap_or_default();
        if seen.hostile != hostile {
            seen.hostile = hostile.into();
            changed = true;
        }
        if !seen.databases.iter().eq(i.databases.keys()) {
            seen.databases = i.databases.keys().cloned().collect();
            changed = true;
        }
        if let Some(s) = seat.session() {
            if seen.database != s.database {
                seen.database = s.database.clone();
            }
            seen.transaction = s.transaction.map_or(0, |(_, depth)| depth);
        }
        if seen.locks != i.locks {
            seen.locks = i.locks.clone();
        }
        if self.new_tables.replace(false) {
            let tables = self.of_clients()?.iter().map(|n| n.to_lowercase()).collect();
            if seen.tables != tables {
                seen.tables = tables;
                self.headings.borrow_mut().clear();
                changed = true;
            }
        }
        if changed {
            self.changes.set(self.changes.get() + 1);
        }
        Ok(())
    }

    /// Fills a catalog table, if it does not hold these rows already.
    pub(super) fn fill(&self, name: &str, table: Table) -> Result<(), rusqlite::Error> {
        let mut filled = self.filled.borrow_mut();
        match filled.get(name) {
            Some(known) if known.rows == table.rows => return Ok(()),
            Some(_) => {
                self.connection.prepare_cached(&format!("DELETE FROM main.\"{name}\""))?.execute([])?;
            }
            None => {
                self.connection.execute_batch(&self.definition(name, &table))?;
                self.headings.borrow_mut().clear();
            }
        }
        // What the version does not have is left out.
        let kept: Vec<usize> = (0..table.columns.len())
            .filter(|n| table.columns.get(*n).is_some_and(|c| self.has(name, c)))
            .collect();
        let names: Vec<String> =
            kept.iter().filter_map(|n| table.columns.get(*n)).map(|c| format!("\"{c}\"")).collect();
        let marks = vec!["?"; kept.len()].join(", ");
        let names = names.join(", ");
        let mut insert = self
            .connection
            .prepare_cached(&format!("INSERT INTO main.\"{name}\" ({names}) VALUES ({marks})"))?;
        for row in &table.rows {
            insert.execute(params_from_iter(kept.iter().filter_map(|n| row.get(*n))))?;
        }
        let number = self.fillings.get() + 1;
        self.fillings.set(number);
        filled.insert(name.into(), Filled { rows: table.rows, number });
        Ok(())
    }

    /// Whether a table of the world has a column in this version.
    fn has(&self, table: &str, column: &str) -> bool {
        shapes::columns(table, self.version)
            .is_none_or(|mut all| all.any(|c| c.name.eq_ignore_ascii_case(column)))
    }

    /// The definition of a table of the world: all columns that it has in this version.
    fn definition(&self, name: &str, table: &Table) -> String {
        let columns: Vec<String> = match shapes::columns(name, self.version) {
            Some(all) => all
                .map(|c| {
                    let declared = c.kind.kind.declared(c.kind.nullable);
                    let absent = if c.kind.nullable { "NULL".into() } else { absent(c.kind.kind) };
                    format!("\"{}\" {declared} DEFAULT {absent} COLLATE {COLLATION}", c.name)
                })
                .collect(),
            None => table.columns.iter().map(|n| format!("\"{n}\" COLLATE {COLLATION}")).collect(),
        };
        format!(
            "DROP TABLE IF EXISTS main.\"{name}\"; CREATE TABLE main.\"{name}\" ({});",
            columns.join(", ")
        )
    }

    /// The columns of a statement: from its text, and from what it has become.
    pub(super) fn heading(
        &self,
        t: &[Token],
        rewritten: &Rewritten,
        statement: &rusqlite::Statement<'_>,
    ) -> Arc<Heading> {
        if let Some(known) = self.headings.borrow().get(&rewritten.number) {
            return known.clone();
        }
        let told = infer::heading(t);
        let columns = statement.columns();
        let stars = told.items.iter().filter(|i| i.name.is_none()).count().max(1);
        let each = (columns.len() + stars).saturating_sub(told.items.len()) / stars;
        let spread =
            told.items.iter().flat_map(|i| std::iter::repeat_n(i, if i.name.is_none() { each } else { 1 }));
        let values = Item { name: None, shape: Shape::Values };
        let items: Vec<&Item> = spread.chain(std::iter::repeat(&values)).take(columns.len()).collect();
        let mut variables = Vec::new();
        let named = columns.iter().zip(items).enumerate().map(|(n, (column, item))| {
            let declared = column.decl_type().and_then(ColumnType::declared);
            let of = match &item.shape {
                Shape::Of(of) => Some(*of),
                Shape::Column(optional) => {
                    declared.map(|d| ColumnType { nullable: d.nullable || *optional, ..d })
                }
                Shape::Aggregate(column) => self.column_of(&rewritten.tables, column),
                Shape::Variable(name) => {
                    variables.push((n, name.clone()));
                    None
                }
                Shape::Values => declared,
            };
            (item.name.clone().unwrap_or_else(|| column.name().to_string()), of)
        });
        let columns = named.collect();
        let new = Arc::new(Heading { columns, order: told.order, variables });
        let mut kept = self.headings.borrow_mut();
        make_room(&mut kept);
        kept.insert(rewritten.number, new.clone());
        new
    }

    /// The type of a column of one of these tables, which can be NULL.
    fn column_of(&self, tables: &BTreeSet<String>, column: &str) -> Option<ColumnType> {
        let found = tables.iter().find_map(|table| {
            shapes::columns(table, self.version)?.find(|c| c.name.eq_ignore_ascii_case(column))
        });
        found.map(|c| ColumnType { nullable: true, ..c.kind })
    }
}

/// What stands in a column that cannot be NULL and that nobody has filled.
fn absent(kind: Kind) -> String {
    match kind {
        Kind::Int(_) | Kind::Bit | Kind::Float(_) => "0".into(),
        Kind::Numeric(..) => format!("'{}'", stored(0)),
        Kind::Guid => "'00000000-0000-0000-0000-000000000000'".into(),
        Kind::DateTime | Kind::DateTime2(_) => "'1900-01-01T00:00:00.000000'".into(),
        Kind::NVarChar(_)
        | Kind::VarChar(_)
        | Kind::NChar(_)
        | Kind::Char(_)
        | Kind::VarBinary(_)
        | Kind::Binary(_)
        | Kind::Variant => "''".into(),
    }
}
