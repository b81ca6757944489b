//! RESTORE: what it refuses, how long it takes, what it leaves behind.

use jiff::SignedDuration;

use super::Seat;
use super::batch::Batch;
use super::lexer::Token;
use super::values::{Cell, ColumnType, Errors, Event, SqlMessage, refuse};
use crate::sql::backup::BackupHeader;
use crate::sql::{Database, Instance, Restored, Running, backup, catalog};
use crate::world::World;
use crate::world::files::split;
use crate::world::journal::{Effect, Outcome};

/// What a RESTORE at work does.
#[derive(Clone)]
pub(super) enum Restoring {
    /// Applies a log backup.
    Log { path: String, set: Box<BackupHeader> },
    /// Recovers the database.
    Recovery,
    /// Takes a STANDBY copy back to RESTORING.
    NoRecovery,
}

/// Whether a RESTORE recovers its database.
pub(super) fn is_recovery(t: &[Token]) -> bool {
    !t.iter().any(|x| x.is("NORECOVERY") || x.is("STANDBY"))
}

/// What every failed RESTORE says after its cause.
fn abnormal(verb: &str) -> SqlMessage {
    SqlMessage::refusal(3013, format!("{verb} is terminating abnormally."))
}

impl Batch {
    pub(super) fn headers(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<(), Errors> {
        let path = self.value(t.iter().position(|x| x.sign("=")).and_then(|i| t.get(i + 1)));
        let entry = self.journal(seat, Effect::Read, "RESTORE HEADERONLY", Some(path.clone()));
        let result = backup::read(seat.world.files.as_ref(), &path);
        let header = seat.finish(entry, result).map_err(|e| vec![e, abnormal("RESTORE HEADERONLY")])?;
        out.push(header_row(&header));
        Ok(())
    }

    pub(super) fn restore(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<(), Errors> {
        let command = format!("RESTORE {}", self.value(t.get(1)).to_uppercase());
        let database = self.value(t.get(2));
        let path = t.iter().position(|x| x.is("DISK")).map(|i| self.value(t.get(i + 2)));
        let journal = self.journal_write(seat, t);
        let work = match possible(seat, &database, path, is_recovery(t)) {
            Ok(work) => work,
            Err(e) => return seat.finish(journal, Err(e)).map_err(|e| vec![e, abnormal(&command)]),
        };
        let (takes, file) = match &work {
            Restoring::Log { path, .. } => {
                (seat.world.scenario.restore_ms, Some(split(path).1.to_lowercase()))
            }
            Restoring::Recovery => (seat.world.scenario.recovery_ms, None),
            Restoring::NoRecovery => (50, None),
        };
        self.restoring = Some(work);
        let began = seat.world.now;
        let ends = began + SignedDuration::from_millis(i64::try_from(takes).unwrap_or(0));
        if let Some(s) = seat.session_mut() {
            let database = database.to_lowercase();
            s.running = Some(Running { command, began, ends, journal, database, file });
        }
        Ok(())
    }

    /// A RESTORE has ended.
    pub(super) fn restored(&mut self, seat: &mut Seat<'_>, running: Running, out: &mut Vec<Event>) {
        if let Some(s) = seat.session_mut() {
            s.running = None;
        }
        let now = seat.world.now;
        match self.restoring.take() {
            Some(Restoring::Log { path, set }) => {
                let restored = Restored { at: now, database: running.database, set: *set, path };
                crate::sql::apply(seat.world, seat.host, restored);
            }
            Some(Restoring::Recovery) => {
                if let Err(e) = crate::sql::recover(seat.world, seat.host, &running.database) {
                    out.push(Event::Error(SqlMessage::simulator(e)));
                }
            }
            Some(Restoring::NoRecovery) => {
                if let Some(db) = seat.database_mut(&running.database) {
                    db.state = 1;
                    db.standby = false;
                    db.read_only = false;
                }
            }
            None => {}
        }
        seat.world.journal.end(running.journal, now, Outcome::Ok);
        out.push(Event::Info(SqlMessage {
            number: 3014,
            class: 0,
            state: 1,
            message: format!("{} successfully processed 0 pages.", running.command),
        }));
    }
}

/// What a RESTORE will do, or why it is refused: in the order in which SQL Server looks.
fn possible(
    seat: &Seat<'_>,
    database: &str,
    path: Option<String>,
    recovery: bool,
) -> Result<Restoring, SqlMessage> {
    if let Some(path) = path {
        let set = log_set(seat.world, seat.host, Some(seat.id), (database, &path))?;
        return Ok(Restoring::Log { path, set: Box::new(set) });
    }
    let i = seat.instance().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let db = can_be_restored(i, database)?;
    not_in_use(i, database, Some(seat.id))?;
    if recovery && db.is_live() {
        let what = "The database is already fully recovered.";
        return Err(SqlMessage { state: 2, ..SqlMessage::refusal(3153, what) });
    }
    Ok(if recovery { Restoring::Recovery } else { Restoring::NoRecovery })
}

/// The set that a log restore applies to a database from a path, or why it is refused. What the session itself does stands in no
/// way; a job of the Agent has none here.
pub(crate) fn log_set(
    world: &World,
    host: &str,
    session: Option<u32>,
    (database, path): (&str, &str),
) -> Result<BackupHeader, SqlMessage> {
    let i = world.sql.get(host).ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let db = can_be_restored(i, database)?;
    let set = backup::verify(world.files.as_ref(), path)?;
    if !set.family.eq_ignore_ascii_case(&db.family) {
        let what = format!(
            "The backup set holds a backup of a database other than the existing '{database}' database."
        );
        return refuse(3154, what);
    }
    not_in_use(i, database, session)?;
    fits(db, &set, path)?;
    Ok(set)
}

/// The database that a RESTORE is for, if there can be one at all.
fn can_be_restored<'i>(i: &'i Instance, database: &str) -> Result<&'i Database, SqlMessage> {
    let Some(db) = i.databases.get(&database.to_lowercase()) else {
        return refuse(3118, format!("The database \"{database}\" does not exist."));
    };
    if db.mirroring.is_some() {
        let what = format!(
            "RESTORE cannot operate on database '{database}' because it is configured for database mirroring or has joined an availability group. If you intend to restore the database, use ALTER DATABASE to remove mirroring or to remove the database from its availability group."
        );
        return refuse(3104, what);
    }
    if i.disk_full {
        let what = "There is insufficient free space on disk volume 'D:\\' to create the database. Operating system error 112(There is not enough space on the disk.).";
        return refuse(3257, what);
    }
    Ok(db)
}

