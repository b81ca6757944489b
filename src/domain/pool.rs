//! The pool as its resource describes it, validated: what the engine works on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::side::{Place, Seat, Side, Sides};

/// One Persistent Chat pool in two data centres.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// FQDN of the pool, lower case.
    pub fqdn: String,
    /// The content database, `mgc` unless configured otherwise.
    pub database: String,
    /// The data centres, by the store that lives there.
    pub sites: Sides<DataCenter>,
    /// What the operator may do by itself.
    pub policy: Policy,
}

/// One data centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataCenter {
    /// Name in the resource.
    pub name: String,
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
    /// How log backups reach this data centre's copy while the other one is active; absent: it is not protected in that direction.
    pub log_shipping: Option<Shipping>,
}

impl DataCenter {
    /// The SQL Server at a place; none: the resource names no mirror.
    pub fn server(&self, place: Place) -> Option<&SqlServer> {
        match place {
            Place::Store => Some(&self.sql_server),
            Place::Mirror => self.mirror.as_ref(),
        }
    }
    /// Where in the resource it stands.
    pub fn field(&self) -> String {
        format!("spec.dataCenters[{}]", self.index)
    }
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

/// The two folders over which log backups reach a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shipping {
    /// The share that the live side writes its log backups to.
    pub backup_share: Folder,
    /// The folder that the copy job copies to, on the host of the copy.
    pub copy_folder: Folder,
}

/// One folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// As SQL Server names it: a UNC, or a path on its host.
    pub path: String,
    /// Alias of the volume by which the operator itself reaches it.
    pub volume: String,
    /// Where in the resource it stands.
    pub field: String,
}

impl Folder {
    /// The path of a file in it, as SQL Server names it.
    pub fn file(&self, name: &str) -> String {
        format!(r"{}\{name}", self.path.trim_end_matches('\\'))
    }
    /// Whether SQL Server means the same folder by another spelling.
    pub fn is(&self, path: &str) -> bool {
        self.path.trim_end_matches('\\').eq_ignore_ascii_case(path.trim_end_matches('\\'))
    }
}

/// What the operator may do by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// When a human must agree.
    pub consent: ConsentPolicy,
    /// How long step 7 waits for step 6; absent: for ever.
    pub mirror_deadline: Option<Duration>,
    /// What a changed wish does while the active side lives.
    #[serde(default)]
    pub when_active_answers: WhenActiveAnswers,
    /// How long a switch waits for chat sessions to end before it stops the services; absent: for ever.
    #[serde(default)]
    pub drain_deadline: Option<Duration>,
}

/// What a changed wish does while the active side lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenActiveAnswers {
    /// Nothing: only a disaster moves chat.
    #[default]
    Refuse,
    /// Chat moves without loss.
    Switch,
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
    /// The side of a data centre by its name.
    pub fn side_of(&self, data_center: &str) -> Option<Side> {
        self.sites.iter().find(|(_, d)| d.name == data_center).map(|(side, _)| side)
    }
    /// The name of a side's data centre.
    pub fn name(&self, side: Side) -> &str {
        &self.sites[side].name
    }
    /// The SQL Server on a seat; none: the resource names no mirror there.
    pub fn server(&self, seat: Seat) -> Option<&SqlServer> {
        self.sites[seat.side].server(seat.place)
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
