//! The Management Shells over PowerShell Remoting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use psrp::client::{Client, Endpoint, Error, JobIds, Password as ShellPassword};
use psrp::message::PipelineState;
use tokio::sync::Mutex;

use super::{Cmdlet, Shell, ShellError, ShellObject, ShellOutput};
use crate::domain::lync::JobState;
use crate::domain::pool::{Authentication, ManagementShell};
use crate::domain::transition::DetachedJob;
use crate::systems::secrets::{SecretSource, ca_of};
use crate::systems::settings::Settings;

/// HTTP.sys closes idle connections after about two minutes, in silence: a connection is not used again after half of that.
const SHELL_IDLE: Duration = Duration::from_secs(60);

/// The Management Shells of a pool.
pub struct RemoteShell {
    settings: Arc<Settings>,
    secrets: Arc<dyn SecretSource>,
    /// Logged-on connections, with the time of their last use.
    kept: Mutex<BTreeMap<String, (Client, Instant)>>,
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
}

fn shell_error(e: Error, user: &str) -> ShellError {
    match e {
        Error::Connect(why) => ShellError::Unreachable(why),
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
        let kept =
            self.kept.lock().await.remove(&shell.field).filter(|(_, used)| used.elapsed() < SHELL_IDLE);
        let told = |e| shell_error(e, &endpoint.user);
        let mut answer = None;
        let mut client = match kept {
            Some((mut client, _)) => match client.invoke(&cmdlet.command(), deadline).await {
                // The host closed it meanwhile, so nothing was sent: a new one is no repetition.
                Err(Error::Connect(_)) => Client::connect(&endpoint).await.map_err(told)?,
                other => {
                    answer = Some(other.map_err(told)?);
                    client
                }
            },
            None => Client::connect(&endpoint).await.map_err(told)?,
        };
        let out = match answer {
            Some(out) => out,
            None => client.invoke(&cmdlet.command(), deadline).await.map_err(told)?,
        };
        // Kept for the next cmdlet; after any error it is gone.
        self.kept.lock().await.insert(shell.field.clone(), (client, Instant::now()));
        Ok(ShellOutput {
            objects: out.objects.into_iter().map(ShellObject).collect(),
            errors: out.errors.iter().map(|e| format!("{} [{}]", e.message, e.id)).collect(),
            completed: out.state == PipelineState::Completed,
        })
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
            psrp::client::JobState::Finished(out) => Ok(JobState::Finished(
                out.errors.iter().map(|e| format!("{} [{}]", e.message, e.id)).collect(),
            )),
        }
    }
}
