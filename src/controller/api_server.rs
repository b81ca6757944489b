//! The one request that writes a status.

use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};

use super::publish::NotWritten;
use super::trouble;
use crate::api::v1alpha1::{PersistentChatFailover, PersistentChatFailoverStatus};
use crate::telemetry::{Instruments, Write};

/// Name under which status is applied. It must never change: fields that another name owns would stay.
pub const MANAGER: &str = "persistent-chat-failover";
/// Longest wait for one request to the API server.
pub const REQUEST: Duration = Duration::from_secs(15);

/// Applies a whole status, and counts that.
pub async fn write(
    api: &Api<PersistentChatFailover>,
    name: &str,
    uid: &str,
    status: &PersistentChatFailoverStatus,
    telemetry: &Instruments,
) -> Result<(), NotWritten> {
    let done = patch(api, name, uid, status).await;
    telemetry.wrote(match &done {
        Ok(()) => Write::Written,
        Err(NotWritten::Gone) => Write::Gone,
        Err(NotWritten::Failed(_) | NotWritten::NotLeading) => Write::Failed,
    });
    done
}

/// Bound to the object's uid: a status of a deleted object must not land on its successor.
async fn patch(
    api: &Api<PersistentChatFailover>,
    name: &str,
    uid: &str,
    status: &PersistentChatFailoverStatus,
) -> Result<(), NotWritten> {
    let body = serde_json::json!({
        "apiVersion": "persistentchat.dev/v1alpha1",
        "kind": "PersistentChatFailover",
        "metadata": {"name": name, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    match tokio::time::timeout(REQUEST, api.patch_status(name, &params, &Patch::Apply(&body))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(s))) if s.code == 404 && s.reason == "NotFound" => Err(NotWritten::Gone),
        // The name is another object's by now.
        Ok(Err(kube::Error::Api(s))) if s.code == 409 && s.message.contains("UID") => Err(NotWritten::Gone),
        Ok(Err(e)) => Err(NotWritten::Failed(trouble::of_status(&e))),
        Err(_) => Err(NotWritten::Failed("the API server does not answer".into())),
    }
}
