//! The log chain: which backups follow the redo point, by LSN, recovery fork and family. Never by name or date.

use serde::{Deserialize, Serialize};

use super::backups::{BackupSet, Folders, Lsn, RedoPoint};
use super::problem::{Problem, Reason};
use super::side::Side;
use super::situation::Situation;
use super::sql_server::Instance;
use super::text::clean;
use super::transition::{Damaged, Transition};

/// What can be applied from the redo point on, and what stops it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// Log backups in the order in which they apply.
    pub links: Vec<Link>,
    /// Where roll forward stands after the last of them.
    pub end: Option<RedoPoint>,
    /// What exists but cannot be applied, or may exist and cannot be seen: each is a loss if nothing changes.
    pub stuck: Vec<Stuck>,
    /// The hole that the chain ends at: where it ends, and where the next backup that exists begins.
    pub gap: Option<(Lsn, Lsn)>,
}

/// Something that stops the chain or may be missing from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stuck {
    /// The file, or the folder if a whole folder cannot be seen. With the reason it is what a consent is bound to.
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// One log backup of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Name of the file.
    pub file: String,
    /// The set in it.
    pub set: BackupSet,
}

/// Follows the chain from a redo point.
///
/// The rule (SQL Server, `RESTORE HEADERONLY` and `sys.master_files`): a log backup applies if
/// `FirstLSN <= redo_start_lsn < LastLSN` and its `FirstRecoveryForkID` is `redo_start_fork_guid`; of several the one that
/// reaches furthest. It leaves the redo point at its `LastLSN` and `RecoveryForkID`.
pub fn follow(
    redo: &RedoPoint,
    family: Option<&str>,
    database: &str,
    files: &Folders,
    t: Option<&Transition>,
) -> Chain {
    let mut chain = Chain { end: Some(redo.clone()), ..Chain::default() };
    let mut sets: Vec<Link> = Vec::new();
    // Files that cannot be restored, each with how far it would reach: what lies behind the end of the chain takes nothing away.
    let mut broken: Vec<(Option<Lsn>, Stuck)> = Vec::new();
    for (file, headers) in &files.headers {
        let found = match &headers.sets {
            super::reading::Reading::Unknown(p) => {
                chain.stuck.push(stuck(file, unreadable(file, p)));
                continue;
            }
            super::reading::Reading::Known(found) => found,
        };
        // A readable backup of another database is nobody's loss: its name only looks like one of ours, or it shares the folder.
        let ours = found.iter().filter(|s| s.kind == 2 && s.database.eq_ignore_ascii_case(database));
        let (family, foreign): (Vec<&BackupSet>, Vec<&BackupSet>) =
            ours.partition(|s| family.is_none_or(|f| f.eq_ignore_ascii_case(&s.family)));
        chain.stuck.extend(foreign.iter().map(|set| stuck(file, foreign_family(file, set))));
        if found.is_empty() {
            chain.stuck.push(stuck(file, empty(file)));
        }
        match t.and_then(|t| damage(t, files, file)).filter(|_| !family.is_empty()) {
            Some(damaged) if !can_be_fetched_again(files, damaged) => {
                let reaches = family.iter().map(|s| s.last_lsn).max();
                broken.push((reaches, stuck(file, damaged_file(file, &damaged.why))));
            }
            Some(_) | None => {
                sets.extend(family.into_iter().map(|set| Link { file: file.clone(), set: set.clone() }));
            }
        }
    }
    for (folder, reading) in [("the backup share", &files.share), ("the copy folder", &files.copy)] {
        if let super::reading::Reading::Unknown(p) = reading {
            chain.stuck.push(stuck(folder, p.clone()));
        }
    }

    let mut at = redo.clone();
    loop {
        let covers = |l: &&Link| l.set.first_lsn <= at.lsn && at.lsn < l.set.last_lsn;
        let same_fork = |l: &&Link| l.set.first_fork.eq_ignore_ascii_case(&at.fork);
        let next =
            sets.iter().filter(covers).filter(same_fork).max_by_key(|l| (l.set.last_lsn, !l.set.damaged));
        match next {
            Some(link) if link.set.damaged => {
                let why = damaged_file(&link.file, "SQL Server marks the set as damaged or incomplete");
                chain.stuck.push(stuck(&link.file, why));
                break;
            }
            Some(link) => {
                at = RedoPoint { lsn: link.set.last_lsn, fork: link.set.last_fork.clone() };
                chain.links.push(link.clone());
            }
            None => {
                for other in sets.iter().filter(covers).filter(|l| !same_fork(l)) {
                    chain.stuck.push(stuck(&other.file, foreign_fork(&other.file, &other.set)));
                }
                let beyond = sets.iter().filter(|l| l.set.first_lsn > at.lsn).min_by_key(|l| l.set.first_lsn);
                if let Some(beyond) = beyond {
                    chain.gap = Some((at.lsn, beyond.set.first_lsn));
                    chain.stuck.push(stuck(&beyond.file, gap(at.lsn, &beyond.file, &beyond.set)));
                }
                break;
            }
        }
    }
    // A broken file that lies wholly before the end of the chain takes nothing away; one whose LSNs are not known may be the
    // last link.
    let matters = broken.into_iter().filter(|(reaches, _)| reaches.is_none_or(|lsn| lsn > at.lsn));
    chain.stuck.extend(matters.map(|(_, stuck)| stuck));
    chain.end = Some(at);
    chain.stuck.sort();
    chain.stuck.dedup();
    chain
}

