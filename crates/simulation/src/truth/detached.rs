//! Cmdlets that outlive the process that started them.

use jiff::Timestamp;
use lab::world::journal::Outcome;

use super::{RETURN, Truth, Write, just, last_record};
use crate::sides;

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    let (w, e) = (write.world, write.entry);
    if e.name != "Install-CsMirrorDatabase" {
        return;
    }
    let told = || write.told();
    truth.check(
        "the ids of a detached cmdlet are in the record before it starts",
        has_an_open_job(truth, write),
        told,
    );
    let others = w.journal.entries().iter().filter(|x| x.name == e.name && x.seq != e.seq);
    let running = others.filter(|x| x.outcome == Outcome::Running).count();
    truth.check("a detached cmdlet never runs twice at a time", running == 0, told);
    let principal = write.side.and_then(|side| sides::principal(w, side));
    let database = principal.and_then(|i| i.databases.get(&w.scenario.database.to_lowercase()));
    let mirrored = database.and_then(|d| d.mirroring.as_ref()).is_some_and(|m| m.state == 4);
    let just = just(truth.mirrored_by_hand, e.time);
    truth.check("a mirror that stands is not built again", !mirrored || just, told);
}

/// Whether the record names a cmdlet whose end nobody has seen. It lies on the principal, unless that is another one than just before.
/// Beside the cmdlet another step of its stage may write.
fn has_an_open_job(truth: &Truth, write: &Write<'_>) -> bool {
    let just = |t: Timestamp| write.entry.time.duration_since(t) <= RETURN;
    let principal = write.side.filter(|side| !truth.principals[*side].1.is_some_and(just));
    let principal = principal.and_then(|side| sides::principal(write.world, side));
    let record = last_record(write, principal.map(|i| i.host.as_str())).unwrap_or_default();
    let job = record.pointer("/facts/mirrorJobs").and_then(|jobs| jobs.as_array()?.last().cloned());
    job.is_some_and(|job| job["ended"].is_null())
}
