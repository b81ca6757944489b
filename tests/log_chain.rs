//! The log chain where backups do not come one after the other under log shipping's own names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

use product::{
    BackupSet, Chain, Copy, FileHeaders, Folders, Label, Lsn, Problem, Reading, Reason, RedoPoint, follow,
    volume,
};

fn set(first: i128, last: i128, fork: &str, start: &str) -> BackupSet {
    BackupSet {
        position: 1,
        kind: 2,
        database: "mgc".into(),
        server: r"ATL-SQL-1\CHAT".into(),
        family: "FAM".into(),
        first_lsn: Lsn(first),
        last_lsn: Lsn(last),
        first_fork: fork.into(),
        last_fork: fork.into(),
        start: start.into(),
        finish: start.into(),
        checksums: false,
        ..BackupSet::default()
    }
}

fn folders(files: Vec<(&str, Vec<BackupSet>)>) -> Folders {
    let headers =
        files.into_iter().map(|(name, sets)| (name.to_string(), FileHeaders::of(true, Reading::Known(sets))));
    Folders {
        share: Reading::Known(vec![]),
        copy: Reading::Known(vec![]),
        copy_free: Reading::Known(0),
        headers: headers.collect(),
        ignored: vec![],
        unread: 0,
        unlisted: Default::default(),
    }
}

fn chain(lsn: i128, fork: &str, files: &Folders) -> Chain {
    let redo = RedoPoint { lsn: Lsn(lsn), fork: fork.into() };
    follow(&Copy { redo: &redo, family: Some("FAM"), database: "mgc", restored: &[] }, files, None)
}

fn stuck(c: &Chain) -> Vec<&str> {
    c.stuck.iter().map(|s| s.file.as_str()).collect()
}

#[test]
fn whatever_a_rescued_log_backup_is_called_it_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["LOG17.BAK", "mgc_20261123100000.trn", "mgc_tail.bak", "tail"];
    for name in names {
        std::fs::write(folder.path().join(name), b"x").unwrap();
    }
    let listed = volume::list(folder.path(), "f").unwrap();
    let found: Vec<&str> = listed.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(found, names);
    // What is not looked into is told.
    std::fs::create_dir(folder.path().join("older")).unwrap();
    std::fs::write(folder.path().join("mgc.tuf"), b"x").unwrap();
    std::fs::write(folder.path().join("a.trn.pcf-partial"), b"x").unwrap();
    let listed = volume::list(folder.path(), "f").unwrap();
    assert_eq!((listed.files.len(), listed.ignored.len()), (4, 3), "{:?}", listed.ignored);
}

#[test]
fn a_log_that_looks_old_but_is_of_a_newer_life_is_not_skipped_in_silence() {
    let old = [(4800, 4900, "2026-11-22T09:00:00"), (4900, 5000, "2026-11-22T09:15:00")];
    let new = [(3000, 3100, "2026-11-23T09:00:00"), (3100, 3200, "2026-11-23T09:15:00")];
    let of = |fork: &'static str| move |(f, l, at): &(i128, i128, &str)| set(*f, *l, fork, at);
    let [a, b] = old.each_ref().map(of("F1"));
    let [x, y] = new.each_ref().map(of("F2"));
    let c = chain(5000, "F1", &folders(vec![("1", vec![a]), ("2", vec![b]), ("3", vec![x]), ("4", vec![y])]));
    assert_eq!(c.end.as_ref().unwrap().lsn, Lsn(5000));
    assert_eq!(stuck(&c), ["3", "4"]);
}

#[test]
fn a_former_life_that_ours_has_outlived_is_nobodys_loss() {
    let former = set(3000, 3100, "F0", "2026-11-20T09:00:00");
    let ours = set(4900, 5000, "F1", "2026-11-22T09:15:00");
    let c = chain(5000, "F1", &folders(vec![("1", vec![former]), ("2", vec![ours])]));
    assert!(c.stuck.is_empty(), "{:?}", c.stuck);
}

