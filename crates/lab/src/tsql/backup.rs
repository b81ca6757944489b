//! BACKUP: log and full backups that a client takes, into files of one set or several.

use jiff::SignedDuration;

use super::Seat;
use super::batch::Batch;
use super::ends::Said;
use super::lexer::Token;
use super::restore::{IN_USE, abnormal, is_used_by_others, outside_of_transactions};
use super::transactions::SYSTEM_DATABASES;
use super::values::{Ends, Errors, Event, SqlMessage, refuse};
use crate::sql::backup::{self, BackupHeader, INCOMPLETE, Taking};
use crate::sql::{Database, Instance, Running};

impl Batch {
    /// `BACKUP LOG | DATABASE … TO DISK = … [WITH INIT, CHECKSUM, …]`. Without INIT the set comes behind those that are there. WITH
    /// NORECOVERY it takes the tail of the log and leaves the database RESTORING. A log is backed up at once, a database takes its time.
    pub(super) fn backup(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let command = format!("BACKUP {}", self.value(t.get(1)).to_uppercase());
        let database = self.value(t.get(2));
        let path = self.disk(t).unwrap_or_default();
        let entry = self.journal_write(seat, t);
        let now = seat.world.now;
        let mut running = Running {
            command,
            began: now,
            ends: now,
            journal: entry,
            database: database.to_lowercase(),
            file: None,
            stats: self.number_of_option(t, "STATS"),
        };
        let possible = outside_of_transactions(seat).and_then(|()| allowed(seat, t, &database, &path));
        let whole = t.iter().any(|x| x.is("INIT") || x.is("FORMAT"));
        if t.get(1).is_some_and(|x| x.is("LOG")) {
            let backing = possible.map(|taking| Backing { path, taking, whole });
            let result = backing.and_then(|b| b.write(seat, &running.database, 3201));
            seat.finish(entry, result).map_err(|e| vec![e, abnormal(&running.command)])?;
            self.processed(seat, &running, true, out);
            return Ok(Said::Nothing);
        }
        let inside = self.ends == Ends::Inner;
        let result = possible.map(|taking| Backing { path, taking, whole }).and_then(|b| {
            if inside {
                Err(SqlMessage::simulator("a BACKUP DATABASE inside of dynamic SQL"))
            } else {
                b.open(seat)
            }
        });
        match result {
            Ok(backing) => self.backing = Some(backing),
            Err(e) => return seat.finish(entry, Err(e)).map_err(|e| vec![e, abnormal(&running.command)]),
        }
        let takes = i64::try_from(seat.world.scenario.full_takes()).unwrap_or(0);
        running.ends = now + SignedDuration::from_millis(takes);
        if let Some(s) = seat.session_mut() {
            s.running = Some(running);
        }
        Ok(Said::Nothing)
    }

    /// A full backup has ended: only now its file is whole.
    pub(super) fn backed_up(
        &self,
        seat: &mut Seat<'_>,
        running: &Running,
        backing: Backing,
        out: &mut Vec<Event>,
    ) -> Result<(), Errors> {
        let result = backing.write(seat, &running.database, 3202);
        seat.finish(running.journal, result).map_err(|e| vec![e, abnormal(&running.command)])?;
        self.processed(seat, running, true, out);
        Ok(())
    }
}

/// A backup at work.
#[derive(Clone)]
pub(super) struct Backing {
    path: String,
    taking: Taking,
    /// It takes the place of what is in the file.
    whole: bool,
}

impl Backing {
    /// Opens the file, as long as the backup has not ended. What was in it is lost if the new set takes its place.
    fn open(self, seat: &mut Seat<'_>) -> Result<Self, SqlMessage> {
        let before = seat.world.files.read(&self.path).unwrap_or_default();
        let content = if before.is_empty() || self.whole { INCOMPLETE } else { &before };
        put(seat, &self.path, content, 3201)?;
        Ok(self)
    }

    /// Writes the set. If it cannot be written any more, the error says so by this number.
    fn write(self, seat: &mut Seat<'_>, key: &str, refused: u32) -> Result<(), SqlMessage> {
        let (now, seed) = (seat.world.now, seat.world.scenario.seed);
        let Backing { path, taking, whole } = self;
        let i = seat.instance().ok_or_else(|| SqlMessage::simulator("no instance"))?;
        let Some(db) = i.databases.get(key).filter(|db| db.is_live()) else {
            return refuse(3204, "The backup or restore was aborted.");
        };
        room(i, &path)?;
        // A full backup holds the log that was written while it was taken: it can be rolled forward from its end.
        let header = if taking.log {
            taking.of(i, db)
        } else {
            let set = Taking { log_end: db.log_end, ..taking }.of(i, db);
            BackupHeader { first_lsn: taking.log_end, finish: now, ..set }
        };
        let set = backup::encode(&header, seed);
        let before = seat.world.files.read(&path).unwrap_or_default();
        let alone = whole || before.is_empty() || before == INCOMPLETE;
        put(seat, &path, &if alone { set } else { backup::append(&before, &set) }, refused)?;
        if let Some(i) = seat.instance_mut() {
            i.has_taken(key, header);
        }
        Ok(())
    }
}

