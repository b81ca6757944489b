//! What rows mean: SQL Server's answers as facts of the domain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::SqlSession;
use super::errors::{classify, problem};
use super::numbers::ErrorClass;
use super::{Cell, Parameter, Rows, SqlError, Statement, statements};
use crate::domain::backups::{BackupSet, FileHeaders, Label, Lsn, RedoPoint};
use crate::domain::log_shipping::{Job, JobRun, PrimaryHalf, SecondaryHalf};
use crate::domain::pool::{Pool, SqlServer};
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::record;
use crate::domain::sql_server::{
    Database, DatabaseState, Instance, Mirroring, OrphanedUser, OwnBackups, RestoreHistory, RunningRestore,
    Session,
};

/// Longest wait for a statement that only reads.
pub const READ: Duration = Duration::from_secs(20);

impl Rows {
    pub(super) fn cell<'a>(&self, row: &'a [Cell], name: &str) -> Result<&'a Cell, String> {
        let at = self.columns.iter().position(|c| c.eq_ignore_ascii_case(name));
        at.and_then(|i| row.get(i)).ok_or_else(|| format!("there is no column {name}"))
    }
    fn text(&self, row: &[Cell], name: &str) -> Result<Option<String>, String> {
        match self.cell(row, name)? {
            Cell::Null => Ok(None),
            Cell::Text(s) | Cell::Guid(s) => Ok(Some(s.clone())),
            other => Err(format!("column {name} is {other:?}, expected a text")),
        }
    }
    pub(super) fn must(&self, row: &[Cell], name: &str) -> Result<String, String> {
        required(name, self.text(row, name)?)
    }
    /// A text or a number, as a text.
    fn shown(&self, row: &[Cell], name: &str) -> Result<Option<String>, String> {
        match self.cell(row, name)? {
            Cell::Bool(_) | Cell::Int(_) | Cell::Numeric(_) => {
                Ok(self.int(row, name)?.map(|n| n.to_string()))
            }
            Cell::Null
            | Cell::Float(_)
            | Cell::Text(_)
            | Cell::Guid(_)
            | Cell::DateTime(_)
            | Cell::Bytes(_) => self.text(row, name),
        }
    }
    /// A date in the local time of whoever wrote it, as a text.
    fn local(&self, row: &[Cell], name: &str) -> Result<Option<String>, String> {
        match self.cell(row, name)? {
            Cell::Null => Ok(None),
            Cell::DateTime(d) => Ok(Some(d.to_string())),
            other => Err(format!("column {name} is {other:?}, expected a date")),
        }
    }
    fn int(&self, row: &[Cell], name: &str) -> Result<Option<i32>, String> {
        match self.cell(row, name)? {
            Cell::Null => Ok(None),
            Cell::Int(n) => i32::try_from(*n).map(Some).map_err(|_| format!("column {name} is too large")),
            Cell::Bool(b) => Ok(Some(i32::from(*b))),
            Cell::Numeric(n) => {
                i32::try_from(*n).map(Some).map_err(|_| format!("column {name} is too large"))
            }
            other => Err(format!("column {name} is {other:?}, expected a number")),
        }
    }
    pub(super) fn number(&self, row: &[Cell], name: &str) -> Result<i32, String> {
        required(name, self.int(row, name)?)
    }
    pub(super) fn flag(&self, row: &[Cell], name: &str) -> Result<bool, String> {
        self.number(row, name).map(|n| n != 0)
    }
    fn percent(&self, row: &[Cell], name: &str) -> Result<f64, String> {
        match self.cell(row, name)? {
            Cell::Float(f) => Ok(*f),
            other => Err(format!("column {name} is {other:?}, expected a float")),
        }
    }
    pub(super) fn lsn(&self, row: &[Cell], name: &str) -> Result<Option<Lsn>, String> {
        match self.cell(row, name)? {
            Cell::Null => Ok(None),
            Cell::Numeric(n) => Ok(Some(Lsn(*n))),
            other => Err(format!("column {name} is {other:?}, expected numeric(25,0)")),
        }
    }
    pub(super) fn utc(&self, row: &[Cell], name: &str) -> Result<Option<Timestamp>, String> {
        match self.cell(row, name)? {
            Cell::Null => Ok(None),
            Cell::DateTime(d) => jiff::tz::Offset::UTC.to_timestamp(*d).map(Some).map_err(|e| e.to_string()),
            other => Err(format!("column {name} is {other:?}, expected a date")),
        }
    }
}