/// That no other session is in the database or restores it.
fn not_in_use(i: &Instance, database: &str, session: Option<u32>) -> Result<(), SqlMessage> {
    let key = database.to_lowercase();
    let busy = i.sessions.iter().any(|(id, s)| {
        let inside = s.database == key && !s.killed;
        Some(*id) != session && (inside || s.running.as_ref().is_some_and(|r| r.database == key))
    });
    if busy {
        let what = "Exclusive access could not be obtained because the database is in use.";
        return refuse(3101, what);
    }
    Ok(())
}

/// Whether a log backup continues the database where its roll forward stands.
fn fits(db: &Database, set: &BackupHeader, path: &str) -> Result<(), SqlMessage> {
    let Some((lsn, fork)) = &db.redo else {
        let what =
            "The log or differential backup cannot be restored because no files are ready to rollforward.";
        return refuse(3117, what);
    };
    if set.last_lsn <= *lsn {
        let what = format!(
            "The log in this backup set terminates at LSN {}, which is too early to apply to the database. A more recent log backup that includes LSN {lsn} can be restored.",
            set.last_lsn
        );
        return refuse(4326, what);
    }
    if set.first_lsn > *lsn {
        let what = format!(
            "The log in this backup set begins at LSN {}, which is too recent to apply to the database. An earlier log backup that includes LSN {lsn} can be restored.",
            set.first_lsn
        );
        return refuse(4305, what);
    }
    if !set.first_fork.eq_ignore_ascii_case(fork) {
        let what = "This backup set cannot be applied because it is on a recovery path that is inconsistent with the database.";
        return refuse(4330, what);
    }
    let file = split(path).1.to_lowercase();
    if db.interrupted.as_ref().is_some_and(|f| *f != file) {
        let what = "A previous restore operation was interrupted and did not complete processing on file 'mgc'. Either restore the backup set that was interrupted or restart the restore sequence.";
        return refuse(4319, what);
    }
    Ok(())
}

/// The row of `RESTORE HEADERONLY`: the columns that say something, with their names and types.
fn header_row(h: &BackupHeader) -> Event {
    use ColumnType::{Bit, Guid, Int, Lsn, Text, Time};
    let all = [
        ("BackupName", Text, Cell::Null),
        ("BackupType", Int, Cell::Int(h.kind.into())),
        ("Position", Int, Cell::Int(1)),
        ("ServerName", Text, Cell::Text(h.server.clone())),
        ("DatabaseName", Text, Cell::Text(h.database.clone())),
        ("FirstLSN", Lsn, Cell::Lsn(h.first_lsn)),
        ("LastLSN", Lsn, Cell::Lsn(h.last_lsn)),
        ("BackupStartDate", Time, Cell::Time(catalog::time(h.start))),
        ("BackupFinishDate", Time, Cell::Time(catalog::time(h.finish))),
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
