//! `kubectl pcf`: what is going on, what would be done, what was lost. It reads; it never writes.

pub mod plan;
pub mod replay;
pub mod report;
pub mod status;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::api::v1alpha1::PersistentChatFailover;

/// The resource of a cluster.
pub async fn resource(client: Client, namespace: &str, name: &str) -> Result<PersistentChatFailover, String> {
    let api: Api<PersistentChatFailover> = Api::namespaced(client, namespace);
    api.get(name).await.map_err(|e| format!("persistentchatfailover {namespace}/{name}: {e}"))
}

/// The resource and the Secrets of a file.
pub fn from_file(text: &str) -> Result<(PersistentChatFailover, Vec<Secret>), String> {
    let (mut found, mut secrets) = (None, Vec::new());
    for (n, document) in text.split("\n---").enumerate() {
        let document = document.trim_start_matches('-');
        if document.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            continue;
        }
        let value: serde_json::Value =
            serde_saphyr::from_str(document).map_err(|e| format!("document {}: {e}", n + 1))?;
        let bad = |e: serde_json::Error| format!("document {}: {e}", n + 1);
        match value.get("kind").and_then(|k| k.as_str()) {
            Some("PersistentChatFailover") => found = Some(serde_json::from_value(value).map_err(bad)?),
            Some("Secret") => secrets.push(serde_json::from_value(value).map_err(bad)?),
            Some(_) | None => {}
        }
    }
    found.map(|r| (r, secrets)).ok_or_else(|| "there is no PersistentChatFailover in the file".to_string())
}
