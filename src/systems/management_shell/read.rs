//! What the objects of cmdlets mean.

use std::collections::BTreeMap;

use super::{Cmdlet, ShellError, ShellObject, ShellOutput, diagnostics};
use crate::domain::lync::{CentralManagement, ChatService, PoolState};
use crate::domain::pool::ManagementShell;
use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;
use crate::systems::assumptions;

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
    /// Whether it has a property, null or not. One that is absent says nothing.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }
    /// A property as a Boolean.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(psrp::clixml::Value::as_bool)
    }
}

pub(super) fn strange(what: impl Into<String>) -> Problem {
    Problem::ask(Reason::UnexpectedAnswer, what, "Run the cmdlet in the Management Shell and compare")
}

/// The objects of a cmdlet that succeeded: it wrote no error, and came to its end. Otherwise all that it said.
pub fn clean_output<'a>(
    out: &'a ShellOutput,
    cmdlet: &Cmdlet,
    shell: &ManagementShell,
) -> Result<&'a [ShellObject], Problem> {
    if out.errors.is_empty() && out.completed {
        return Ok(&out.objects);
    }
    let at = format!("{} on {} ({})", cmdlet.name, shell.field, clean(&shell.host));
    let said = diagnostics::of(out).told().unwrap_or_default();
    match diagnostics::missing_command(out) {
        Some(named) => Err(not_offered(named.unwrap_or(cmdlet.name), &format!("{at}: {said}"), shell)),
        None => Err(Problem::retry(
            Reason::EffectFailed,
            format!("{at}: {said}"),
            "Run it in the Management Shell of that host; the account needs RTCUniversalServerAdmins",
        )),
    }
}

