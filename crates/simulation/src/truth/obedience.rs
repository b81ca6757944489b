//! What may be begun at all: what the resource asks for, where it is allowed, and with a human's word only what it was given for.

use jiff::Timestamp;
use persistent_chat_failover::domain::consent::{AcceptedConsent, Terms};
use persistent_chat_failover::domain::problem::Reason;
use persistent_chat_failover::domain::route::{Course, Procedure, Route};
use persistent_chat_failover::domain::transition::Ended;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{OBEDIENCE, Truth, Write, document};
use crate::sides;

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    let (e, heard) = (write.entry, &write.operator.heard);
    let told = || write.told();
    let since = |at: Option<Timestamp>| at.is_some_and(|t| e.time.duration_since(t) > OBEDIENCE);
    truth.check("nothing is begun by a process that has not read its resource", heard.anything, told);
    truth.check("nothing is begun while suspended", !since(heard.suspended), told);
    truth.check("nothing is begun for a resource that is gone", !since(heard.gone), told);
    truth.check(
        "nothing is begun that the resource does not ask for",
        write.recovered || !write.moves || !since(heard.unwanted(write.there)) || write.is_return(),
        told,
    );
    let there = write.there;
    let only = "chat is moved on the surviving side only";
    truth.check(only, !write.moves || write.side == Some(there) || write.is_return(), told);
    let right = "chat is moved on the instance that the resource names";
    truth.check(right, !write.moves || is_the_named_one(write), told);
    let known = "nothing is written outside of the pool's two sides";
    truth.check(known, write.side.is_some(), told);
    if let Some(record) = write.record.then(|| document(e)).flatten() {
        judge_record(truth, write, &record);
    }
    truth.check("mgccomp is never touched", !e.text.to_lowercase().contains("mgccomp"), told);
    truth.check(
        "nothing is touched while the primary lives",
        !write.moves
            || write.switch().is_some()
            || write.fenced
            || write.recovered
            || truth.consents > 0
            || goes_on_unseen(write),
        told,
    );
}

/// Whether what has begun goes on as far as it can be taken back, beside a side that has come back and is silent to everybody: something
/// accepts connections there, which may be switched off or live. Before the recovery a human is asked.
fn goes_on_unseen(write: &Write<'_>) -> bool {
    let from = sides::data_center(&write.world.scenario, write.there.other());
    let silent = |host: &String| write.world.sql.get(host).is_none_or(|i| i.silent);
    write.entry.name == "RESTORE LOG" && silent(&from.sql_server) && silent(&from.mirror)
}

/// Whether the instance that is written to is the one that the resource names, if it is an instance at all, and the resource names one.
fn is_the_named_one(write: &Write<'_>) -> bool {
    let (w, host) = (write.world, &write.entry.server);
    let name = w.scenario.data_center_of(host).and_then(|d| w.scenario.data_center(d)).map(|d| &d.instance);
    let (Some(i), Some(name)) = (w.sql.get(host), name.filter(|n| !n.is_empty())) else { return true };
    i.server_name.split('\\').nth(1) == Some(name.as_str())
}

/// Judges a record that is written: that somebody has asked for what it begins, where it lies, and the consents that it names.
fn judge_record(truth: &mut Truth, write: &Write<'_>, record: &Value) {
    let (heard, told) = (&write.operator.heard, || write.told());
    let unled = write.operator.unled.is_some_and(|t| write.entry.time.duration_since(t) > OBEDIENCE);
    if let Some(route) = part::<Route>(record, "route") {
        let course = part::<String>(record, "id").map(|id| (id, route.course));
        if course.is_some_and(|c| truth.courses.insert(c)) {
            truth.check("nothing is begun or turned back without the lease", !unled, told);
            let back = route.procedure.moves_chat() && route.course == Course::Back;
            let asked = write.operator.asked.contains_key(&route.from);
            truth.check(
                "a failover is taken back only where somebody has asked for that",
                !back || asked,
                told,
            );
        }
        let begins = route.procedure.moves_chat() && route.course == Course::Onward;
        let id = part::<String>(record, "id").filter(|_| begins);
        if id.is_some_and(|id| truth.begun.insert(id)) {
            let just_withdrawn =
                heard.withdrawn.is_some_and(|t| write.entry.time.duration_since(t) <= OBEDIENCE);
            // What was said for a switch is no wish to lose anything.
            let said = heard
                .said
                .filter(|said| route.procedure == Procedure::Switch || heard.planned != Some(*said));
            let asked = heard.consented || said.is_some_and(|(side, _)| side == route.to) || just_withdrawn;
            truth.check("a failover is begun only where somebody has asked for it", asked, told);
            let may = route.procedure == Procedure::Failover || truth.switches;
            truth.check("a switch is begun only where the policy lets it", may, told);
        }
        let completed = part::<Ended>(record, "ended").is_some_and(|end| !end.aborted);
        let first =
            part::<String>(record, "id").filter(|_| completed).is_some_and(|id| truth.over.insert(id));
        let is_over = route.procedure.moves_chat() && first;
        let served = "a failover is over only when chat has reported itself from the new database";
        truth.check(served, !is_over || has_reported(truth, write), told);
        let lies = "a record lies on the side that is live in the end";
        let (from, to) = (Some(route.from), Some(route.to));
        let rightly = match route.procedure {
            Procedure::Failover | Procedure::Align => write.side == to,
            Procedure::Protect => write.side == from,
            // That of a switch lies on both.
            Procedure::Switch => write.side == from || write.side == to,
        };
        truth.check(lies, rightly, told);
    }
    let consents = part::<Vec<AcceptedConsent>>(record, "consents").unwrap_or_default();
    let only = "a consent is used for what was shown and nothing else";
    truth.check(only, consents.iter().all(fits), told);
    truth.check("what is lost by damage is called damaged", consents.iter().all(names_damage), told);
}

/// Whether a backup that could not be read to its end (38) is told as a damaged one, in whatever language its server has said so.
fn names_damage(c: &AcceptedConsent) -> bool {
    let cut_off = c.why.iter().any(|why| why.contains("cannot be restored") && why.contains("38("));
    !cut_off || c.terms.losses.iter().any(|(_, reason)| *reason == Reason::BackupDamaged)
}

/// Whether a chat server has said in the recovered database, since that is live, that it is alive.
fn has_reported(truth: &Truth, write: &Write<'_>) -> bool {
    let mut reports = write.database.into_iter().flat_map(|db| db.identities.values());
    truth.live_since[write.there].is_some_and(|since| reports.any(|at| *at >= since))
}

/// A part of a record.
fn part<T: DeserializeOwned>(record: &Value, name: &str) -> Option<T> {
    serde_json::from_value(record.get(name)?.clone()).ok()
}

/// Whether a consent was given for what it is used for.
fn fits(c: &AcceptedConsent) -> bool {
    let fenced = Terms { fence: true, ..c.terms.clone() };
    c.situation == c.terms.digest() || c.situation == fenced.digest() || c.terms.policy
}
