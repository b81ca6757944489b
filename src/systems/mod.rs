//! The outside world behind three doors: SQL Server, the Management Shell, the folders of log backups.
//!
//! The doors are at protocol level (a statement, a cmdlet, a file), so that a simulated run executes the same T-SQL and the
//! same cmdlets as a real one. What is read through them becomes domain facts in `sql_server::read` and `management_shell::read`.

pub mod backup_files;
pub mod folder;
pub mod management_shell;
pub mod real;
pub mod secrets;
pub mod settings;
pub mod sql_server;

use std::future::Future;
use std::time::Duration;

use crate::domain::backups::BackupFile;
use crate::domain::pool::{ManagementShell, SqlServer};
use crate::domain::problem::Problem;
use crate::domain::transition::DetachedJob;
pub use folder::{Folder, Listing};
use management_shell::{Cmdlet, ShellError, ShellOutput};
use sql_server::SqlError;
pub use sql_server::SqlSession;

/// Everything outside of one pool.
pub trait Systems: Send + Sync {
    /// A session on a SQL Server.
    type Sql: SqlSession;

    /// Opens a new session in `master`. Each session has a connection of its own.
    fn sql(&self, server: &SqlServer) -> impl Future<Output = Result<Self::Sql, SqlError>> + Send;

    /// Runs a cmdlet to its end and gives all that it said. At most `deadline`.
    fn invoke(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        deadline: Duration,
    ) -> impl Future<Output = Result<ShellOutput, ShellError>> + Send;

    /// Starts a cmdlet that lives on without us, under the ids of the job.
    fn start(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        job: &DetachedJob,
    ) -> impl Future<Output = Result<(), ShellError>> + Send;

    /// Looks after a detached cmdlet. Starts nothing.
    fn look(
        &self,
        shell: &ManagementShell,
        job: &DetachedJob,
    ) -> impl Future<Output = Result<crate::domain::lync::JobState, ShellError>> + Send;

    /// Whether something listens on a port: `Ok(false)` is refused, timed out or unreachable; an error, that we could not ask.
    fn listens(&self, host: &str, port: u16) -> impl Future<Output = Result<bool, Problem>> + Send;

    /// Lists the log backups of a folder of the resource's `backupFiles`, ordered by name, and the names that were passed over.
    fn list(&self, folder: Folder) -> impl Future<Output = Result<Listing, Problem>> + Send;

    /// Free bytes of a folder's volume.
    fn free(&self, folder: Folder) -> impl Future<Output = Result<u64, Problem>> + Send;

    /// Copies a log backup from the share to the copy folder: under a temporary name, flushed, renamed; never deletes
    /// anything of anyone else's. `progress` is told the bytes so far.
    fn copy(
        &self,
        file: &BackupFile,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Keeps a text for a human as a file of that name beside the copied log backups. An older one of ours is replaced.
    fn keep(&self, name: &str, text: &str) -> impl Future<Output = Result<(), Problem>> + Send;

    /// A new random id for a detached cmdlet.
    fn new_id(&self) -> String;
}
