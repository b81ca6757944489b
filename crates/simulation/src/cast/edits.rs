//! Changes of resources: GitOps tools apply manifests, humans edit.

use jiff::{SignedDuration, Timestamp};
use persistent_chat_failover::domain::consent::Consent;
use persistent_chat_failover::domain::side::Side;

use crate::cluster::Refused;
use crate::world::Shared;

/// A change of a resource that somebody is about to make.
#[derive(Clone, Debug)]
pub struct Edit {
    due: Timestamp,
    who: usize,
    change: Change,
    /// A tool that applies a manifest needs no version; `kubectl edit` reads one first.
    apply: bool,
    read: Option<u64>,
}

/// What is changed.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Active(Side),
    /// What stands there is said anew.
    Utter,
    Suspend(bool),
    Consent(Consent),
}

/// A tool applies a manifest: it needs no version, and tries again until it is answered.
pub(super) fn apply(s: &mut Shared, who: usize, change: Change) {
    let due = s.time();
    // What was to be applied before is overtaken by what is applied now.
    let same = |e: &Edit| {
        e.who == who && e.apply && std::mem::discriminant(&e.change) == std::mem::discriminant(&change)
    };
    s.edits.retain(|e| !same(e));
    s.edits.push(Edit { due, who, change, apply: true, read: None });
    carry_out(s);
}

/// A human changes the resource: reads it, thinks for a moment, writes it back.
pub(super) fn change(s: &mut Shared, who: usize, change: Change) {
    let due = s.time();
    s.edits.push(Edit { due, who, change, apply: false, read: None });
}

/// Whether a change of a resource is still to come. Where no API server answers none ever will.
pub fn remain(s: &Shared) -> bool {
    s.edits.iter().any(|e| s.clusters.get(e.who).is_some_and(|c| c.down.is_none()))
}

/// Carries out the changes of resources that are due.
pub fn carry_out(s: &mut Shared) {
    let now = s.time();
    for mut e in std::mem::take(&mut s.edits) {
        if e.due > now {
            s.edits.push(e);
            continue;
        }
        let late =
            if s.chance.happens(150) { s.chance.between(1000, 8000) } else { s.chance.between(2, 150) };
        let millis = |n: u64| SignedDuration::from_millis(i64::try_from(n).unwrap_or(0));
        let thinks = millis(s.chance.between(200, 1500));
        let Some(c) = s.clusters.get_mut(e.who) else { continue };
        let stored = match c.get() {
            Ok(stored) => stored,
            Err(Refused::Down) => {
                e.due = now + SignedDuration::from_secs(2);
                s.edits.push(e);
                continue;
            }
            Err(Refused::NotFound | Refused::Conflict | Refused::Rule) => continue,
        };
        if !e.apply && e.read.is_none() {
            (e.read, e.due) = (Some(stored.version), now + thinks);
            s.edits.push(e);
            continue;
        }
        let mut spec = stored.spec.clone();
        match &e.change {
            Change::Active(side) => spec.active = *side,
            Change::Utter => spec.uttered_at = Some(now),
            Change::Suspend(on) => spec.suspend = *on,
            Change::Consent(consent) => spec.consent = Some(consent.clone()),
        }
        match c.put(now, spec, e.read, millis(late)) {
            Ok(()) => {
                if let Change::Consent(_) = &e.change {
                    s.truth.consents += 1;
                }
                s.tell(&format!("  the resource of operator {} is changed: {:?}", e.who, e.change));
            }
            Err(Refused::Conflict) => {
                s.tell(&format!("  the resource of operator {} has changed meanwhile", e.who));
                (e.read, e.due) = (None, now + millis(200));
                s.edits.push(e);
            }
            Err(why) => s.tell(&format!("  the resource of operator {} is not changed: {why:?}", e.who)),
        }
    }
}
