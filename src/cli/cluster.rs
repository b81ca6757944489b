//! The way to the API server.

use std::future::Future;
use std::time::Duration;

use kube::{Api, Client, Config};

use super::failure::Failure;
use crate::api::v1alpha1::PersistentChatFailover;
use crate::domain::text::{clean, clean_whole};

/// Longest wait for one answer of the API server.
const REQUEST: Duration = Duration::from_secs(15);
/// How long a connection may be silent: a watch is begun anew before that (see `watch`), so a longer silence is a dead connection.
const SILENCE: Duration = Duration::from_secs(60);

/// Where a resource is.
#[derive(Clone)]
pub struct Place {
    /// The way to the API server.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Connects as kubectl would, and says in which namespace.
pub async fn connect(namespace: Option<String>) -> Result<(Client, String), Failure> {
    let unreachable = |e: &dyn std::error::Error| {
        Failure::Unable(clean_whole(&format!("cannot reach Kubernetes: {}", with_causes(e))))
    };
    let mut config = Config::infer().await.map_err(|e| unreachable(&e))?;
    (config.connect_timeout, config.read_timeout) = (Some(REQUEST), Some(SILENCE));
    let client = Client::try_from(config).map_err(|e| unreachable(&e))?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_string());
    Ok((client, namespace))
}

/// What the API server, or the way to it, says is wrong. For a terminal.
pub fn told(e: &kube::Error) -> String {
    match e {
        kube::Error::Api(status) if !status.message.is_empty() => clean_whole(&status.message),
        other => clean_whole(&with_causes(other)),
    }
}

/// What is wrong, down to its cause: the outermost words say only that a request failed.
fn with_causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let said = e.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = e.source();
    }
    text
}

/// Whether it is an answer that a later one will not differ from: we are not let in, or may not do it.
pub fn is_refusal(e: &kube::Error) -> bool {
    match e {
        kube::Error::Api(status) => matches!(status.code, 401 | 403),
        _ => false,
    }
}

/// A request that is not waited for without end.
pub async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) if is_refusal(&e) => Err(Failure::Refused(told(&e))),
        Ok(Err(e)) => Err(Failure::Unable(told(&e))),
        Err(_) => {
            Err(Failure::Unable(format!("the API server has not answered for {} s", REQUEST.as_secs())))
        }
    }
}

/// Asks again, some times, where the connection failed: an API server that is busy or starts anew drops some, and a look may be repeated.
async fn patiently<T, F: Future<Output = Result<T, kube::Error>>>(
    ask: impl Fn() -> F,
) -> Result<T, kube::Error> {
    for pause in [200, 1000, 3000] {
        match ask().await {
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => {}
            other => return other,
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    ask().await
}

impl Place {
    /// All resources beside it.
    pub fn api(&self) -> Api<PersistentChatFailover> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The resource as it is now.
    pub async fn get(&self) -> Result<PersistentChatFailover, Failure> {
        let said = |m: String| format!("{self}: {m}");
        let api = self.api();
        in_time(patiently(|| api.get(&self.name))).await.map_err(|e| match e {
            Failure::Unable(m) => Failure::Unable(said(m)),
            Failure::Refused(m) => Failure::Refused(said(m)),
            other @ (Failure::HumanNeeded(_) | Failure::TimedOut(_)) => other,
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "persistentchatfailover {}/{}", clean(&self.namespace), clean(&self.name))
    }
}
