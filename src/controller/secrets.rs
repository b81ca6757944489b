//! Secrets, read when a connection is made. Nothing is watched or kept.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;
use crate::systems::real::{Credentials, Password, SecretSource};

/// Annotation that lists the hosts that a Secret may be sent to.
pub const HOSTS: &str = "persistentchat.dev/hosts";

/// Secrets of one namespace.
pub struct ClusterSecrets {
    api: Api<Secret>,
}

impl ClusterSecrets {
    /// Of a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        ClusterSecrets { api: Api::namespaced(client, namespace) }
    }

    async fn get(&self, name: &str, field: &str) -> Result<Secret, Problem> {
        let unusable = |what: String| {
            Problem::retry(
                Reason::SecretUnusable,
                what,
                format!("Create the Secret in the namespace of the resource, or correct {field}"),
            )
        };
        match tokio::time::timeout(Duration::from_secs(10), self.api.get_opt(name)).await {
            Ok(Ok(Some(secret))) => Ok(secret),
            Ok(Ok(None)) => Err(unusable(format!("The Secret {} of {field} does not exist", clean(name)))),
            Ok(Err(e)) => Err(unusable(format!("The Secret {} of {field} cannot be read: {e}", clean(name)))),
            Err(_) => Err(unusable(format!(
                "The Secret {} of {field} cannot be read: the API server does not answer",
                clean(name)
            ))),
        }
    }
}

/// What a Secret gives for a host, if it is meant for it.
pub fn credentials(secret: &Secret, name: &str, host: &str, field: &str) -> Result<Credentials, Problem> {
    let listed = secret.metadata.annotations.as_ref().and_then(|a| a.get(HOSTS)).map_or("", String::as_str);
    if !listed.split([',', ' ', '\n']).any(|h| h.trim().eq_ignore_ascii_case(host)) {
        return Err(Problem::ask(
            Reason::SecretUnusable,
            format!("The Secret {} of {field} is not meant for {}", clean(name), clean(host)),
            format!("Whoever owns the Secret must list the host in its annotation {HOSTS}"),
        ));
    }
    let value = |key: &str| -> Result<String, Problem> {
        let bytes = secret.data.as_ref().and_then(|d| d.get(key)).map(|b| b.0.clone());
        let text = bytes.and_then(|b| String::from_utf8(b).ok()).filter(|t| !t.is_empty());
        text.ok_or_else(|| {
            Problem::ask(
                Reason::SecretUnusable,
                format!("The Secret {} of {field} has no usable key {key}", clean(name)),
                "Give it the keys username and password (type kubernetes.io/basic-auth)",
            )
        })
    };
    Ok(Credentials { username: value("username")?, password: Password::new(value("password")?) })
}

/// The certificates of a CA in a Secret.
pub fn ca(secret: &Secret, name: &str, key: &str, field: &str) -> Result<Vec<u8>, Problem> {
    let pem = secret.data.as_ref().and_then(|d| d.get(key)).map(|b| b.0.clone()).unwrap_or_default();
    match openssl_count(&pem) {
        0 => Err(Problem::ask(
            Reason::SecretUnusable,
            format!(
                "The Secret {} of {field}.tls.caRef has no certificate under {}",
                clean(name),
                clean(key)
            ),
            "Give the CA's certificates in PEM",
        )),
        _ => Ok(pem),
    }
}

fn openssl_count(pem: &[u8]) -> usize {
    String::from_utf8_lossy(pem).matches("-----BEGIN CERTIFICATE-----").count()
}

impl SecretSource for ClusterSecrets {
    fn credentials<'a>(
        &'a self,
        secret: &'a str,
        host: &'a str,
        field: &'a str,
    ) -> BoxFuture<'a, Result<Credentials, Problem>> {
        async move { credentials(&self.get(secret, field).await?, secret, host, field) }.boxed()
    }
    fn ca<'a>(
        &'a self,
        secret: &'a str,
        key: &'a str,
        field: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, Problem>> {
        async move { ca(&self.get(secret, field).await?, secret, key, field) }.boxed()
    }
}

/// Secrets out of YAML documents: for a plan without a cluster.
pub struct FileSecrets(pub Vec<Secret>);

impl FileSecrets {
    fn get(&self, name: &str, field: &str) -> Result<Secret, Problem> {
        let found = self.0.iter().find(|s| s.metadata.name.as_deref() == Some(name));
        let mut secret = found.cloned().ok_or_else(|| {
            Problem::ask(
                Reason::SecretUnusable,
                format!("The Secret {} of {field} is not in the file", clean(name)),
                "Add it to the file",
            )
        })?;
        // What an API server does with `stringData`.
        let data = secret.data.get_or_insert_default();
        for (k, v) in secret.string_data.take().unwrap_or_default() {
            data.insert(k, k8s_openapi::ByteString(v.into_bytes()));
        }
        Ok(secret)
    }
}

impl SecretSource for FileSecrets {
    fn credentials<'a>(
        &'a self,
        secret: &'a str,
        host: &'a str,
        field: &'a str,
    ) -> BoxFuture<'a, Result<Credentials, Problem>> {
        async move { credentials(&self.get(secret, field)?, secret, host, field) }.boxed()
    }
    fn ca<'a>(
        &'a self,
        secret: &'a str,
        key: &'a str,
        field: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, Problem>> {
        async move { ca(&self.get(secret, field)?, secret, key, field) }.boxed()
    }
}
