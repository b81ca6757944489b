//! Decisions that were recorded once are decided again: an incident becomes a test by putting its recording here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

use product::{explain, next, pack, recordings, unpack};

/// File of `tests/recordings/decisions`, and how what happened next begins.
const RECORDED: &[(&str, &str)] = &[
    ("a-log-backup-is-missing", "Blocked ConsentRequired: A human must agree: The log chain has a gap"),
    ("an-old-database-is-back", "Blocked ConsentRequired: A human must agree: mgc on "),
    ("an-old-manifest", "Blocked ActiveDataCenterDrifted: seattle is active"),
    ("somebody-else-recovered-it", "Blocked RecoveredByOthers: "),
    ("the-primary-answers", "Blocked SourceAlive: "),
    ("the-primary-is-dead", "Act LogShippingRemoved"),
];

fn text(name: &str) -> String {
    let path = format!("{}/tests/recordings/decisions/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn every_recorded_decision_is_made_again() {
    for (name, said) in RECORDED {
        let found = recordings(&text(name)).unwrap();
        assert_eq!(found.len(), 1, "{name}");
        for r in &found {
            let now = next(&r.decide());
            assert!(now.starts_with(said), "{name}: {now}");
            assert!(explain(r).contains(said), "{name}");
            assert_eq!(unpack(&pack(r).unwrap()).unwrap(), *r, "{name}");
        }
    }
    let kept = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/decisions")).unwrap();
    assert_eq!(kept.count(), RECORDED.len(), "a recording that no test names");
}

#[test]
fn what_is_no_recording_is_said_to_be_none() {
    for (text, said) in [
        ("", "no recording in it"),
        ("{}", "no recording in it"),
        ("{\"schema\":99,\"situation\":{}}", "schema 99"),
        ("{\"schema\":1,\"situation\":{}}", "schema 1"),
        ("{\"schema\":2,\"situation\":{}}", "cannot be read"),
        ("{\"status\":{\"recording\":\"!!\"}}", "no base64"),
        ("{\"status\":{\"recording\":\"aGVsbG8=\"}}", "no gzip"),
        ("a log line\n{\"fields\":{\"recording\":\"!!\"}}\n", "line 2"),
    ] {
        let e = recordings(text).unwrap_err();
        assert!(e.contains(said), "{text:?}: {e}");
    }
}
