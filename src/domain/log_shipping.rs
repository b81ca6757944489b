//! Log shipping as msdb has it: its two halves, and their jobs.
//!
//! The primary half backs the log up into a share; the secondary half copies from there and restores.
//! (Tables and columns: SQL Server's documentation of the log shipping tables in msdb.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Columns of a row, by name, as text; NULL is absent.
pub type Columns = BTreeMap<String, String>;

/// The secondary half, everything that removing it loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecondaryHalf {
    /// Every column of the three tables.
    pub columns: Columns,
    /// Schedules of the two jobs, by job id.
    pub schedules: BTreeMap<String, Vec<Columns>>,
}

/// The primary half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrimaryHalf {
    /// Every column of `log_shipping_primary_databases`.
    pub columns: Columns,
    /// Servers that it knows as secondaries.
    pub secondaries: Vec<String>,
}

impl SecondaryHalf {
    fn column(&self, name: &str) -> &str {
        self.columns.get(name).map_or("", String::as_str)
    }
    /// `secondary_id`: one that was set up anew is another one.
    pub fn id(&self) -> &str {
        self.column("secondary_id")
    }
    /// The share that the copy job reads.
    pub fn source_directory(&self) -> &str {
        self.column("backup_source_directory")
    }
    /// The folder that it writes to.
    pub fn destination_directory(&self) -> &str {
        self.column("backup_destination_directory")
    }
    /// Id of the copy job.
    pub fn copy_job(&self) -> &str {
        self.column("copy_job_id")
    }
    /// Id of the restore job.
    pub fn restore_job(&self) -> &str {
        self.column("restore_job_id")
    }
    /// The server that watches over log shipping, if it is told.
    pub fn monitor_server(&self) -> &str {
        self.column("monitor_server")
    }
    /// The file that was copied last.
    pub fn last_copied_file(&self) -> &str {
        self.column("last_copied_file")
    }
    /// The file that was restored last.
    pub fn last_restored_file(&self) -> &str {
        self.column("last_restored_file")
    }
    /// Columns without which it cannot be set up again, and which a saved one lacks.
    pub fn missing(&self) -> Vec<&'static str> {
        let needed = ["backup_source_directory", "backup_destination_directory", "restore_mode"];
        needed.into_iter().filter(|name| self.column(name).is_empty()).collect()
    }
}

impl PrimaryHalf {
    fn column(&self, name: &str) -> &str {
        self.columns.get(name).map_or("", String::as_str)
    }
    /// The folder that log backups are written to.
    pub fn backup_directory(&self) -> &str {
        self.column("backup_directory")
    }
    /// The same as the secondary reaches it.
    pub fn backup_share(&self) -> &str {
        self.column("backup_share")
    }
    /// Id of the backup job.
    pub fn backup_job(&self) -> &str {
        self.column("backup_job_id")
    }
    /// Whether it knows a server as a secondary.
    pub fn names(&self, server: &str) -> bool {
        self.secondaries.iter().any(|s| s.eq_ignore_ascii_case(server))
    }
    /// The backup that was written last.
    pub fn last_backup_file(&self) -> &str {
        self.column("last_backup_file")
    }
}

/// An Agent job that belongs to log shipping, or is called as if it did; or one of ours (`PCF_…`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether its schedule starts it.
    pub enabled: bool,
    /// Whether it runs now.
    pub running: bool,
    /// Whether a schedule is attached to it.
    pub scheduled: bool,
    /// Its category: log shipping's own begin with `Log Shipping`.
    pub category: String,
    /// How its last run ended (`msdb.dbo.sysjobhistory`); absent: none has, or its history was cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<JobRun>,
}

/// How a run of an Agent job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRun {
    /// `run_status`: 1 is success.
    pub status: i32,
    /// What its step said.
    pub message: String,
}

impl Job {
    /// Whether it is one of log shipping's own.
    pub fn is_of_log_shipping(&self) -> bool {
        self.category.starts_with("Log Shipping")
    }
}

/// The job of an id.
pub fn job<'j>(jobs: &'j [Job], id: &str) -> Option<&'j Job> {
    jobs.iter().find(|j| j.id.eq_ignore_ascii_case(id))
}
