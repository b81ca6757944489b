//! What may be begun at all: what the resource asks for, where it is allowed, and with a human's word only what it was given for.

use jiff::Timestamp;
use persistent_chat_failover::domain::consent::{AcceptedConsent, Terms};
use persistent_chat_failover::domain::route::{Course, Procedure, Route};
use persistent_chat_failover::domain::side::Side;

use super::{OBEDIENCE, Truth, Write};
use crate::sides;

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    let (w, e, heard) = (write.world, write.entry, &write.operator.heard);
    let told = || write.told();
    let since = |at: Option<Timestamp>| at.is_some_and(|t| e.time.duration_since(t) > OBEDIENCE);
    truth.check("nothing is begun by a process that has not read its resource", heard.anything, told);
    truth.check("nothing is begun while suspended", !since(heard.suspended), told);
    truth.check("nothing is begun for a resource that is gone", !since(heard.gone), told);
    truth.check(
        "nothing is begun that the resource does not ask for",
        write.recovered || !write.moves || !since(heard.unwanted),
        told,
    );
    let there = sides::to_side(&w.scenario);
    let only = "chat is moved on the surviving side only";
    truth.check(only, !write.moves || write.side == Some(there), told);
    let known = "nothing is written outside of the pool's two sides";
    truth.check(known, write.side.is_some(), told);
    if let Some(begun) = write.record.then(|| begun(write)).flatten()
        && truth.begun.insert(begun.id)
    {
        let asked = heard.consented || heard.said.is_some_and(|(side, _)| side == begun.route.to);
        truth.check("a failover is begun only where somebody has asked for it", asked, told);
    }
    if let Some(home) = write.record.then(|| home(write)).flatten() {
        let lies = "a record lies on the side that is live in the end";
        truth.check(lies, write.side == Some(home), told);
    }
    truth.check("mgccomp is never touched", !e.text.to_lowercase().contains("mgccomp"), told);
    truth.check(
        "nothing is touched while the primary lives",
        !write.moves || write.fenced || write.recovered || truth.consents > 0,
        told,
    );
    if let Some(document) = e.parameters.get("@p5").filter(|_| write.record) {
        truth.check(
            "a consent is used for what was shown and nothing else",
            consents(document).iter().all(fits),
            told,
        );
    }
}

/// A failover whose record is written.
struct Begun {
    id: String,
    route: Route,
}

fn begun(write: &Write<'_>) -> Option<Begun> {
    let record: serde_json::Value = serde_json::from_str(write.entry.parameters.get("@p5")?).ok()?;
    let route = serde_json::from_value::<Route>(record.get("route")?.clone()).ok()?;
    let id = record.get("id")?.as_str()?.to_string();
    (route.procedure == Procedure::Failover && route.course == Course::Onward).then_some(Begun { id, route })
}

/// The side whose database is live in the end, by the record that is written.
fn home(write: &Write<'_>) -> Option<Side> {
    let record: serde_json::Value = serde_json::from_str(write.entry.parameters.get("@p5")?).ok()?;
    serde_json::from_value::<Route>(record.get("route")?.clone()).ok().map(Route::home)
}

/// The consents that a record names.
fn consents(document: &str) -> Vec<AcceptedConsent> {
    serde_json::from_str(document)
        .ok()
        .and_then(|d: serde_json::Value| serde_json::from_value(d.get("consents")?.clone()).ok())
        .unwrap_or_default()
}

/// Whether a consent was given for what it is used for.
fn fits(c: &AcceptedConsent) -> bool {
    let fenced = Terms { fence: true, ..c.terms.clone() };
    c.situation == c.terms.digest() || c.situation == fenced.digest() || c.terms.policy
}
