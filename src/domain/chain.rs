//! The log chain: which backups follow the redo point, by LSN, recovery fork and family. Never by name or date.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backups::{BackupSet, FileHeaders, Folders, Lsn, RedoPoint};
use super::links::{Copy, Link};
use super::problem::{Problem, Reason};
use super::reading::Reading;
use super::route::Route;
use super::side::Side;
use super::situation::Situation;
use super::sql_server::Instance;
use super::text::clean;
use super::transition::{Damaged, Transition};
use super::{lacking, lives, tail};

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

/// What was tried in vain, and what time it is.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// The transition that remembers it.
    pub t: &'a Transition,
    /// Now: some of it is tried again after a while.
    pub now: Timestamp,
}

/// Log backups that may be links.
#[derive(Default)]
struct Found {
    /// What can be tried.
    usable: Vec<Link>,
    /// What cannot, each with the reason: what lies behind the end of the chain takes nothing away.
    broken: Vec<(Link, Problem)>,
}

/// Follows the chain of a copy from its redo point.
///
/// The rule (SQL Server, `RESTORE HEADERONLY` and `sys.master_files`): a log backup applies if
/// `FirstLSN <= redo_start_lsn < LastLSN` and its `FirstRecoveryForkID` is `redo_start_fork_guid`, which it does not leave before that
/// point (`ForkPointLSN`); of several the one that reaches furthest. It leaves the redo point at its `LastLSN` and `RecoveryForkID`.
pub fn follow(copy: &Copy<'_>, files: &Folders, tried: Option<Tried<'_>>) -> Chain {
    let mut chain = Chain { stuck: unseen(files, copy), ..Chain::default() };
    let found = found(copy, files, tried, &mut chain.stuck);
    let at = walk(copy.redo, &found.usable, &mut chain);
    // A broken file that lies wholly before the end of the chain takes nothing away.
    let ahead = found.broken.iter().filter(|(link, _)| link.set.last_lsn > at.lsn);
    chain.stuck.extend(ahead.map(|(link, why)| stuck(&link.file, why.clone())));
    let all: Vec<&Link> = found.usable.iter().chain(found.broken.iter().map(|(link, _)| link)).collect();
    chain.stuck.extend(lives::behind(copy, &at, &chain.links, &all).into_iter().map(|(link, why)| {
        let problem = match why {
            lives::Strange::OtherLife => newer_life(&link.file, &link.set),
            lives::Strange::Later => taken_later(&link.file, &link.set),
        };
        stuck(&link.file, problem)
    }));
    chain.end = Some(at);
    chain.stuck.sort();
    chain.stuck.dedup();
    chain
}

/// Folders, and files in them, of which nobody knows what they hold.
fn unseen(files: &Folders, copy: &Copy<'_>) -> Vec<Stuck> {
    let mut out = Vec::new();
    for (folder, reading) in [("the backup share", &files.share), ("the copy folder", &files.copy)] {
        if let Reading::Unknown(p) = reading {
            out.push(stuck(folder, p.clone()));
        }
    }
    if files.unread > 0 {
        // One name for all of them, without their number: it changes with every look.
        out.push(stuck("files not looked into yet", unread()));
    }
    for (file, headers) in &files.unlisted {
        let may_matter = match &headers.sets {
            Reading::Unknown(_) => true,
            Reading::Known(sets) => sets.iter().any(|s| copy.lacks(s)),
        };
        if may_matter {
            out.push(stuck(file, not_listed(file)));
        }
    }
    out
}

/// Files that one set is striped over, each with its number.
type Families = Vec<(i32, Link)>;

/// Sorts what the files hold.
fn found(copy: &Copy<'_>, files: &Folders, tried: Option<Tried<'_>>, told: &mut Vec<Stuck>) -> Found {
    let mut out = Found::default();
    let mut stripes: BTreeMap<(&str, Lsn, i32), Families> = BTreeMap::new();
    for (file, headers) in &files.headers {
        told.extend(headers.hidden.iter().map(|p| stuck(file, unreadable(file, p))));
        let sets = match &headers.sets {
            Reading::Unknown(p) => {
                told.push(stuck(file, unreadable(file, p)));
                continue;
            }
            Reading::Known(sets) => sets,
        };
        if sets.is_empty() && headers.hidden.is_none() {
            told.push(stuck(file, empty(file)));
        }
        // A readable backup of another database is nobody's loss: its name only looks like one of ours, or it shares the folder.
        for set in sets.iter().filter(|s| s.is_log_of(copy.database)) {
            let link = Link { file: file.clone(), others: vec![], set: set.clone() };
            match &headers.label {
                _ if !copy.is_of_family(set) => told.push(stuck(file, foreign_family(file, set))),
                Some(label) if label.families > 1 => {
                    let key = (label.media_set.as_str(), set.last_lsn, set.position);
                    stripes.entry(key).or_default().push((label.family, link));
                }
                Some(_) | None => out.usable.push(link),
            }
        }
    }
    for (_, found) in stripes {
        striped(files, found, &mut out);
    }
    for link in std::mem::take(&mut out.usable) {
        match failed(tried, files, &link) {
            None => out.usable.push(link),
            Some(damaged) => {
                let why = not_restored(&link, damaged);
                out.broken.push((link, why));
            }
        }
    }
    out
}

