//! The committed definition is the one that the types give.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

#[test]
fn the_committed_definition_is_what_the_types_give() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crds/persistentchatfailovers.persistentchat.dev.yaml");
    let committed = std::fs::read_to_string(&path).unwrap();
    let generated = product::crd_yaml().unwrap();
    assert!(committed == generated, "{} is not what the types give: run `make crd`", path.display());
}
