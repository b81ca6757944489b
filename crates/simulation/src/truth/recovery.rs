//! The one step that cannot be taken back: not too early, not twice, and with every log that there is.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use lab::sql::backup::{self, BackupHeader};
use lab::world::World;
use lab::world::files::split;
use lab::world::journal::{Entry, Outcome};

use super::{Truth, Write, last_record, operator, switching};
use crate::sides;

/// How long before an effect something may have happened that its last look could not see: two calls.
const BLINK: SignedDuration = SignedDuration::from_millis(250);

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    let (w, e) = (write.world, write.entry);
    if e.name != "RESTORE DATABASE WITH RECOVERY" || write.is_return() {
        return;
    }
    let told = || write.told();
    let vouched = truth.consents > 0;
    let left = write.switch().is_some();
    let fenced = write.fenced || vouched || left;
    truth.check("recovery only while the primary is dead or vouched for", fenced, told);
    let redo = write.database.and_then(|d| d.redo.as_ref());
    let left_out = redo.and_then(|redo| applicable(write, redo));
    let missed = left_out.clone().filter(|f| !came_late(truth, write, f));
    truth.check("no applicable log is left out", missed.is_none() || vouched, || {
        format!("{} was left out", missed.clone().unwrap_or_default())
    });
    let skipped = redo.and_then(|redo| beyond(write, redo)).filter(|f| !came_late(truth, write, f));
    truth.check("no log is skipped in silence", skipped.is_none() || vouched, || {
        format!("{} was skipped and nobody had said yes", skipped.clone().unwrap_or_default())
    });
    let given_up = left_out.filter(|f| !truth.refused_a_log && only_adds_a_file(write, f));
    truth.check("a log backup that adds a file is not given up", given_up.is_none(), || {
        format!("{} was refused, and there is room for its file", given_up.clone().unwrap_or_default())
    });
    truth.check("the intent is in the record before the recovery", is_intended(write), told);
    let store = truth.store_up.is_some_and(|t| e.time.duration_since(t) <= super::RETURN);
    truth.check("recovery only while the pool's state can be set", store, told);
    let before = w.journal.entries().iter().filter(|x| x.name == e.name && x.outcome == Outcome::Ok);
    // There and back, each is one of its own.
    let seeded =
        w.journal.entries().iter().rev().find(|x| {
            x.name == "RESTORE DATABASE FROM DISK" && x.server == e.server && x.outcome == Outcome::Ok
        });
    let since = switching::since_closed(write).max(seeded.map(|x| x.seq));
    let before = before.filter(|x| since.is_none_or(|since| x.seq > since) && x.server == e.server);
    let before = before.filter(|x| x.seq < e.seq && x.client.contains("operator-")).count();
    truth.check("recovery happens once", before == 0, told);
}

/// Whether the record on the server itself says that it is recovered at the point where it is.
fn is_intended(write: &Write<'_>) -> bool {
    let record = last_record(write, Some(&write.entry.server)).unwrap_or_default();
    let meant = record.pointer("/facts/recovery/redo/lsn").and_then(|lsn| lsn.as_str());
    meant.is_some() && meant == write.entry.parameters.get("@p3").map(String::as_str)
}

/// What must hold of the whole journal when a run has ended.
pub(super) fn at_end(truth: &mut Truth, w: &World) {
    let mut applied: BTreeSet<String> = BTreeSet::new();
    let mut twice: Vec<String> = Vec::new();
    for e in w.journal.entries().iter().filter(|e| e.outcome == Outcome::Ok) {
        match e.name.as_str() {
            // Another copy, which holds none of them.
            "RESTORE DATABASE FROM DISK" => applied.clear(),
            "RESTORE LOG" if e.client.contains("operator-") => {
                let file = e.target.clone().unwrap_or_default();
                if !applied.insert(file.clone()) {
                    twice.push(file);
                }
            }
            _ => {}
        }
    }
    truth.check("a log is applied once", twice.is_empty(), || format!("{twice:?}"));
}

/// Whether a log backup was refused to an operator although nothing ails it but that it adds a file: for that there is room beside the
/// copy's own files, in every night.
fn only_adds_a_file(write: &Write<'_>, path: &str) -> bool {
    let own = write.database.map(|d| d.files.as_slice()).unwrap_or_default();
    let adds = backup::read(write.world.files.as_ref(), path)
        .is_ok_and(|h| h.extra.files.iter().any(|f| own.iter().all(|o| o.id != f.id)));
    let name = split(path).1;
    let refused = |e: &Entry| {
        let it = e.target.as_deref().is_some_and(|t| split(t).1.eq_ignore_ascii_case(name));
        let failed = match e.outcome {
            Outcome::Failed(_) => true,
            Outcome::Running | Outcome::Ok | Outcome::Aborted => false,
        };
        e.name == "RESTORE LOG" && it && failed && operator(e).is_some()
    };
    adds && write.world.journal.entries().iter().any(refused)
}

/// Whether a log backup came so late that the last look before a write could not see it: somebody has put it there, or it was taken.
fn came_late(truth: &Truth, write: &Write<'_>, path: &str) -> bool {
    let just = |t: Timestamp| write.entry.time.duration_since(t) < BLINK;
    let arrived = truth.arrived.get(&path.to_lowercase()).copied();
    let taken = backup::read(write.world.files.as_ref(), path).ok().map(|set| set.finish);
    [arrived, taken].into_iter().flatten().any(just)
}

/// Where the log ends of what is recovered: what lies behind the tail of a switch is an older copy's, which was opened.
fn up_to(write: &Write<'_>) -> i128 {
    write.switch().and_then(|_| switching::end_of_log(write)).unwrap_or(i128::MAX)
}

/// A log backup in one of the folders that reaches further than roll forward did.
fn beyond(write: &Write<'_>, (lsn, _): &(i128, String)) -> Option<String> {
    let name = &write.world.scenario.database;
    first_backup(write, |_, h| {
        h.last_lsn > *lsn && h.last_lsn <= up_to(write) && h.database.eq_ignore_ascii_case(name)
    })
}

/// A log backup in one of the folders that could be applied at a redo point and is whole.
fn applicable(write: &Write<'_>, (lsn, fork): &(i128, String)) -> Option<String> {
    let w = write.world;
    first_backup(write, |path, h| {
        let fits = h.last_lsn <= up_to(write)
            && h.first_lsn <= *lsn
            && *lsn < h.last_lsn
            && h.first_fork.eq_ignore_ascii_case(fork)
            && h.extra.fork_point.is_none_or(|point| *lsn <= point);
        fits && backup::verify(w.files.as_ref(), path).is_ok()
    })
}

/// The first backup in one of the folders of which something is true.
fn first_backup(write: &Write<'_>, is: impl Fn(&str, &BackupHeader) -> bool) -> Option<String> {
    let (w, there) = (write.world, write.there);
    let folders = [sides::copy_folder(&w.scenario, there), sides::backup_share(&w.scenario, there)];
    let mut paths = folders.into_iter().flat_map(|folder| {
        let names = w.files.list(folder).unwrap_or_default().into_iter();
        names.map(move |(name, _)| format!(r"{folder}\{name}"))
    });
    paths.find(|path| backup::read(w.files.as_ref(), path).is_ok_and(|h| is(path, &h)))
}
