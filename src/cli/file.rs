//! A resource and its Secrets from a file: no cluster is needed.

use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use crate::api::v1alpha1::PersistentChatFailover;

/// The resource and the Secrets of a file. No error repeats what the file says: there are passwords in it.
pub fn from_file(text: &str) -> Result<(PersistentChatFailover, Vec<Secret>), String> {
    let (mut found, mut secrets) = (None, Vec::new());
    let options = serde_saphyr::options! { with_snippet: false };
    let documents =
        serde_saphyr::from_multiple_with_options::<Value>(text, options).map_err(|e| e.to_string())?;
    for document in documents {
        match document.get("kind").and_then(Value::as_str) {
            Some("PersistentChatFailover") if found.is_some() => {
                return Err(
                    "there are two PersistentChatFailovers in the file: keep the one that is meant".into()
                );
            }
            Some("PersistentChatFailover") => {
                let read = serde_json::from_value(document);
                found = Some(read.map_err(|e| format!("PersistentChatFailover: {e}"))?);
            }
            Some("Secret") => {
                let name = document
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_string();
                let read = serde_json::from_value(document);
                secrets.push(
                    read.map_err(|_| format!("Secret {name}: its data or stringData is not a map of texts"))?,
                );
            }
            Some(_) | None => {}
        }
    }
    found.map(|r| (r, secrets)).ok_or_else(|| "there is no PersistentChatFailover in the file".to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RESOURCE: &str = "apiVersion: persistentchat.dev/v1alpha1\nkind: PersistentChatFailover\nmetadata: {name: x}\n\
                            spec: {pool: p, activeDataCenter: a, dataCenters: []}\n";
    const SECRET: &str = "kind: Secret\napiVersion: v1\nmetadata: {name: s}\nstringData:\n  note: |\n    first\n    --- not a border\n";

    #[test]
    fn every_way_of_dividing_a_file_into_documents_is_understood() {
        for text in [
            format!("{RESOURCE}---\n{SECRET}"),
            format!("# a comment\n---\n# another\n---\n{SECRET}\n--- # here it is\n{RESOURCE}...\n"),
            format!("%YAML 1.2\n---\n{SECRET}...\n---\n{RESOURCE}---\nkind: ConfigMap\n---\n"),
            format!("{RESOURCE}---\n{SECRET}").replace('\n', "\r\n"),
        ] {
            let (r, secrets) = from_file(&text).unwrap();
            assert_eq!((r.spec.pool.as_str(), secrets.len()), ("p", 1), "{text}");
            let note = &secrets[0].string_data.as_ref().unwrap()["note"];
            assert!(note.contains("--- not a border"), "{note:?}");
        }
    }

    #[test]
    fn what_is_missing_twice_or_wrong_is_said() {
        for (text, said) in [
            (SECRET.to_string(), "there is no PersistentChatFailover"),
            (format!("{RESOURCE}---\n{RESOURCE}"), "two PersistentChatFailovers"),
            (RESOURCE.replace("pool: p, ", ""), "PersistentChatFailover: missing field `pool`"),
            (format!("{RESOURCE}---\n{{"), "line"),
            (
                format!("{RESOURCE}---\nkind: Secret\nmetadata: {{name: s}}\nstringData: hunter2\n"),
                "Secret s: ",
            ),
            (format!("{RESOURCE}---\nkind: Secret\nstringData: {{password: hunter2, a: b: c}}\n"), "line"),
        ] {
            let e = from_file(&text).unwrap_err();
            assert!(e.contains(said) && !e.contains("hunter2"), "{e}");
        }
    }
}