#[test]
fn a_log_of_a_database_that_was_damaged_is_tried() {
    let mut damaged = set(10, 20, "F1", "2026-11-22T09:00:00");
    damaged.damaged = true;
    let c = chain(10, "F1", &folders(vec![("1", vec![damaged])]));
    assert_eq!((c.links.len(), c.stuck.len()), (1, 0));
}

#[test]
fn stripes_are_restored_together_or_not_at_all() {
    let striped = |file: &str, family: i32, families: i32| {
        let mut set = set(10, 20, "F1", "2026-11-22T09:00:00");
        set.guid = Some("SET".into());
        let label = Some(Label { media_set: "MEDIA".into(), families, family });
        (file.to_string(), FileHeaders { label, ..FileHeaders::of(true, Reading::Known(vec![set])) })
    };
    let mut f = folders(vec![("next", vec![set(20, 30, "F1", "2026-11-22T09:15:00")])]);
    // A copy of one of them under another name is one of them.
    f.headers.extend([striped("b", 1, 3), striped("a", 3, 3), striped("c", 2, 3), striped("z", 2, 3)]);
    let c = chain(10, "F1", &f);
    let files: Vec<Vec<&str>> = c.links.iter().map(|l| l.files().collect()).collect();
    assert_eq!((files, stuck(&c).len()), (vec![vec!["b", "c", "a"], vec!["next"]], 0));
    f.headers.remove("a");
    let c = chain(10, "F1", &f);
    assert_eq!((c.links.len(), stuck(&c)), (0, vec!["b", "next"]));
    // Once it is behind, what is missing of it is nobody's loss.
    assert!(chain(20, "F1", &f).stuck.is_empty());
}

#[test]
fn a_file_with_several_sets_is_applied_set_by_set_and_a_hidden_one_may_be_the_last() {
    let mut second = set(20, 30, "F1", "2026-11-22T09:15:00");
    second.position = 2;
    let other = BackupSet { database: "mgccomp".into(), position: 3, ..second.clone() };
    let mut f = folders(vec![("all.bak", vec![set(10, 20, "F1", "2026-11-22T09:00:00"), second, other])]);
    let c = chain(10, "F1", &f);
    assert_eq!(c.links.iter().map(|l| l.set.position).collect::<Vec<_>>(), [1, 2]);
    assert!(c.links[0].key() == "all.bak" && c.links[1].key() != "all.bak");
    let hidden = Problem::ask(Reason::UnexpectedAnswer, "a set behind a password", "");
    f.headers.get_mut("all.bak").unwrap().hidden = Some(hidden);
    let c = chain(10, "F1", &f);
    assert_eq!((c.links.len(), stuck(&c)), (2, vec!["all.bak"]));
}

#[test]
fn a_server_that_was_taken_back_shows_by_its_clock() {
    // A snapshot of its disks: the same fork, smaller LSNs, later.
    let before = set(4900, 5000, "F1", "2026-11-22T09:15:00");
    let after = set(3000, 3100, "F1", "2026-11-23T09:00:00");
    let empty = set(5000, 5000, "F1", "2026-11-23T12:00:00");
    let c = chain(5000, "F1", &folders(vec![("1", vec![before]), ("2", vec![after]), ("3", vec![empty])]));
    assert_eq!(stuck(&c), ["2"]);
}

#[test]
fn of_several_that_fit_the_furthest_is_applied_and_none_twice() {
    let at = "2026-11-22T09:15:00";
    let sets = [(100, 200), (150, 250), (200, 200), (200, 260)];
    let files = ["a", "b", "c", "d"].into_iter().zip(sets.map(|(f, l)| vec![set(f, l, "F1", at)]));
    let c = chain(200, "F1", &folders(files.collect()));
    assert_eq!(c.links.iter().map(|l| l.file.as_str()).collect::<Vec<_>>(), ["d"]);
    assert!(c.stuck.is_empty());
    // A log backup to NUL exists nowhere.
    let c = chain(200, "F1", &folders(vec![("x", vec![set(260, 300, "F1", at)])]));
    assert_eq!(c.gap, Some((Lsn(200), Lsn(260))));
    assert!(c.stuck[0].problem.fix.contains("NUL"));
}
