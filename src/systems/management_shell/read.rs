//! What the objects of cmdlets mean.

use std::collections::BTreeMap;

use super::{Cmdlet, ShellError, ShellObject, ShellOutput};
use crate::domain::lync::{CentralManagement, ChatService, PoolState};
use crate::domain::pool::ManagementShell;
use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;

impl ShellObject {
    /// A property as text; null and absent are none.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(psrp::clixml::Value::shown).filter(|s| !s.is_empty())
    }
    /// A property as a list of texts: PowerShell unrolls lists of one.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.0
            .get(name)
            .map(|v| v.as_list().iter().map(psrp::clixml::Value::shown).collect())
            .unwrap_or_default()
    }
    /// A property as a Boolean.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(psrp::clixml::Value::as_bool)
    }
}

fn strange(what: impl Into<String>) -> Problem {
    Problem::ask(Reason::UnexpectedAnswer, what, "Run the cmdlet in the Management Shell and compare")
}

/// A cmdlet that reads succeeded only if it wrote no error.
pub fn clean_output<'a>(
    out: &'a ShellOutput,
    cmdlet: &Cmdlet,
    shell: &ManagementShell,
) -> Result<&'a [ShellObject], Problem> {
    match out.errors.first() {
        None if out.completed => Ok(&out.objects),
        Some(first) => Err(Problem::retry(
            Reason::EffectFailed,
            format!("{} on {} ({}): {}", cmdlet.name, shell.field, clean(&shell.host), clean(first)),
            "Run it in the Management Shell of that host; the account needs RTCUniversalServerAdmins",
        )),
        None => Err(strange(format!("{} on {} was stopped", cmdlet.name, clean(&shell.host)))),
    }
}

/// Whether an identity (`PersistentChatServer:<pool>`, `service:<pool>`) is that of a pool. Equal, not alike: `pchat.x` ends with
/// `chat.x` too.
fn is_of(identity: &str, pool: &str) -> bool {
    identity.rsplit(':').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(pool))
}

/// The pool's state: of the object whose identity names the pool's FQDN.
pub fn pool_state(objects: &[ShellObject], pool: &str) -> Result<PoolState, Problem> {
    let found: Vec<PoolState> = objects
        .iter()
        .filter_map(|o| Some(PoolState { identity: o.text("Identity")?, state: o.text("PoolState")? }))
        .filter(|s| is_of(&s.identity, pool))
        .collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Problem::ask(
            Reason::UnexpectedAnswer,
            format!("Get-CsPersistentChatState shows no pool {}", clean(pool)),
            format!(
                "Correct spec.pool; or, if its state was never set: Set-CsPersistentChatState -Identity \"service:{}\" -PoolState Normal",
                clean(pool)
            ),
        )),
        several => Err(strange(format!(
            "Get-CsPersistentChatState shows {} pools named {}",
            several.len(),
            clean(pool)
        ))),
    }
}

/// The pool in the topology.
pub fn chat_service(objects: &[ShellObject], pool: &str) -> Result<ChatService, Problem> {
    let ours = objects.iter().find(|o| {
        let name = o.text("PoolFqdn").or_else(|| o.text("Identity")).unwrap_or_default();
        is_of(&name, pool)
    });
    let Some(o) = ours else {
        return Err(strange(format!("Get-CsService shows no Persistent Chat pool {}", clean(pool))));
    };
    let servers = |name: &str| {
        let mut list: Vec<String> =
            o.list(name).iter().map(|s| s.trim().to_lowercase()).filter(|s| !s.is_empty()).collect();
        list.sort();
        list
    };
    let databases = [
        "PersistentChatDatabase",
        "MirrorPersistentChatDatabase",
        "BackupPersistentChatDatabase",
        "BackupMirrorPersistentChatDatabase",
    ];
    Ok(ChatService {
        identity: o.text("Identity").ok_or_else(|| strange("Get-CsService shows a pool without identity"))?,
        active: servers("ActiveServers"),
        inactive: servers("InactiveServers"),
        databases: databases.iter().filter_map(|n| Some(((*n).to_string(), o.text(n)?))).collect(),
    })
}

