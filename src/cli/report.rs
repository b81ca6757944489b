//! What a failover lost, how long it took, and what remains to be done.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::status::{seconds, title};
use crate::api::v1alpha1::{
    HistoryEntry, LossStatus, PersistentChatFailover, PersistentChatFailoverStatus, StepStatus,
    TransitionStatus,
};
use crate::domain::route::Procedure;
use crate::domain::text::clean;
use crate::status::conditions::{BACKED_UP, FAILOVER_READY, OTHER_SIDE_QUIET, REDUNDANT};

/// A failover, as the status still has it.
struct Failover<'a> {
    id: &'a str,
    from: &'a str,
    to: &'a str,
    started: Timestamp,
    ended: Option<Timestamp>,
    outcome: &'a str,
    loss: Option<&'a LossStatus>,
    /// None: another transition came after it, so only the history tells of it.
    steps: Option<&'a [StepStatus]>,
}

impl<'a> Failover<'a> {
    /// The last one.
    fn last(status: &'a PersistentChatFailoverStatus) -> Option<Failover<'a>> {
        let is_failover = |procedure: &str| procedure == Procedure::Failover.as_str();
        let shown = status.transition.as_ref().filter(|t| is_failover(&t.procedure));
        let past = || status.history.iter().find(|h| is_failover(&h.procedure));
        shown.map(Failover::shown).or_else(|| past().map(Failover::past))
    }
    fn shown(t: &'a TransitionStatus) -> Self {
        Failover {
            id: &t.id,
            from: &t.from,
            to: &t.to,
            started: t.started.0,
            ended: t.ended.as_ref().map(|e| e.0),
            outcome: &t.outcome,
            loss: t.loss.as_ref(),
            steps: Some(&t.steps),
        }
    }
    fn past(h: &'a HistoryEntry) -> Self {
        Failover {
            id: &h.id,
            from: &h.from,
            to: &h.to,
            started: h.started.0,
            ended: Some(h.ended.0),
            outcome: &h.outcome,
            loss: h.loss.as_ref(),
            steps: None,
        }
    }
    fn was_undone(&self) -> bool {
        self.outcome == "Aborted"
    }
}

/// The report of the last failover; an error if there is none.
pub fn report(r: &PersistentChatFailover) -> Result<String, String> {
    let none = "there has been no transition from one data centre to the other that the status knows of";
    let status = r.status.as_ref().ok_or(none)?;
    let f = Failover::last(status).ok_or(none)?;
    let mut out = String::new();
    let (pool, from, to) = (clean(&r.spec.pool), clean(f.from), clean(f.to));
    let _ = writeln!(out, "Failover of {pool} from {from} to {to} (transition {})", clean(f.id));
    let ended = f.ended.map_or_else(|| "not yet".to_string(), |e| e.to_string());
    let _ = writeln!(out, "began {}, ended {ended} ({})", f.started, clean(f.outcome).to_lowercase());
    let _ = writeln!(out, "\nWhat was lost");
    match (f.loss, f.was_undone(), f.ended) {
        (_, true, _) => {
            let _ = writeln!(out, "  Nothing: it was undone before the database was recovered.");
        }
        (Some(l), false, _) => loss(&mut out, l),
        (None, false, None) => {
            let _ = writeln!(out, "  Not known yet: the database has not been recovered.");
        }
        (None, false, Some(_)) => {
            let _ = writeln!(out, "  Not known: the database was not recovered by this operator.");
        }
    }
    if let Some(steps) = f.steps {
        how_long(&mut out, steps);
    }
    remains(&mut out, r, status, &f);
    Ok(out)
}

fn how_long(out: &mut String, steps: &[StepStatus]) {
    let _ = writeln!(
        out,
        "\nHow long each step took, what it waited for, and what was not this operator's doing"
    );
    for s in steps {
        let took = match (&s.started, &s.ended) {
            (Some(a), Some(b)) => seconds(b.0.duration_since(a.0).as_secs()),
            (Some(_), None) if s.state == "NotStarted" => "not done".into(),
            (Some(_), None) => "at work".into(),
            (None, _) => "-".into(),
        };
        let waits = s.waited.iter().filter(|(_, n)| **n > 0);
        let mut waited: Vec<String> = waits.map(|(k, n)| format!("{} {}", clean(k), seconds(*n))).collect();
        if s.already_done {
            waited.insert(0, "not by this operator, or nothing was left to do".into());
        }
        let _ = writeln!(out, "  {:26} {took:>12}  {}", title(s), waited.join(", "));
    }
}

fn remains(
    out: &mut String,
    r: &PersistentChatFailover,
    status: &PersistentChatFailoverStatus,
    f: &Failover<'_>,
) {
    let (from, to) = (clean(f.from), clean(f.to));
    let missing = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind && c.status != "True");
    let _ = writeln!(out, "\nWhat remains to be done by hand");
    if !f.was_undone() {
        let _ = writeln!(
            out,
            "  - Compliance (mgccomp) was not touched. Events that no adapter had processed are lost with the old side: save the\n    \
             adapter's output of {from} if it can be reached, and check that AdapterOutputDirectory is valid in {to}.\n    \
             Do not purge the message queues of the old chat servers."
        );
        let _ = writeln!(
            out,
            "  - Keep the SQL Servers of {from} off the network until they are rebuilt: they still believe that they are live."
        );
    }
    if let Some(c) = missing(BACKED_UP) {
        let database = clean(&r.spec.database);
        let _ = writeln!(
            out,
            "  - Take full and log backups of {database}, or its log fills the disk: {}",
            clean(&c.message)
        );
    }
    if let Some(c) = missing(FAILOVER_READY) {
        let _ = writeln!(out, "  - The next failover would not work yet: {}", clean(&c.message));
    }
    for kind in [REDUNDANT, OTHER_SIDE_QUIET] {
        if let Some(c) = missing(kind).filter(|c| c.status == "False") {
            let _ = writeln!(out, "  - {kind} is False: {}", clean(&c.message));
        }
    }
    let online =
        status.conditions.iter().find(|c| c.type_ == "DatabaseOnline" && c.message.contains("no login"));
    if let Some(c) = online {
        let _ = writeln!(out, "  - {}", clean(&c.message));
    }
}

