//! BACKUP: log and full backups that a client takes, into files of one set or several.

use jiff::SignedDuration;

use super::Seat;
use super::batch::Batch;
use super::ends::Said;
use super::lexer::Token;
use super::restore::{abnormal, outside_of_transactions};
use super::transactions::SYSTEM_DATABASES;
use super::values::{Errors, Event, SqlMessage};
use crate::sql::Running;
use crate::sql::backup::{self, BackupHeader};

impl Batch {
    /// `BACKUP LOG | DATABASE … TO DISK = … [WITH INIT, CHECKSUM, …]`. Without INIT the set comes behind those that are there.
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
    let i = seat.instance().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let Some(db) = i.databases.get(&key) else {
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
    let header = BackupHeader {
        database: db.name.clone(),
        server: i.server_name.clone(),
        family: db.family.clone(),
        // Where nothing has happened since the last one, it ends where it begins: such log backups are common.
        first_lsn: if log { db.log_backed_up } else { db.log_end },
        last_lsn: db.log_end,
        first_fork: db.fork.clone(),
        last_fork: db.fork.clone(),
        kind: if log { 2 } else { 1 },
        start: now,
        finish: now + SignedDuration::from_secs(1),
        checksums: with("CHECKSUM"),
        payload,
        extra: backup::Extra {
            copy_only: with("COPY_ONLY"),
            files: db.files.clone(),
            ..backup::Extra::default()
        },
    };
    let set = backup::encode(&header, seed);
    let before = seat.world.files.read(path).unwrap_or_default();
    let content =
        if before.is_empty() || with("INIT") || with("FORMAT") { set } else { backup::append(&before, &set) };
    seat.world.files.write(path, &content).map_err(|e| {
        let what =
            format!("Cannot open backup device '{path}'. Operating system error {}({}).", e.code, e.text);
        SqlMessage::refusal(3201, what)
    })?;
    let copy_only = with("COPY_ONLY");
    if let Some(db) = seat.database_mut(&key).filter(|_| !copy_only) {
        if log {
            db.log_backed_up = header.last_lsn;
        } else {
            db.log_broken = false;
        }
    }
    if let Some(i) = seat.instance_mut() {
        i.backups.push(header);
    }
    Ok(())
}