/// What a column must hold.
fn required<T>(name: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("column {name} is NULL"))
}

/// Reads an instance: everything that its state makes worth asking. A part that cannot be read is unknown with its problem; a lost
/// session fails the whole.
pub async fn instance<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    pool: &Pool,
) -> Result<Instance, SqlError> {
    let rows = ask(session, statements::IDENTITY, vec![]).await?;
    let first = rows.rows.first().cloned().unwrap_or_default();
    let identity = |name: &str| rows.must(&first, name).map_err(SqlError::Protocol);
    let number = |name: &str| rows.number(&first, name).map_err(SqlError::Protocol);
    let mut i = Instance {
        server_name: identity("server_name")?,
        version: identity("product_version")?,
        edition: identity("edition")?,
        sysadmin: number("is_sysadmin")? == 1,
        zone_minutes: number("zone_minutes")?,
        database: None,
        secondary_half: Reading::not_looked(),
        primary_half: Reading::not_looked(),
        jobs: Reading::not_looked(),
        sessions: Reading::not_looked(),
        restores: Reading::not_looked(),
        full_backup: None,
        history: Reading::not_looked(),
        orphaned_users: Reading::not_looked(),
        server_identities: Reading::not_looked(),
        advancing: BTreeSet::new(),
        silent: BTreeSet::new(),
        newest_message: Reading::not_looked(),
        own_backups: Reading::not_looked(),
        records: Reading::not_looked(),
    };
    i.database = database(session, pool).await?;
    i.records = records(session, server, pool).await?;
    // A mirror's copy is its principal's business; where there is none, one may be seeded.
    if i.database.as_ref().is_none_or(|d| d.is_live() || d.mirroring.is_none()) {
        log_shipping(session, server, pool, &mut i).await?;
        (i.restores, i.full_backup) = running(session, server, pool).await?;
        i.history = history(session, server, pool).await?;
    }
    if i.database.as_ref().is_some_and(Database::is_live) {
        inside(session, server, pool, &mut i).await?;
    }
    Ok(i)
}

/// The restores that run, and how far a full backup is.
async fn running<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    pool: &Pool,
) -> Result<(Reading<Vec<RunningRestore>>, Option<f64>), SqlError> {
    let db = vec![Parameter::from(pool.database.as_str())];
    let all = part(session, server, "looking for running restores", statements::RUNNING, db, |r, row| {
        let text = |name: &str| r.text(row, name).map(Option::unwrap_or_default);
        Ok(RunningRestore {
            session: r.number(row, "session_id")?,
            command: r.must(row, "command")?,
            percent: r.percent(row, "percent_complete")?,
            by: format!("{} on {}", text("program_name")?, text("host_name")?),
        })
    })
    .await?;
    let is_backup = |r: &RunningRestore| r.command == "BACKUP DATABASE";
    let full_backup = all.known().and_then(|all| all.iter().find(|r| is_backup(r))).map(|r| r.percent);
    Ok((all.map(|all| all.into_iter().filter(|r| !is_backup(r)).collect()), full_backup))
}

async fn history<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    pool: &Pool,
) -> Result<Reading<Vec<RestoreHistory>>, SqlError> {
    let db = vec![Parameter::from(pool.database.as_str())];
    part(session, server, "reading the restore history", statements::RESTORE_HISTORY, db, |r, row| {
        Ok(RestoreHistory {
            kind: r.must(row, "restore_type")?.trim().into(),
            last_lsn: r.lsn(row, "last_lsn")?,
            last_fork: r.text(row, "last_recovery_fork_guid")?,
            backup_start: r.local(row, "backup_start_date")?,
            file: r.text(row, "physical_device_name")?,
            first_fork: r.text(row, "first_recovery_fork_guid")?,
            fork_point: r.lsn(row, "fork_point_lsn")?,
            server: r.text(row, "server_name")?,
            zone_minutes: zone_minutes(r.int(row, "time_zone")?),
        })
    })
    .await
}

/// `backupset.time_zone` counts quarter hours (-20 is Eastern Standard Time), and 127 is unknown.
fn zone_minutes(quarters: Option<i32>) -> Option<i32> {
    quarters.filter(|q| (-56..=56).contains(q)).map(|q| q * 15)
}