/// A command that the host does not have, or does not show to this account.
fn not_offered(name: &str, what: &str, shell: &ManagementShell) -> Problem {
    let since = match name {
        "Test-NetConnection" => {
            "; it is a function of the module NetTCPIP, of PowerShell 4 (Windows Server 2012 R2) and later"
        }
        _ => "",
    };
    Problem::ask(
        Reason::PermissionDenied,
        what,
        format!(
            "Make {} visible in the session configuration {} of {}{since}",
            clean(name),
            clean(&shell.configuration_name),
            clean(&shell.host)
        ),
    )
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
        .filter_map(|o| {
            Some(PoolState { identity: o.text("Identity")?, state: o.text("PoolState")?, of_replica: false })
        })
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
    // An empty list is null; one that is not there at all says nothing.
    if let Some(absent) = ["ActiveServers", "InactiveServers"].into_iter().find(|name| !o.has(name)) {
        return Err(strange(format!("Get-CsService shows a pool without {absent}")));
    }
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

/// The Central Management store. What is null is nobody; what is not there at all is not known.
pub fn central_management(objects: &[ShellObject]) -> Result<CentralManagement, Problem> {
    const CMDLET: &str = "Get-CsManagementStoreReplicationStatus";
    let o = match objects {
        [one] => one,
        [] => return Err(strange(format!("{CMDLET} said nothing"))),
        several => return Err(strange(format!("{CMDLET} shows {} stores", several.len()))),
    };
    if !o.has("ActiveMasterFqdn") {
        return Err(strange(format!("{CMDLET} shows no ActiveMasterFqdn")));
    }
    let spellings = assumptions::FILE_TRANSFER_AGENTS.values;
    let Some(agents) = spellings.iter().find(|name| o.has(name)) else {
        return Err(strange(format!("{CMDLET} shows no {}", spellings.join(" and no "))));
    };
    Ok(CentralManagement {
        active_master: o.text("ActiveMasterFqdn").unwrap_or_default(),
        file_transfer_agents: o.list(agents).into_iter().filter(|s| !s.is_empty()).collect(),
        master_answers: None,
    })
}

/// Which servers have the newest configuration, by lower-case FQDN.
pub fn replicas(objects: &[ShellObject]) -> BTreeMap<String, bool> {
    objects
        .iter()
        .filter_map(|o| Some((o.text("ReplicaFqdn")?.to_lowercase(), o.flag("UpToDate")?)))
        .collect()
}

/// The services with the role of chat, which is the same in every language.
fn of_chat(objects: &[ShellObject]) -> impl Iterator<Item = &ShellObject> {
    objects.iter().filter(|o| {
        let roles = o.list("RoleName");
        roles.iter().any(|r| assumptions::CHAT_ROLE.values.iter().any(|v| r.trim().eq_ignore_ascii_case(v)))
    })
}

/// How the chat service of a server is called; none: no service, or more than one, is known for it.
pub fn service_name(objects: &[ShellObject]) -> Option<String> {
    let mut names = of_chat(objects).map(|o| o.text("Name").filter(|name| !name.is_empty()));
    match (names.next(), names.next()) {
        (Some(name), None) => name,
        (_, _) => None,
    }
}

/// Whether the chat service of a server runs, by its role and its status, which are the same in every language; none: what is listed
/// does not tell.
pub fn service_runs(objects: &[ShellObject]) -> Option<bool> {
    // Names of `System.ServiceProcess.ServiceControllerStatus`.
    let states: Vec<Option<String>> = of_chat(objects).map(|o| o.text("Status")).collect();
    if states.iter().flatten().any(|s| s.eq_ignore_ascii_case("Running")) {
        return Some(true);
    }
    (!states.is_empty() && states.iter().all(Option::is_some)).then_some(false)
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
        ShellError::Login { user, why } => Problem::ask(
            Reason::LoginRefused,
            format!("{at} refused the logon of user {} ({})", clean(user), clean(why)),
            format!(
                "Correct the Secret {} ({}.credentialsSecretRef), or the account; a locked account, a domain controller that the host does not \
                 reach, a policy against NTLM, and a TLS connection that does not end at the host itself (NTLM is bound to its certificate) \
                 look the same",
                clean(&shell.credentials),
                shell.field
            ),
        ),
        ShellError::Busy(why) => Problem::retry(
            Reason::EffectFailed,
            format!("{at} does not take {doing} now: {}", clean(why)),
            "It is tried again; shells of this account that nobody uses any more end by themselves",
        ),
        ShellError::RunAs(why) => Problem::ask(
            Reason::LoginRefused,
            format!("{at} cannot run {doing} as the account of its session configuration: {}", clean(why)),
            format!(
                "Correct the RunAs account of the session configuration {} there",
                clean(&shell.configuration_name)
            ),
        ),
        ShellError::OtherAccount { recorded, now } => Problem::ask(
            Reason::LoginRefused,
            format!(
                "{doing}: it was started as {}, and {at} shows it to nobody else; the Secret names {} now",
                clean(recorded),
                clean(now)
            ),
            format!(
                "Put {} back into the Secret {} until it has ended; or wait until the mirror stands",
                clean(recorded),
                clean(&shell.credentials)
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

#[cfg(test)]
mod tests {
    use psrp::clixml::Value;

    use super::*;

    fn object(members: &[(&str, Value)]) -> ShellObject {
        ShellObject(Value::object("T", members.to_vec()))
    }
    fn texts(list: &[&str]) -> Value {
        Value::List(list.iter().map(|t| Value::text(*t)).collect())
    }

    #[test]
    fn the_chat_service_is_known_by_its_role_and_its_status_not_by_what_it_is_called() {
        let service = |role: Value, status: Option<&str>| {
            let mut members =
                vec![("RoleName", role), ("DisplayName", Value::text("Conversation permanente"))];
            members.extend(status.map(|s| ("Status", Value::text(s))));
            object(&members)
        };
        let chat = || texts(&["PersistentChatService"]);
        assert_eq!(service_runs(&[service(chat(), Some("Running"))]), Some(true));
        assert_eq!(
            service_runs(&[service(Value::text("persistentchatservice"), Some("Stopped"))]),
            Some(false)
        );
        assert_eq!(
            service_runs(&[service(chat(), Some("Stopped")), service(chat(), Some("Running"))]),
            Some(true)
        );
        assert_eq!(service_runs(&[service(chat(), None)]), None);
        assert_eq!(service_runs(&[service(texts(&["Registrar", "UserServer"]), Some("Running"))]), None);
        let named = object(&[
            ("Name", Value::text("RTCCHAT")),
            ("DisplayName", Value::text("Lync Server Persistent Chat")),
            ("Status", Value::text("Running")),
        ]);
        assert_eq!(service_runs(&[named]), None, "no source says that it is called so");
        assert_eq!(service_runs(&[]), None);
    }

    #[test]
    fn a_store_is_down_where_its_properties_are_null_and_unknown_where_they_are_absent() {
        let up = |name| object(&[("ActiveMasterFqdn", Value::text("fe")), (name, Value::text("fe"))]);
        for name in ["ActiveFileTransferAgents", "ActiveFileTransferAgentFqdn"] {
            let cms = central_management(&[up(name)]).unwrap();
            assert_eq!((cms.active_master.as_str(), cms.file_transfer_agents.len()), ("fe", 1));
        }
        let null = [("ActiveMasterFqdn", Value::Null), ("ActiveFileTransferAgents", Value::Null)];
        let cms = central_management(&[object(&null)]).unwrap();
        assert!(cms.active_master.is_empty() && cms.file_transfer_agents.is_empty());
        assert!(central_management(&[object(&null[..1])]).is_err());
        assert!(central_management(&[object(&null[1..])]).is_err());
        assert!(central_management(&[object(&null), object(&null)]).is_err(), "which one counts is not said");
        assert!(central_management(&[]).is_err());
    }
}
