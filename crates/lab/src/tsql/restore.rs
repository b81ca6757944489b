//! RESTORE: what it refuses, how long it takes, what it leaves behind.

use jiff::SignedDuration;

use super::Seat;
use super::batch::{Batch, Wanted};
use super::ends::{Said, command};
use super::lexer::Token;
use super::restore_full::Full;
use super::values::{Done, Ends, Errors, Event, SqlMessage, refuse};
use crate::scenario::SqlServerVersion;
use crate::sql::backup::BackupHeader;
use crate::sql::{Database, DatabaseFile, Instance, Restored, Running, backup, files};
use crate::world::World;
use crate::world::files::split;
use crate::world::journal::Outcome;

/// What a RESTORE leaves a database as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// It waits for more.
    Restoring,
    /// The same, and it can be read.
    Standby,
    /// It is live.
    Online,
}

/// What a RESTORE at work does.
#[derive(Clone)]
pub(super) enum Restoring {
    /// Applies a log backup.
    Log { path: String, set: Box<BackupHeader>, added: Vec<DatabaseFile>, leaves: Leaves },
    /// Restores a full backup.
    Full(Box<Full>),
    /// Recovers the database.
    Recovery,
    /// Takes a STANDBY copy back to RESTORING.
    NoRecovery,
}

/// What a RESTORE leaves its database as.
fn leaves(t: &[Token]) -> Leaves {
    if t.iter().any(|x| x.is("STANDBY")) {
        Leaves::Standby
    } else if t.iter().any(|x| x.is("NORECOVERY")) {
        Leaves::Restoring
    } else {
        Leaves::Online
    }
}

/// Whether a RESTORE recovers its database.
pub(super) fn is_recovery(t: &[Token]) -> bool {
    leaves(t) == Leaves::Online
}

/// What every failed BACKUP and RESTORE says after its cause.
pub(super) fn abnormal(verb: &str) -> SqlMessage {
    SqlMessage::refusal(3013, format!("{verb} is terminating abnormally."))
}

/// A RESTORE that has failed: its cause stands in the journal, and what every failed one says comes last.
pub(super) fn failed(seat: &mut Seat<'_>, journal: u64, command: &str, mut errors: Errors) -> Errors {
    let cause = errors.first().cloned().unwrap_or_else(|| abnormal(command));
    _ = seat.finish::<()>(journal, Err(cause));
    errors.push(abnormal(command));
    errors
}

/// That BACKUP and RESTORE are not for transactions.
pub(super) fn outside_of_transactions(seat: &Seat<'_>) -> Result<(), SqlMessage> {
    match seat.session() {
        Some(s) if s.transaction.is_some() => {
            let what = "Cannot perform a backup or restore operation within a transaction.";
            Err(SqlMessage::refusal(3021, what).in_state(0))
        }
        Some(_) | None => Ok(()),
    }
}

impl Batch {
    /// The path behind `DISK =`.
    pub(super) fn disk(&self, t: &[Token]) -> Option<String> {
        t.iter().position(|x| x.is("DISK")).map(|i| self.value(t.get(i + 2)))
    }

    /// The paths behind all of `DISK =`.
    pub(super) fn disks(&self, t: &[Token]) -> Vec<String> {
        let at = t.iter().enumerate().filter(|(_, x)| x.is("DISK")).map(|(i, _)| i);
        at.map(|i| self.value(t.get(i + 2))).collect()
    }

    /// The files that are moved, as in `MOVE 'name' TO 'path'`.
    pub(super) fn moves(&self, t: &[Token]) -> Vec<(String, String)> {
        let at = t.iter().enumerate().filter(|(_, x)| x.is("MOVE")).map(|(i, _)| i);
        at.map(|i| (self.value(t.get(i + 1)), self.value(t.get(i + 3)))).collect()
    }

    /// The number behind an option, as in `FILE = 2`.
    pub(super) fn number_of_option(&self, t: &[Token], option: &str) -> Option<usize> {
        let at = t.windows(2).position(|w| matches!(w, [x, equals] if x.is(option) && equals.sign("=")))?;
        self.value(t.get(at + 2)).parse().ok()
    }