/// Who holds the lock of a pool on an instance, if somebody does and that can be told.
pub async fn lock_holder<S: SqlSession>(session: &mut S, server: &SqlServer, pool: &Pool) -> Option<String> {
    // SQL Server shows the first 32 characters of a lock's name only.
    let name: String = pool.lock_resource().chars().take(32).collect();
    let doing = "looking for the lock's holder";
    let held = part(session, server, doing, statements::LOCK_HOLDER, vec![name.into()], |r, row| {
        let text = |name: &str| r.text(row, name).map(Option::unwrap_or_default);
        let session = r.number(row, "session_id")?;
        Ok(format!("{} on {} (session {session})", text("program_name")?, text("host_name")?))
    });
    held.await.ok()?.known()?.first().cloned()
}

async fn inside<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    pool: &Pool,
    i: &mut Instance,
) -> Result<(), SqlError> {
    let db = || vec![Parameter::from(pool.database.as_str())];
    i.sessions = part(session, server, "looking for sessions", statements::SESSIONS, db(), |r, row| {
        Ok(Session {
            id: r.number(row, "session_id")?,
            login: r.must(row, "login_name")?,
            host: r.text(row, "host_name")?.unwrap_or_default(),
            program: r.text(row, "program_name")?.unwrap_or_default(),
        })
    })
    .await?;
    let text = statements::orphaned_users(&pool.database);
    i.orphaned_users = part(session, server, "comparing users with logins", &text, vec![], |r, row| {
        Ok(OrphanedUser { name: r.must(row, "name")?, has_login: r.flag(row, "has_login")? })
    })
    .await?;
    let own = part(session, server, "reading the backup history", statements::OWN_BACKUPS, db(), |r, row| {
        Ok((r.must(row, "type")?, r.local(row, "newest")?))
    })
    .await?;
    i.own_backups = match own {
        Reading::Known(v) => {
            let find = |k: &str| v.iter().find(|(t, _)| t.trim() == k).and_then(|(_, d)| d.clone());
            Reading::Known(OwnBackups { full: find("D"), log: find("L") })
        }
        Reading::Unknown(p) => Reading::Unknown(p),
    };
    Ok(())
}

async fn ask<S: SqlSession>(
    session: &mut S,
    text: &str,
    parameters: Vec<Parameter>,
) -> Result<Rows, SqlError> {
    session.send(&Statement::read(text, parameters), Some(READ)).await
}

/// One part: rows to facts. A refusal of the server makes the part unknown; anything worse fails the session.
async fn part<S: SqlSession, T>(
    session: &mut S,
    server: &SqlServer,
    doing: &str,
    text: &str,
    parameters: Vec<Parameter>,
    read: impl Fn(&Rows, &[Cell]) -> Result<T, String>,
) -> Result<Reading<Vec<T>>, SqlError> {
    match ask(session, text, parameters).await {
        Ok(rows) => Ok(facts(&rows, server, doing, read)),
        Err(e @ SqlError::Server(_)) if !e.ends_the_session() => {
            Ok(Reading::Unknown(problem(&e, server, doing)))
        }
        Err(e) => Err(e),
    }
}

/// What rows mean; unknown, if one of them cannot be read.
pub(super) fn facts<T>(
    rows: &Rows,
    server: &SqlServer,
    doing: &str,
    read: impl Fn(&Rows, &[Cell]) -> Result<T, String>,
) -> Reading<Vec<T>> {
    let facts: Result<Vec<T>, String> = rows.rows.iter().map(|row| read(rows, row)).collect();
    facts.map_err(|why| problem(&SqlError::Protocol(why), server, doing)).into()
}

