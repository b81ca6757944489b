//! `PersistentChatFailover`, version v1alpha1.

mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use status::{
    ConsentNeeded, HistoryEntry, LastMove, LossStatus, LostMessages, PersistentChatFailoverStatus, Progress,
    StepStatus, TransitionStatus, WishStatus,
};

/// One Persistent Chat pool in two data centres, and which of them is to be active.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "persistentchat.dev",
    version = "v1alpha1",
    kind = "PersistentChatFailover",
    plural = "persistentchatfailovers",
    shortname = "pcf",
    category = "failover",
    namespaced,
    status = "PersistentChatFailoverStatus",
    derive = "PartialEq",
    doc = "One Lync Server 2013 / Skype for Business Server 2015 Persistent Chat pool in two data centres, and which of them is to be active",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must have at most 63 characters"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.transition) || !has(oldSelf.status.transition.outcome) || oldSelf.status.transition.outcome != 'Running' || (self.spec.pool == oldSelf.spec.pool && self.spec.database == oldSelf.spec.database)").message("pool and database are frozen while a transition runs: wait until it has ended"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.transition) || !has(oldSelf.status.transition.outcome) || oldSelf.status.transition.outcome != 'Running' || self.spec.dataCenters.all(d, oldSelf.spec.dataCenters.exists(o, o.name == d.name && o.store == d.store && o.sqlServer.host == d.sqlServer.host))").message("names, stores and SQL hosts of the data centres are frozen while a transition runs; ports, Secrets and trust can be changed"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.transition) || !has(oldSelf.status.transition.pointOfNoReturn) || !oldSelf.status.transition.pointOfNoReturn || oldSelf.status.transition.outcome != 'Running' || !(oldSelf.status.transition.procedure in ['Failover', 'Switch']) || self.spec.activeDataCenter == oldSelf.spec.activeDataCenter || self.spec.activeDataCenter == oldSelf.status.transition.to").message("the database has been recovered: the transition can only go on; leave activeDataCenter at its target until it has ended"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.activeDataCenter"),
    printcolumn(name = "Desired", type_ = "string", json_path = ".spec.activeDataCenter"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "FailoverReady", type_ = "string", json_path = r#".status.conditions[?(@.type=="FailoverReady")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.dataCenters.exists(d, d.name == self.activeDataCenter)").message("activeDataCenter must be the name of one of the dataCenters"),
    validation = Rule::new("self.dataCenters.exists_one(d, d.store == 'Primary') && self.dataCenters.exists_one(d, d.store == 'Backup')").message("one data centre must have store: Primary and the other store: Backup"),
    validation = Rule::new("self.dataCenters.size() != 2 || self.dataCenters[0].sqlServer.host != self.dataCenters[1].sqlServer.host").message("the data centres must have different SQL Server hosts"),
    validation = Rule::new("self.dataCenters.all(d, !has(d.activeServers) || d.activeServers.all(s, s in d.servers || self.dataCenters.exists(o, o.name in d.lowLatencyTo && s in o.servers)))").message("an active server must be one of the servers of its data centre, or of one that its lowLatencyTo names"),
    validation = Rule::new("self.dataCenters.all(d, d.lowLatencyTo.all(n, n != d.name && self.dataCenters.exists(o, o.name == n)))").message("lowLatencyTo must name the other data centre")
)]
pub struct PersistentChatFailoverSpec {
    /// FQDN of the Persistent Chat pool.
    #[schemars(
        length(min = 1, max = 253),
        regex(
            pattern = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
        )
    )]
    pub pool: String,
    /// The data centre that is to be active. Changing it begins a transition.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub active_data_center: String,
    /// Name of the content database.
    #[serde(default = "database")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_@$#-]*$"))]
    #[x_kube(validation = Rule::new("!(self.lowerAscii() in ['master', 'msdb', 'model', 'tempdb', 'mgccomp'])").message("database must be the content database; system databases and mgccomp are never touched"))]
    pub database: String,
    /// The two data centres.
    #[schemars(length(min = 2, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub data_centers: Vec<DataCenter>,
    /// What the operator may do by itself.
    #[serde(default)]
    pub policy: Policy,
    /// While true, nothing is changed anywhere.
    #[serde(default)]
    pub suspend: bool,
    /// When somebody said what this resource asks for, as RFC 3339 has it. It speaks for an hour, where an edit cannot be seen: for a
    /// resource that is created anew, and for one that says again what was refused before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 35),
        regex(
            pattern = r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
        )
    )]
    pub uttered_at: Option<Time>,
    /// A human's yes to what the status shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
}

