//! The committed definition is the one that the types give.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

#[test]
fn the_chart_has_the_definition_and_the_rights_that_the_types_and_the_table_give() {
    let chart =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/persistent-chat-failover/files");
    let all = [
        ("crd.yaml", product::crd_yaml()),
        ("rules.yaml", product::rules_yaml(product::Where::Resources)),
        ("leader-election-rules.yaml", product::rules_yaml(product::Where::Own)),
    ];
    for (name, generated) in all {
        let committed = std::fs::read_to_string(chart.join(name)).unwrap();
        assert!(committed == generated.unwrap(), "{name} of the chart is old: run `make generated`");
    }
}

#[test]
fn the_committed_definition_is_what_the_types_give() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crds/persistentchatfailovers.persistentchat.dev.yaml");
    let committed = std::fs::read_to_string(&path).unwrap();
    let generated = product::crd_yaml().unwrap();
    assert!(committed == generated, "{} is not what the types give: run `make generated`", path.display());
}
