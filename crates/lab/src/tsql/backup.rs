//! BACKUP: log and full backups that a client takes, into files of one set or several.

use super::Seat;
use super::batch::Batch;
use super::ends::Said;
use super::lexer::Token;
use super::restore::{IN_USE, abnormal, is_used_by_others, outside_of_transactions};
use super::transactions::SYSTEM_DATABASES;
use super::values::{Errors, Event, SqlMessage, refuse};
use crate::sql::backup::{self, Taking};
use crate::sql::{Database, Instance, Running};

impl Batch {
    /// `BACKUP LOG | DATABASE … TO DISK = … [WITH INIT, CHECKSUM, …]`. Without INIT the set comes behind those that are there. WITH
    /// NORECOVERY it takes the tail of the log and leaves the database RESTORING.
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
        let result = outside_of_transactions(seat).and_then(|()| taken(seat, t, &database, &path));
        seat.finish(entry, result).map_err(|e| vec![e, abnormal(&command)])?;
        let now = seat.world.now;
        let running = Running {
            command,
            began: now,
            ends: now,
            journal: entry,
            database: database.to_lowercase(),
            file: None,
            stats: self.number_of_option(t, "STATS"),
        };
        self.processed(seat, &running, true, out);
        Ok(Said::Nothing)
    }
}

fn taken(seat: &mut Seat<'_>, t: &[Token], database: &str, path: &str) -> Result<(), SqlMessage> {
    let (now, seed) = (seat.world.now, seat.world.scenario.seed);
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
    if i.disk_full {
        let what = format!("Write on \"{path}\" failed: 112(There is not enough space on the disk.)");
        return Err(SqlMessage::refusal(3202, what));
    }
    let taking = Taking {
        at: now,
        log_end: db.log_end,
        log,
        checksums: with("CHECKSUM"),
        copy_only: with("COPY_ONLY"),
        tail: with("NORECOVERY"),
        payload,
    };
    let header = taking.of(i, db);
    let set = backup::encode(&header, seed);
    let before = seat.world.files.read(path).unwrap_or_default();
    let content =
        if before.is_empty() || with("INIT") || with("FORMAT") { set } else { backup::append(&before, &set) };
    seat.world.files.write(path, &content).map_err(|e| {
        let what =
            format!("Cannot open backup device '{path}'. Operating system error {}({}).", e.code, e.text);
        SqlMessage::refusal(3201, what)
    })?;
    if let Some(i) = seat.instance_mut() {
        i.has_taken(&key, header);
    }
    Ok(())
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