fn database() -> String {
    "mgc".into()
}

/// One data centre.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.mirror) || has(self.mirrorFileShare)").message("mirror needs mirrorFileShare: the share that Install-CsMirrorDatabase exchanges backups over"),
    validation = Rule::new("!has(self.mirror) || self.mirror.host != self.sqlServer.host").message("the mirror must be on another host than sqlServer"),
    validation = Rule::new("has(self.activeServers) || self.servers.size() <= 4").message("at most 4 servers can be active: name them in activeServers")
)]
pub struct DataCenter {
    /// Name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Which databases of the topology live here.
    pub store: Store,
    /// The SQL Server of the store.
    pub sql_server: SqlServer,
    /// Its mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<SqlServer>,
    /// UNC of the share that `Install-CsMirrorDatabase` exchanges backups over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 5, max = 400),
        regex(pattern = r"^\\\\[A-Za-z0-9._-]+(\\[A-Za-z0-9 _$-][A-Za-z0-9 _$.-]*)+$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..')").message("mirrorFileShare must not contain '..'"))]
    pub mirror_file_share: Option<String>,
    /// Where cmdlets run.
    pub management_shell: ManagementShell,
    /// FQDNs of the chat servers here.
    #[schemars(
        length(min = 1, max = 8),
        inner(
            length(min = 1, max = 253),
            regex(
                pattern = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
            )
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub servers: Vec<String>,
    /// The chat servers to be active when this data centre is; absent: all of its servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub active_servers: Option<Vec<String>>,
    /// Other data centres whose servers may serve this one's database.
    #[serde(default)]
    #[schemars(length(max = 1), inner(length(min = 1, max = 63)))]
    pub low_latency_to: Vec<String>,
    /// How log backups reach this data centre's copy while the other one is active; absent: it is not protected in that direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_shipping: Option<LogShipping>,
}

/// Which databases of the published topology live in a data centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Store {
    /// The primary store.
    Primary,
    /// The backup store.
    Backup,
}

/// A SQL Server instance.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqlServer {
    /// FQDN of the host.
    #[schemars(
        length(min = 1, max = 253),
        regex(
            pattern = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
        )
    )]
    pub host: String,
    /// Instance name; absent: the default instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_$#]*$"))]
    pub instance: Option<String>,
    /// TCP port. It wins over the instance name.
    #[serde(default = "sql_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Secret with `username` and `password`; its annotation `persistentchat.dev/hosts` must list the host.
    pub credentials_secret_ref: SecretRef,
    /// Trust in its certificate; absent: the CAs of the operator's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

fn sql_port() -> i32 {
    1433
}

/// A Secret of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
}

/// Trust in a certificate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Secret that holds the CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

/// A CA in a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Its key.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".into()
}

/// A Management Shell host.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.authentication != 'Basic' || self.port != 5985").message("authentication Basic sends the password: use port 5986 with TLS"))]
pub struct ManagementShell {
    /// FQDN of the host.
    #[schemars(
        length(min = 1, max = 253),
        regex(
            pattern = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
        )
    )]
    pub host: String,
    /// TCP port of WinRM. 5985 is HTTP, where every message is sealed (authentication Negotiate); every other port is HTTPS.
    #[serde(default = "shell_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// PowerShell session configuration.
    #[serde(default = "configuration")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub configuration_name: String,
    /// How to log on.
    pub authentication: Authentication,
    /// Secret with `username` and `password`; its annotation `persistentchat.dev/hosts` must list the host.
    pub credentials_secret_ref: SecretRef,
    /// Trust in its certificate; absent: the CAs of the operator's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

