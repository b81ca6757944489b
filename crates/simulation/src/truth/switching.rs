//! A switch loses nothing, and can be taken back until it has moved.

use lab::sql::{Database, Instance};
use lab::world::World;
use lab::world::files::split;
use lab::world::journal::{Entry, Outcome};
use persistent_chat_failover::domain::route::{Course, Route};

use super::{Truth, Write, last_record, operator, seeding};
use crate::sides;

/// The failover or switch that a record tells of, with its number.
pub(super) fn moving(record: &serde_json::Value) -> Option<(u64, Route)> {
    let route: Route = serde_json::from_value(record.get("route")?.clone()).ok()?;
    route.procedure.moves_chat().then_some((record.get("number")?.as_u64()?, route))
}

/// Whether a copy is given the tail by which chat left its side: it lies where the other side's copy was fed from, and moves nothing.
pub(super) fn is_tail_of_an_earlier_one(w: &World, e: &Entry) -> bool {
    let side = sides::of_host(&w.scenario, &e.server);
    let folder = e.target.as_deref().map(|path| split(path).0);
    let is_open = |side| sides::principal(w, side).is_some();
    e.name == "RESTORE LOG"
        && side.is_some_and(|side| {
            folder == Some(sides::backup_share(&w.scenario, side.other())) && is_open(side.other())
        })
}

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    match (write.entry.name.as_str(), write.switch().map(|route| route.course)) {
        ("BACKUP LOG", _) if seeding::closes(write.entry) => {}
        ("BACKUP LOG", course) => {
            let own = course == Some(Course::Onward) && write.side == write.switch().map(|r| r.from);
            truth.check("the tail of a log is taken by a switch, where it leaves", own, || write.told());
            judge_tail(truth, write);
        }
        ("RESTORE DATABASE WITH RECOVERY", Some(Course::Onward)) => judge_recovery(truth, write),
        ("RESTORE DATABASE WITH RECOVERY", Some(Course::Back)) => judge_return(truth, write),
        (_, Some(Course::Onward | Course::Back) | None) => {}
    }
}

fn judge_tail(truth: &mut Truth, write: &Write<'_>) {
    let (w, e) = (write.world, write.entry);
    let told = || write.told();
    let waited = truth.drained_since.is_some_and(|t| e.time.duration_since(t) >= super::DRAIN);
    // What was set by hand since the last look nobody could know.
    let just = truth.drained_last.is_some_and(|t| e.time.duration_since(t) <= super::OBEDIENCE);
    let ended = just && (!w.chat.master.active.is_empty() || !sides::is_chatted_on(w, &e.server) || waited);
    truth.check("the tail is taken when nobody chats any more, or was given the time to end", ended, told);
    let record = last_record(write, Some(&e.server)).unwrap_or_default();
    let file = record.pointer("/facts/tail/file").and_then(|f| f.as_str());
    let target = e.target.as_deref().map(|path| split(path).1);
    let is_intended = file.is_some() && (target == file || target.is_none_or(|t| !t.contains("_tail_")));
    truth.check("the intent of a tail is in the record of the server that it closes", is_intended, told);
    let name = w.scenario.data_center_of(&e.server).map(str::to_string);
    let partners = w.sql.values().filter(|i| w.scenario.data_center_of(&i.host).map(str::to_string) == name);
    let backs_up = |i: &Instance| {
        i.log_shipping_primary.iter().any(|p| i.jobs.iter().any(|j| j.id == p.job && j.enabled)) && !i.down
    };
    // Beside a copy that waits for log backups a job does nothing.
    let key = w.scenario.database.to_lowercase();
    let writes = |i: &Instance| i.host == e.server || i.databases.get(&key).is_some_and(Database::is_live);
    let off = partners.filter(|i| writes(i) && backs_up(i)).count() == 0;
    truth.check("no job backs up the log of a side whose tail is taken", off, told);
}

/// Nothing is lost: the copy stands where the log of the side that is left ends, and that takes no more changes.
fn judge_recovery(truth: &mut Truth, write: &Write<'_>) {
    let w = write.world;
    if truth.went_live_unseen(write.there.other(), write.operator) {
        return;
    }
    let key = w.scenario.database.to_lowercase();
    // An old copy that is open on the other partner is nobody's.
    let closed = closed(write).and_then(|host| w.sql.get(host)?.databases.get(&key));
    truth.check(
        "a switch recovers only beside a side that takes no changes",
        closed.is_some_and(|db| !db.is_live()),
        || write.told(),
    );
    let redo = write.database.and_then(|d| d.redo.as_ref());
    let end = closed.map(|db| db.log_end);
    let lost = closed.zip(write.database).map(|(old, copy)| w.messages.lacking(old, copy).len());
    truth.check("every message that was committed is there after a switch", lost == Some(0), || {
        format!("{}: {lost:?} are not", write.told())
    });
    truth.check("no message is lost by a switch", redo.is_some() && redo.map(|(lsn, _)| *lsn) == end, || {
        format!("{}: the copy stands at {redo:?}, the log of the other side ends at {end:?}", write.told())
    });
}

/// The tails of logs that were taken, the last one first.
fn tails<'w>(write: &Write<'w>) -> impl Iterator<Item = &'w Entry> {
    let seq = write.entry.seq;
    let before = write.world.journal.entries().iter().rev().filter(move |e| e.seq < seq);
    before.filter(|e| e.name == "BACKUP LOG" && e.outcome == Outcome::Ok && operator(e).is_some())
}

/// The server whose log was ended last by the tail of a switch.
fn closed<'w>(write: &Write<'w>) -> Option<&'w String> {
    tails(write).find(|e| !seeding::closes(e)).map(|e| &e.server)
}

/// Where the log ends that was ended by a tail.
pub(super) fn end_of_log(write: &Write<'_>) -> Option<i128> {
    let key = write.world.scenario.database.to_lowercase();
    closed(write).and_then(|host| write.world.sql.get(host)?.databases.get(&key)).map(|db| db.log_end)
}

/// Since when the database of the side that is written to has been closed by a tail of its own; none: it never was.
pub(super) fn since_closed(write: &Write<'_>) -> Option<u64> {
    let d = write.side.map(|side| sides::data_center(&write.world.scenario, side))?;
    tails(write).filter(|e| [&d.sql_server, &d.mirror].contains(&&e.server)).map(|e| e.seq).max()
}

fn judge_return(truth: &mut Truth, write: &Write<'_>) {
    let w = write.world;
    let from = write.there.other();
    let told = || write.told();
    let right = write.side == Some(from);
    truth.check("a switch is undone where it left", right, told);
    let there = sides::principal(w, from.other()).is_none() || truth.consents > 0;
    truth.check("a switch is undone only while the other side is not live", there, told);
}