fn loss(out: &mut String, l: &LossStatus) {
    match &l.kept_until {
        Some(t) => {
            let _ = writeln!(
                out,
                "  Kept for certain: everything until {} (start of the last applied log backup)",
                t.0
            );
        }
        None => {
            let _ =
                writeln!(out, "  Kept for certain: not known, because the time zone of the backups is not");
        }
    }
    match (&l.kept_until, &l.lost_at_most_until) {
        (Some(from), Some(to)) if to.0 > from.0 => {
            let _ = writeln!(
                out,
                "  Lost at most: what was written from then until {} ({})",
                to.0,
                seconds(to.0.duration_since(from.0).as_secs())
            );
        }
        (_, Some(_)) => {
            let _ = writeln!(out, "  Lost at most: nothing that was there when the side was last seen");
        }
        (_, None) => {
            let _ =
                writeln!(out, "  Lost at most: not known; this operator had not seen the lost side alive");
        }
    }
    if let Some(b) = &l.last_backup {
        let lsn = l.last_lsn.as_deref().map_or("?".into(), clean);
        let _ = writeln!(out, "  Last applied: {}, up to LSN {lsn}", clean(b));
    }
    if let Some(t) = &l.newest_message {
        let _ = writeln!(out, "  Newest message kept: {}", t.0);
    }
    for x in &l.not_applied {
        let _ = writeln!(out, "  Not applied: {}", clean(x));
    }
    if let Some(by) = &l.accepted_by {
        let _ = writeln!(out, "  Accepted by {}", clean(by));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_failover_is_reported_also_when_a_protection_came_after_it() {
        let text = r#"{"apiVersion":"persistentchat.dev/v1alpha1","kind":"PersistentChatFailover","metadata":{"name":"x"},
          "spec":{"pool":"p","activeDataCenter":"b","database":"mgc","dataCenters":[]},
          "status":{"observedGeneration":1,"activeDataCenter":"b",
          "conditions":[{"type":"BackedUp","status":"False","reason":"NotStarted",
          "message":"none","lastTransitionTime":"2026-01-01T00:00:00Z"}],
          "transition":{"id":"2","procedure":"Protect","from":"b","to":"a","started":"2026-01-01T01:00:00Z","outcome":"Running",
          "pointOfNoReturn":false,"steps":[]},
          "history":[{"id":"1","procedure":"Failover","from":"a","to":"b","outcome":"OUTCOME","started":"2026-01-01T00:00:00Z",
          "ended":"2026-01-01T00:30:00Z","loss":{"lastBackup":"mgc_1.trn"}}]}}"#;
        let told = |outcome: &str| {
            let r: PersistentChatFailover = serde_json::from_str(&text.replace("OUTCOME", outcome)).unwrap();
            report(&r).unwrap()
        };
        let completed = told("Completed");
        for part in ["Failover of p from a to b (transition 1)", "mgc_1.trn", "mgccomp", "Take full and log"]
        {
            assert!(completed.contains(part), "{part} is missing:\n{completed}");
        }
        let undone = told("Aborted");
        assert!(undone.contains("Nothing: it was undone") && !undone.contains("mgccomp"), "{undone}");
    }
}