fn shell_port() -> i32 {
    5986
}
fn configuration() -> String {
    "Microsoft.PowerShell".into()
}

/// How to log on to a Management Shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Authentication {
    /// Not part of this version.
    Kerberos,
    /// NTLM; every message is sealed.
    Negotiate,
    /// Basic over TLS.
    Basic,
}

/// How log backups reach the copy in a data centre: from the SQL Server of the other one to the backup share, and from there to the copy
/// folder. SQL Server's names are compared with msdb.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogShipping {
    /// The share that the active side writes its log backups to.
    pub backup_share: BackupShare,
    /// The folder that the copy job copies them to.
    pub copy_folder: CopyFolder,
}

/// The backup share, and exactly one of the ways by which the operator itself reaches it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.volume) != has(self.smb)").message("give exactly one of volume and smb"))]
pub struct BackupShare {
    /// Its UNC, as SQL Server names it.
    #[schemars(
        length(min = 5, max = 400),
        regex(pattern = r"^\\\\[A-Za-z0-9._-]+(\\[A-Za-z0-9 _$-][A-Za-z0-9 _$.-]*)+$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..')").message("unc must not contain '..'"))]
    pub unc: String,
    /// Alias of a volume that the operator's configuration maps to a mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub volume: Option<String>,
    /// A share that the operator connects to itself. Not part of this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smb: Option<Smb>,
}

/// The copy folder, and exactly one of the ways by which the operator itself reaches it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.volume) != has(self.smb)").message("give exactly one of volume and smb"))]
pub struct CopyFolder {
    /// Its path, as the SQL Server of the copy names it: on its host, or a UNC.
    #[schemars(
        length(min = 3, max = 400),
        regex(pattern = r"^([A-Za-z]:|\\\\[A-Za-z0-9._-]+)(\\[A-Za-z0-9 _$-][A-Za-z0-9 _$.-]*)+$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..')").message("path must not contain '..'"))]
    pub path: String,
    /// Alias of a volume that the operator's configuration maps to a mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub volume: Option<String>,
    /// A share that the operator connects to itself. Not part of this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smb: Option<Smb>,
}

/// A share.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Smb {
    /// Host.
    #[schemars(length(min = 1, max = 253))]
    pub server: String,
    /// Name of the share.
    #[schemars(length(min = 1, max = 80))]
    pub share: String,
}

/// What the operator may do by itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What to do when the active side answers.
    #[serde(default)]
    pub when_active_answers: WhenActiveAnswers,
    /// When a human must agree.
    #[serde(default)]
    pub consent: ConsentPolicy,
    /// How long setting the active servers waits for the mirror (for example 15m); absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 20), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub mirror_deadline: Option<String>,
    /// How long a switch waits for open chat sessions before it stops the chat services of the side that is left (for example 5m);
    /// absent: for ever. It means something only with whenActiveAnswers: Switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 20), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub drain_deadline: Option<String>,
}

/// What to do when the active side answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenActiveAnswers {
    /// Nothing.
    #[default]
    Refuse,
    /// Switch without loss.
    Switch,
}

/// When a human must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsentPolicy {
    /// Only if something is lost or not certain.
    #[default]
    WhenNeeded,
    /// Always, before the database is recovered.
    BeforeRecovery,
}

/// A human's yes, bound to what was shown.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// `status.transition.consentNeeded.transition`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9a-f]+$"))]
    pub transition: String,
    /// `status.transition.consentNeeded.situation`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9a-f]+$"))]
    pub situation: String,
    /// Who says yes.
    #[schemars(length(min = 1, max = 253))]
    pub by: String,
}
