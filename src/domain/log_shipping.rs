//! Log shipping as msdb has it, and its jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The secondary half of log shipping, everything that removing it loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogShipping {
    /// Every column of the three tables, by name, as text; `null` is absent.
    pub columns: BTreeMap<String, String>,
    /// Schedules of the two jobs, by job id, each a map of columns.
    pub schedules: BTreeMap<String, Vec<BTreeMap<String, String>>>,
}

impl LogShipping {
    fn column(&self, name: &str) -> &str {
        self.columns.get(name).map_or("", String::as_str)
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
    /// Minutes that the restore job holds backups back on purpose.
    pub fn restore_delay(&self) -> &str {
        self.column("restore_delay")
    }
}

/// An Agent job.
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
}