/// A set that is striped over several files: restored from all of them, or stuck.
fn striped(files: &Folders, mut found: Families, out: &mut Found) {
    found.sort_by(|(a, x), (b, y)| (a, &x.file).cmp(&(b, &y.file)));
    // Mirrors of a media set have the same numbers: one of them is enough.
    found.dedup_by_key(|(family, _)| *family);
    let Some((_, first)) = found.first() else { return };
    let label = files.headers.get(&first.file).and_then(|h| h.label.as_ref());
    let families = label.map_or(0, |l| l.families);
    if usize::try_from(families) == Ok(found.len()) {
        let others = found.iter().skip(1).map(|(_, l)| l.file.clone()).collect();
        out.usable.push(Link { others, ..first.clone() });
    } else {
        let problem = stripes_missing(&first.file, found.len(), families);
        out.broken.push((first.clone(), problem));
    }
}

/// Goes from link to link as far as there are any; where it ends.
fn walk(redo: &RedoPoint, usable: &[Link], chain: &mut Chain) -> RedoPoint {
    let mut at = redo.clone();
    loop {
        let covers = |l: &&Link| l.set.first_lsn <= at.lsn && at.lsn < l.set.last_lsn;
        // Beyond the point where the set leaves its first fork, roll forward stands on what was left there.
        let is_left = |l: &&Link| l.set.fork_point.is_some_and(|point| at.lsn > point);
        let same_fork = |l: &&Link| l.set.first_fork.eq_ignore_ascii_case(&at.fork) && !is_left(l);
        let next = usable.iter().filter(covers).filter(same_fork);
        // Of two that reach as far the one that is certainly sound, then the one that stands in one file.
        if let Some(link) = next.max_by_key(|l| (l.set.last_lsn, !l.set.damaged, l.others.is_empty())) {
            at = RedoPoint { lsn: link.set.last_lsn, fork: link.set.last_fork.clone() };
            chain.links.push(link.clone());
            continue;
        }
        for other in usable.iter().filter(covers).filter(|l| !same_fork(l)) {
            chain.stuck.push(stuck(&other.file, foreign_fork(&other.file, &other.set)));
        }
        let beyond = usable.iter().filter(|l| l.set.first_lsn > at.lsn).min_by_key(|l| l.set.first_lsn);
        if let Some(beyond) = beyond {
            chain.gap = Some((at.lsn, beyond.set.first_lsn));
            chain.stuck.push(stuck(&beyond.file, gap(at.lsn, &beyond.file, &beyond.set)));
        }
        return at;
    }
}

/// That nothing stands where a copy is to be recovered: somebody has dropped it, or taken it away.
pub fn no_copy(instance: &Instance, database: &str) -> Problem {
    Problem::ask(
        Reason::DatabaseState,
        format!("{} has no database {}", clean(&instance.server_name), clean(database)),
        "If the other side lives, set spec.activeDataCenter back to it: a copy is then seeded from it, by consent. If it is gone for good, \
         restore the newest full backup and its log backups there by hand, WITH NORECOVERY (operations.md, A second disaster)",
    )
}

