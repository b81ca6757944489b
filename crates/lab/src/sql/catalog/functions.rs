//! Functions of T-SQL that SQLite has not. They see the world as it was last shown to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error};

use super::time;

/// What the functions see of the world.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) session: u32,
    pub(super) now: jiff::Timestamp,
    pub(super) server_name: String,
    pub(super) hostile: String,
    pub(super) databases: Vec<String>,
    pub(super) tables: BTreeSet<String>,
    pub(super) locks: BTreeMap<String, u32>,
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
    c.create_scalar_function("to_text", 1, FLAGS, move |x| Ok(text(x, 0)))
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
            "productversion" => Some("11.0.7001.0".to_string()),
            "edition" => Some(format!("Enterprise Edition (simulator){}", seen.hostile)),
            "engineedition" => Some("3".into()),
            _ => None,
        })
    })?;
    c.create_scalar_function("IS_SRVROLEMEMBER", 1, FLAGS, |_| Ok(1))?;
    c.create_scalar_function("HAS_PERMS_BY_NAME", 3, FLAGS, |_| Ok(1))?;
    let s = seen.clone();
    c.create_scalar_function("APPLOCK_MODE", 3, FLAGS, move |x| {
        let seen = locked(&s);
        Ok(if seen.locks.get(&text(x, 1)) == Some(&seen.session) { "Exclusive" } else { "NoLock" })
    })?;
    let s = seen.clone();
    c.create_scalar_function("spid", 0, FLAGS, move |_| Ok(locked(&s).session))
}

fn objects(c: &Connection, seen: &Shown) -> Result<(), Error> {
    let s = seen.clone();
    c.create_scalar_function("DB_ID", 1, FLAGS, move |x| {
        let name = text(x, 0).to_lowercase();
        Ok(locked(&s).databases.iter().position(|d| *d == name).map(|n| n as i64 + 5))
    })?;
    c.create_scalar_function("DB_NAME", 0, FLAGS, |_| Ok("master"))?;
    let s = seen.clone();
    c.create_scalar_function("OBJECT_ID", 1, FLAGS, move |x| {
        Ok(locked(&s).tables.contains(&text(x, 0).to_lowercase()).then_some(7i64))
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
