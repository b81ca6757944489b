//! The operator's T-SQL, read by Microsoft's own parser, with a catalogue of names by version.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

use product::{job_steps, statements};

/// Syntax, names, procedures with their parameters, and the text inside of `sp_executesql` and `EXEC`.
#[test]
fn every_statement_is_understood_for_every_version() {
    let Some(run) = psrp::engine::runner_for_tests("T-SQL parser").expect("the parser is required") else {
        return;
    };
    let sent = statements::listed().into_iter().map(|l| (l.name, l.text));
    let listed: Vec<serde_json::Value> = sent
        .chain(job_steps::listed())
        .map(|(name, text)| serde_json::json!({"name": name, "text": text}))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("statements.json");
    std::fs::write(&file, serde_json::to_string(&listed).unwrap()).unwrap();
    let catalogue = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parsed/catalogue.json");
    let checked = std::process::Command::new(run).args(["tsql", "--catalog", catalogue]).arg(&file).output();
    let checked = checked.unwrap();
    let [said, also] = [checked.stdout, checked.stderr].map(|s| String::from_utf8(s).unwrap());
    assert!(checked.status.success() && said.contains(" 0 errors, 0 names unchecked"), "{said}{also}");
    let parses =
        said.split([' ', ',']).zip(said.split([' ', ',']).skip(1)).find(|(_, what)| *what == "parses");
    let parses: usize = parses.unwrap().0.parse().unwrap();
    assert_eq!(parses, 7 * listed.len(), "{said}");
    let told = format!("{} texts, 7 versions, 0 errors, 0 names unchecked", listed.len());
    psrp::engine::driven_and_told("parsed", parses, &told).unwrap();
}