/// The pool's database on an instance, if it is there.
/// # Errors
/// Those of the session, and rows that cannot be read.
pub async fn database<S: SqlSession>(session: &mut S, pool: &Pool) -> Result<Option<Database>, SqlError> {
    let db = || vec![Parameter::from(pool.database.as_str())];
    let rows = ask(session, statements::DATABASE, db()).await?;
    let Some(row) = rows.rows.first() else { return Ok(None) };
    let read = || -> Result<Database, String> {
        let mirroring = match rows.text(row, "mirroring_guid")? {
            None => None,
            Some(_) => Some(Mirroring {
                state: rows.number(row, "mirroring_state")?,
                role: rows.number(row, "mirroring_role")?,
                safety: rows.number(row, "mirroring_safety_level")?,
                partner: rows.text(row, "mirroring_partner_name")?,
                partner_instance: rows.text(row, "mirroring_partner_instance")?,
                witness: rows.text(row, "mirroring_witness_name")?.filter(|w| !w.is_empty()),
                witness_state: rows.int(row, "mirroring_witness_state")?,
            }),
        };
        Ok(Database {
            state: DatabaseState::from_number(rows.number(row, "state")?),
            standby: rows.flag(row, "is_in_standby")?,
            read_only: rows.flag(row, "is_read_only")?,
            user_access: rows.number(row, "user_access")?,
            recovery_model: rows.int(row, "recovery_model")?.unwrap_or(0),
            family: rows.text(row, "family_guid")?,
            fork: rows.text(row, "recovery_fork_guid")?,
            last_log_backup: rows.lsn(row, "last_log_backup_lsn")?,
            redo: None,
            mirroring,
        })
    };
    let mut d = read().map_err(SqlError::Protocol)?;
    if d.is_restoring() {
        let rows = ask(session, statements::REDO, db()).await?;
        let mut points = Vec::new();
        for row in &rows.rows {
            let point =
                (|| Ok((rows.lsn(row, "redo_start_lsn")?, rows.text(row, "redo_start_fork_guid")?)))()
                    .map_err(SqlError::Protocol)?;
            points.push(match point {
                (Some(lsn), Some(fork)) => Some(RedoPoint { lsn, fork }),
                (_, None) | (None, _) => None,
            });
        }
        // Files that stand at different points, or one that has none, are no state that a log backup can go on from: then there is none,
        // as the guard of each batch has it.
        let same = points.windows(2).all(|w| w.first() == w.last());
        d.redo = points.into_iter().next().flatten().filter(|_| same);
    }
    Ok(Some(d))
}

/// Both halves of log shipping, and the jobs that belong to them or are called as if they did.
async fn log_shipping<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    pool: &Pool,
    i: &mut Instance,
) -> Result<(), SqlError> {
    let doing = "reading log shipping in msdb";
    let db = || vec![Parameter::from(pool.database.as_str())];
    let secondary = part(session, server, doing, statements::SECONDARY_HALF, db(), |r, row| {
        columns(r, row, MAY_BE_NULL_OF_SECONDARY)
    })
    .await?;
    let primary = part(session, server, doing, statements::PRIMARY_HALF, db(), |r, row| {
        columns(r, row, MAY_BE_NULL_OF_PRIMARY)
    })
    .await?;
    let known = part(session, server, doing, statements::PRIMARY_SECONDARIES, db(), |r, row| {
        r.must(row, "secondary_server")
    })
    .await?;
    let mut secondary = secondary.map(|rows| {
        rows.into_iter().next().map(|columns| SecondaryHalf { columns, schedules: BTreeMap::new() })
    });
    i.primary_half = match (primary, known) {
        (Reading::Known(rows), Reading::Known(secondaries)) => {
            Reading::Known(rows.into_iter().next().map(|columns| PrimaryHalf { columns, secondaries }))
        }
        (Reading::Unknown(p), _) | (_, Reading::Unknown(p)) => Reading::Unknown(p),
    };
    let half = secondary.known().and_then(Option::as_ref);
    let (copy, restore) = half.map_or(("", ""), |h| (h.copy_job(), h.restore_job()));
    let backup = i.primary_half.known().and_then(Option::as_ref).map_or("", PrimaryHalf::backup_job);
    let ids = [copy, restore, backup].map(Parameter::from).to_vec();
    let scheduled: Vec<String> =
        half.map(|_| vec![copy.to_string(), restore.to_string()]).unwrap_or_default();
    i.jobs = part(session, server, doing, statements::JOBS, ids, |r, row| {
        Ok(Job {
            id: r.must(row, "job_id")?,
            name: r.must(row, "name")?,
            enabled: r.flag(row, "enabled")?,
            running: r.flag(row, "running")?,
            scheduled: r.flag(row, "scheduled")?,
            category: r.text(row, "category")?.unwrap_or_default(),
            last: match r.int(row, "last_outcome")? {
                Some(status) => {
                    Some(JobRun { status, message: r.text(row, "last_message")?.unwrap_or_default() })
                }
                None => None,
            },
        })
    })
    .await?;
    for id in scheduled {
        let of_job = vec![id.as_str().into()];
        let found =
            part(session, server, doing, statements::SCHEDULES, of_job, |r, row| columns(r, row, &[]));
        let found = found.await?;
        match (&mut secondary, found) {
            (Reading::Known(Some(half)), Reading::Known(rows)) => drop(half.schedules.insert(id, rows)),
            (_, Reading::Unknown(p)) => secondary = Reading::Unknown(p),
            (Reading::Known(None) | Reading::Unknown(_), Reading::Known(_)) => {}
        }
    }
    i.secondary_half = secondary;
    Ok(())
}

