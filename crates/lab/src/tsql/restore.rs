//! RESTORE: what it refuses, how long it takes, what it leaves behind.

use jiff::SignedDuration;

use super::Seat;
use super::batch::Batch;
use super::lexer::Token;
use super::values::{Cell, ColumnType, Errors, Event, SqlMessage, refuse};
use crate::sql::backup::BackupHeader;
use crate::sql::{Database, Restored, Running, backup, catalog};
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
    let key = database.to_lowercase();
    let instance = seat.instance();
    let Some(db) = instance.and_then(|i| i.databases.get(&key)) else {
        return refuse(3118, format!("The database \"{database}\" does not exist."));
    };
    if db.mirroring.is_some() {
        let what = format!(
            "RESTORE cannot operate on database '{database}' because it is configured for database mirroring or has joined an availability group. If you intend to restore the database, use ALTER DATABASE to remove mirroring or to remove the database from its availability group."
        );
        return refuse(3104, what);
    }
    if instance.is_some_and(|i| i.disk_full) {
        let what = "There is insufficient free space on disk volume 'D:\\' to create the database. Operating system error 112(There is not enough space on the disk.).";
        return refuse(3257, what);
    }
    let set = match &path {
        Some(path) => Some(backup::verify(seat.world.files.as_ref(), path)?),
        None => None,
    };
    if set.as_ref().is_some_and(|set| !set.family.eq_ignore_ascii_case(&db.family)) {
        let what = format!(
            "The backup set holds a backup of a database other than the existing '{database}' database."
        );
        return refuse(3154, what);
    }
    let busy = instance.is_some_and(|i| {
        i.sessions.iter().any(|(id, s)| {
            *id != seat.id && (s.database == key || s.running.as_ref().is_some_and(|r| r.database == key))
        })
    });
    if busy {
        let what = "Exclusive access could not be obtained because the database is in use.";
        return refuse(3101, what);
    }
    match (path, set) {
        (Some(path), Some(set)) => {
            fits(db, &set, &path)?;
            Ok(Restoring::Log { path, set: Box::new(set) })
        }
        _ if recovery && db.is_live() => {
            let what = "The database is already fully recovered.";
            Err(SqlMessage { state: 2, ..SqlMessage::refusal(3153, what) })
        }
        _ if recovery => Ok(Restoring::Recovery),
        _ => Ok(Restoring::NoRecovery),
    }
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
