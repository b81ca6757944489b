//! `PersistentChatFailover`, version v1alpha1.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.transition) || !has(oldSelf.status.transition.pointOfNoReturn) || !oldSelf.status.transition.pointOfNoReturn || oldSelf.status.transition.outcome != 'Running' || self.spec.activeDataCenter == oldSelf.status.transition.to").message("the database has been recovered: the transition can only go on; leave activeDataCenter at its target until it has ended"),
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
    /// The folders of log shipping, as SQL Server names them.
    pub log_shipping: LogShipping,
    /// How the operator itself reaches the same two folders.
    pub backup_files: BackupFiles,
    /// What the operator may do by itself.
    #[serde(default)]
    pub policy: Policy,
    /// While true, nothing is changed anywhere.
    #[serde(default)]
    pub suspend: bool,
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

/// The folders of log shipping, as SQL Server names them; compared with msdb.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogShipping {
    /// UNC of the share that the primary writes its log backups to.
    #[schemars(
        length(min = 5, max = 400),
        regex(pattern = r"^\\\\[A-Za-z0-9._-]+(\\[A-Za-z0-9 _$-][A-Za-z0-9 _$.-]*)+$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..')").message("backupShare must not contain '..'"))]
    pub backup_share: String,
    /// The folder that the copy job copies to.
    #[schemars(
        length(min = 3, max = 400),
        regex(pattern = r"^([A-Za-z]:|\\\\[A-Za-z0-9._-]+)(\\[A-Za-z0-9 _$-][A-Za-z0-9 _$.-]*)+$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..')").message("copyFolder must not contain '..'"))]
    pub copy_folder: String,
}

/// How the operator reaches the two folders.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupFiles {
    /// The backup share.
    pub backup_share: Files,
    /// The copy folder.
    pub copy_folder: Files,
}

/// One folder: exactly one of the ways to reach it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.volume) != has(self.smb)").message("give exactly one of volume and smb"))]
pub struct Files {
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
    /// What to do when the primary answers.
    #[serde(default)]
    pub when_primary_answers: WhenPrimaryAnswers,
    /// When a human must agree.
    #[serde(default)]
    pub consent: ConsentPolicy,
    /// How long setting the active servers waits for the mirror (for example 15m); absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 20), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub mirror_deadline: Option<String>,
}

/// What to do when the primary answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenPrimaryAnswers {
    /// Nothing.
    #[default]
    Refuse,
    /// Switch without loss. Not part of this version.
    PlannedSwitch,
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

/// What is true.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistentChatFailoverStatus {
    /// The generation that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// The data centre that is active, from the world and never from what is wanted; absent: not certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub active_data_center: Option<String>,
    /// The step at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub step: Option<String>,
    /// Conditions.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The transition that runs, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<TransitionStatus>,
    /// What the last decision that changed something was made on, packed: for `kubectl pcf replay`. Without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub recording: Option<String>,
    /// The last ten transitions that have ended, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<HistoryEntry>,
}

/// A transition.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionStatus {
    /// Its id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// What is carried out.
    #[schemars(length(max = 32))]
    pub procedure: String,
    /// The data centre that is left.
    #[schemars(length(max = 63))]
    pub from: String,
    /// The data centre that becomes active.
    #[schemars(length(max = 63))]
    pub to: String,
    /// When it began.
    pub started: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// `Pending` until something was written, then `Running`, then `Completed`.
    #[schemars(length(max = 32))]
    pub outcome: String,
    /// Whether the database was, or may have been, recovered.
    pub point_of_no_return: bool,
    /// The steps.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<StepStatus>,
    /// What a human would have to agree to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_needed: Option<ConsentNeeded>,
    /// What is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossStatus>,
}

/// A step.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Name: the condition's type.
    #[schemars(length(max = 63))]
    pub name: String,
    /// `NotStarted`, `Running`, `Waiting`, `Blocked` or `Done`.
    #[schemars(length(max = 32))]
    pub state: String,
    /// For a human.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// Effects that were started.
    pub attempts: i32,
    /// The goal held without any doing of this operator: somebody else reached it, or there was nothing to do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub already_done: bool,
    /// When it was first at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When its goal was first seen to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Seconds it waited, by what it waited for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waited: BTreeMap<String, i64>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How far a step is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Done so far.
    pub done: i64,
    /// Of so many.
    pub total: i64,
    /// Of what: `files`.
    #[schemars(length(max = 32))]
    pub unit: String,
    /// Per cent of the one at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
}

/// What a human would have to agree to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsentNeeded {
    /// For `spec.consent.transition`.
    #[schemars(length(max = 64))]
    pub transition: String,
    /// For `spec.consent.situation`.
    #[schemars(length(max = 64))]
    pub situation: String,
    /// What is lost or not certain.
    #[schemars(length(max = 64), inner(length(max = 2048)))]
    pub why: Vec<String>,
}

/// What is lost, as an interval.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossStatus {
    /// Everything before this moment is kept for certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Time>,
    /// Nothing after this moment can have been lost; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at_most_until: Option<Time>,
    /// The last applied log backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 400))]
    pub last_backup: Option<String>,
    /// Where roll forward ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub last_lsn: Option<String>,
    /// Log backups that exist but could not be applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 2048)))]
    pub not_applied: Vec<String>,
    /// Time of the newest message at the end of the transition. Not kept in the record: messages go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_message: Option<Time>,
    /// Who accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub accepted_by: Option<String>,
}

/// A transition that has ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// The data centre that was left.
    #[schemars(length(max = 63))]
    pub from: String,
    /// The data centre that became active.
    #[schemars(length(max = 63))]
    pub to: String,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// What was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossStatus>,
}
