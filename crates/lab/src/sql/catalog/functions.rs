//! Functions of T-SQL that SQLite has not. They see the world as it was last shown to them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error};

use super::{stored, time, views};
use crate::sql::{AppLock, LockMode, lock_name};
use crate::tsql::SqlMessage;
use crate::tsql::transactions::SYSTEM_DATABASES;

/// What the functions see of the world.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) session: u32,
    pub(super) now: jiff::Timestamp,
    pub(super) server_name: String,
    pub(super) hostile: String,
    pub(super) databases: Vec<String>,
    /// Those that clients made.
    pub(super) tables: BTreeSet<String>,
    pub(super) locks: Vec<AppLock>,
    pub(super) database: String,
    /// How deep its transaction is nested.
    pub(super) transaction: u32,
    pub(super) version: &'static str,
}

/// What the functions see, shared with them.
pub(super) type Shown = Arc<Mutex<Seen>>;

pub(super) fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

const FLAGS: FunctionFlags = FunctionFlags::SQLITE_UTF8;

/// Registers all of them.
pub(super) fn register(c: &Connection, seen: &Shown) -> Result<(), Error> {
    server(c, seen)?;
    objects(c, seen)?;
    clock(c, seen)?;
    conversions(c)?;
    c.create_scalar_function("to_text", 1, FLAGS, move |x| Ok(text(x, 0)))
}

/// How an error of ours gets through SQLite.
const MARK: &str = "SQL Server says ";

/// An error, as a function of SQLite has to give it.
fn refuse<T>(number: u32, state: u8, what: &str) -> Result<T, Error> {
    Err(Error::UserFunctionError(format!("{MARK}{number} {state} {what}").into()))
}

/// The error that a function has given, if it was one of ours.
pub(super) fn refused(text: &str) -> Option<SqlMessage> {
    let (_, rest) = text.split_once(MARK)?;
    let mut parts = rest.splitn(3, ' ');
    let (number, state) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(SqlMessage::refusal(number, parts.next().unwrap_or_default()).in_state(state))
}

/// Casts that can fail, and division.
fn conversions(c: &Connection) -> Result<(), Error> {
    c.create_scalar_function("REPLICATE", 2, FLAGS, |x| {
        let times = text(x, 1).parse::<usize>().unwrap_or(0).min(8000);
        Ok(text(x, 0).repeat(times))
    })?;
    c.create_scalar_function("left_of", 2, FLAGS, |x| match x.get_raw(0) {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
            Ok(Some(text(x, 0).chars().take(text(x, 1).parse().unwrap_or(0)).collect::<String>()))
        }
    })?;
    c.create_scalar_function("to_int", 1, FLAGS, |x| match x.get_raw(0) {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(n) => Ok(Some(n)),
        ValueRef::Real(n) => Ok(Some(n as i64)),
        ValueRef::Text(_) | ValueRef::Blob(_) => {
            let given = text(x, 0);
            match (given.trim(), given.trim().parse()) {
                ("", _) => Ok(Some(0)),
                (_, Ok(n)) => Ok(Some(n)),
                (_, Err(_)) => refuse(
                    245,
                    1,
                    &format!(
                        "Conversion failed when converting the varchar value '{given}' to data type int."
                    ),
                ),
            }
        }
    })?;
    c.create_scalar_function("to_numeric", 1, FLAGS, |x| match x.get_raw(0) {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
            match text(x, 0).trim().parse::<i128>() {
                Ok(n) => Ok(Some(stored(n))),
                Err(_) => refuse(8114, 5, "Error converting data type nvarchar to numeric."),
            }
        }
    })?;
    c.create_scalar_function("divisor", 1, FLAGS, |x| match x.get_raw(0) {
        ValueRef::Integer(0) => refuse(8134, 1, "Divide by zero error encountered."),
        ValueRef::Integer(n) => Ok(Some(n)),
        ValueRef::Real(_) | ValueRef::Null | ValueRef::Text(_) | ValueRef::Blob(_) => Ok(None),
    })
}

fn text(x: &Context<'_>, n: usize) -> String {
    match x.get_raw(n) {
        ValueRef::Null => String::new(),
        ValueRef::Integer(v) => v.to_string(),
        ValueRef::Real(v) => v.to_string(),
        ValueRef::Text(v) | ValueRef::Blob(v) => String::from_utf8_lossy(v).into_owned(),
    }
}

fn server(c: &Connection, seen: &Shown) -> Result<(), Error> {
    let s = seen.clone();
    c.create_scalar_function("SERVERPROPERTY", 1, FLAGS, move |x| {
        let seen = locked(&s);
        Ok(match text(x, 0).to_lowercase().as_str() {
            "servername" => Some(seen.server_name.clone()),
            "productversion" => Some(seen.version.to_string()),
            "productmajorversion" => seen.version.split('.').next().map(str::to_string),
            "instancename" => seen.server_name.split_once('\\').map(|(_, i)| i.to_string()),
            "machinename" => seen.server_name.split('\\').next().map(str::to_string),
            "collation" => Some("SQL_Latin1_General_CP1_CI_AS".into()),
            "edition" => Some(format!("Enterprise Edition (simulator){}", seen.hostile)),
            "engineedition" => Some("3".into()),
            _ => None,
        })
    })?;
    c.create_scalar_function("IS_SRVROLEMEMBER", 1, FLAGS, |_| Ok(1))?;
    c.create_scalar_function("HAS_PERMS_BY_NAME", 3, FLAGS, |_| Ok(1))?;
    locks(c, seen)?;
    let s = seen.clone();
    c.create_scalar_function("trancount", 0, FLAGS, move |_| Ok(locked(&s).transaction))?;
    let s = seen.clone();
    c.create_scalar_function("spid", 0, FLAGS, move |_| Ok(locked(&s).session))
}

