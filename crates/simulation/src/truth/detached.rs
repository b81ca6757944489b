//! Cmdlets that outlive the process that started them.

use lab::world::journal::Outcome;

use super::{OBEDIENCE, Truth, Write, last_record};
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
        has_an_open_job(write),
        told,
    );
    let others = w.journal.entries().iter().filter(|x| x.name == e.name && x.seq != e.seq);
    let running = others.filter(|x| x.outcome == Outcome::Running).count();
    truth.check("a detached cmdlet never runs twice at a time", running == 0, told);
    let principal = write.side.and_then(|side| sides::principal(w, side));
    let database = principal.and_then(|i| i.databases.get(&w.scenario.database.to_lowercase()));
    let mirrored = database.and_then(|d| d.mirroring.as_ref()).is_some_and(|m| m.state == 4);
    let just = truth.mirrored_by_hand.is_some_and(|t| e.time.duration_since(t) < OBEDIENCE);
    truth.check("a mirror that stands is not built again", !mirrored || just, told);
}

/// Whether the record names a cmdlet whose end nobody has seen. Beside the cmdlet another step of its stage may write.
fn has_an_open_job(write: &Write<'_>) -> bool {
    let record = last_record(write).unwrap_or_default();
    let job = record.pointer("/facts/mirrorJobs").and_then(|jobs| jobs.as_array()?.last().cloned());
    job.is_some_and(|job| job["ended"].is_null())
}