/// The chain of a side's copy: from its redo point, or why there is none.
pub fn of(s: &Situation, side: Side, database: &str, t: Option<&Transition>) -> Result<Chain, Problem> {
    let instance = s.sites[side].main().map_err(Clone::clone)?;
    let Some(db) = &instance.database else {
        return Err(Problem::ask(
            Reason::DatabaseState,
            format!("{} has no database {}", clean(&instance.server_name), clean(database)),
            "Set up log shipping again from a full backup of the live database",
        ));
    };
    let Some(redo) = redo_of(instance) else { return Err(no_redo(&instance.server_name, database)) };
    match &s.folders[side] {
        Some(folders) => Ok(follow(&redo, db.family.as_deref(), database, folders, t)),
        None => Err(super::reading::not_looked()),
    }
}

/// Where roll forward of an instance's database goes on. In STANDBY the catalog may say nothing; then it is the end of the set
/// that was restored last.
pub fn redo_of(target: &Instance) -> Option<RedoPoint> {
    let db = target.database.as_ref()?;
    match (&db.redo, db.standby) {
        (Some(redo), _) => Some(redo.clone()),
        (None, true) => {
            // Rows before a full restore tell of another life of the database.
            let last =
                target.history.known()?.iter().take_while(|r| r.kind != "D").find(|r| r.kind == "L")?;
            Some(RedoPoint { lsn: last.last_lsn?, fork: last.last_fork.clone()? })
        }
        (None, false) => None,
    }
}

fn stuck(file: &str, problem: Problem) -> Stuck {
    Stuck { file: file.into(), problem }
}

pub(crate) fn no_redo(server: &str, database: &str) -> Problem {
    Problem::ask(
        Reason::DatabaseState,
        format!("{} does not say where roll forward of {} goes on", clean(server), clean(database)),
        "Give the login VIEW ANY DEFINITION; if it has it, the database is not in the middle of a restore sequence",
    )
}

fn gap(at: Lsn, file: &str, next: &BackupSet) -> Problem {
    Problem::ask(
        Reason::LogChainGap,
        format!(
            "The log chain has a gap: roll forward ends at LSN {at}, the next backup {} begins at LSN {}",
            clean(file),
            next.first_lsn
        ),
        "Find the missing log backup (retention may have deleted it; other tools may have taken it) and put it into the backup share",
    )
}

