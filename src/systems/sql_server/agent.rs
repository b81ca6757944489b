//! What SQL Server's Agent is asked for: its jobs, ours and those of log shipping.

use super::{Statement, statements};
use crate::domain::pool::Pool;

/// Stands in a plan on paper for the id of a job that log shipping has not made yet.
pub const UNMADE: &str = "<id of the job that is made>";

/// Lets a job's schedule start it, or not any more.
pub fn enable_job(pool: &Pool, id: &str, on: bool) -> Statement {
    Statement::write(
        "sp_update_job",
        statements::enable_job(on),
        vec![pool.lock_resource().into(), id.to_string().into()],
    )
}

/// Starts a job once, at once.
pub fn start_job(pool: &Pool, id: &str) -> Statement {
    Statement::write(
        "sp_start_job",
        statements::start_job(),
        vec![pool.lock_resource().into(), id.to_string().into()],
    )
}

/// Runs a text as a job of its own, which lives on without us.
pub fn run_job(pool: &Pool, name: &str, description: &str, text: String) -> Statement {
    Statement::write(
        "sp_start_job",
        statements::run_job(),
        vec![
            pool.lock_resource().into(),
            name.to_string().into(),
            description.to_string().into(),
            text.into(),
        ],
    )
}

/// Deletes a job of ours.
pub fn delete_job(pool: &Pool, name: &str) -> Statement {
    Statement::write(
        "sp_delete_job",
        statements::delete_job(),
        vec![pool.lock_resource().into(), name.to_string().into()],
    )
}
