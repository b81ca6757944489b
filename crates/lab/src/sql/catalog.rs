//! SELECT and data changes: rewritten for SQLite, over catalog tables that are filled from the world before each statement.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Value as Sqlite, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::Instance;
use super::backup::BackupHeader;
use super::batch::{Cell, ColumnType, Event, SqlMessage, Token};
use crate::world::World;

type Rows = (Vec<(String, ColumnType)>, Vec<Vec<Cell>>);

/// Time as every time column carries it.
fn time(t: jiff::Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

/// The engine that answers SELECT for one instance: tables that clients made, catalog tables as they were last filled.
pub(super) struct Store {
    connection: Connection,
    /// What the functions of T-SQL see: set before each statement. They are registered once, since to register one anew
    /// makes SQLite compile every statement again.
    seen: Arc<Mutex<Seen>>,
    /// Rows that each catalog table was last filled with.
    filled: RefCell<BTreeMap<String, Vec<Vec<Sqlite>>>>,
    /// Whether a table may have come since `OBJECT_ID` learnt the names.
    new_tables: RefCell<bool>,
}

/// What the functions of T-SQL see of the world.
#[derive(Default)]
struct Seen {
    session: u32,
    now: jiff::Timestamp,
    server_name: String,
    hostile: String,
    databases: Vec<String>,
    tables: BTreeSet<String>,
    locks: BTreeMap<String, u32>,
}

impl Store {
    pub(super) fn new() -> Result<Self, rusqlite::Error> {
        let store = Store {
            connection: Connection::open_in_memory()?,
            seen: Arc::default(),
            filled: RefCell::default(),
            new_tables: RefCell::new(true),
        };
        store.connection.set_prepared_statement_cache_capacity(256);
        functions(&store.connection, &store.seen)?;
        Ok(store)
    }

    /// Shows the functions the world as it is now, to one session.
    fn show(&self, w: &World, i: &Instance, id: u32) -> Result<(), rusqlite::Error> {
        let mut seen = locked(&self.seen);
        seen.session = id;
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

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers a SELECT.
pub fn select(
    w: &mut World,
    host: &str,
    id: u32,
    t: &[Token],
    variables: &BTreeMap<String, Cell>,
) -> Result<Rows, SqlMessage> {
    let rewritten = rewrite(w, host, id, t)?;
    let (sql, tables) = &*rewritten;
    prepare(w, host, id, tables)?;
    let i = w.sql.get(host).ok_or_else(|| simulator("no such instance"))?;
    let mut statement = i.store.connection.prepare_cached(sql).map_err(|e| sqlite_error(&e, sql))?;
    let values = bind(&mut statement, variables)?;
    let names: Vec<String> = statement.column_names().iter().map(ToString::to_string).collect();
    let mut found = statement.query(params_from_iter(values)).map_err(|e| sqlite_error(&e, sql))?;
    let mut raw: Vec<Vec<Sqlite>> = Vec::new();
    while let Some(row) = found.next().map_err(|e| sqlite_error(&e, sql))? {
        raw.push(
            (0..names.len())
                .map(|n| row.get_ref(n).map(ValueRef::into))
                .collect::<Result<_, _>>()
                .map_err(|e| sqlite_error(&e, sql))?,
        );
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
pub fn change(
    w: &mut World,
    host: &str,
    id: u32,
    t: &[Token],
    variables: &BTreeMap<String, Cell>,
) -> Result<u64, SqlMessage> {
    let rewritten = rewrite(w, host, id, t)?;
    let (sql, tables) = &*rewritten;
    if let Some(catalog) = tables.iter().find(|n| KNOWN.contains(&n.as_str())) {
        return Err(simulator(format!("will not change {catalog} directly")));
    }
    let i = w.sql.get(host).ok_or_else(|| simulator("no such instance"))?;
    i.store.show(w, i, id).map_err(|e| sqlite_error(&e, sql))?;
    let mut statement = i.store.connection.prepare_cached(sql).map_err(|e| sqlite_error(&e, sql))?;
    let values = bind(&mut statement, variables)?;
    i.store.new_tables.replace(true);
    // What a client writes into a table of the world lasts until it is filled again, as ever.
    i.store.filled.borrow_mut().retain(|name, _| !tables.contains(name));
    statement.execute(params_from_iter(values)).map(|n| n as u64).map_err(|e| sqlite_error(&e, sql))
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
                    return Err(SqlMessage::error(
                        137,
                        15,
                        format!("Must declare the scalar variable \"{name}\"."),
                    ));
                }
            };
            Ok(value)
        })
        .collect()
}

fn simulator(what: impl std::fmt::Display) -> SqlMessage {
    SqlMessage::error(50000, 16, format!("simulator: {what}"))
}

fn sqlite_error(e: &rusqlite::Error, sql: &str) -> SqlMessage {
    let text = e.to_string();
    if let Some(name) = text.strip_prefix("no such table: ") {
        if name.to_lowercase().starts_with("sys.") || name.to_lowercase().starts_with("msdb.") {
            return simulator(format!("the catalog object {name} is not simulated"));
        }
        return SqlMessage::error(208, 16, format!("Invalid object name '{name}'."));
    }
    if let Some(name) = text.strip_prefix("no such column: ") {
        return SqlMessage::error(207, 16, format!("Invalid column name '{name}'."));
    }
    simulator(format!("cannot execute this statement ({text}): {sql}"))
}

fn column_type(name: &str, sample: Option<&Sqlite>) -> ColumnType {
    let n = name.to_lowercase();
    if n.ends_with("_lsn") {
        ColumnType::Lsn
    } else if n.ends_with("_guid") {
        ColumnType::Guid
    } else if (n.starts_with("is_") && n != "is_sysadmin") || n == "enabled_bit" {
        ColumnType::Bit
    } else if n.ends_with("_date") || n == "utc_now" || n == "newest" || n == "serverlastpingtime" {
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

type Rewritten = (String, BTreeSet<String>);

/// Most statements whose rewritten text is kept: a client that writes values into its texts must not fill the memory.
const KEPT: usize = 4096;

thread_local! {
    /// Rewritten statements. What an answer depends on besides the text is not in it.
    static REWRITTEN: RefCell<HashMap<Vec<Token>, Rc<Rewritten>>> = RefCell::default();
}

/// T-SQL to SQLite, token by token; the names of the tables it mentions.
fn rewrite(w: &World, host: &str, id: u32, t: &[Token]) -> Result<Rc<Rewritten>, SqlMessage> {
    if let Some(known) = REWRITTEN.with_borrow(|kept| kept.get(t).cloned()) {
        return Ok(known);
    }
    let (new, fixed) = rewrite_anew(w, host, id, t)?;
    let new = Rc::new(new);
    if fixed {
        REWRITTEN.with_borrow_mut(|kept| {
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert(t.to_vec(), new.clone());
        });
    }
    Ok(new)
}

/// Besides the text: whether it is the same for every session and every instance.
fn rewrite_anew(w: &World, host: &str, id: u32, t: &[Token]) -> Result<(Rewritten, bool), SqlMessage> {
    let mut fixed = true;
    let mut out: Vec<String> = Vec::new();
    let mut tables = BTreeSet::new();
    let mut limit = None;
    let mut i = 0;
    let literal = |s: &str| format!("'{}'", s.replace('\'', "''"));
    let text_near = |n: usize| {
        let near = |x: Option<&Token>| matches!(x, Some(Token::Text(_)));
        (n > 0 && near(t.get(n - 1))) || near(t.get(n + 1))
    };
    while let Some(token) = t.get(i) {
        // A name of several parts: `sys.x`, `msdb.dbo.x`, `[mgc].dbo.x`.
        if let Some(first) = token.ident() {
            let mut parts = vec![first.to_string()];
            let mut j = i;
            while t.get(j + 1).is_some_and(|x| matches!(x, Token::Sign(s) if s == ".")) {
                let Some(next) = t.get(j + 2).and_then(Token::ident) else { break };
                parts.push(next.to_string());
                j += 2;
            }
            let is_table = parts.len() == 3
                || (parts.len() == 2 && parts.first().is_some_and(|p| p.eq_ignore_ascii_case("sys")));
            if is_table {
                let name = parts.join(".").to_lowercase();
                out.push(format!("\"{name}\""));
                tables.insert(name);
                i = j + 1;
                continue;
            }
            if parts.len() == 2 {
                out.push(parts.iter().map(|p| format!("\"{p}\"")).collect::<Vec<_>>().join("."));
                i = j + 1;
                continue;
            }
        }
        match token {
            Token::Word(word) => {
                let upper = word.to_uppercase();
                match upper.as_str() {
                    "TOP" => {
                        let open = matches!(t.get(i + 1), Some(Token::Sign(s)) if s == "(");
                        let n = t.get(i + 1 + usize::from(open));
                        if let Some(Token::Number(n)) = n {
                            limit = Some(n.clone());
                        }
                        i += if open { 4 } else { 2 };
                        continue;
                    }
                    "ISNULL" => out.push("IFNULL".into()),
                    // Text compares without case here as it is; there is one collation only.
                    "COLLATE" if t.get(i + 1).is_some_and(|x| x.is("DATABASE_DEFAULT")) => {
                        i += 2;
                        continue;
                    }
                    "MINUTE" | "SECOND" | "HOUR" | "DAY" if matches!(t.get(i + 1), Some(Token::Sign(s)) if s == ",") =>
                    {
                        out.push(literal(&upper));
                    }
                    // As a column without a name it names the column: only there it is written out.
                    "@@SPID"
                        if i > 0
                            && !matches!(t.get(i - 1), Some(Token::Word(w)) if w.eq_ignore_ascii_case("SELECT"))
                            && !matches!(t.get(i - 1), Some(Token::Sign(s)) if s == ",") =>
                    {
                        out.push("spid ( )".into());
                    }
                    "@@SPID" => {
                        fixed = false;
                        out.push(id.to_string());
                    }
                    "@@SERVERNAME" => {
                        fixed = false;
                        out.push(literal(w.sql.get(host).map_or("", |i| i.server_name.as_str())))
                    }
                    "@@VERSION" => {
                        out.push(literal("Simulator of Microsoft SQL Server 2012 (SP4) - 11.0.7001.0 (X64)"))
                    }
                    // Types that SQLite has no affinity for.
                    "NVARCHAR" | "DATETIME2" | "DATETIME" | "UNIQUEIDENTIFIER"
                        if out.last().is_none_or(|o| o != "CONVERT (") =>
                    {
                        out.push("TEXT".into());
                        if matches!(t.get(i + 1), Some(Token::Sign(s)) if s == "(") {
                            i += 4;
                            continue;
                        }
                    }
                    "CONVERT" => {
                        // CONVERT(type, x): only to text is asked for.
                        let comma =
                            t[i..].iter().position(|x| matches!(x, Token::Sign(s) if s == ",")).unwrap_or(1);
                        out.push("to_text (".into());
                        i += comma + 1;
                        continue;
                    }
                    _ => out.push(word.clone()),
                }
            }
            Token::Name(n) => out.push(format!("\"{n}\"")),
            Token::Text(s) => out.push(literal(s)),
            Token::Number(n) => out.push(n.clone()),
            Token::Sign(s) if s == "+" && text_near(i) => out.push("||".into()),
            Token::Sign(s) => out.push(s.clone()),
        }
        i += 1;
    }
    if let Some(n) = limit {
        out.push(format!("LIMIT {n}"));
    }
    // `ALTER`ed collation: SQL Server compares text without case by default.
    Ok(((out.join(" "), tables), fixed))
}

const KNOWN: &[&str] = &[
    "sys.databases",
    "sys.database_recovery_status",
    "sys.database_mirroring",
    "sys.master_files",
    "sys.dm_exec_sessions",
    "sys.dm_exec_requests",
    "sys.dm_tran_locks",
    "sys.server_principals",
    "msdb.dbo.log_shipping_secondary",
    "msdb.dbo.log_shipping_secondary_databases",
    "msdb.dbo.log_shipping_monitor_secondary",
    "msdb.dbo.sysjobs",
    "msdb.dbo.sysjobactivity",
    "msdb.dbo.syssessions",
    "msdb.dbo.sysjobschedules",
    "msdb.dbo.sysschedules",
    "msdb.dbo.restorehistory",
    "msdb.dbo.backupset",
    "msdb.dbo.backupmediafamily",
];

fn prepare(w: &World, host: &str, id: u32, tables: &BTreeSet<String>) -> Result<(), SqlMessage> {
    let i = w.sql.get(host).ok_or_else(|| simulator("no such instance"))?;
    let run = || -> Result<(), rusqlite::Error> {
        i.store.show(w, i, id)?;
        for name in tables {
            if let Some(table) = fill(w, i, name) {
                i.store.fill(name, table)?;
            }
        }
        Ok(())
    };
    run().map_err(simulator)?;
    // A database in the middle of a restore cannot be entered.
    for name in tables {
        let database = name.split('.').next().unwrap_or_default();
        if let Some(db) = i.databases.get(database)
            && db.state != 0
        {
            return Err(SqlMessage::error(
                927,
                14,
                format!("Database '{}' cannot be opened. It is in the middle of a restore.", db.name),
            ));
        }
    }
    Ok(())
}

/// Functions of T-SQL that SQLite has not. They see the world as it was last shown to them.
fn functions(c: &Connection, seen: &Arc<Mutex<Seen>>) -> Result<(), rusqlite::Error> {
    let flags = FunctionFlags::SQLITE_UTF8;
    let text = |x: &rusqlite::functions::Context<'_>, n: usize| -> Result<String, rusqlite::Error> {
        Ok(match x.get_raw(n) {
            ValueRef::Null => String::new(),
            ValueRef::Integer(v) => v.to_string(),
            ValueRef::Real(v) => v.to_string(),
            ValueRef::Text(v) | ValueRef::Blob(v) => String::from_utf8_lossy(v).into_owned(),
        })
    };
    let s = seen.clone();
    c.create_scalar_function("SERVERPROPERTY", 1, flags, move |x| {
        let seen = locked(&s);
        Ok(match text(x, 0)?.to_lowercase().as_str() {
            "servername" => Some(seen.server_name.clone()),
            "productversion" => Some("11.0.7001.0".to_string()),
            "edition" => Some(format!("Enterprise Edition (simulator){}", seen.hostile)),
            "engineedition" => Some("3".into()),
            _ => None,
        })
    })?;
    c.create_scalar_function("IS_SRVROLEMEMBER", 1, flags, |_| Ok(1))?;
    c.create_scalar_function("HAS_PERMS_BY_NAME", 3, flags, |_| Ok(1))?;
    let s = seen.clone();
    c.create_scalar_function("DB_ID", 1, flags, move |x| {
        let name = text(x, 0)?.to_lowercase();
        Ok(locked(&s).databases.iter().position(|d| *d == name).map(|n| n as i64 + 5))
    })?;
    c.create_scalar_function("DB_NAME", 0, flags, |_| Ok("master"))?;
    let s = seen.clone();
    c.create_scalar_function("OBJECT_ID", 1, flags, move |x| {
        Ok(locked(&s).tables.contains(&text(x, 0)?.to_lowercase()).then_some(7i64))
    })?;
    let s = seen.clone();
    c.create_scalar_function("APPLOCK_MODE", 3, flags, move |x| {
        let seen = locked(&s);
        Ok(if seen.locks.get(&text(x, 1)?) == Some(&seen.session) { "Exclusive" } else { "NoLock" })
    })?;
    let s = seen.clone();
    c.create_scalar_function("spid", 0, flags, move |_| Ok(locked(&s).session))?;
    for f in ["SYSUTCDATETIME", "SYSDATETIME", "GETUTCDATE", "GETDATE"] {
        let s = seen.clone();
        c.create_scalar_function(f, 0, flags, move |_| Ok(time(locked(&s).now)))?;
    }
    c.create_scalar_function("DATEDIFF", 3, flags, move |x| {
        let at = |n| -> Result<i64, rusqlite::Error> {
            let t = text(x, n)?;
            Ok(t.parse::<jiff::civil::DateTime>()
                .ok()
                .and_then(|d| jiff::tz::Offset::UTC.to_timestamp(d).ok())
                .map_or(0, |t| t.as_second()))
        };
        let seconds = at(2)? - at(1)?;
        Ok(match text(x, 0)?.as_str() {
            "MINUTE" => seconds / 60,
            "HOUR" => seconds / 3600,
            "DAY" => seconds / 86400,
            _ => seconds,
        })
    })?;
    c.create_scalar_function("to_text", 1, flags, move |x| text(x, 0))?;
    Ok(())
}

struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Sqlite>>,
}

fn s(t: &str) -> Sqlite {
    Sqlite::Text(t.into())
}
fn o(t: Option<&String>) -> Sqlite {
    t.map_or(Sqlite::Null, |t| s(t))
}
fn n(v: i64) -> Sqlite {
    Sqlite::Integer(v)
}

fn fill(w: &World, i: &Instance, name: &str) -> Option<Table> {
    let databases = || i.databases.values().enumerate().map(|(k, d)| (k as i64 + 5, d));
    let id_of = |key: &str| i.databases.keys().position(|k| k == key).map_or(1, |k| k as i64 + 5);
    let table =
        |columns: &[&'static str], rows: Vec<Vec<Sqlite>>| Some(Table { columns: columns.to_vec(), rows });
    match name {
        "sys.databases" => table(
            &[
                "database_id",
                "name",
                "state",
                "state_desc",
                "is_in_standby",
                "is_read_only",
                "user_access",
                "recovery_model",
            ],
            databases()
                .map(|(id, d)| {
                    let state = if d.state == 0 { "ONLINE" } else { "RESTORING" };
                    vec![
                        n(id),
                        s(&d.name),
                        n(d.state.into()),
                        s(state),
                        n(d.standby.into()),
                        n(d.read_only.into()),
                        n(d.user_access.into()),
                        n(1),
                    ]
                })
                .collect(),
        ),
        "sys.database_recovery_status" => table(
            &["database_id", "family_guid", "recovery_fork_guid"],
            databases().map(|(id, d)| vec![n(id), s(&d.family), s(&d.fork)]).collect(),
        ),
        "sys.database_mirroring" => table(
            &[
                "database_id",
                "mirroring_guid",
                "mirroring_state",
                "mirroring_role",
                "mirroring_safety_level",
                "mirroring_partner_name",
                "mirroring_partner_instance",
                "mirroring_witness_name",
                "mirroring_witness_state",
            ],
            databases()
                .map(|(id, d)| match &d.mirroring {
                    Some(m) => {
                        let up = super::is_up(w, &m.partner);
                        let state = if m.state == 4 && !up { 1 } else { m.state };
                        let partner = w.sql.get(&m.partner).map(|p| p.server_name.clone());
                        vec![
                            n(id),
                            s(&super::guid(w.scenario.seed, "mirroring")),
                            n(state.into()),
                            n(m.role.into()),
                            n(2),
                            s(&format!("TCP://{}:5022", m.partner)),
                            o(partner.as_ref()),
                            Sqlite::Null,
                            Sqlite::Null,
                        ]
                    }
                    None => {
                        let mut row = vec![n(id)];
                        row.resize(9, Sqlite::Null);
                        row
                    }
                })
                .collect(),
        ),
        "sys.master_files" => table(
            &["database_id", "file_id", "type", "redo_start_lsn", "redo_start_fork_guid"],
            databases()
                .flat_map(|(id, d)| {
                    let (lsn, fork) = d
                        .redo
                        .as_ref()
                        .filter(|_| d.state == 1)
                        .map_or((Sqlite::Null, Sqlite::Null), |(l, f)| (n(*l), s(f)));
                    [vec![n(id), n(1), n(0), lsn, fork], vec![n(id), n(2), n(1), Sqlite::Null, Sqlite::Null]]
                })
                .collect(),
        ),
        "sys.dm_exec_sessions" => table(
            &["session_id", "login_name", "host_name", "program_name", "is_user_process", "database_id"],
            i.sessions
                .iter()
                .filter(|(_, x)| !x.killed)
                .map(|(id, x)| {
                    vec![n((*id).into()), s(&x.login), s(&x.host), s(&x.program), n(1), n(id_of(&x.database))]
                })
                // SQL Server Agent keeps sessions of its own in msdb as long as it lives.
                .chain((!i.agent_stopped).then(|| {
                    let agent = "SQLAgent - Generic Refresher";
                    vec![n(49), s(r"NT SERVICE\SQLAgent$CHAT"), s(&i.server_name), s(agent), n(1), n(4)]
                }))
                .collect(),
        ),
        "sys.dm_exec_requests" => table(
            &["session_id", "command", "percent_complete", "database_id"],
            i.sessions
                .iter()
                .filter_map(|(id, x)| x.running.as_ref().map(|r| (id, r)))
                .map(|(id, r)| {
                    let (all, done) = (r.ends.duration_since(r.began), w.now.duration_since(r.began));
                    let percent = (100.0 * done.as_secs_f64() / all.as_secs_f64().max(0.001)).min(100.0);
                    vec![n((*id).into()), s(&r.command), Sqlite::Real(percent), n(1)]
                })
                .collect(),
        ),
        "sys.dm_tran_locks" => table(
            &[
                "request_session_id",
                "resource_type",
                "resource_database_id",
                "resource_description",
                "request_status",
            ],
            i.locks
                .iter()
                .map(|(r, id)| {
                    let short: String = r.chars().take(32).collect();
                    vec![
                        n((*id).into()),
                        s("APPLICATION"),
                        n(1),
                        s(&format!("0:[{short}]:(1a2b3c4d)")),
                        s("GRANT"),
                    ]
                })
                .collect(),
        ),
        "sys.server_principals" => table(
            &["name", "sid", "type"],
            ["RTCComponentService", super::SQL_USER]
                .into_iter()
                .chain(w.scenario.hostile_text.as_deref())
                .map(|name| vec![s(name), s(&format!("sid {name}")), s("S")])
                .collect(),
        ),
        "msdb.dbo.log_shipping_secondary" => table(
            &[
                "secondary_id",
                "primary_server",
                "primary_database",
                "backup_source_directory",
                "backup_destination_directory",
                "file_retention_period",
                "copy_job_id",
                "restore_job_id",
                "monitor_server",
                "monitor_server_security_mode",
                "last_copied_file",
            ],
            i.log_shipping
                .iter()
                .map(|l| {
                    vec![
                        s(&l.id),
                        s(&l.primary),
                        s(&l.database),
                        s(&l.source),
                        s(&l.destination),
                        n(4320),
                        s(&l.copy_job),
                        s(&l.restore_job),
                        s(&i.server_name),
                        n(1),
                        o(l.last_copied.as_ref()),
                    ]
                })
                .collect(),
        ),
        "msdb.dbo.log_shipping_secondary_databases" => table(
            &[
                "secondary_id",
                "secondary_database",
                "restore_delay",
                "restore_all",
                "restore_mode",
                "disconnect_users",
                "block_size",
                "buffer_count",
                "max_transfer_size",
                "last_restored_file",
            ],
            i.log_shipping
                .iter()
                .map(|l| {
                    let standby = i.databases.get(&l.database.to_lowercase()).is_some_and(|d| d.standby);
                    vec![
                        s(&l.id),
                        s(&l.database),
                        n(0),
                        n(1),
                        n(standby.into()),
                        n(0),
                        n(-1),
                        n(-1),
                        n(-1),
                        o(l.last_restored.as_ref()),
                    ]
                })
                .collect(),
        ),
        "msdb.dbo.log_shipping_monitor_secondary" => table(
            &[
                "secondary_id",
                "secondary_database",
                "restore_threshold",
                "threshold_alert",
                "threshold_alert_enabled",
                "history_retention_period",
            ],
            i.log_shipping
                .iter()
                .map(|l| vec![s(&l.id), s(&l.database), n(45), n(14420), n(1), n(5760)])
                .collect(),
        ),
        "msdb.dbo.sysjobs" => table(
            &["job_id", "name", "enabled"],
            i.jobs.iter().map(|j| vec![s(&j.id), s(&j.name), n(j.enabled.into())]).collect(),
        ),
        "msdb.dbo.syssessions" => table(&["session_id"], vec![vec![n(1)], vec![n(2)]]),
        "msdb.dbo.sysjobactivity" => table(
            &["session_id", "job_id", "start_execution_date", "stop_execution_date"],
            // A row of an older session of the Agent looks running for ever.
            i.jobs
                .iter()
                .flat_map(|j| {
                    let stop = if j.hangs { Sqlite::Null } else { s(&time(w.now)) };
                    [
                        vec![n(1), s(&j.id), s(&time(w.now)), Sqlite::Null],
                        vec![n(2), s(&j.id), s(&time(w.now)), stop],
                    ]
                })
                .collect(),
        ),
        "msdb.dbo.sysjobschedules" => table(
            &["schedule_id", "job_id"],
            i.jobs.iter().enumerate().map(|(k, j)| vec![n(k as i64 + 1), s(&j.id)]).collect(),
        ),
        "msdb.dbo.sysschedules" => table(
            &[
                "schedule_id",
                "name",
                "enabled",
                "freq_type",
                "freq_interval",
                "freq_subday_type",
                "freq_subday_interval",
                "freq_relative_interval",
                "freq_recurrence_factor",
                "active_start_date",
                "active_end_date",
                "active_start_time",
                "active_end_time",
            ],
            i.jobs
                .iter()
                .enumerate()
                .map(|(k, j)| {
                    let mut row = vec![n(k as i64 + 1), s(&format!("{} schedule", j.name))];
                    row.extend([1, 4, 1, 4, 15, 0, 0, 20_260_101, 99_991_231, 0, 235_900].map(n));
                    row
                })
                .collect(),
        ),
        "msdb.dbo.restorehistory" => table(
            &[
                "restore_history_id",
                "restore_date",
                "destination_database_name",
                "backup_set_id",
                "restore_type",
            ],
            i.restore_history
                .iter()
                .enumerate()
                .map(|(k, r)| vec![n(k as i64 + 1), s(&time(r.at)), s(&r.database), n(k as i64 + 1), s("L")])
                .collect(),
        ),
        "msdb.dbo.backupset" => {
            let restored = i.restore_history.iter().map(|r| &r.set);
            table(
                &[
                    "backup_set_id",
                    "media_set_id",
                    "type",
                    "database_name",
                    "server_name",
                    "last_lsn",
                    "last_recovery_fork_guid",
                    "backup_start_date",
                    "backup_finish_date",
                    "is_copy_only",
                ],
                restored
                    .chain(&i.backups)
                    .enumerate()
                    .map(|(k, b)| {
                        let id = k as i64 + 1;
                        let kind = if b.kind == 2 { "L" } else { "D" };
                        vec![
                            n(id),
                            n(id),
                            s(kind),
                            s(&b.database),
                            s(&b.server),
                            n(b.last_lsn),
                            s(&b.last_fork),
                            s(&time(b.start)),
                            s(&time(b.finish)),
                            n(0),
                        ]
                    })
                    .collect(),
            )
        }
        "msdb.dbo.backupmediafamily" => table(
            &["media_set_id", "physical_device_name", "mirror"],
            i.restore_history
                .iter()
                .enumerate()
                .map(|(k, r)| vec![n(k as i64 + 1), s(&r.path), n(0)])
                .collect(),
        ),
        other => {
            let (database, rest) = other.split_once('.')?;
            let db = i.databases.get(database)?;
            match rest {
                "dbo.tblserveridentity" => table(
                    &["serverID", "serverAddress", "serverLastPingTime"],
                    db.identities
                        .iter()
                        .enumerate()
                        .map(|(k, (h, t))| vec![n(k as i64 + 1), s(h), s(&time(*t))])
                        .collect(),
                ),
                "dbo.tblchat" => {
                    table(&["chatDate"], db.newest_message.iter().map(|t| vec![s(&time(*t))]).collect())
                }
                "sys.database_principals" => table(
                    &["name", "principal_id", "type", "sid"],
                    db.users
                        .iter()
                        .enumerate()
                        .map(|(k, (u, mapped))| {
                            let sid = if *mapped {
                                format!("sid {u}")
                            } else {
                                format!("sid of another server {u}")
                            };
                            vec![s(u), n(k as i64 + 5), s("S"), s(&sid)]
                        })
                        .collect(),
                ),
                _ => None,
            }
        }
    }
}

/// The row of `RESTORE HEADERONLY`: the columns that say something, with their names and types.
pub fn header_row(h: &BackupHeader) -> Event {
    use ColumnType::{Bit, Guid, Int, Lsn, Text, Time};
    let all = [
        ("BackupName", Text, Cell::Null),
        ("BackupType", Int, Cell::Int(h.kind.into())),
        ("Position", Int, Cell::Int(1)),
        ("ServerName", Text, Cell::Text(h.server.clone())),
        ("DatabaseName", Text, Cell::Text(h.database.clone())),
        ("FirstLSN", Lsn, Cell::Lsn(h.first_lsn)),
        ("LastLSN", Lsn, Cell::Lsn(h.last_lsn)),
        ("BackupStartDate", Time, Cell::Time(time(h.start))),
        ("BackupFinishDate", Time, Cell::Time(time(h.finish))),
        ("RecoveryForkID", Guid, Cell::Guid(h.last_fork.clone())),
        ("FamilyGUID", Guid, Cell::Guid(h.family.clone())),
        ("HasBackupChecksums", Bit, Cell::Bit(h.checksums)),
        ("IsDamaged", Bit, Cell::Bit(false)),
        ("HasIncompleteMetaData", Bit, Cell::Bit(false)),
        ("IsCopyOnly", Bit, Cell::Bit(false)),
        ("FirstRecoveryForkID", Guid, Cell::Guid(h.first_fork.clone())),
    ];
    let (columns, row): (Vec<_>, Vec<_>) =
        all.into_iter().map(|(name, kind, v)| ((name.to_string(), kind), v)).unzip();
    Event::Rows { columns, rows: vec![row] }
}
