//! The systems of one pool for real: tiberius, PowerShell Remoting, mounted volumes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use psrp::client::{Client, Endpoint, Error, JobIds, Password as ShellPassword};
use psrp::message::PipelineState;
use tokio::sync::Mutex;

use super::management_shell::{Cmdlet, ShellError, ShellObject, ShellOutput};
use super::secrets::SecretSource;
use super::settings::{Settings, volume};
use super::sql_server::SqlError;
use super::sql_server::session::TdsSession;
use super::{Folder, Listing, Systems, backup_files};
use crate::domain::backups::BackupFile;
use crate::domain::lync::JobState;
use crate::domain::pool::{Authentication, ManagementShell, Pool, SqlServer, Tls};
use crate::domain::problem::{Problem, Reason};
use crate::domain::transition::DetachedJob;

/// HTTP.sys closes idle connections after about two minutes, in silence: a connection is not used again after half of that.
const SHELL_IDLE: Duration = Duration::from_secs(60);

/// The systems of one pool.
pub struct RealSystems {
    pool: Arc<Pool>,
    settings: Arc<Settings>,
    secrets: Arc<dyn SecretSource>,
    /// Logged-on connections to Management Shells, with the time of their last use.
    shells: Mutex<BTreeMap<String, (Client, Instant)>>,
    /// What is done with the folders, each thing by itself: see [`RealSystems::blocking`].
    folders: [Arc<Mutex<()>>; 5],
}

/// What is done with a folder. Each may hang by itself, on a mount whose server is gone.
#[derive(Clone, Copy)]
enum Doing {
    ListShare,
    ListCopyFolder,
    Free,
    Keep,
    Copy,
}

/// Longest wait for a folder to be listed, and for the next bytes of a copy.
const FOLDER: Duration = Duration::from_secs(20);
const STALLED_COPY: Duration = Duration::from_secs(60);

impl RealSystems {
    /// The systems of a pool.
    pub fn new(pool: Arc<Pool>, settings: Arc<Settings>, secrets: Arc<dyn SecretSource>) -> Self {
        let folders = std::array::from_fn(|_| Arc::new(Mutex::new(())));
        RealSystems { pool, settings, secrets, shells: Mutex::new(BTreeMap::new()), folders }
    }

    async fn ca(&self, tls: &Tls, field: &str) -> Result<Option<Vec<u8>>, Problem> {
        match &tls.ca {
            Some((secret, key)) => self.secrets.ca(secret, key, field).await.map(Some),
            None => Ok(None),
        }
    }

