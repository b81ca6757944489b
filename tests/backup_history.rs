//! The log chain on backup histories of real SQL Servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

use product::{BackupSet, Chain, Copy, FileHeaders, Folders, Lsn, Reading, RedoPoint, follow};

const FORK: &str = "3b085538-ee7b-46ac-9b63-1916d40a59cf";

struct History {
    full: (Lsn, Lsn),
    logs: Vec<BackupSet>,
}

fn text(name: &str) -> String {
    let path = format!("{}/tests/recordings/backup-history/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    String::from_utf16(&units).unwrap()
}

fn set(kind: i32, first: i128, last: i128, fork: &str) -> BackupSet {
    BackupSet {
        position: 1,
        kind,
        database: "mgc".into(),
        server: "real".into(),
        family: "family".into(),
        first_lsn: Lsn(first),
        last_lsn: Lsn(last),
        first_fork: fork.into(),
        last_fork: fork.into(),
        start: String::new(),
        finish: String::new(),
        checksums: false,
        ..BackupSet::default()
    }
}

fn json(name: &str) -> History {
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text(name)).unwrap();
    // LSNs are longer than what JSON readers keep exactly: taken from the text.
    let raw = text(name);
    let numbers = |key: &str| -> Vec<i128> {
        let key = format!("\"{key}\":");
        let parts = raw.match_indices(&key).map(|(at, _)| raw[at + key.len()..].trim_start());
        parts
            .map(|p| p.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap())
            .collect()
    };
    let (first, last) = (numbers("FirstLSN"), numbers("LastLSN"));
    assert_eq!((rows.len(), rows.len()), (first.len(), last.len()));
    let kinds: Vec<&str> = rows.iter().map(|r| r["BackupTypeDescription"].as_str().unwrap()).collect();
    let full = kinds.iter().position(|k| *k == "Database").unwrap();
    History {
        full: (Lsn(first[full]), Lsn(last[full])),
        logs: (0..rows.len())
            .filter(|n| kinds[*n] == "Transaction Log")
            .map(|n| set(2, first[n], last[n], rows[n]["FirstRecoveryForkID"].as_str().unwrap_or(FORK)))
            .collect(),
    }
}

fn folders(logs: &[BackupSet]) -> Folders {
    Folders {
        share: Reading::Known(vec![]),
        copy: Reading::Known(vec![]),
        copy_free: Reading::Known(0),
        headers: logs
            .iter()
            .enumerate()
            // Names that say nothing about the order.
            .map(|(n, s)| {
                let name = format!("{:05}.trn", (n * 7919) % 10007);
                (name, FileHeaders::of(true, Reading::Known(vec![s.clone()])))
            })
            .collect(),
        ignored: vec![],
        unread: 0,
        unlisted: Default::default(),
    }
}

fn chain(from: Lsn, logs: &[BackupSet]) -> Chain {
    let redo = RedoPoint { lsn: from, fork: FORK.to_uppercase() };
    follow(
        &Copy { redo: &redo, family: Some("FAMILY"), database: "MGC", restored: &[] },
        &folders(logs),
        None,
    )
}

/// Each link begins where the one before it ends, or before: nothing between them is skipped.
fn assert_unbroken(from: Lsn, c: &Chain) {
    let mut at = from;
    for l in &c.links {
        assert!(l.set.first_lsn <= at && at < l.set.last_lsn, "{at} is not covered by {:?}", l.set);
        at = l.set.last_lsn;
    }
    assert_eq!(c.end.as_ref().unwrap().lsn, at);
}

#[test]
fn three_days_of_log_backups_every_five_minutes_are_followed_from_the_full_backup_to_the_end() {
    let h = json("chkptLSN-ne-firstLSN.json");
    assert_eq!(h.logs.len(), 779);
    let c = chain(h.full.1, &h.logs);
    assert_unbroken(h.full.1, &c);
    assert!(c.gap.is_none() && c.stuck.is_empty(), "{:?}", c.stuck);
    let newest = h.logs.iter().map(|s| s.last_lsn).max().unwrap();
    assert_eq!(c.end.unwrap().lsn, newest);
    // Backups from before the full one are there as well, and not used.
    assert!(c.links.len() < h.logs.len());
    // From the middle of any backup the same end is reached.
    for s in h.logs.iter().step_by(97).filter(|s| s.first_lsn < s.last_lsn) {
        let middle = Lsn((s.first_lsn.0 + s.last_lsn.0) / 2);
        let c = chain(middle, &h.logs);
        assert_unbroken(middle, &c);
        assert_eq!(c.end.unwrap().lsn, newest);
    }
}

#[test]
fn every_single_backup_that_is_taken_away_is_missed() {
    let h = json("chkptLSN-ne-firstLSN.json");
    let whole = chain(h.full.1, &h.logs);
    for (n, link) in whole.links.iter().enumerate().step_by(31) {
        let without: Vec<BackupSet> = h.logs.iter().filter(|s| **s != link.set).cloned().collect();
        let c = chain(h.full.1, &without);
        assert_eq!(c.links.len(), n, "it ends where the hole is");
        let last = n + 1 == whole.links.len();
        assert_eq!(c.gap.is_some(), !last, "only the loss of the very last cannot be seen from the files");
    }
}

#[test]
fn empty_log_backups_are_passed_over() {
    let h = json("EmptyTLogData.json");
    assert_eq!(h.logs.iter().filter(|s| s.first_lsn == s.last_lsn).count(), 30);
    let c = chain(h.full.1, &h.logs);
    assert_unbroken(h.full.1, &c);
    assert_eq!(c.links.len(), 2);
    assert!(c.gap.is_none() && c.stuck.is_empty(), "{:?}", c.stuck);
}

#[test]
fn a_restore_that_was_left_in_the_middle_goes_on() {
    // Written by PowerShell (CLIXML); every log backup of one database, newest first.
    let xml = text("ContinuePointTest.xml");
    let value = |part: &str, name: &str| -> String {
        let at = part.find(&format!("N=\"{name}\"")).unwrap_or_else(|| panic!("{name} is missing"));
        let start = part[at..].find("<ToString>").unwrap() + at + 10;
        part[start..].split('<').next().unwrap().to_string()
    };
    let mut logs = Vec::new();
    for part in
        xml.split("N=\"ComputerName\"").skip(1).filter(|p| p.contains("<S N=\"Type\">Transaction Log</S>"))
    {
        let number = |name: &str| value(part, name).parse::<i128>().unwrap();
        logs.push(set(2, number("FirstLsn"), number("LastLsn"), FORK));
    }
    assert!(logs.len() > 3, "{}", logs.len());
    logs.sort_by_key(|s| s.first_lsn);
    for n in 0..logs.len() {
        let from = logs[n].first_lsn;
        let c = chain(from, &logs);
        assert_unbroken(from, &c);
        assert_eq!((c.links.len(), c.gap), (logs.len() - n, None));
    }
}
