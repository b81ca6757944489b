//! RESTORE DATABASE from a full backup, WITH NORECOVERY: it makes a database, or takes the place of one.

use std::collections::BTreeMap;

use super::Seat;
use super::batch::Batch;
use super::ends::Said;
use super::lexer::Token;
use super::restore::{
    Restoring, damage, failed, has_room, not_in_use, of_another, of_kind, of_version, outside_of_transactions,
};
use super::transactions::SYSTEM_DATABASES;
use super::values::{Ends, Errors, SqlMessage, refuse};
use crate::sql::backup::BackupHeader;
use crate::sql::{Database, DateUnit, Restored, backup, files};

/// A full restore at work.
#[derive(Clone)]
pub(super) struct Full {
    path: String,
    others: Vec<String>,
    position: usize,
    set: BackupHeader,
}

/// What is asked for.
struct Asked {
    database: String,
    path: String,
    others: Vec<String>,
    position: usize,
    moves: Vec<(String, String)>,
    replace: bool,
    checksum: bool,
}

impl Batch {
    /// `RESTORE DATABASE … FROM DISK = … WITH NORECOVERY …`. From its first moment on the database is RESTORING, and only when it has ended
    /// well there is something that can be rolled forward.
    pub(super) fn restore_full(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<Said, Errors> {
        let command = "RESTORE DATABASE".to_string();
        let journal = self.journal_write(seat, t);
        let planned = outside_of_transactions(seat)
            .and_then(|()| self.asked(t))
            .map_err(Errors::from)
            .and_then(|asked| planned(seat, &asked).map(|plan| (asked, plan)));
        let (asked, (set, database)) = match planned {
            Ok(plan) => plan,
            Err(errors) => return Err(failed(seat, journal, &command, errors)),
        };
        let key = database.name.to_lowercase();
        if let Some(i) = seat.instance_mut() {
            i.databases.insert(key.clone(), database);
        }
        let Asked { path, others, position, .. } = asked;
        let work = Restoring::Full(Box::new(Full { path, others, position, set }));
        self.at_work(seat, t, work, (command, key, journal));
        Ok(Said::Nothing)
    }

    /// What the statement says, as far as it is understood.
    fn asked(&self, t: &[Token]) -> Result<Asked, SqlMessage> {
        if self.ends == Ends::Inner {
            return Err(SqlMessage::simulator("a RESTORE inside of dynamic SQL"));
        }
        let with = t.iter().position(|x| x.is("WITH")).unwrap_or(t.len());
        let devices = t.get(4..with).unwrap_or_default();
        for device in devices.split(|x| x.sign(",")) {
            if !matches!(device, [disk, equals, _] if disk.is("DISK") && equals.sign("=")) {
                return Err(SqlMessage::simulator("restores a database from DISK = only"));
            }
        }
        let mut disks = self.disks(t).into_iter();
        let mut asked = Asked {
            database: self.value(t.get(2)),
            path: disks.next().unwrap_or_default(),
            others: disks.collect(),
            position: self.number_of_option(t, "FILE").unwrap_or(1),
            moves: self.moves(t),
            replace: false,
            checksum: false,
        };
        let mut restoring = false;
        for option in t.get(with + 1..).unwrap_or_default().split(|x| x.sign(",")) {
            match option {
                [x] if x.is("NORECOVERY") => restoring = true,
                [x] if x.is("REPLACE") => asked.replace = true,
                [x] if x.is("CHECKSUM") => asked.checksum = true,
                [x] if x.is("STATS") => {}
                [x, equals, _] if (x.is("STATS") || x.is("FILE")) && equals.sign("=") => {}
                [x, _, to, _] if x.is("MOVE") && to.is("TO") => {}
                _ => {
                    let what = option.first().and_then(Token::ident).unwrap_or_default();
                    let what = format!("does not know RESTORE DATABASE … WITH {what}");
                    return Err(SqlMessage::simulator(what));
                }
            }
        }
        if !restoring {
            return Err(SqlMessage::simulator("restores a database WITH NORECOVERY only"));
        }
        Ok(asked)
    }
}

/// The set that is restored, and the database as it is from its first moment on; or why it is refused. The order in which SQL Server looks
/// is that of a log restore; where the tail of the log that was not backed up and the mirroring come in it is documented nowhere.
fn planned(seat: &Seat<'_>, asked: &Asked) -> Result<(BackupHeader, Database), Errors> {
    let Asked { database: name, path, .. } = asked;
    let key = name.to_lowercase();
    let world = &*seat.world;
    let i = seat.instance().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    if SYSTEM_DATABASES.iter().any(|(n, _)| *n == key) {
        return Err(SqlMessage::simulator("restores no system database").into());
    }
    let existing = i.databases.get(&key);
    has_room(i, existing, name)?;
    let set = backup::verify_striped(world.files.as_ref(), path, &asked.others, asked.position);
    let set = set.map_err(|e| damage(i.version(), e))?;
    of_version(i, &set)?;
    if asked.checksum && !set.checksums {
        let what = "RESTORE WITH CHECKSUM cannot be specified because the backup set does not contain checksum information.";
        return Err(SqlMessage::refusal(3187, what).into());
    }
    of_kind(&set, path, 1)?;
    if let Some(db) = existing.filter(|_| !asked.replace) {
        may_be_overwritten(db, &set)?;
    }
    not_in_use(i, name, Some(seat.id))?;
    let files = files::placed(i, name, &set, &asked.moves)?;
    let here = set.server == i.server_name;
    let database = Database {
        name: existing.map_or(name, |db| &db.name).clone(),
        state: 1,
        standby: false,
        read_only: false,
        // The one of its backup is kept in no header here: databases are backed up for everybody.
        user_access: 0,
        holder: None,
        family: set.family.clone(),
        fork: set.last_fork.clone(),
        forked: None,
        redo: None,
        log_end: 0,
        log_backed_up: 0,
        log_broken: false,
        mirroring: None,
        // On another server the logins have other SIDs than those that stand in the backup.
        users: set.extra.users.iter().map(|(user, mapped)| (user.clone(), *mapped && here)).collect(),
        date_unit: DateUnit::of(world.scenario.seed),
        identities: BTreeMap::new(),
        interrupted: None,
        undo_lost: false,
        files,
    };
    Ok((set, database))
}

/// Whether a database may be overwritten by a set without REPLACE: not another one, and none with a tail of its log that nobody has.
fn may_be_overwritten(db: &Database, set: &BackupHeader) -> Result<(), SqlMessage> {
    if !set.family.eq_ignore_ascii_case(&db.family) {
        return Err(of_another(&db.name));
    }
    if db.is_live() {
        let what = format!(
            "The tail of the log for the database \"{}\" has not been backed up. Use BACKUP LOG WITH NORECOVERY to backup the log if it contains work you do not want to lose. Use the WITH REPLACE or WITH STOPAT clause of the RESTORE statement to just overwrite the contents of the log.",
            db.name
        );
        return refuse(3159, what);
    }
    Ok(())
}

impl Full {
    /// The restore has ended: well, if the whole backup could be read until now.
    pub(super) fn ended(self, seat: &mut Seat<'_>, key: &str) -> Result<(), Errors> {
        let Full { path, others, position, set } = self;
        let read = backup::verify_striped(seat.world.files.as_ref(), &path, &others, position);
        match read {
            Ok(now) if now == set => {}
            // What is said of a file that is another one in the middle of it is documented nowhere.
            Ok(_) => {
                return Err(SqlMessage::refusal(
                    3203,
                    format!("Read on \"{path}\" failed: 13(The data is invalid.)"),
                )
                .into());
            }
            Err(e) if e.number == 3201 => {
                let why = e.message.split_once("Operating system error ").map_or("", |(_, why)| why);
                let what = format!("Read on \"{path}\" failed: {}", why.trim_end_matches('.'));
                return Err(SqlMessage::refusal(3203, what).into());
            }
            Err(e) => return Err(seat.instance().map_or(e.clone(), |i| damage(i.version(), e)).into()),
        }
        let lsn = set.last_lsn;
        let restored = Restored { at: seat.world.now, database: key.into(), set, path };
        crate::sql::apply(seat.world, seat.host, restored);
        if let Some(db) = seat.database_mut(key) {
            (db.log_end, db.log_backed_up) = (lsn, lsn);
        }
        Ok(())
    }
}
