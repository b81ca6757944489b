//! Secrets, wherever they come from.

use futures::future::BoxFuture;

use crate::domain::pool::Tls;
use crate::domain::problem::Problem;

/// A secret. Its `Debug` shows nothing, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    pub fn new(s: impl Into<String>) -> Self {
        Password(s.into())
    }
    /// The secret itself, for the one call that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A user name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Password,
}

/// Where Secrets come from: the API server, or a file.
pub trait SecretSource: Send + Sync {
    /// Credentials for a host. A Secret is used only for hosts that its annotation names.
    fn credentials<'a>(
        &'a self,
        secret: &'a str,
        host: &'a str,
        field: &'a str,
    ) -> BoxFuture<'a, Result<Credentials, Problem>>;
    /// Certificates of a CA in PEM.
    fn ca<'a>(
        &'a self,
        secret: &'a str,
        key: &'a str,
        field: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, Problem>>;
}

/// The certificates that a server is trusted by; none: those of the system.
pub async fn ca_of(secrets: &dyn SecretSource, tls: &Tls, field: &str) -> Result<Option<Vec<u8>>, Problem> {
    match &tls.ca {
        Some((secret, key)) => secrets.ca(secret, key, field).await.map(Some),
        None => Ok(None),
    }
}
