//! The Management Shells over PowerShell Remoting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use psrp::client::{
    Client, Endpoint, Error, Found, Job, JobIds, Password as ShellPassword, PoolOptions, ShellName,
};
use psrp::faults::{self, Meaning};
use tokio::sync::Mutex;

use super::{Cmdlet, Shell, ShellError, ShellOutput, diagnostics};
use crate::domain::lync::{Diagnostics, JobState};
use crate::domain::pool::{Authentication, ManagementShell};
use crate::domain::transition::DetachedJob;
use crate::systems::identity::{self, Identity};
use crate::systems::secrets::{SecretSource, ca_of};
use crate::systems::settings::Settings;

/// How long a host keeps a shell that nobody asks any more: one that could not be deleted takes a place of the account's quota.
const SHELL_KEPT: Duration = Duration::from_secs(180);

/// How long a host keeps the shell of a job that nobody attends. Hosts that keep none for so long keep it as long as they do.
const JOB_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a job that was taken over may take to say what it has said already.
const DRAIN: Duration = Duration::from_secs(5);
/// How long closing and leaving may take when the process, or its wish for a pool, ends.
const CLOSING: Duration = Duration::from_secs(8);

/// The Management Shells of a pool.
pub struct RemoteShell {
    settings: Arc<Settings>,
    secrets: Arc<dyn SecretSource>,
    /// A client for each host, shared by all that ask: it runs several cmdlets at once in one shell, and replaces what is lost.
    kept: Mutex<BTreeMap<String, (Endpoint, Arc<Client>)>>,
    /// The jobs that this process attends, by shell and command. What one of them said comes once: it stays here until another begins.
    jobs: Mutex<BTreeMap<(String, String), Arc<Job>>>,
    /// Whether jobs are only looked at: what they say is for somebody else.
    watches: bool,
}

impl RemoteShell {
    /// Shells that log on with these Secrets.
    pub fn new(settings: Arc<Settings>, secrets: Arc<dyn SecretSource>) -> Self {
        RemoteShell {
            settings,
            secrets,
            kept: Mutex::new(BTreeMap::new()),
            jobs: Mutex::new(BTreeMap::new()),
            watches: false,
        }
    }

    /// The same, for who only looks: no job is taken over, and nothing is read of what one says.
    pub fn watching(self) -> Self {
        RemoteShell { watches: true, ..self }
    }

    /// Closes every shell and leaves every job, as far as the hosts answer in time. What is asked later opens another.
    pub async fn close(&self) {
        let clients = std::mem::take(&mut *self.kept.lock().await);
        let jobs = std::mem::take(&mut *self.jobs.lock().await);
        let closed = clients.values().map(|(_, client)| async {
            if let Err(e) = client.close().await {
                tracing::debug!(error = %e, "a Management Shell was not closed");
            }
        });
        let left = jobs.values().map(|job| job.leave());
        let all = futures::future::join(futures::future::join_all(closed), futures::future::join_all(left));
        if tokio::time::timeout(CLOSING, all).await.is_err() {
            tracing::debug!("not every Management Shell was closed in time: their hosts close them");
        }
    }

    /// The version of PowerShell on a host, as it says itself; none: it does not say.
    pub async fn version(&self, shell: &ManagementShell) -> Result<Option<String>, ShellError> {
        let endpoint = self.endpoint(shell).await?;
        let told = |e| shell_error(e, &endpoint.user);
        let client = self.client(&shell.field, &endpoint).await.map_err(told)?;
        client.version().await.map_err(told)
    }

    async fn endpoint(&self, shell: &ManagementShell) -> Result<Endpoint, ShellError> {
        let ca = match &shell.tls {
            Some(trust) => {
                ca_of(self.secrets.as_ref(), trust, &shell.field).await.map_err(ShellError::NotAsked)?
            }
            None => None,
        };
        let who = self
            .secrets
            .credentials(&shell.credentials, &shell.host, &shell.field)
            .await
            .map_err(ShellError::NotAsked)?;
        Ok(Endpoint {
            host: shell.host.clone(),
            port: shell.port,
            path: "/wsman".into(),
            connect_to: Some(self.settings.destination(&shell.host, shell.port)),
            tls: shell.tls.is_some(),
            ca_pem: ca,
            configuration_name: shell.configuration_name.clone(),
            authentication: match shell.authentication {
                Authentication::Basic => psrp::client::Authentication::Basic,
                Authentication::Negotiate => psrp::client::Authentication::Negotiate,
            },
            user: who.username,
            password: ShellPassword(who.password.reveal().into()),
            connect_timeout: Duration::from_secs(8),
            operation_timeout: Duration::from_secs(20),
        })
    }

    /// The client of a host. Another address, account or certificate is another client; the old one closes its shell.
    async fn client(&self, field: &str, endpoint: &Endpoint) -> Result<Arc<Client>, Error> {
        {
            let kept = self.kept.lock().await;
            if let Some((_, client)) = kept.get(field).filter(|(of, _)| of == endpoint) {
                return Ok(client.clone());
            }
        }
        // Not under the lock: a host that does not answer holds up nobody who asks another.
        let name = shell_name(identity::own(), self.watches);
        let options = PoolOptions { idle_timeout: Some(SHELL_KEPT), name, ..PoolOptions::default() };
        let client = Arc::new(Client::connect_with(endpoint, options).await?);
        let mut kept = self.kept.lock().await;
        // Somebody else may have been first: then theirs is shared.
        if let Some((_, theirs)) = kept.get(field).filter(|(of, _)| of == endpoint) {
            return Ok(theirs.clone());
        }
        kept.insert(field.to_string(), (endpoint.clone(), client.clone()));
        Ok(client)
    }
}