    pub(super) fn restore(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Said, Errors> {
        let command = format!("RESTORE {}", self.value(t.get(1)).to_uppercase());
        let database = self.value(t.get(2));
        let disks = self.disks(t);
        if command == "RESTORE DATABASE" && t.get(3).is_some_and(|x| x.is("FROM")) {
            return self.restore_full(seat, t);
        }
        let position = self.number_of_option(t, "FILE").unwrap_or(1);
        let moves = self.moves(t);
        let source = disks.split_first().map(|(path, others)| LogSource {
            database: &database,
            path,
            others,
            position,
            moves: &moves,
        });
        let journal = self.journal_write(seat, t);
        let work = outside_of_transactions(seat).map_err(Errors::from);
        let work = work.and_then(|()| possible(seat, &database, source, leaves(t)));
        let work = match work {
            Ok(work) => work,
            Err(errors) => return Err(failed(seat, journal, &command, errors)),
        };
        if let Some(e) = cannot_start(seat, &database, &work) {
            // What fails while the database is started comes after 3013 (recorded).
            return seat.finish(journal, Err(e)).map_err(|e| vec![abnormal(&command), e]);
        }
        self.at_work(seat, t, work, (command, database.to_lowercase(), journal));
        Ok(Said::Nothing)
    }

    /// A RESTORE is at work, for as long as such a one takes.
    pub(super) fn at_work(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        work: Restoring,
        (command, database, journal): (String, String, u64),
    ) {
        let (takes, file) = match &work {
            Restoring::Log { path, .. } => {
                (seat.world.scenario.restore_ms, Some(split(path).1.to_lowercase()))
            }
            Restoring::Full(_) => (seat.world.scenario.full_takes(), None),
            Restoring::Recovery => (seat.world.scenario.recovery_ms, None),
            Restoring::NoRecovery => (50, None),
        };
        self.restoring = Some(work);
        let began = seat.world.now;
        let ends = began + SignedDuration::from_millis(i64::try_from(takes).unwrap_or(0));
        let stats = self.number_of_option(t, "STATS");
        if let Some(s) = seat.session_mut() {
            s.running = Some(Running { command, began, ends, journal, database, file, stats });
        }
    }

    /// A RESTORE has ended.
    pub(super) fn restored(
        &mut self,
        seat: &mut Seat<'_>,
        running: &Running,
        out: &mut Vec<Event>,
    ) -> Result<(), Errors> {
        let now = seat.world.now;
        let key = running.database.clone();
        let restoring = self.restoring.take();
        let files = matches!(restoring, Some(Restoring::Log { .. } | Restoring::Full(_)));
        let recovers = match restoring {
            Some(Restoring::Log { path, set, added, leaves }) => {
                let restored = Restored { at: now, database: key.clone(), set: *set, path };
                crate::sql::apply(seat.world, seat.host, restored);
                if let Some(db) = seat.database_mut(&key) {
                    db.files.extend(added);
                }
                leave(seat, &key, leaves);
                leaves == Leaves::Online
            }
            Some(Restoring::Full(full)) => {
                if let Err(errors) = full.ended(seat, &key) {
                    return Err(failed(seat, running.journal, &running.command, errors));
                }
                false
            }
            Some(Restoring::Recovery) => true,
            Some(Restoring::NoRecovery) => {
                leave(seat, &key, Leaves::Restoring);
                false
            }
            None => false,
        };
        if recovers && let Err(e) = crate::sql::recover(seat.world, seat.host, &key) {
            out.push(Event::Error(SqlMessage::simulator(e)));
        }
        seat.world.journal.end(running.journal, now, Outcome::Ok);
        self.processed(seat, running, files, out);
        Ok(())
    }

    /// What a BACKUP or RESTORE says when it has ended, each message with an end of its own (recorded).
    pub(super) fn processed(&self, seat: &Seat<'_>, running: &Running, files: bool, out: &mut Vec<Event>) {
        let mut said = Vec::new();
        if self.wanted != Wanted::Rows {
            let name =
                seat.instance().and_then(|i| i.databases.get(&running.database)).map(|d| d.name.clone());
            let name = name.unwrap_or_default();
            if let Some(step) = running.stats.filter(|s| files && (1..=100).contains(s)) {
                for percent in (1..=100 / step).map(|n| n * step) {
                    said.push(SqlMessage::info(3211, format!("{percent} percent processed.")));
                }
            }
            for file in [name.clone(), format!("{name}_log")].iter().filter(|_| files) {
                let what = format!("Processed 0 pages for database '{name}', file '{file}' on file 1.");
                said.push(SqlMessage::info(4035, what));
            }
        }
        said.push(SqlMessage::info(3014, format!("{} successfully processed 0 pages.", running.command)));
        let number = if running.command.starts_with("BACKUP") { command::BACKUP } else { command::RESTORE };
        for message in said {
            out.push(Event::Info(message));
            let done = Done {
                ends: Ends::Statement,
                command: number,
                count: None,
                failed: false,
                rows: false,
                nocount: false,
            };
            self.done(seat, done, out);
        }
    }
}

/// Why a database cannot be started: a STANDBY copy goes on from what its undo file takes back. Recorded WITH RECOVERY; that the same is
/// said WITH NORECOVERY is recorded nowhere, nor is what the database is left as.
fn cannot_start(seat: &Seat<'_>, database: &str, work: &Restoring) -> Option<SqlMessage> {
    let db = seat.instance().and_then(|i| i.databases.get(&database.to_lowercase()))?;
    let starts = match work {
        Restoring::Recovery | Restoring::NoRecovery => true,
        Restoring::Log { .. } | Restoring::Full(_) => false,
    };
    if !(starts && db.standby && db.undo_lost) {
        return None;
    }
    let what = format!(
        "During startup of warm standby database '{}' (database ID 5), its standby file was inaccessible to the RESTORE statement. The operating system error was '2(The system cannot find the file specified.)'. Diagnose the operating system error, correct the problem, and retry startup.",
        db.name
    );
    Some(SqlMessage::error(3441, 17, what))
}

/// Leaves a database as a RESTORE leaves it, but for recovery. One that can be read is for everybody, whatever it was before (recorded).
fn leave(seat: &mut Seat<'_>, key: &str, leaves: Leaves) {
    let Some(db) = seat.database_mut(key) else { return };
    match leaves {
        Leaves::Restoring => (db.state, db.standby, db.read_only) = (1, false, false),
        Leaves::Standby => (db.state, db.standby, db.read_only, db.user_access) = (0, true, true, 0),
        Leaves::Online => {}
    }
}

/// What a RESTORE will do, or why it is refused: in the order in which SQL Server looks.
fn possible(
    seat: &Seat<'_>,
    database: &str,
    source: Option<LogSource<'_>>,
    leaves: Leaves,
) -> Result<Restoring, Errors> {
    if let Some(from) = source {
        let (set, added) = log_set(seat.world, seat.host, Some(seat.id), &from)?;
        return Ok(Restoring::Log { path: from.path.into(), set: Box::new(set), added, leaves });
    }
    without_source(seat, database, leaves).map_err(Errors::from)
}

/// The same of a RESTORE that takes nothing from a backup.
fn without_source(seat: &Seat<'_>, database: &str, leaves: Leaves) -> Result<Restoring, SqlMessage> {
    let i = seat.instance().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let db = can_be_restored(i, database)?;
    not_in_use(i, database, Some(seat.id))?;
    if leaves == Leaves::Online && db.is_live() {
        let what = "The database is already fully recovered.";
        return Err(SqlMessage::refusal(3153, what).in_state(2));
    }
    if leaves == Leaves::Online && db.is_half_restored() {
        // That it is this message is documented nowhere.
        return refuse(4333, "The database cannot be recovered because the log was not restored.");
    }
    match leaves {
        Leaves::Online => Ok(Restoring::Recovery),
        Leaves::Restoring => Ok(Restoring::NoRecovery),
        Leaves::Standby => Err(SqlMessage::simulator("RESTORE DATABASE WITH STANDBY")),
    }
}

/// Where a log restore takes its set from, and what it is for.
pub(crate) struct LogSource<'a> {
    /// The database.
    pub(crate) database: &'a str,
    /// The file.
    pub(crate) path: &'a str,
    /// Other files that the set is striped over.
    pub(crate) others: &'a [String],
    /// The position of the set in it, from 1.
    pub(crate) position: usize,
    /// Files that are to lie elsewhere: logical name and path.
    pub(crate) moves: &'a [(String, String)],
}

