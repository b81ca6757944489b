//! A resource as the API server has it, with what this operator does not know of it.

use std::borrow::Cow;
use std::ops::Deref;

use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::de::{Deserialize, Deserializer, Error as _};

use crate::api::v1alpha1::PersistentChatFailover;
use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;

/// A resource, and the fields of its spec that this operator has no notion of: the definition that the API server has is newer.
///
/// Reading them as if they were not there would be carrying out another order than the one that was given.
#[derive(Clone, Debug)]
pub struct Object {
    known: PersistentChatFailover,
    unknown: Vec<String>,
}

impl Object {
    /// What is wrong with a spec that says more than this operator understands.
    pub fn unknown_fields(&self) -> Option<Problem> {
        let fields: Vec<String> = self.unknown.iter().map(|f| clean(f)).collect();
        (!fields.is_empty()).then(|| {
            Problem::ask(
                Reason::NotSupported,
                format!(
                    "This operator ({}) does not know {}: the definition of the resource is newer",
                    env!("CARGO_PKG_VERSION"),
                    fields.join(", ")
                ),
                "Upgrade the operator to the version of the definition, or take these fields away",
            )
        })
    }
}

impl Deref for Object {
    type Target = PersistentChatFailover;
    fn deref(&self) -> &PersistentChatFailover {
        &self.known
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        let mut unknown = Vec::new();
        // Of a status that a newer operator has written nothing is asked: each writes all of its own.
        let known = serde_ignored::deserialize(value, |path| {
            let path = path.to_string();
            if path.starts_with("spec.") {
                unknown.push(path);
            }
        });
        known.map(|known| Object { known, unknown }).map_err(D::Error::custom)
    }
}

impl Resource for Object {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;
    fn kind(_: &()) -> Cow<'_, str> {
        PersistentChatFailover::kind(&())
    }
    fn group(_: &()) -> Cow<'_, str> {
        PersistentChatFailover::group(&())
    }
    fn version(_: &()) -> Cow<'_, str> {
        PersistentChatFailover::version(&())
    }
    fn plural(_: &()) -> Cow<'_, str> {
        PersistentChatFailover::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        self.known.meta()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.known.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_of_a_newer_definition_are_named_wherever_they_are() {
        let example = include_str!("../../examples/minimal.yaml");
        let resource = &example[example.find("apiVersion: persistentchat.dev").unwrap()..];
        let mut object: serde_json::Value = serde_saphyr::from_str(resource).unwrap();
        object["status"] = serde_json::json!({"observedGeneration": 1, "madeUp": 1});
        object["metadata"]["madeUp"] = serde_json::json!(1);
        object["spec"]["quorum"] = serde_json::json!(3);
        object["spec"]["dataCenters"][0]["witness"] = serde_json::json!({"host": "w"});
        let read = |o: &serde_json::Value| serde_json::from_value::<Object>(o.clone());
        let problem = read(&object).unwrap().unknown_fields().unwrap();
        assert!(problem.what.contains("spec.dataCenters.0.witness, spec.quorum"), "{}", problem.what);
        object["spec"].as_object_mut().unwrap().remove("quorum");
        object["spec"]["dataCenters"][0].as_object_mut().unwrap().remove("witness");
        assert_eq!(read(&object).unwrap().unknown_fields(), None);
    }
}