/// The name of the lock that a function is asked about: principal, resource and owner come first, last, or with a mode between.
fn asked(x: &Context<'_>, owner: usize, seen: &Seen) -> Result<String, Error> {
    let principal = text(x, 0);
    if !["public", "dbo"].iter().any(|p| principal.eq_ignore_ascii_case(p)) {
        let what = format!("The database principal '{principal}' does not exist, or user is not a member.");
        return refuse(1202, 1, &what);
    }
    if matches!(x.get_raw(1), ValueRef::Null) {
        return refuse(1225, 1, "An invalid application lock resource was passed to APPLOCK_MODE.");
    }
    if text(x, owner).eq_ignore_ascii_case("Transaction") && seen.transaction == 0 {
        let what = "The statement or function must be executed in the context of a user transaction.";
        return refuse(3918, 2, what);
    }
    Ok(lock_name(&text(x, 1)))
}

fn locks(c: &Connection, seen: &Shown) -> Result<(), Error> {
    let s = seen.clone();
    c.create_scalar_function("APPLOCK_MODE", 3, FLAGS, move |x| {
        let seen = locked(&s);
        let resource = asked(x, 2, &seen)?;
        let held = seen
            .locks
            .iter()
            .find(|l| l.holder == seen.session && l.database == seen.database && l.resource == resource);
        Ok(held.map_or("NoLock", |l| l.mode.name()))
    })?;
    let s = seen.clone();
    c.create_scalar_function("APPLOCK_TEST", 4, FLAGS, move |x| {
        let seen = locked(&s);
        let resource = asked(x, 3, &seen)?;
        let Some(mode) = LockMode::named(&text(x, 2)) else { return Ok(0) };
        let stands_in_the_way = seen.locks.iter().any(|l| {
            l.holder != seen.session
                && l.database == seen.database
                && l.resource == resource
                && !l.mode.allows(mode)
        });
        Ok(i64::from(!stands_in_the_way))
    })
}

/// The number of a database.
fn number(seen: &Seen, name: &str) -> Option<i64> {
    let name = name.trim_end().to_lowercase();
    let system = SYSTEM_DATABASES.iter().find(|(n, _)| *n == name).map(|(_, id)| *id);
    system.or_else(|| seen.databases.iter().position(|d| *d == name).map(|n| n as i64 + 5))
}

fn objects(c: &Connection, seen: &Shown) -> Result<(), Error> {
    let s = seen.clone();
    c.create_scalar_function("DB_ID", 1, FLAGS, move |x| Ok(number(&locked(&s), &text(x, 0))))?;
    let s = seen.clone();
    c.create_scalar_function("DB_NAME", 0, FLAGS, move |_| Ok(locked(&s).database.clone()))?;
    let s = seen.clone();
    c.create_scalar_function("DB_NAME", 1, FLAGS, move |x| {
        let (seen, id) = (locked(&s), text(x, 0).parse::<i64>().unwrap_or(0));
        let system = SYSTEM_DATABASES.iter().find(|(_, n)| *n == id).map(|(name, _)| (*name).to_string());
        let own = || usize::try_from(id - 5).ok().and_then(|n| seen.databases.get(n).cloned());
        Ok(system.or_else(own))
    })?;
    let s = seen.clone();
    c.create_scalar_function("OBJECT_ID", 1, FLAGS, move |x| {
        let (seen, name) = (locked(&s), text(x, 0).to_lowercase());
        let stands = |name: &str| {
            let inside =
                name.split_once('.').filter(|(database, _)| seen.databases.iter().any(|d| d == database));
            views::is_known(name) || inside.is_some_and(|(_, rest)| views::is_content(rest))
        };
        Ok((seen.tables.contains(&name) || stands(&name)).then_some(7i64))
    })
}

fn clock(c: &Connection, seen: &Shown) -> Result<(), Error> {
    for f in ["SYSUTCDATETIME", "SYSDATETIME", "GETUTCDATE", "GETDATE"] {
        let s = seen.clone();
        c.create_scalar_function(f, 0, FLAGS, move |_| Ok(time(locked(&s).now)))?;
    }
    c.create_scalar_function("DATEDIFF", 3, FLAGS, |x| {
        let at = |n| {
            text(x, n)
                .parse::<jiff::civil::DateTime>()
                .ok()
                .and_then(|d| jiff::tz::Offset::UTC.to_timestamp(d).ok())
                .map_or(0, |t| t.as_second())
        };
        let seconds = at(2) - at(1);
        Ok(match text(x, 0).as_str() {
            "MINUTE" => seconds / 60,
            "HOUR" => seconds / 3600,
            "DAY" => seconds / 86400,
            _ => seconds,
        })
    })
}