/// The set that a log restore applies to a database from a path, with the files that it adds, or why it is refused. What the session
/// itself does stands in no way; a job of the Agent has none here.
pub(crate) fn log_set(
    world: &World,
    host: &str,
    session: Option<u32>,
    from: &LogSource<'_>,
) -> Result<(BackupHeader, Vec<DatabaseFile>), Errors> {
    let (database, path) = (from.database, from.path);
    let i = world.sql.get(host).ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let db = can_be_restored(i, database)?;
    let set = backup::verify_striped(world.files.as_ref(), path, from.others, from.position);
    let set = set.map_err(|e| damage(i.version(), e))?;
    of_version(i, &set)?;
    of_kind(&set, path, 2)?;
    if !set.family.eq_ignore_ascii_case(&db.family) {
        return Err(of_another(database).into());
    }
    not_in_use(i, database, session)?;
    fits(db, &set, path)?;
    let added = files::added(i, db, &set, from.moves)?;
    Ok((set, added))
}

/// That a set was not taken by a newer version: "backups cannot be restored by any earlier version of SQL Server" (Copy Databases with
/// Backup and Restore). The text is that of MSSQLSERVER_3169; when it is said of two errors at once is documented nowhere.
pub(super) fn of_version(i: &Instance, set: &BackupHeader) -> Result<(), SqlMessage> {
    let here = i.version();
    match set.extra.version.filter(|taken_by| *taken_by > here) {
        None => Ok(()),
        Some(newer) => refuse(
            3169,
            format!(
                "The database was backed up on a server running version {}. That version is incompatible with this server, which is running version {}. Either restore the database on a server that supports the backup, or use a backup that is compatible with this server.",
                newer.in_messages(),
                here.in_messages()
            ),
        ),
    }
}