fn unreadable(file: &str, why: &Problem) -> Problem {
    Problem {
        reason: why.reason,
        class: why.class,
        what: format!("The log backup {} cannot be read: {}", clean(file), why.what),
        fix: if why.fix.is_empty() {
            "Copy it again from where it was written, or move it out of the folders if it is none of ours"
                .into()
        } else {
            why.fix.clone()
        },
    }
}

fn damaged_file(file: &str, why: &str) -> Problem {
    Problem::ask(
        Reason::BackupDamaged,
        format!("The log backup {} cannot be restored: {}", clean(file), clean(why)),
        "Replace it by an undamaged copy",
    )
}

fn foreign_family(file: &str, set: &BackupSet) -> Problem {
    Problem::ask(
        Reason::ForeignBackup,
        format!(
            "The log backup {} belongs to another database of the same name (family {})",
            clean(file),
            clean(&set.family)
        ),
        "Move it out of the folders of log shipping",
    )
}

fn empty(file: &str) -> Problem {
    Problem::ask(
        Reason::BackupDamaged,
        format!("The file {} holds no backup set", clean(file)),
        "Copy it again from where it was written, or move it out of the folders if it is none of ours",
    )
}

/// That the very file that stands in the copy folder could not be restored, if so.
pub fn damage<'a>(t: &'a Transition, files: &Folders, name: &str) -> Option<&'a Damaged> {
    let here = files.copy.known().and_then(|list| list.iter().find(|f| f.name == name));
    t.facts.damaged.get(name).filter(|d| !d.fetched && here.is_none_or(|f| *f == d.file))
}

/// Whether the share may hold a sound copy of a file that could not be restored: it is fetched once more.
pub fn can_be_fetched_again(files: &Folders, damaged: &Damaged) -> bool {
    damaged.times < 2
        && files.share.known().is_some_and(|list| list.iter().any(|f| f.name == damaged.file.name))
}

/// Whether what stands in the copy folder could not be restored, and the share's own file has not been fetched once more.
pub fn is_fetched_again(t: &Transition, files: &Folders, name: &str) -> bool {
    damage(t, files, name).is_some_and(|d| can_be_fetched_again(files, d))
}

/// The log backup of a database and family that a file holds reaches no further than this point: it has been applied.
pub fn is_behind(sets: &[BackupSet], redo: &RedoPoint, family: Option<&str>, database: &str) -> bool {
    let ours = |s: &&BackupSet| {
        s.kind == 2
            && s.database.eq_ignore_ascii_case(database)
            && family.is_none_or(|f| f.eq_ignore_ascii_case(&s.family))
    };
    sets.iter().any(|s| ours(&s)) && sets.iter().filter(ours).all(|s| s.last_lsn <= redo.lsn)
}

