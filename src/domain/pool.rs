//! The pool as its resource describes it, validated: what the engine works on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One Persistent Chat pool in two data centres.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// FQDN of the pool, lower case.
    pub fqdn: String,
    /// The content database, `mgc` unless configured otherwise.
    pub database: String,
    /// The data centre of the primary store.
    pub primary: DataCenter,
    /// The data centre of the backup store.
    pub backup: DataCenter,
    /// The folders as SQL Server sees them.
    pub log_shipping: LogShippingFolders,
    /// How the operator itself reaches the same folders.
    pub backup_files: BackupFiles,
    /// What the operator may do by itself.
    pub policy: Policy,
}

/// One data centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataCenter {
    /// Name in the resource.
    pub name: String,
    /// Which databases of the topology live here.
    pub store: Store,
    /// Position in `spec.dataCenters`, for messages that name a field.
    pub index: usize,
    /// The SQL Server of the store.
    pub sql_server: SqlServer,
    /// Its mirror; absent: the data centre has none.
    pub mirror: Option<SqlServer>,
    /// UNC of the share that `Install-CsMirrorDatabase` exchanges backups over.
    pub mirror_file_share: Option<String>,
    /// Where cmdlets run.
    pub management_shell: ManagementShell,
    /// FQDNs of the chat servers here, lower case, in the order of the resource.
    pub servers: Vec<String>,
    /// The chat servers to be active when this data centre is; 1 to 4.
    pub active_servers: Vec<String>,
}

/// Which databases of the published topology live in a data centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Store {
    /// `PersistentChatDatabase` and its mirror.
    Primary,
    /// `BackupPersistentChatDatabase` and its mirror.
    Backup,
}

/// A SQL Server instance and how to log in to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqlServer {
    /// FQDN of the host, lower case.
    pub host: String,
    /// Instance name, as the topology knows it; absent: the default instance.
    pub instance: Option<String>,
    /// TCP port. It wins over the instance name when connecting.
    pub port: u16,
    /// Name of the Secret with `username` and `password`.
    pub credentials: String,
    /// Trust in its certificate.
    pub tls: Tls,
    /// Where in the resource this stands, for messages: `spec.dataCenters[1].sqlServer`.
    pub field: String,
}

/// Trust in a server's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Secret and key that hold the CA's certificates in PEM; absent: the system's trust store.
    pub ca: Option<(String, String)>,
}

/// A Management Shell host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagementShell {
    /// FQDN of the host, lower case.
    pub host: String,
    /// TCP port: 5985 (HTTP, messages sealed) or 5986 (HTTPS), unless configured otherwise.
    pub port: u16,
    /// PowerShell session configuration.
    pub configuration_name: String,
    /// How to log on.
    pub authentication: Authentication,
    /// Name of the Secret with `username` and `password`.
    pub credentials: String,
    /// Trust in its certificate; absent: plain HTTP, where only sealed messages are sent.
    pub tls: Option<Tls>,
    /// Where in the resource this stands.
    pub field: String,
}

/// How to log on to a Management Shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// Basic, only over TLS.
    Basic,
    /// SPNEGO with NTLM; messages are sealed.
    Negotiate,
}

/// The folders of log shipping, as SQL Server names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogShippingFolders {
    /// UNC of the share that the primary writes its log backups to.
    pub backup_share: String,
    /// The folder that the copy job copies to, on the backup instance's host.
    pub copy_folder: String,
}

/// The same folders, as volumes that the operator's own configuration knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupFiles {
    /// Alias of the volume that is the backup share.
    pub backup_share: String,
    /// Alias of the volume that is the copy folder.
    pub copy_folder: String,
}

/// What the operator may do by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// When a human must agree.
    pub consent: ConsentPolicy,
    /// How long step 7 waits for step 6; absent: for ever.
    pub mirror_deadline: Option<Duration>,
}

/// When a human must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsentPolicy {
    /// Only if something is lost or not certain.
    WhenNeeded,
    /// Always, before the database is recovered.
    BeforeRecovery,
}

impl Pool {
    /// The name of the application lock of this pool. Lower case, so that two spellings are one lock.
    pub fn lock_resource(&self) -> String {
        format!("pcf:{}", self.fqdn)
    }
    /// A data centre by its name.
    pub fn data_center(&self, name: &str) -> Option<&DataCenter> {
        [&self.primary, &self.backup].into_iter().find(|d| d.name == name)
    }
}

impl SqlServer {
    /// `host\instance`, as the topology writes it.
    pub fn name(&self) -> String {
        match &self.instance {
            Some(instance) => format!(r"{}\{instance}", self.host),
            None => self.host.clone(),
        }
    }
}