/// What msdb's tables let be NULL of a secondary half: what was never done or never said, and what a monitor knows, who may be told
/// nothing of it.
const MAY_BE_NULL_OF_SECONDARY: &[&str] = &[
    "last_copied_file",
    "block_size",
    "buffer_count",
    "max_transfer_size",
    "last_restored_file",
    "restore_threshold",
    "threshold_alert",
    "threshold_alert_enabled",
    "history_retention_period",
];
/// The same of a primary half.
const MAY_BE_NULL_OF_PRIMARY: &[&str] = &["last_backup_file"];

/// The columns of a row, which hold something but for those that may be NULL.
fn columns(r: &Rows, row: &[Cell], may_be_null: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    for name in &r.columns {
        match r.shown(row, name)? {
            Some(value) => drop(all.insert(name.clone(), value)),
            None if may_be_null.contains(&name.as_str()) => {}
            None => return Err(format!("column {name} is NULL")),
        }
    }
    Ok(all)
}

/// The records of the pool. A record that cannot be understood makes all of them unknown: nothing may be begun over it.
pub async fn records<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    pool: &Pool,
) -> Result<Reading<Vec<record::Record>>, SqlError> {
    let doing = "reading the record in msdb";
    let present =
        match part(session, server, doing, statements::RECORD_TABLE, vec![], |r, row| r.flag(row, "present"))
            .await?
        {
            Reading::Known(v) => match v.first() {
                Some(present) => *present,
                None => return Err(SqlError::Protocol("nobody says whether there is a record".into())),
            },
            Reading::Unknown(p) => return Ok(Reading::Unknown(p)),
        };
    if !present {
        return Ok(Reading::Known(vec![]));
    }
    let rows =
        part(session, server, doing, statements::RECORDS, vec![pool.fqdn.as_str().into()], |r, row| {
            Ok((r.number(row, "schema_version")?, r.must(row, "transition")?, r.must(row, "document")?))
        })
        .await?;
    Ok(match rows {
        Reading::Unknown(p) => Reading::Unknown(p),
        Reading::Known(v) => v
            .iter()
            .map(|(schema, id, document)| record::read(*schema, id, document))
            .collect::<Result<Vec<_>, _>>()
            .into(),
    })
}

/// The sets in a backup file, as SQL Server reads them.
pub async fn headers<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    from_copy: bool,
    path: &str,
) -> Result<FileHeaders, SqlError> {
    let doing = format!("reading the header of {}", crate::domain::text::clean(path));
    // A set that says too little hides nothing of the others in the file.
    let rows =
        part(session, server, &doing, statements::HEADERS, vec![path.into()], |r, row| Ok(set(r, row)));
    let mut hidden = None;
    let sets = rows.await?.map(|rows| {
        let told = |why: String| {
            let why = format!("a set in it says too little: {why}");
            Problem::ask(
                Reason::UnexpectedAnswer,
                why,
                "Restore it by hand, or move it out of the folders if it is none of ours",
            )
        };
        let (known, other): (Vec<_>, Vec<_>) = rows.into_iter().partition(Result::is_ok);
        hidden = other.into_iter().find_map(Result::err).map(told);
        known.into_iter().filter_map(Result::ok).collect()
    });
    Ok(FileHeaders { hidden, ..FileHeaders::of(from_copy, sets) })
}

