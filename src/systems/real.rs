//! The systems of one pool for real: tiberius, PowerShell Remoting, mounted volumes.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::Systems;
use super::folders::MountedFolders;
use super::management_shell::remoting::RemoteShell;
use super::secrets::{SecretSource, ca_of};
use super::settings::Settings;
use super::sql_server::SqlError;
use super::sql_server::session::TdsSession;
use crate::domain::pool::{Pool, SqlServer};
use crate::domain::problem::Problem;

/// The systems of one pool.
pub struct RealSystems {
    settings: Arc<Settings>,
    secrets: Arc<dyn SecretSource>,
    shell: RemoteShell,
    folders: MountedFolders,
}

impl RealSystems {
    /// The systems of a pool.
    pub fn new(pool: Arc<Pool>, settings: Arc<Settings>, secrets: Arc<dyn SecretSource>) -> Self {
        RealSystems {
            shell: RemoteShell::new(settings.clone(), secrets.clone()),
            folders: MountedFolders::new(pool, settings.clone()),
            settings,
            secrets,
        }
    }

    /// The same, for who only looks: what runs on a host is not taken over.
    pub fn watching(self) -> Self {
        RealSystems { shell: self.shell.watching(), ..self }
    }

    /// Leaves nothing behind on the hosts, as far as they answer within seconds.
    pub async fn close(&self) {
        self.shell.close().await;
    }
}

impl Systems for RealSystems {
    type Sql = TdsSession;
    type Shell = RemoteShell;
    type Folders = MountedFolders;

    async fn sql(&self, server: &SqlServer) -> Result<TdsSession, SqlError> {
        let who = self
            .secrets
            .credentials(&server.credentials, &server.host, &server.field)
            .await
            .map_err(SqlError::NotAsked)?;
        let ca =
            ca_of(self.secrets.as_ref(), &server.tls, &server.field).await.map_err(SqlError::NotAsked)?;
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

    fn shell(&self) -> &RemoteShell {
        &self.shell
    }

    fn folders(&self) -> &MountedFolders {
        &self.folders
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

    fn new_id(&self) -> String {
        uuid::Uuid::new_v4().to_string().to_uppercase()
    }
}
