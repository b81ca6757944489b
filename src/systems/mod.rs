//! The outside world behind three doors: SQL Server, the Management Shell, the folders of log backups.
//!
//! The doors are at protocol level (a statement, a cmdlet, a file), so that a simulated run executes the same T-SQL and the
//! same cmdlets as a real one. What is read through them becomes domain facts in `sql_server::read` and `management_shell::read`.

pub mod assumptions;
pub mod folders;
pub mod identity;
pub mod management_shell;
pub mod real;
pub mod secrets;
pub mod settings;
pub mod sql_server;

use std::future::Future;

use crate::domain::pool::SqlServer;
use crate::domain::problem::Problem;
pub use folders::Folders;
pub use management_shell::Shell;
use sql_server::SqlError;
pub use sql_server::SqlSession;

/// Everything outside of one pool.
pub trait Systems: Send + Sync {
    /// A session on a SQL Server.
    type Sql: SqlSession;
    /// The Management Shells.
    type Shell: Shell;
    /// The folders of log backups.
    type Folders: Folders;

    /// Opens a new session in `master`. Each session has a connection of its own.
    fn sql(&self, server: &SqlServer) -> impl Future<Output = Result<Self::Sql, SqlError>> + Send;
    /// The Management Shells.
    fn shell(&self) -> &Self::Shell;
    /// The folders of log backups.
    fn folders(&self) -> &Self::Folders;
    /// Whether something listens on a port: `Ok(false)` is refused, timed out or unreachable; an error, that we could not ask.
    fn listens(&self, host: &str, port: u16) -> impl Future<Output = Result<bool, Problem>> + Send;
    /// A new random id for a detached cmdlet.
    fn new_id(&self) -> String;
}