/// Whether a name is one that log shipping itself gives to backups of a database: `<database>_<14 digits>.trn`. Only the order
/// of such names says anything about their age; what somebody rescued by hand has any name.
pub fn is_regular(name: &str, database: &str) -> bool {
    let name = name.to_lowercase();
    let rest = name.strip_prefix(&database.to_lowercase()).and_then(|r| r.strip_prefix('_'));
    rest.and_then(|r| r.strip_suffix(".trn"))
        .is_some_and(|digits| digits.len() == 14 && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn foreign_fork(file: &str, set: &BackupSet) -> Problem {
    Problem::ask(
        Reason::ForeignBackup,
        format!(
            "The log backup {} of {} is on another recovery path (fork {})",
            clean(file),
            clean(&set.server),
            clean(&set.first_fork)
        ),
        "A database that was recovered elsewhere writes into this share: find it, and move its backups away",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::backups::{BackupFile, FileHeaders};
    use super::super::reading::Reading;
    use super::super::route::Route;
    use super::*;

    fn set(first: i128, last: i128) -> BackupSet {
        BackupSet {
            position: 1,
            kind: 2,
            database: "mgc".into(),
            server: r"ATL-SQL-1\CHAT".into(),
            family: "FAM".into(),
            first_lsn: Lsn(first),
            last_lsn: Lsn(last),
            first_fork: "F1".into(),
            last_fork: "F1".into(),
            start: "2026-11-23T09:30:00".into(),
            finish: "2026-11-23T09:30:01".into(),
            checksums: false,
            damaged: false,
        }
    }
    fn folders(sets: Vec<(&str, BackupSet)>) -> Folders {
        Folders {
            share: Reading::Known(vec![]),
            copy: Reading::Known(vec![]),
            copy_free: Reading::Known(1),
            headers: sets
                .into_iter()
                .map(|(n, s)| (n.to_string(), FileHeaders { from_copy: true, sets: Reading::Known(vec![s]) }))
                .collect(),
            ignored: vec![],
        }
    }
    fn at(lsn: i128) -> RedoPoint {
        RedoPoint { lsn: Lsn(lsn), fork: "f1".into() }
    }
    fn names(c: &Chain) -> Vec<&str> {
        c.links.iter().map(|l| l.file.as_str()).collect()
    }

    #[test]
    fn order_comes_from_lsns_not_from_names() {
        let f = folders(vec![("z.trn", set(10, 20)), ("a.trn", set(20, 30)), ("m.trn", set(30, 40))]);
        let c = follow(&at(15), Some("fam"), "MGC", &f, None);
        assert_eq!(names(&c), ["z.trn", "a.trn", "m.trn"]);
        assert_eq!(c.end.unwrap().lsn, Lsn(40));
        assert!(c.stuck.is_empty());
    }

    #[test]
    fn applied_and_empty_sets_are_passed_over_and_copy_only_overlaps_are_no_gap() {
        let f = folders(vec![
            ("1", set(1, 10)),
            ("2", set(10, 10)),
            ("3", set(10, 14)),
            ("4", set(10, 20)),
            ("5", set(20, 30)),
        ]);
        let c = follow(&at(10), Some("FAM"), "mgc", &f, None);
        assert_eq!(names(&c), ["4", "5"], "of two candidates the one that reaches furthest");
        assert!(c.stuck.is_empty());
    }

    #[test]
    fn a_hole_is_a_gap_and_never_stepped_over() {
        let f = folders(vec![("1", set(10, 20)), ("3", set(30, 40))]);
        let c = follow(&at(10), Some("FAM"), "mgc", &f, None);
        assert_eq!(names(&c), ["1"]);
        assert_eq!(c.gap, Some((Lsn(20), Lsn(30))));
        assert_eq!(c.stuck.first().unwrap().problem.reason, Reason::LogChainGap);
    }

    #[test]
    fn another_fork_another_family_and_damage_stop_the_chain() {
        let mut fork = set(10, 20);
        fork.first_fork = "F2".into();
        let c = follow(&at(10), Some("FAM"), "mgc", &folders(vec![("x", fork)]), None);
        assert!(c.links.is_empty());
        assert_eq!(c.stuck.first().unwrap().problem.reason, Reason::ForeignBackup);

        let mut family = set(10, 20);
        family.family = "OTHER".into();
        let c = follow(&at(10), Some("FAM"), "mgc", &folders(vec![("x", family)]), None);
        assert_eq!((c.links.len(), c.stuck.first().unwrap().problem.reason), (0, Reason::ForeignBackup));

        let mut damaged = set(10, 20);
        damaged.damaged = true;
        let c = follow(&at(10), Some("FAM"), "mgc", &folders(vec![("x", damaged)]), None);
        assert_eq!((c.links.len(), c.stuck.first().unwrap().problem.reason), (0, Reason::BackupDamaged));
    }

    #[test]
    fn a_file_that_nobody_can_read_may_be_the_last_link() {
        let mut f = folders(vec![("1", set(10, 20))]);
        let why = Problem::ask(Reason::BackupDamaged, "3241", "");
        f.headers.insert("2".into(), FileHeaders { from_copy: true, sets: Reading::Unknown(why) });
        let c = follow(&at(10), Some("FAM"), "mgc", &f, None);
        assert_eq!(names(&c), ["1"]);
        assert_eq!(c.stuck.len(), 1);
    }

    #[test]
    fn backups_of_other_databases_are_nobodys_loss() {
        let mut other = set(1, 5);
        other.database = "mgccomp".into();
        let c = follow(
            &at(10),
            Some("FAM"),
            "mgc",
            &folders(vec![("1", set(10, 20)), ("2", other.clone())]),
            None,
        );
        assert_eq!((names(&c), c.stuck.len()), (vec!["1"], 0));
        // And they are no sign that everything before them has been applied.
        assert!(!is_behind(&[other], &at(10), Some("FAM"), "mgc"));
        assert!(is_behind(&[set(1, 10)], &at(10), Some("fam"), "MGC"));
        assert!(!is_behind(&[set(1, 10)], &at(10), Some("another"), "mgc"));
        assert!(!is_behind(&[], &at(10), Some("FAM"), "mgc"));
    }

    #[test]
    fn only_the_names_that_log_shipping_gives_say_anything_about_age() {
        assert!(is_regular("mgc_20261123093000.trn", "mgc") && is_regular("MGC_20261123093000.TRN", "mgc"));
        for name in [
            "mgccomp_20261123093000.trn",
            "Tail_mgc.trn",
            "mgc_2026112309300.trn",
            "mgc_20261123093000.wrk",
            "mgc-tail.trn",
        ] {
            assert!(!is_regular(name, "mgc"), "{name}");
        }
    }

    #[test]
    fn a_file_that_could_not_be_restored_is_fetched_once_more_then_a_loss_until_another_one_takes_its_place()
    {
        let file = BackupFile { name: "2".into(), length: 5, modified: 1 };
        let mut f = folders(vec![("1", set(10, 20)), ("2", set(20, 30))]);
        f.copy = Reading::Known(vec![file.clone()]);
        let mut t =
            Transition::begin("p", Route::failover(Side::Backup), "F1", 0, jiff::Timestamp::UNIX_EPOCH);
        let damaged = |times| Damaged { file: file.clone(), why: "3203".into(), times, fetched: false };
        let stuck = |f: &Folders, t: &Transition| follow(&at(10), Some("FAM"), "mgc", f, Some(t)).stuck.len();
        t.facts.damaged.insert("2".into(), damaged(1));
        assert_eq!(stuck(&f, &t), 1, "the share does not have it");
        f.share = Reading::Known(vec![file.clone()]);
        assert_eq!(stuck(&f, &t), 0, "it can be fetched again");
        t.facts.damaged.insert("2".into(), damaged(2));
        assert_eq!(stuck(&f, &t), 1);
        // One that lies behind the end of the chain takes nothing away.
        let c = follow(&at(30), Some("FAM"), "mgc", &f, Some(&t));
        assert_eq!(c.stuck.len(), 0);
        // Somebody replaced it, by one of the same length.
        f.copy = Reading::Known(vec![BackupFile { modified: 2, ..file.clone() }]);
        assert_eq!(stuck(&f, &t), 0);
    }

    #[test]
    fn a_fork_inside_a_set_is_followed() {
        let mut forked = set(10, 20);
        forked.last_fork = "F2".into();
        let mut after = set(20, 30);
        after.first_fork = "F2".into();
        after.last_fork = "F2".into();
        let c = follow(&at(10), Some("FAM"), "mgc", &folders(vec![("1", forked), ("2", after)]), None);
        assert_eq!(names(&c), ["1", "2"]);
        assert_eq!(c.end.unwrap().fork, "F2");
    }
}
