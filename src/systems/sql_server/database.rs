//! What more than one step asks SQL Server to do with the database.

use super::{Statement, statements};
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