fn put(seat: &mut Seat<'_>, path: &str, content: &[u8], refused: u32) -> Result<(), SqlMessage> {
    seat.world.files.write(path, content).map_err(|e| {
        let why = format!("{}({})", e.code, e.text);
        let what = match refused {
            3202 => format!("Write on \"{path}\" failed: {why}"),
            _ => format!("Cannot open backup device '{path}'. Operating system error {why}."),
        };
        SqlMessage::refusal(refused, what)
    })
}

/// That there is room for a backup.
fn room(i: &Instance, path: &str) -> Result<(), SqlMessage> {
    if i.disk_full {
        let what = format!("Write on \"{path}\" failed: 112(There is not enough space on the disk.)");
        return refuse(3202, what);
    }
    Ok(())
}

/// The backup that a statement asks for, if it can be taken.
fn allowed(seat: &Seat<'_>, t: &[Token], database: &str, path: &str) -> Result<Taking, SqlMessage> {
    let now = seat.world.now;
    let payload = seat.world.scenario.backup_bytes;
    let with = |word: &str| t.iter().any(|x| x.is(word));
    let log = t.get(1).is_some_and(|x| x.is("LOG"));
    let key = database.to_lowercase();
    if SYSTEM_DATABASES.iter().any(|(n, _)| *n == key) {
        return Err(SqlMessage::simulator("backs up no system database"));
    }
    if let Some(other) = ["STANDBY", "NO_TRUNCATE", "CONTINUE_AFTER_ERROR"].into_iter().find(|w| with(w)) {
        return Err(SqlMessage::simulator(format!("does not know BACKUP WITH {other}")));
    }
    let i = seat.instance().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let db = can_be_backed_up(i, database, log)?;
    if with("NORECOVERY") {
        can_be_taken_away(i, db, seat.id, log)?;
    }
    let same = |r: &Running| r.database == key && r.command == "BACKUP DATABASE";
    if !log && i.sessions.values().any(|s| s.running.as_ref().is_some_and(same)) {
        let what = "Backup, file manipulation operations (such as ALTER DATABASE ADD FILE) and encryption changes on a database must be serialized. Reissue the statement after the current backup or file manipulation operation is completed.";
        return refuse(3023, what);
    }
    room(i, path)?;
    Ok(Taking {
        at: now,
        log_end: db.log_end,
        log,
        checksums: with("CHECKSUM"),
        copy_only: with("COPY_ONLY"),
        tail: with("NORECOVERY"),
        payload,
    })
}

/// The database that a BACKUP is for, if there can be one.
fn can_be_backed_up<'i>(i: &'i Instance, database: &str, log: bool) -> Result<&'i Database, SqlMessage> {
    let Some(db) = i.databases.get(&database.to_lowercase()) else {
        let what =
            format!("Database '{database}' does not exist. Make sure that the name is entered correctly.");
        return Err(SqlMessage::refusal(911, what).in_state(11));
    };
    if !db.is_live() {
        let what = format!("Database '{}' cannot be opened. It is in the middle of a restore.", db.name);
        return Err(SqlMessage::error(927, 14, what).in_state(2));
    }
    if log && db.log_broken {
        let what = "BACKUP LOG cannot be performed because there is no current database backup.";
        return Err(SqlMessage::refusal(4214, what));
    }
    Ok(db)
}

/// Whether a BACKUP may leave its database RESTORING.
///
/// That it may not while the database is mirrored is documented ("Database Mirroring and Backup and Restore"), by which error is not: no
/// message of SQL Server names this statement, 3048 is for TRUNCATE_ONLY, and 1468 is what is said of operations in general. That it
/// needs the database for itself is documented; that it says so as RESTORE does, and that the session which sends it may be inside, is not.
fn can_be_taken_away(i: &Instance, db: &Database, session: u32, log: bool) -> Result<(), SqlMessage> {
    if !log {
        let what = "One or more of the options (norecovery) are not supported for this statement. Review the documentation for supported options.";
        return refuse(3032, what);
    }
    if db.mirroring.is_some() {
        let what = format!(
            "The operation cannot be performed on database \"{}\" because it is involved in a database mirroring session or an availability group. Some operations are not allowed on a database that is participating in a database mirroring session or in an availability group.",
            db.name
        );
        return refuse(1468, what);
    }
    // Who has set SINGLE_USER has the database wherever he is (recorded).
    let held = db.user_access == 1 && i.holder(db).is_some_and(|holder| holder != session);
    if held || is_used_by_others(i, &db.name.to_lowercase(), Some(session)) {
        return refuse(3101, IN_USE);
    }
    Ok(())
}