/// The chain of a side's copy: from its redo point, or why there is none. That of a switch ends where the tail does, once it is taken.
pub fn of(s: &Situation, side: Side, database: &str, t: Option<&Transition>) -> Result<Chain, Problem> {
    let instance = s.sites[side].main().map_err(Clone::clone)?;
    let Some(db) = &instance.database else {
        return Err(no_copy(instance, database));
    };
    let Some(redo) = redo_of(instance) else { return Err(no_redo(&instance.server_name, database)) };
    let folders = s.folders[side].as_ref().ok_or_else(super::reading::not_looked)?;
    let switch = t.filter(|t| t.route == Route::switch(side));
    let folders = match switch.and_then(|t| tail::taken(s, t, database)) {
        Some(end) => Cow::Owned(up_to_the_tail(folders, end)),
        None => Cow::Borrowed(folders),
    };
    let folders = without_the_past(folders, &Past::of(s), &redo, database);
    let restored = instance.history.known().map_or(&[][..], Vec::as_slice);
    let copy = Copy { redo: &redo, family: db.family.as_deref(), database, restored };
    let mut chain = follow(&copy, &folders, t.map(|t| Tried { t, now: s.at }));
    // Once log shipping has been removed, the record has what it said.
    let half = instance.secondary_half.known().and_then(Option::as_ref);
    if let Some(half) = half.or_else(|| t.and_then(|t| t.facts.log_shipping.as_ref())) {
        chain
            .stuck
            .extend(lacking::of(half, database, &folders).into_iter().map(|(folder, p)| stuck(folder, p)));
        chain.stuck.sort();
    }
    Ok(chain)
}

/// What lies in the folders by our own hand and is no part of any chain; names in lower case.
struct Past {
    /// Recovery forks that are over: the database on each was saved, closed with the tail of its log, and overwritten by a seed. Whoever opens
    /// it again opens it on another one.
    forks: BTreeSet<String>,
    /// Files that full backups of ours were taken into. Cut off, they cannot be read, and nothing is lost with them.
    full_backups: BTreeSet<String>,
}

impl Past {
    fn of(s: &Situation) -> Past {
        let seeded = |t: &&&Transition| t.facts.seed.as_ref().is_some_and(|seed| seed.restored.is_some());
        let all = s.transitions();
        let saved = all.iter().filter(seeded).flat_map(|t| t.facts.saved.values());
        let closed = saved.filter(|saved| saved.tail.is_some()).map(|saved| saved.fork.to_lowercase());
        let seeds = all.iter().filter_map(|t| t.facts.seed.as_ref()).map(|seed| &seed.file);
        let saves = all.iter().flat_map(|t| t.facts.saved.values()).map(|saved| &saved.file);
        Past { forks: closed.collect(), full_backups: seeds.chain(saves).map(|f| f.to_lowercase()).collect() }
    }
    fn is_cut_off(&self, file: &str, headers: &FileHeaders) -> bool {
        headers.sets.known().is_none() && self.full_backups.contains(&file.to_lowercase())
    }
}

/// The folders without what is past by our own hand: nothing of the live database is in it. Of the copy's own fork everything counts.
fn without_the_past<'f>(
    folders: Cow<'f, Folders>,
    past: &Past,
    redo: &RedoPoint,
    database: &str,
) -> Cow<'f, Folders> {
    let is_past = |set: &BackupSet| {
        let own = set.last_fork.eq_ignore_ascii_case(&redo.fork);
        set.is_log_of(database) && !own && past.forks.contains(&set.last_fork.to_lowercase())
    };
    let mut all = folders.headers.iter().chain(&folders.unlisted);
    if !all.any(|(f, h)| past.is_cut_off(f, h) || h.sets.known().into_iter().flatten().any(is_past)) {
        return folders;
    }
    let mut folders = folders.into_owned();
    // A file that holds nothing else is none of the folder's.
    let stays = |headers: &mut FileHeaders| match &mut headers.sets {
        Reading::Known(sets) if !sets.is_empty() => {
            sets.retain(|set| !is_past(set));
            !sets.is_empty()
        }
        Reading::Known(_) | Reading::Unknown(_) => true,
    };
    folders.headers.retain(|file, headers| !past.is_cut_off(file, headers) && stays(headers));
    folders.unlisted.retain(|file, headers| !past.is_cut_off(file, headers) && stays(headers));
    Cow::Owned(folders)
}

/// The folders without what lies behind the tail of a switch: what is written there, on the same fork, is by an older copy that was opened
/// by mistake or by the way, and is no part of the database.
fn up_to_the_tail(folders: &Folders, end: Lsn) -> Folders {
    let mut folders = folders.clone();
    for headers in folders.headers.values_mut().chain(folders.unlisted.values_mut()) {
        if let Reading::Known(sets) = &mut headers.sets {
            sets.retain(|set| set.last_lsn <= end);
        }
    }
    folders
}