/// The Central Management store.
pub fn central_management(objects: &[ShellObject]) -> Result<CentralManagement, Problem> {
    let o = objects.first().ok_or_else(|| strange("Get-CsManagementStoreReplicationStatus said nothing"))?;
    Ok(CentralManagement {
        active_master: o.text("ActiveMasterFqdn").unwrap_or_default(),
        file_transfer_agents: o
            .list("ActiveFileTransferAgents")
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect(),
    })
}

/// Which servers have the newest configuration, by lower-case FQDN.
pub fn replicas(objects: &[ShellObject]) -> BTreeMap<String, bool> {
    objects
        .iter()
        .filter_map(|o| Some((o.text("ReplicaFqdn")?.to_lowercase(), o.flag("UpToDate")?)))
        .collect()
}

/// Whether the chat service of a server runs.
pub fn service_runs(objects: &[ShellObject]) -> bool {
    objects.iter().any(|o| {
        let names = [o.text("Name"), o.text("DisplayName"), Some(o.list("RoleName").join(" "))];
        let is_chat = names.iter().flatten().any(|n| {
            let n = n.to_lowercase();
            n.contains("persistent chat") || n.contains("persistentchat") || n == "rtcchat"
        });
        let compliance = o.text("DisplayName").is_some_and(|n| n.to_lowercase().contains("compliance"));
        is_chat && !compliance && o.text("Status").is_some_and(|s| s.eq_ignore_ascii_case("Running"))
    })
}

/// What `Test-CsDatabase` says about a server: reachable, not reachable, or why nobody can say.
pub fn reachable(out: &ShellOutput) -> Result<bool, Problem> {
    match out.errors.first() {
        None if out.completed && !out.objects.is_empty() => Ok(true),
        Some(e) => {
            let text = e.to_lowercase();
            let network = [
                "network-related",
                "not found or was not accessible",
                "could not open a connection",
                "timeout expired",
            ];
            if network.iter().any(|n| text.contains(n)) {
                Ok(false)
            } else {
                // Any other error was written by a server that was reached, or by a cmdlet that could not even try.
                Err(Problem::ask(
                    Reason::SourceUnknown,
                    format!("Test-CsDatabase: {}", clean(e)),
                    "Check it by hand",
                ))
            }
        }
        None => Err(strange("Test-CsDatabase said nothing")),
    }
}

/// An error of the shell as a problem.
pub fn problem(error: &ShellError, shell: &ManagementShell, doing: &str) -> Problem {
    let at = format!("{} ({}:{})", shell.field, clean(&shell.host), shell.port);
    match error {
        ShellError::Unreachable(why) => Problem::retry(
            Reason::HostUnreachable,
            format!("{at} cannot be reached: {}", clean(why)),
            "Check the host, the port, and that WinRM listens",
        ),
        ShellError::Tls(why) => Problem::ask(
            Reason::CertificateInvalid,
            format!("The certificate of {at} is not trusted or names another host: {}", clean(why)),
            format!("Give the CA in {}.tls.caRef, and a certificate for that host name", shell.field),
        ),
        ShellError::Login(user) => Problem::ask(
            Reason::LoginRefused,
            format!("{at} refused the logon of user {}", clean(user)),
            format!(
                "Correct the Secret {} ({}.credentialsSecretRef), or the account",
                clean(&shell.credentials),
                shell.field
            ),
        ),
        ShellError::Refused(why) => Problem::ask(
            Reason::EffectFailed,
            format!("{at} refused {doing}: {}", clean(why)),
            format!(
                "Check {}.configurationName and the rights of the account on that session configuration",
                shell.field
            ),
        ),
        ShellError::Lost(why) => Problem::retry(
            Reason::OutcomeUnknown,
            format!("The answer of {at} to {doing} was lost: {}", clean(why)),
            "It is looked at again before anything else is done",
        ),
        ShellError::Protocol(why) => {
            strange(format!("{at} answered something unexpected to {doing}: {}", clean(why)))
        }
        ShellError::NotAsked(p) => p.clone(),
    }
}
