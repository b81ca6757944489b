//! What one look shows of Lync, through a Management Shell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::reading::Reading;
use super::side::Side;
use super::text::clean;

/// What was seen of Lync, through a Management Shell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lync {
    /// `Get-CsPersistentChatState`.
    pub state: Reading<PoolState>,
    /// `Get-CsService -PersistentChatServer`.
    pub service: Reading<ChatService>,
    /// `Get-CsManagementStoreReplicationStatus -CentralManagementStoreStatus`.
    pub central_management: Reading<CentralManagement>,
    /// `Get-CsManagementStoreReplicationStatus`: whether each server has the newest configuration, by lower-case FQDN.
    pub replicas: Reading<BTreeMap<String, bool>>,
    /// `Get-CsWindowsService`: whether the chat service runs, by server. None: the host answered, and what it lists tells nothing of
    /// that service.
    pub services: BTreeMap<String, Reading<Option<bool>>>,
    /// How the chat service is called on each of these servers, where it is known.
    #[serde(default)]
    pub service_names: BTreeMap<String, String>,
    /// The detached `Install-CsMirrorDatabase` of the transition, if one was started.
    pub mirror_job: Option<Reading<JobState>>,
    /// Why the Management Shell that was to be asked could not be used, if the other side's had to answer.
    pub shell_trouble: Option<Problem>,
}

impl Lync {
    /// Nothing was asked yet.
    pub fn not_looked() -> Self {
        Lync {
            state: Reading::not_looked(),
            service: Reading::not_looked(),
            central_management: Reading::not_looked(),
            replicas: Reading::not_looked(),
            services: BTreeMap::new(),
            service_names: BTreeMap::new(),
            mirror_job: None,
            shell_trouble: None,
        }
    }
}

impl Lync {
    /// How the chat service of a server is called there, if it is known not to run.
    pub fn service_at_rest(&self, host: &str) -> Option<&String> {
        let rests = self.services.get(host).and_then(Reading::known) == Some(&Some(false));
        self.service_names.get(host).filter(|_| rests)
    }
}

/// State of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolState {
    /// Identity as Lync writes it: what the Set cmdlet takes.
    pub identity: String,
    /// `Normal` or `FailedOver`.
    pub state: String,
    /// Whether only the replica on the Management Shell host told it (`-LocalStore`): what it has not heard since, it does not know.
    #[serde(default)]
    pub of_replica: bool,
}

impl PoolState {
    /// The side whose databases the pool uses; none: it is in a state that we do not know.
    pub fn side(&self) -> Option<Side> {
        Side::of_pool_state(&self.state)
    }
}

/// The pool's service in the published topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatService {
    /// Identity, for example `PersistentChatServer:chat.litwareinc.com`.
    pub identity: String,
    /// Active servers, lower case, sorted.
    pub active: Vec<String>,
    /// The others.
    pub inactive: Vec<String>,
    /// `PersistentChatDatabase` …, by property name: which instances the topology names.
    pub databases: BTreeMap<String, String>,
}

/// The Central Management store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CentralManagement {
    /// Who holds the writable copy; empty: nobody, the store is down.
    pub active_master: String,
    /// Who replicates it; empty: nobody.
    pub file_transfer_agents: Vec<String>,
    /// Whether the master's SIP port accepts connections from the Management Shell that was asked; absent: that shell is on the master, or
    /// no side is to be left. A store belongs to a pool, and its master is any of the pool's Front Ends.
    #[serde(default)]
    pub master_answers: Option<Reading<bool>>,
}

/// A detached cmdlet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobState {
    /// It runs.
    Running,
    /// It is there, and its host counts it as another client's: one that lives, or one that died a minute or two ago.
    Elsewhere,
    /// It ended, and said this.
    Finished(Diagnostics),
    /// The host knows nothing of it (any more): it does not run.
    Gone,
}

/// What a cmdlet said besides its objects: words for humans, in the language of the host. They decide nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostics {
    /// Its errors, in order.
    pub errors: Vec<String>,
    /// Its warnings, in order: where deployment cmdlets of Lync say that they met errors, and where their report lies.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Diagnostics {
    /// An error of ours about a cmdlet that said nothing itself.
    pub fn error(what: impl Into<String>) -> Self {
        Diagnostics { errors: vec![what.into()], warnings: vec![] }
    }
    /// All of it as one text; none if nothing was said.
    pub fn told(&self) -> Option<String> {
        let shown = |list: &[String]| list.iter().map(|text| clean(text)).collect::<Vec<_>>().join("; ");
        match (self.errors.is_empty(), self.warnings.is_empty()) {
            (true, true) => None,
            (false, true) => Some(shown(&self.errors)),
            (true, false) => Some(format!("warnings: {}", shown(&self.warnings))),
            (false, false) => Some(format!("{}; warnings: {}", shown(&self.errors), shown(&self.warnings))),
        }
    }
}