/// Where roll forward of an instance's database goes on. In STANDBY the catalog may say nothing; then it is the end of the set
/// that was restored last.
pub fn redo_of(target: &Instance) -> Option<RedoPoint> {
    let db = target.database.as_ref()?;
    match (&db.redo, db.standby) {
        (Some(redo), _) => Some(redo.clone()),
        (None, true) => {
            let last = target.restored_logs()?.next()?;
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
        "Give the login VIEW ANY DEFINITION. If it has it, the database is not in the middle of a restore sequence, or its files stand at \
         different points (sys.master_files, redo_start_lsn): then restore the backup again that was cut off",
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
        "Find the missing log backup (retention may have deleted it; other tools may have taken it) and put it into the backup share, \
         under any name. It may exist nowhere (a backup to NUL, a change to the simple recovery model): then what it held is lost",
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

fn not_restored(link: &Link, failed: &Damaged) -> Problem {
    let what = format!("The log backup {} cannot be restored: {}", clean(&link.file), clean(&failed.why));
    match &failed.refused {
        None => Problem::ask(Reason::BackupDamaged, what, "Replace it by an undamaged copy"),
        Some(refused) => Problem::ask(refused.reason, what, refused.fix.clone()),
    }
}

fn unread() -> Problem {
    Problem::retry(
        Reason::InProgress,
        "The folders of log shipping hold more files than one look reads; what the others hold is not known yet",
        "Nothing to do: the next looks read on. Files of others in these folders make it take longer",
    )
}

fn not_listed(file: &str) -> Problem {
    Problem::ask(
        Reason::FolderUnusable,
        format!(
            "SQL Server sees {} in a folder of log shipping, and the operator's mount of it does not show it",
            clean(file)
        ),
        "Mount the folder anew; a client that answers from an old listing leaves files out",
    )
}

fn stripes_missing(file: &str, here: usize, families: i32) -> Problem {
    Problem::ask(
        Reason::BackupRefused,
        format!(
            "The log backup {} is striped over {families} files, and {here} of them are there: it is restored from all of them or not at all",
            clean(file)
        ),
        "Put the other files of the media set into the backup share, under any name",
    )
}

fn newer_life(file: &str, set: &BackupSet) -> Problem {
    Problem::ask(
        Reason::ForeignBackup,
        format!(
            "The log backup {} of {} (LSN {} to {}, fork {}) looks older than the copy, but it is on another recovery path, and nothing \
             shows that ours was taken later: the database may have been restored to an earlier point, and written to since",
            clean(file),
            clean(&set.server),
            set.first_lsn,
            set.last_lsn,
            clean(&set.first_fork)
        ),
        "Find out whether the live database was restored. If so, seed the copy anew from it; if not, move the file out of the folders",
    )
}

fn taken_later(file: &str, set: &BackupSet) -> Problem {
    Problem::ask(
        Reason::ForeignBackup,
        format!(
            "The log backup {} of {} ends at LSN {}, before others of the same recovery path, and was taken later than they were: the \
             server may have been taken back to an earlier state",
            clean(file),
            clean(&set.server),
            set.last_lsn
        ),
        "Find out whether the live server was reverted (a snapshot of its machine or disks). If so, seed the copy anew from it",
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
fn here<'a>(files: &Folders, damaged: &'a Damaged) -> Option<&'a Damaged> {
    let here = files.copy.known().and_then(|list| list.iter().find(|f| f.name == damaged.file.name));
    Some(damaged).filter(|d| here.is_none_or(|f| *f == d.file))
}

/// That a link could not be restored, and is not tried again as it is.
fn failed<'a>(tried: Option<Tried<'a>>, files: &Folders, link: &Link) -> Option<&'a Damaged> {
    let tried = tried?;
    let damaged = here(files, tried.t.facts.damaged.get(&link.key())?)?;
    (!damaged.is_over(tried.now) && !can_be_fetched_again(files, damaged)).then_some(damaged)
}

/// Whether the share may hold a sound copy of a file that could not be restored: it is fetched once more.
fn can_be_fetched_again(files: &Folders, damaged: &Damaged) -> bool {
    damaged.refused.is_none()
        && damaged.times < 2
        && files.share.known().is_some_and(|list| list.iter().any(|f| f.name == damaged.file.name))
}

/// Whether what stands in the copy folder could not be restored, and the share's own file has not been fetched once more.
pub fn is_fetched_again(t: &Transition, files: &Folders, name: &str) -> bool {
    let of_file = t.facts.damaged.values().filter(|d| d.file.name == name && !d.fetched);
    of_file.filter_map(|d| here(files, d)).any(|d| can_be_fetched_again(files, d))
}

/// The log backups of a copy that a file holds have all been applied to it: they are on its fork, and reach no further.
pub fn is_behind(sets: &[BackupSet], copy: &Copy<'_>) -> bool {
    let applied =
        |s: &BackupSet| s.last_lsn <= copy.redo.lsn && s.last_fork.eq_ignore_ascii_case(&copy.redo.fork);
    let mut ours = sets.iter().filter(|s| copy.is_of_family(s)).peekable();
    ours.peek().is_some() && ours.all(applied)
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
    use super::super::links::is_regular;
    use super::super::reading::Reading;
    use super::super::route::Route;
    use super::super::transition::Refused;
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
            ..BackupSet::default()
        }
    }
    fn folders(sets: Vec<(&str, BackupSet)>) -> Folders {
        Folders {
            share: Reading::Known(vec![]),
            copy: Reading::Known(vec![]),
            copy_free: Reading::Known(1),
            headers: sets
                .into_iter()
                .map(|(n, s)| (n.to_string(), FileHeaders::of(true, Reading::Known(vec![s]))))
                .collect(),
            ignored: vec![],
            unread: 0,
            unlisted: BTreeMap::new(),
        }
    }
    fn at(lsn: i128) -> RedoPoint {
        RedoPoint { lsn: Lsn(lsn), fork: "f1".into() }
    }
    fn follow(
        redo: &RedoPoint,
        family: Option<&str>,
        database: &str,
        f: &Folders,
        t: Option<&Transition>,
    ) -> Chain {
        let tried = t.map(|t| Tried { t, now: Timestamp::UNIX_EPOCH });
        super::follow(&Copy { redo, family, database, restored: &[] }, f, tried)
    }
    fn is_behind(sets: &[BackupSet], redo: &RedoPoint, family: Option<&str>, database: &str) -> bool {
        super::is_behind(sets, &Copy { redo, family, database, restored: &[] })
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
    fn another_fork_and_another_family_stop_the_chain() {
        let mut fork = set(10, 20);
        fork.first_fork = "F2".into();
        let c = follow(&at(10), Some("FAM"), "mgc", &folders(vec![("x", fork)]), None);
        assert!(c.links.is_empty());
        assert_eq!(c.stuck.first().unwrap().problem.reason, Reason::ForeignBackup);

        let mut family = set(10, 20);
        family.family = "OTHER".into();
        let c = follow(&at(10), Some("FAM"), "mgc", &folders(vec![("x", family)]), None);
        assert_eq!((c.links.len(), c.stuck.first().unwrap().problem.reason), (0, Reason::ForeignBackup));

        // That its database was damaged is for SQL Server to say.
        let mut damaged = set(10, 20);
        damaged.damaged = true;
        let c = follow(&at(10), Some("FAM"), "mgc", &folders(vec![("x", damaged)]), None);
        assert_eq!((c.links.len(), c.stuck.len()), (1, 0));
    }

    #[test]
    fn a_file_that_nobody_can_read_may_be_the_last_link() {
        let mut f = folders(vec![("1", set(10, 20))]);
        let why = Problem::ask(Reason::BackupDamaged, "3241", "");
        f.headers.insert("2".into(), FileHeaders::of(true, Reading::Unknown(why)));
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
        let damaged =
            |times| Damaged { file: file.clone(), why: "3203".into(), times, fetched: false, refused: None };
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
    fn a_refused_log_is_stuck_for_that_reason_and_tried_again_after_a_while() {
        let file = BackupFile { name: "2".into(), length: 5, modified: 1 };
        let mut second = set(20, 30);
        second.position = 2;
        let mut f = folders(vec![("1", set(10, 20)), ("2", second)]);
        (f.copy, f.share) = (Reading::Known(vec![file.clone()]), Reading::Known(vec![file.clone()]));
        let mut t = Transition::begin("p", Route::failover(Side::Backup), "F1", 0, Timestamp::UNIX_EPOCH);
        let refused =
            Refused { at: Timestamp::UNIX_EPOCH, reason: Reason::BackupRefused, fix: "WITH MOVE".into() };
        let failed = Damaged { file, why: "5133".into(), times: 1, fetched: false, refused: Some(refused) };
        t.facts.damaged.insert("2:2".into(), failed);
        let copy_of = at(10);
        let copy = Copy { redo: &copy_of, family: Some("FAM"), database: "mgc", restored: &[] };
        let after = |minutes| {
            let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes);
            super::follow(&copy, &f, Some(Tried { t: &t, now }))
        };
        let c = after(1);
        assert_eq!(names(&c), ["1"], "no copy of the file would help");
        let problem = &c.stuck.first().unwrap().problem;
        assert_eq!((problem.reason, problem.fix.as_str()), (Reason::BackupRefused, "WITH MOVE"));
        assert_eq!(names(&after(5)), ["1", "2"]);
        assert!(!is_fetched_again(&t, &f, "2"));
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
