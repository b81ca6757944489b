//! What a lab is made from: two data centres, their servers, the state of log shipping, and how long things take.

use serde::{Deserialize, Serialize};

/// A lab to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scenario {
    /// FQDN of the Persistent Chat pool.
    pub pool: String,
    /// Name of the content database.
    pub database: String,
    /// Seed of everything that looks random (GUIDs, payloads).
    pub seed: u64,
    /// The two data centres, the primary one first.
    pub data_centers: Vec<DataCenter>,
    /// The share that log backups are written to.
    pub backup_share: String,
    /// The folder on the backup instance's host that the copy job copies to.
    pub copy_folder: String,
    /// The share for log backups of the second data centre, should log shipping run the other way.
    pub return_share: String,
    /// The folder in the first data centre that they are copied to. A lab knows folders by their path alone, whatever host they
    /// are on: it differs from `copy_folder`.
    pub return_folder: String,
    /// Log backups that exist at the start.
    pub backups: u32,
    /// How many of them the copy job has copied.
    pub copied: u32,
    /// How many of them the restore job has restored (at most `copied`).
    pub restored: u32,
    /// Bytes of payload in each log backup.
    pub backup_bytes: u64,
    /// Milliseconds between two runs of each log shipping job.
    pub job_interval_ms: u64,
    /// Milliseconds that restoring one log backup takes.
    pub restore_ms: u64,
    /// Milliseconds that recovery takes.
    pub recovery_ms: u64,
    /// Milliseconds that `Install-CsMirrorDatabase` takes.
    pub mirror_ms: u64,
    /// Milliseconds until a change of Lync's configuration is replicated to every server.
    pub replication_ms: u64,
    /// Milliseconds that any other cmdlet takes.
    pub cmdlet_ms: u64,
    /// Whether the copy on the backup instance is in STANDBY rather than RESTORING.
    pub standby: bool,
    /// How the resource of the lab logs on to the Management Shells.
    pub authentication: Authentication,
    /// A text of an attacker's, put wherever a server's own administrator could put one: users, logins, editions, jobs.
    pub hostile_text: Option<String>,
}

/// How the resource of the lab logs on to the Management Shells. The hosts themselves take both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// Basic over TLS.
    Basic,
    /// NTLM over HTTP, messages sealed.
    Negotiate,
}

/// One data centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataCenter {
    /// Name, as the resource uses it.
    pub name: String,
    /// Host (FQDN) of the SQL Server of the store.
    pub sql_server: String,
    /// Host of its mirror.
    pub mirror: String,
    /// Host of the Management Shell (a Front End).
    pub management_shell: String,
    /// Chat servers.
    pub servers: Vec<String>,
    /// Instance name on both SQL Server hosts.
    pub instance: String,
}

impl Default for Scenario {
    fn default() -> Self {
        let data_center = |name: &str, p: &str| DataCenter {
            name: name.into(),
            sql_server: format!("{p}-sql-1.litwareinc.com"),
            mirror: format!("{p}-sql-2.litwareinc.com"),
            management_shell: format!("{p}-fe-1.litwareinc.com"),
            servers: vec![format!("{p}-cs-1.litwareinc.com"), format!("{p}-cs-2.litwareinc.com")],
            instance: "CHAT".into(),
        };
        Scenario {
            pool: "chat.litwareinc.com".into(),
            database: "mgc".into(),
            seed: 1,
            data_centers: vec![data_center("atlanta", "atl"), data_center("seattle", "sea")],
            backup_share: r"\\sea-fs-1\mgc-logs".into(),
            copy_folder: r"E:\mgc-logs".into(),
            return_share: r"\\atl-fs-1\mgc-logs".into(),
            return_folder: r"F:\mgc-logs".into(),
            backups: 12,
            copied: 8,
            restored: 6,
            backup_bytes: 200_000,
            job_interval_ms: 900_000,
            restore_ms: 200,
            recovery_ms: 400,
            mirror_ms: 3_000,
            replication_ms: 500,
            cmdlet_ms: 50,
            standby: false,
            authentication: Authentication::Basic,
            hostile_text: None,
        }
    }
}

impl Scenario {
    /// Name of the data centre that a host stands in.
    pub fn data_center_of(&self, host: &str) -> Option<&str> {
        self.data_centers
            .iter()
            .find(|d| {
                [&d.sql_server, &d.mirror, &d.management_shell]
                    .into_iter()
                    .chain(&d.servers)
                    .any(|h| h.eq_ignore_ascii_case(host))
            })
            .map(|d| d.name.as_str())
    }
}
