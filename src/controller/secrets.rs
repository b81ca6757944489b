//! Secrets, read when a connection is made. Nothing is watched.
//!
//! What was read last is kept in memory. For a few seconds it serves all connections: a look opens many at once, and to ask for each of them
//! would be most of what an API server hears of an operator. After that it has one purpose: a transition must not stop because the API server
//! dies in it. It is used only while the API server does not answer. Whatever it answers counts, and what it refuses is forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use openssl::x509::X509;
use tokio::time::Instant;

use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;
use crate::systems::secrets::{Credentials, Password, SecretSource};

/// Annotation that lists the hosts that a Secret may be sent to.
pub const HOSTS: &str = "persistentchat.dev/hosts";

/// How long a Secret that was read is not read again: about as long as a look takes.
const FRESH: Duration = Duration::from_secs(5);
/// Longest wait for a Secret that was never read.
const FIRST: Duration = Duration::from_secs(10);
/// Longest wait for one that was: a failover must not wait for an API server that hangs.
const AGAIN: Duration = Duration::from_secs(3);
/// How long an API server that did not answer is not asked for what is kept.
const QUIET: Duration = Duration::from_secs(15);

/// That nobody answered.
const SILENT: &str = "cannot be read: the API server does not answer";

/// Secrets of one namespace. Lives as long as the worker of a resource. It has no `Debug`: a Secret would show its content.
pub struct ClusterSecrets {
    api: Api<Secret>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Secrets, and when each was read.
    secrets: BTreeMap<String, (Secret, Instant)>,
    /// Of those who want the same Secret at once, one asks.
    turns: BTreeMap<String, Arc<futures::lock::Mutex<()>>>,
    /// When the API server was found silent; absent while it answers.
    silent: Option<Instant>,
}

/// What became of a question to the API server.
enum Asked {
    /// It answered with the Secret.
    Read(Secret),
    /// It answered, and there is nothing to be used.
    Refused(String),
    /// It did not answer.
    Silent(String),
}

/// Whether an error is an answer. Overload and errors of the server itself are none.
fn is_silence(e: &kube::Error) -> bool {
    match e {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        // Everything else is a defect of the configuration or of the answer: what is kept would only hide it.
        _ => false,
    }
}

impl ClusterSecrets {
    /// Of a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        ClusterSecrets { api: Api::namespaced(client, namespace), kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, name: &str, longest: Duration) -> Asked {
        match tokio::time::timeout(longest, self.api.get_opt(name)).await {
            Ok(Ok(Some(secret))) => Asked::Read(secret),
            Ok(Ok(None)) => Asked::Refused("does not exist".into()),
            Ok(Err(e)) if is_silence(&e) => Asked::Silent(format!("cannot be read: {e}")),
            Ok(Err(e)) => Asked::Refused(format!("cannot be read: {e}")),
            Err(_) => Asked::Silent(SILENT.into()),
        }
    }

    async fn get(&self, name: &str, field: &str) -> Result<Secret, Problem> {
        let unusable = |what: String| {
            Problem::retry(
                Reason::SecretUnusable,
                format!("The Secret {} of {field} {what}", clean(name)),
                format!("Create the Secret in the namespace of the resource, or correct {field}"),
            )
        };
        let came = Instant::now();
        let turn = self.kept().turns.entry(name.into()).or_default().clone();
        let _turn = turn.lock().await;
        let (last, silent) = {
            let kept = self.kept();
            (kept.secrets.get(name).cloned(), kept.silent)
        };
        match (&last, silent) {
            (Some((secret, at)), None) if at.elapsed() < FRESH => return Ok(secret.clone()),
            (Some((secret, _)), Some(since)) if since.elapsed() < QUIET => return Ok(secret.clone()),
            // Whoever had the turn before waited for long enough for all who stood behind.
            (None, Some(since)) if since >= came => return Err(unusable(SILENT.into())),
            (Some(_) | None, Some(_) | None) => {}
        }
        let last = last.map(|(secret, _)| secret);
        match self.ask(name, if last.is_some() { AGAIN } else { FIRST }).await {
            Asked::Read(secret) => {
                let mut kept = self.kept();
                if kept.silent.take().is_some() {
                    tracing::info!("the API server answers again");
                }
                kept.secrets.insert(name.into(), (secret.clone(), Instant::now()));
                Ok(secret)
            }
            Asked::Refused(what) => {
                let mut kept = self.kept();
                kept.silent = None;
                kept.secrets.remove(name);
                Err(unusable(what))
            }
            Asked::Silent(what) => {
                // Once for each outage, not once for each connection in it.
                if self.kept().silent.replace(Instant::now()).is_none() {
                    tracing::warn!(
                        error = what,
                        "the API server does not answer; the Secrets that were read last are used"
                    );
                }
                last.ok_or_else(|| unusable(what))
            }
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
    match X509::stack_from_pem(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        Ok(_) | Err(_) => Err(Problem::ask(
            Reason::SecretUnusable,
            format!(
                "The Secret {} of {field}.tls.caRef has no certificates under {}, or one that cannot be read",
                clean(name),
                clean(key)
            ),
            "Give the CA's certificates in PEM",
        )),
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

    use kube::client::Body;

    use super::*;

    /// An API server that answers with a code, or with a Secret if that is 200; and how often it was asked.
    fn server() -> (ClusterSecrets, Arc<AtomicU16>, Arc<AtomicUsize>) {
        let (code, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (answer, count) = (code.clone(), asked.clone());
        let service = tower::service_fn(move |_: http::Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            let code = answer.load(Ordering::SeqCst);
            async move {
                if code == 0 {
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
                }
                let body = match code {
                    200 => {
                        serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
                    }
                    _ => {
                        serde_json::json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code})
                    }
                };
                let body = Body::from(body.to_string().into_bytes());
                http::Response::builder().status(code).body(body).map_err(std::io::Error::other)
            }
        });
        (ClusterSecrets::new(Client::new(service, "chat"), "chat"), code, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_last_serves_while_the_api_server_does_not_answer() {
        for silence in [0, 429, 500, 503] {
            let (secrets, code, asked) = server();
            secrets.get("s", "f").await.unwrap();
            code.store(silence, Ordering::SeqCst);
            tokio::time::advance(FRESH).await;
            secrets.get("s", "f").await.unwrap();
            secrets.get("s", "f").await.unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), 2, "{silence}: it is not asked again at once");
            tokio::time::advance(Duration::from_millis(1)).await;
            let never_read = ["never-read"; 4].map(|name| secrets.get(name, "f"));
            for told in futures::future::join_all(never_read).await {
                assert_eq!(told.unwrap_err().reason, Reason::SecretUnusable);
            }
            assert_eq!(asked.load(Ordering::SeqCst), 3, "{silence}: one waits for all");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_an_answer_and_makes_forget() {
        for refusal in [401, 403, 404] {
            let (secrets, code, _) = server();
            secrets.get("s", "f").await.unwrap();
            code.store(refusal, Ordering::SeqCst);
            tokio::time::advance(FRESH).await;
            secrets.get("s", "f").await.unwrap_err();
            code.store(0, Ordering::SeqCst);
            secrets.get("s", "f").await.unwrap_err();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_one_look_share_what_was_read_and_those_of_a_later_one_do_not() {
        let (secrets, _, asked) = server();
        for looks in 1..4 {
            for read in futures::future::join_all(["s"; 8].map(|name| secrets.get(name, "f"))).await {
                read.unwrap();
            }
            assert_eq!(asked.load(Ordering::SeqCst), looks);
            tokio::time::advance(FRESH).await;
        }
    }
}