/// That a set is of another family than the database that it is for.
pub(super) fn of_another(database: &str) -> SqlMessage {
    let what =
        format!("The backup set holds a backup of a database other than the existing '{database}' database.");
    SqlMessage::refusal(3154, what).in_state(4)
}

/// That a set is of the kind that a RESTORE needs: 1 is a full backup, 2 is one of the log. The text is documented; that this is what is
/// said of either in place of the other is not.
pub(super) fn of_kind(set: &BackupHeader, path: &str, kind: i32) -> Result<(), SqlMessage> {
    if set.kind == kind {
        return Ok(());
    }
    let made_by = if set.kind == 2 { "BACKUP LOG" } else { "BACKUP DATABASE" };
    let what = format!(
        "The backup set in file '{path}' was created by {made_by} and cannot be used for this restore operation."
    );
    refuse(3135, what)
}

/// What a version says of a file that is cut off or changed. Recorded of 2022: code 13 for what is cut off, 11801 for what was changed and
/// is restored; their texts are recorded but for the code, class and state of 11801 nowhere. Older versions are recorded nowhere: they
/// say what the documentation has for it.
pub(super) fn damage(version: SqlServerVersion, e: SqlMessage) -> SqlMessage {
    if version != SqlServerVersion::V2022 {
        return e;
    }
    match e.number {
        3203 => SqlMessage {
            message: e.message.replace("38(Reached the end of the file.)", "13(The data is invalid.)"),
            ..e
        },
        3183 => SqlMessage { number: 11801, ..e },
        _ => e,
    }
}

/// The database that a RESTORE is for, if there can be one at all.
fn can_be_restored<'i>(i: &'i Instance, database: &str) -> Result<&'i Database, SqlMessage> {
    let Some(db) = i.databases.get(&database.to_lowercase()) else {
        return refuse(3118, format!("The database \"{database}\" does not exist."));
    };
    has_room(i, Some(db), database)?;
    Ok(db)
}

/// That a database is not mirrored, and that there is room for what a RESTORE writes.
pub(super) fn has_room(i: &Instance, db: Option<&Database>, database: &str) -> Result<(), SqlMessage> {
    if db.is_some_and(|db| db.mirroring.is_some()) {
        let what = format!(
            "RESTORE cannot operate on database '{database}' because it is configured for database mirroring or has joined an availability group. If you intend to restore the database, use ALTER DATABASE to remove mirroring or to remove the database from its availability group."
        );
        return refuse(3104, what);
    }
    if i.disk_full {
        let what = "There is insufficient free space on disk volume 'D:\\' to create the database. Operating system error 112(There is not enough space on the disk.).";
        return refuse(3257, what);
    }
    Ok(())
}

/// That no other session is in the database or restores it.
pub(super) fn not_in_use(i: &Instance, database: &str, session: Option<u32>) -> Result<(), SqlMessage> {
    let key = database.to_lowercase();
    if session.and_then(|id| i.sessions.get(&id)).is_some_and(|s| s.database == key) {
        let what = format!(
            "RESTORE cannot process database '{database}' because it is in use by this session. It is recommended that the master database be used when performing this operation."
        );
        return refuse(3102, what);
    }
    if is_used_by_others(i, &key, session) {
        return refuse(3101, IN_USE);
    }
    Ok(())
}

/// What 3101 says.
pub(super) const IN_USE: &str = "Exclusive access could not be obtained because the database is in use.";

/// Whether a session but for this one is in a database, by its lower-case name, or restores it.
pub(super) fn is_used_by_others(i: &Instance, key: &str, session: Option<u32>) -> bool {
    i.sessions.iter().any(|(id, s)| {
        let inside = s.database == key;
        Some(*id) != session && (inside || s.running.as_ref().is_some_and(|r| r.database == key))
    })
}

/// Whether a log backup continues the database where its roll forward stands.
fn fits(db: &Database, set: &BackupHeader, path: &str) -> Result<(), SqlMessage> {
    let Some((lsn, fork)) = &db.redo else {
        let what =
            "The log or differential backup cannot be restored because no files are ready to rollforward.";
        return refuse(3117, what);
    };
    // One that ends just there is applied again (recorded).
    if set.last_lsn < *lsn {
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
    if !set.is_on_the_path_of(*lsn, fork) {
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