/// What the shells of this process are called. What an operator that was killed has left goes with the first look of the next one on the
/// same machine; who only looks deletes nothing. The shell of a job bears another name: it lives on without its process.
fn shell_name(process: &Identity, watches: bool) -> Option<ShellName> {
    let machine = process.machine.as_ref()?;
    let role = if watches { "kubectl" } else { "operator" };
    Some(ShellName::new(&format!("persistent-chat-failover {role} {machine}"), process.start, !watches))
}

fn shell_error(e: Error, user: &str) -> ShellError {
    match e {
        // Nothing was sent, either way.
        Error::Connect(why) | Error::NotBegun(why) => ShellError::Unreachable(why),
        Error::Tls(why) => ShellError::Tls(why),
        Error::Unauthorized(why) => ShellError::Login { user: user.into(), why },
        Error::Fault(f) => {
            let why = format!("{} (WS-Man fault {:#x})", f.message, f.code);
            match faults::meaning(f.code) {
                Some(
                    Meaning::Shells
                    | Meaning::Operations
                    | Meaning::BrokenOff
                    | Meaning::Gone
                    | Meaning::Disconnected
                    | Meaning::Elsewhere
                    | Meaning::TimedOut,
                ) => ShellError::Busy(why),
                Some(Meaning::RunAs) => ShellError::RunAs(why),
                Some(Meaning::IdleTimeOut | Meaning::Denied | Meaning::Configuration) | None => {
                    ShellError::Refused(why)
                }
            }
        }
        Error::Lost(why) => ShellError::Lost(why),
        Error::Protocol(why) => ShellError::Protocol(why),
    }
}

fn ids(job: &DetachedJob) -> Result<JobIds, ShellError> {
    let parse = |s: &str| {
        uuid::Uuid::parse_str(s)
            .map_err(|e| ShellError::Protocol(format!("{s:?} in the record is no id: {e}")))
    };
    Ok(JobIds { shell: parse(&job.shell_id)?, command: parse(&job.command_id)? })
}

impl Shell for RemoteShell {
    async fn invoke(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        deadline: Duration,
    ) -> Result<ShellOutput, ShellError> {
        let endpoint = self.endpoint(shell).await?;
        let told = |e| shell_error(e, &endpoint.user);
        let client = self.client(&shell.field, &endpoint).await.map_err(told)?;
        let command = cmdlet.command();
        // Who is told of a doubt gives up its lock, and looks and decides anew: nothing of it may take effect later.
        let out = if cmdlet.changes() {
            client.invoke_to_the_end(&command, deadline).await
        } else {
            client.invoke(&command, deadline).await
        };
        Ok(out.map_err(told)?.into())
    }

    async fn account(&self, shell: &ManagementShell) -> Result<String, ShellError> {
        Ok(self.endpoint(shell).await?.user)
    }

    async fn start(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        job: &DetachedJob,
    ) -> Result<(), ShellError> {
        let endpoint = self.endpoint(shell).await?;
        let started = psrp::client::start(&endpoint, &cmdlet.command(), &ids(job)?, JOB_KEPT).await;
        let started = started.map_err(|e| shell_error(e, &endpoint.user))?;
        let mut jobs = self.jobs.lock().await;
        // Only one runs at a time: what the ones before it said has been taken down.
        jobs.clear();
        jobs.insert(key(job), Arc::new(started));
        Ok(())
    }

    async fn state_of(&self, shell: &ManagementShell, job: &DetachedJob) -> Result<JobState, ShellError> {
        let attended = self.jobs.lock().await.get(&key(job)).cloned();
        if let Some(attended) = attended {
            match attended.state(Duration::ZERO).await {
                Ok(state) => return Ok(told(state)),
                Err(e) => tracing::info!(error = %e, "a job is looked for anew"),
            }
            self.jobs.lock().await.remove(&key(job));
        }
        let endpoint = of_job(self.endpoint(shell).await?, job)?;
        let failed = |e| shell_error(e, &endpoint.user);
        if self.watches {
            let there = psrp::client::is_there(&endpoint, &ids(job)?).await.map_err(failed)?;
            return Ok(if there { JobState::Running } else { JobState::Gone });
        }
        match psrp::client::attach(&endpoint, &ids(job)?).await.map_err(failed)? {
            Found::Gone => Ok(JobState::Gone),
            Found::Elsewhere => Ok(JobState::Elsewhere),
            Found::Attended(found) => {
                let found = Arc::new(found);
                let state = found.state(DRAIN).await.map_err(failed)?;
                self.jobs.lock().await.insert(key(job), found);
                Ok(told(state))
            }
        }
    }
}

fn key(job: &DetachedJob) -> (String, String) {
    (job.shell_id.clone(), job.command_id.clone())
}

/// Where a job is looked for: as the account, and in the session configuration, that it was started with. To another account the host
/// would say that there is none.
fn of_job(endpoint: Endpoint, job: &DetachedJob) -> Result<Endpoint, ShellError> {
    if let Some(recorded) = job.user.as_ref().filter(|user| !user.eq_ignore_ascii_case(&endpoint.user)) {
        return Err(ShellError::OtherAccount { recorded: recorded.clone(), now: endpoint.user });
    }
    let configuration_name = job.configuration.clone().unwrap_or(endpoint.configuration_name);
    Ok(Endpoint { configuration_name, ..endpoint })
}

fn told(state: psrp::client::JobState) -> JobState {
    match state {
        psrp::client::JobState::Running => JobState::Running,
        psrp::client::JobState::Gone => JobState::Gone,
        psrp::client::JobState::Finished(out) => JobState::Finished(diagnostics::of(&out.into())),
        psrp::client::JobState::Ended => {
            JobState::Finished(Diagnostics::error("it has ended; what it said last was lost"))
        }
    }
}