    async fn endpoint(&self, shell: &ManagementShell) -> Result<Endpoint, ShellError> {
        let ca = match &shell.tls {
            Some(trust) => self.ca(trust, &shell.field).await.map_err(ShellError::NotAsked)?,
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

    /// Runs a file operation beside the runtime. A mount whose server is gone may hang for ever, and nothing can end such a call: it is
    /// left to itself, and the same thing is not begun again before it has come back. `moved` counts the bytes of a copy, which
    /// may take long as long as it goes on.
    async fn blocking<T: Send + 'static>(
        &self,
        doing: Doing,
        field: &str,
        moved: Option<Arc<AtomicU64>>,
        f: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let hangs = |what: &str| {
            Problem::retry(
                Reason::FolderUnusable,
                format!("The folder of {field} does not answer: {what}"),
                "Check the mount and the file server behind it; the mount may have to be made anew",
            )
        };
        let slot = match doing {
            Doing::ListShare => 0,
            Doing::ListCopyFolder => 1,
            Doing::Free => 2,
            Doing::Keep => 3,
            Doing::Copy => 4,
        };
        let free = self.folders.get(slot).and_then(|m| m.clone().try_lock_owned().ok());
        let Some(held) = free else { return Err(hangs("an earlier request has not come back")) };
        let mut task = tokio::task::spawn_blocking(move || {
            let result = f();
            drop(held);
            result
        });
        let mut before = None;
        loop {
            let limit = if moved.is_some() { STALLED_COPY } else { FOLDER };
            match tokio::time::timeout(limit, &mut task).await {
                Ok(Ok(result)) => return result,
                Ok(Err(e)) => {
                    return Err(Problem::retry(
                        Reason::InternalError,
                        format!("a request to the folder of {field} was cut off: {e}"),
                        "It is tried again",
                    ));
                }
                Err(_) => {
                    let now = moved.as_ref().map(|m| m.load(Ordering::Relaxed));
                    if now == before {
                        return Err(hangs(&format!("nothing within {} s", limit.as_secs())));
                    }
                    before = now;
                }
            }
        }
    }

    fn directory(&self, folder: Folder) -> Result<(PathBuf, &'static str), Problem> {
        let (alias, field) = volume(&self.pool, folder);
        match self.settings.volumes.get(alias) {
            Some(path) => Ok((path.clone(), field)),
            None => Err(self.settings.unknown_volume(alias, field)),
        }
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

impl Systems for RealSystems {
    type Sql = TdsSession;

    async fn sql(&self, server: &SqlServer) -> Result<TdsSession, SqlError> {
        let who = self
            .secrets
            .credentials(&server.credentials, &server.host, &server.field)
            .await
            .map_err(SqlError::NotAsked)?;
        let ca = self.ca(&server.tls, &server.field).await.map_err(SqlError::NotAsked)?;
        // The driver takes a CA from a file only.
        let file = ca
            .map(|pem| {
                let mut f = tempfile::Builder::new().suffix(".pem").tempfile()?;
                f.write_all(&pem)?;
                Ok(f)
            })
            .transpose()
            .map_err(|e: std::io::Error| {
                SqlError::Protocol(format!("cannot keep the CA in a temporary file: {e}"))
            })?;
        TdsSession::open(server, &self.settings, &who, file.as_ref()).await
    }

    async fn invoke(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        deadline: Duration,
    ) -> Result<ShellOutput, ShellError> {
        let endpoint = self.endpoint(shell).await?;
        let kept =
            self.shells.lock().await.remove(&shell.field).filter(|(_, used)| used.elapsed() < SHELL_IDLE);
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
        self.shells.lock().await.insert(shell.field.clone(), (client, Instant::now()));
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

    async fn look(&self, shell: &ManagementShell, job: &DetachedJob) -> Result<JobState, ShellError> {
        let endpoint = self.endpoint(shell).await?;
        match psrp::client::look(&endpoint, &ids(job)?).await.map_err(|e| shell_error(e, &endpoint.user))? {
            psrp::client::JobState::Running => Ok(JobState::Running),
            psrp::client::JobState::Gone => Ok(JobState::Gone),
            psrp::client::JobState::Finished(out) => Ok(JobState::Finished(
                out.errors.iter().map(|e| format!("{} [{}]", e.message, e.id)).collect(),
            )),
        }
    }

    async fn listens(&self, host: &str, port: u16) -> Result<bool, Problem> {
        let (host, port) = self.settings.destination(host, port);
        match tokio::time::timeout(
            Duration::from_secs(5),
            tokio::net::TcpStream::connect((host.as_str(), port)),
        )
        .await
        {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    async fn list(&self, folder: Folder) -> Result<Listing, Problem> {
        let (directory, field) = self.directory(folder)?;
        let doing = match folder {
            Folder::BackupShare => Doing::ListShare,
            Folder::CopyFolder => Doing::ListCopyFolder,
        };
        self.blocking(doing, field, None, move || backup_files::list(&directory, field)).await
    }

    async fn free(&self, folder: Folder) -> Result<u64, Problem> {
        let (directory, field) = self.directory(folder)?;
        self.blocking(Doing::Free, field, None, move || backup_files::free(&directory, field)).await
    }

    async fn copy(&self, file: &BackupFile, progress: &(dyn Fn(u64) + Send + Sync)) -> Result<(), Problem> {
        let (from, field) = self.directory(Folder::BackupShare)?;
        let (to, _) = self.directory(Folder::CopyFolder)?;
        let (file, length) = (file.clone(), file.length);
        let done = Arc::new(AtomicU64::new(0));
        let told = done.clone();
        let tell = move |n| told.store(n, Ordering::Relaxed);
        self.blocking(Doing::Copy, field, Some(done), move || backup_files::copy(&from, &to, &file, &tell))
            .await?;
        progress(length);
        Ok(())
    }

    async fn keep(&self, name: &str, text: &str) -> Result<(), Problem> {
        let (directory, field) = self.directory(Folder::CopyFolder)?;
        let (name, text) = (name.to_string(), text.to_string());
        self.blocking(Doing::Keep, field, None, move || backup_files::keep(&directory, field, &name, &text))
            .await
    }

    fn new_id(&self) -> String {
        uuid::Uuid::new_v4().to_string().to_uppercase()
    }
}
