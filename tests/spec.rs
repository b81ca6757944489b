//! A spec that an API server with an older definition let through: the operator checks it again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

use product::{PersistentChatFailoverSpec, convert, from_file};
use serde_json::Value;

const HOSTILE: &str = "x'] ; DROP DATABASE mgc --\u{1b}[2J\n..\\";

fn spec() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/litware.yaml");
    let (resource, secrets) = from_file(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(secrets.len(), 3);
    serde_json::to_value(resource.spec).unwrap()
}

/// Every path to a string.
fn strings(v: &Value, at: &str, out: &mut Vec<String>) {
    match v {
        Value::String(_) => out.push(at.to_string()),
        Value::Array(a) => a.iter().enumerate().for_each(|(n, x)| strings(x, &format!("{at}/{n}"), out)),
        Value::Object(o) => o.iter().for_each(|(k, x)| strings(x, &format!("{at}/{k}"), out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn a_hostile_value_in_any_field_is_refused_or_is_no_name_for_a_server() {
    let good = spec();
    convert::pool(&serde_json::from_value::<PersistentChatFailoverSpec>(good.clone()).unwrap()).unwrap();
    let mut paths = Vec::new();
    strings(&good, "", &mut paths);
    assert!(paths.len() > 50, "{}", paths.len());
    let mut refused = 0;
    for path in paths {
        let mut bad = good.clone();
        *bad.pointer_mut(&path).unwrap() = HOSTILE.into();
        // Enumerations do not even parse.
        let Ok(spec) = serde_json::from_value::<PersistentChatFailoverSpec>(bad) else {
            refused += 1;
            continue;
        };
        match convert::pool(&spec) {
            Err(problems) => {
                refused += 1;
                for p in problems {
                    assert!(!p.message().chars().any(char::is_control), "{path}: {:?}", p.message());
                }
            }
            // Names within Kubernetes and of this operator's own configuration: looked up, never sent.
            Ok(_) => {
                let looked_up = [
                    "credentialsSecretRef/name",
                    "caRef/name",
                    "caRef/key",
                    "/volume",
                    "activeDataCenter",
                    "/name",
                ];
                assert!(looked_up.iter().any(|l| path.ends_with(l)), "{path} took {HOSTILE:?}");
            }
        }
    }
    assert!(refused > 30, "{refused}");
}
