//! What more than one step asks SQL Server to do with the database.

use super::{Statement, statements};
use crate::domain::backups::RedoPoint;
use crate::domain::database_files::Move;
use crate::domain::pool::Pool;

/// Removes the mirroring of the database.
pub fn remove_mirroring(pool: &Pool) -> Statement {
    Statement::write("ALTER", statements::remove_mirroring(&pool.database), vec![pool.lock_resource().into()])
}

/// Takes a copy that can be read between restores back to RESTORING.
pub fn leave_standby(pool: &Pool) -> Statement {
    Statement::long(
        "RESTORE DATABASE",
        statements::leave_standby(),
        vec![pool.lock_resource().into(), pool.database.clone().into()],
    )
}

/// Ends the log of the database on this recovery fork with its tail, in this file: nobody can write to it any more.
pub fn take_tail(pool: &Pool, fork: &str, path: String) -> Statement {
    Statement::long(
        "BACKUP LOG",
        statements::take_tail(),
        vec![pool.lock_resource().into(), pool.database.clone().into(), fork.to_string().into(), path.into()],
    )
}

/// A set of a log backup: over which files it is striped, at which position in them it stands, and whether it has checksums.
pub struct LogSet {
    /// The paths of its files, the first one first.
    pub files: Vec<String>,
    /// Its position, from 1.
    pub position: i32,
    /// Whether it was taken `WITH CHECKSUM`.
    pub checksums: bool,
}

/// Applies a log backup to a copy that stands at this point, `WITH NORECOVERY`; each file that it adds goes where `moves` says.
pub fn restore_log(pool: &Pool, redo: &RedoPoint, set: LogSet, moves: &[Move]) -> Statement {
    let text = statements::restore_log(set.checksums, set.files.len(), moves.len());
    let mut files = set.files.into_iter();
    let mut parameters = vec![
        pool.lock_resource().into(),
        pool.database.clone().into(),
        redo.lsn.to_string().into(),
        redo.fork.clone().into(),
        files.next().unwrap_or_default().into(),
        set.position.into(),
    ];
    parameters.extend(files.map(Into::into));
    parameters.extend(moves.iter().flat_map(|m| [m.name.clone().into(), m.path.clone().into()]));
    Statement::long("RESTORE LOG", text, parameters)
}