/// A row of `RESTORE HEADERONLY`. Only of a log backup everything is needed.
fn set(r: &Rows, row: &[Cell]) -> Result<BackupSet, String> {
    let (kind, position) = (r.number(row, "BackupType")?, r.number(row, "Position")?);
    let text = |name: &str| r.text(row, name).map(Option::unwrap_or_default);
    let (database, server) = (text("DatabaseName")?, text("ServerName")?);
    if kind != LOG {
        // What does not stand there proves nothing of a backup of another kind, and is in nobody's way.
        let told = |name: &str| r.text(row, name).ok().flatten().unwrap_or_default();
        let damaged = r.int(row, "IsDamaged").ok().flatten() != Some(0);
        let (family, last_fork) = (told("FamilyGUID"), told("RecoveryForkID"));
        let first_lsn = r.lsn(row, "FirstLSN").ok().flatten().unwrap_or_default();
        return Ok(BackupSet {
            kind,
            position,
            database,
            server,
            family,
            first_lsn,
            last_fork,
            damaged,
            ..BackupSet::default()
        });
    }
    let lsn = |name: &str| required(name, r.lsn(row, name)?);
    let flag = |name: &str| r.int(row, name).map(|n| n == Some(1));
    Ok(BackupSet {
        position,
        kind,
        database: r.must(row, "DatabaseName")?,
        server,
        family: r.must(row, "FamilyGUID")?,
        first_lsn: lsn("FirstLSN")?,
        last_lsn: lsn("LastLSN")?,
        first_fork: r.must(row, "FirstRecoveryForkID")?,
        last_fork: r.must(row, "RecoveryForkID")?,
        // A date that is not there proves no age.
        start: r.local(row, "BackupStartDate")?.unwrap_or_default(),
        finish: r.local(row, "BackupFinishDate")?.unwrap_or_default(),
        checksums: flag("HasBackupChecksums")?,
        damaged: flag("IsDamaged")?,
        incomplete: flag("HasIncompleteMetaData")?,
        tail: flag("IsForceOffline")?,
        guid: r.text(row, "BackupSetGUID")?,
        fork_point: r.lsn(row, "ForkPointLSN")?,
    })
}

/// `BackupType` of a log backup.
const LOG: i32 = 2;

/// The place of a file in its media set; none: SQL Server does not say.
pub async fn label<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    path: &str,
) -> Result<Option<Label>, SqlError> {
    let doing = format!("reading the label of {}", crate::domain::text::clean(path));
    let rows = part(session, server, &doing, statements::LABEL, vec![path.into()], |r, row| {
        Ok(Label {
            media_set: r.must(row, "MediaSetId")?,
            families: r.number(row, "FamilyCount")?,
            family: r.number(row, "FamilySequenceNumber")?,
        })
    });
    Ok(rows.await?.known().and_then(|rows| rows.first().cloned()))
}

/// The first number, and `@@ERROR` behind it, by which SQL Server refuses to read a file that does not exist.
pub async fn missing_file<S: SqlSession>(
    session: &mut S,
    path: &str,
) -> Result<(u32, Option<u32>), SqlError> {
    match ask(session, statements::HEADERS, vec![path.into()]).await {
        Err(SqlError::Server(e)) => Ok((e.number, e.last)),
        Err(e) => Err(e),
        Ok(_) => Err(SqlError::Protocol("a file that does not exist was read".into())),
    }
}

/// The files that SQL Server itself sees in a folder; unknown: it says nothing of it.
pub async fn folder<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    path: &str,
) -> Result<Reading<Vec<String>>, SqlError> {
    let doing = format!("listing {}", crate::domain::text::clean(path));
    let rows = part(session, server, &doing, statements::FOLDER_LISTING, vec![path.into()], |r, row| {
        let is_file = r.int(row, "file")? == Some(1) && r.int(row, "depth")? == Some(1);
        Ok(r.text(row, "subdirectory")?.filter(|_| is_file))
    });
    Ok(rows.await?.map(|names| names.into_iter().flatten().collect()))
}

/// Whether an error says that the goal already holds.
pub fn already_done(e: &SqlError) -> bool {
    matches!(e, SqlError::Server(e) if classify(e) == ErrorClass::AlreadyDone)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_backup_has_the_zone_of_the_server_that_took_it_or_none() {
        let read = [Some(-20), Some(4), Some(0), Some(127), None].map(zone_minutes);
        assert_eq!(read, [Some(-300), Some(60), Some(0), None, None]);
    }
}
