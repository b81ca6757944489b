//! The Management Shells over PowerShell Remoting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use psrp::client::{Client, Endpoint, Error, JobIds, Password as ShellPassword, PoolOptions};
use tokio::sync::Mutex;

use super::{Cmdlet, Shell, ShellError, ShellOutput, diagnostics};
use crate::domain::lync::JobState;
use crate::domain::pool::{Authentication, ManagementShell};
use crate::domain::transition::DetachedJob;
use crate::systems::secrets::{SecretSource, ca_of};
use crate::systems::settings::Settings;

/// How long a host keeps a shell that nobody asks any more: one that could not be deleted takes a place of the account's quota.
const SHELL_KEPT: Duration = Duration::from_secs(180);

/// The Management Shells of a pool.
pub struct RemoteShell {
    settings: Arc<Settings>,
    secrets: Arc<dyn SecretSource>,
    /// A client for each host, shared by all that ask: it runs several cmdlets at once in one shell, and replaces what is lost.
    kept: Mutex<BTreeMap<String, (Endpoint, Arc<Client>)>>,
}

impl RemoteShell {
    /// Shells that log on with these Secrets.
    pub fn new(settings: Arc<Settings>, secrets: Arc<dyn SecretSource>) -> Self {
        RemoteShell { settings, secrets, kept: Mutex::new(BTreeMap::new()) }
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
        let options = PoolOptions { idle_timeout: Some(SHELL_KEPT), ..PoolOptions::default() };
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

fn shell_error(e: Error, user: &str) -> ShellError {
    match e {
        // Nothing was sent, either way.
        Error::Connect(why) | Error::NotBegun(why) => ShellError::Unreachable(why),
        Error::Tls(why) => ShellError::Tls(why),
        Error::Unauthorized => ShellError::Login(user.into()),
        Error::Fault(f) => ShellError::Refused(format!("{} (WS-Man fault {:#x})", f.message, f.code)),
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
        let out = client.invoke(&cmdlet.command(), deadline).await.map_err(told)?;
        Ok(out.into())
    }

    async fn start(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        job: &DetachedJob,
    ) -> Result<(), ShellError> {
        let endpoint = self.endpoint(shell).await?;
        let idle = Duration::from_secs(24 * 3600);
        psrp::client::start(&endpoint, &cmdlet.command(), &ids(job)?, idle)
            .await
            .map_err(|e| shell_error(e, &endpoint.user))
    }

    async fn state_of(&self, shell: &ManagementShell, job: &DetachedJob) -> Result<JobState, ShellError> {
        let endpoint = self.endpoint(shell).await?;
        match psrp::client::look(&endpoint, &ids(job)?).await.map_err(|e| shell_error(e, &endpoint.user))? {
            psrp::client::JobState::Running => Ok(JobState::Running),
            psrp::client::JobState::Gone => Ok(JobState::Gone),
            psrp::client::JobState::Finished(out) => Ok(JobState::Finished(diagnostics::of(&out.into()))),
        }
    }
}
