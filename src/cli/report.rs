//! What a failover or a switch lost, how long it took, and what remains to be done.

use std::fmt::Write as _;

use jiff::Timestamp;

use serde::Serialize;

use super::status::{seconds, title};
use super::table::{self, Column};
use crate::api::v1alpha1::{
    HistoryEntry, LossStatus, LostMessages, PersistentChatFailover, PersistentChatFailoverStatus, StepStatus,
    TransitionStatus,
};
use crate::domain::route::Procedure;
use crate::domain::text::{clean, clean_whole};
use crate::status::conditions::{BACKED_UP, FAILOVER_READY, OTHER_SIDE_QUIET, REDUNDANT};

/// Columns of a text that is read.
const WIDTH: usize = 120;

/// The report of a failover or a switch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The pool.
    pub pool: String,
    /// Id of the transition.
    pub transition: String,
    /// `Failover` or `Switch`.
    pub procedure: String,
    /// The data centre that was left.
    pub from: String,
    /// The data centre that became active.
    pub to: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; absent: it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How it ended, as the status has it.
    pub outcome: String,
    /// What was lost; absent: not known, or it was undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossStatus>,
    /// What was counted in the databases of the lost side when it was there again, before they were overwritten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_messages: Vec<LostMessages>,
    /// Seconds without chat in a switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage_seconds: Option<i64>,
    /// Absent: another transition came after it, so only the history tells of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepStatus>>,
    /// What remains to be done by hand.
    pub remains: Vec<String>,
}

/// The report of the last failover or switch; an error if there is none.
pub fn report(r: &PersistentChatFailover) -> Result<Report, String> {
    let none = "there has been no transition from one data centre to the other that the status knows of";
    let status = r.status.as_ref().ok_or(none)?;
    let shown = status.transition.as_ref().filter(|t| Procedure::name_moves_chat(&t.procedure));
    let past = || status.history.iter().find(|h| Procedure::name_moves_chat(&h.procedure));
    let mut report = match shown {
        Some(t) => of_shown(r, t),
        None => of_past(r, past().ok_or(none)?),
    };
    let counted = protections(&report, status).map(|(_, lost)| lost).find(|lost| !lost.is_empty());
    report.lost_messages = counted.unwrap_or_default().to_vec();
    report.remains = remains(&report, r, status);
    Ok(report)
}

fn of_shown(r: &PersistentChatFailover, t: &TransitionStatus) -> Report {
    Report {
        pool: r.spec.pool.clone(),
        transition: t.id.clone(),
        procedure: t.procedure.clone(),
        from: t.from.clone(),
        to: t.to.clone(),
        started: t.started.0,
        ended: t.ended.as_ref().map(|e| e.0),
        outcome: t.outcome.clone(),
        loss: t.loss.clone(),
        lost_messages: Vec::new(),
        outage_seconds: t.outage_seconds,
        steps: Some(t.steps.clone()),
        remains: Vec::new(),
    }
}

fn of_past(r: &PersistentChatFailover, h: &HistoryEntry) -> Report {
    Report {
        pool: r.spec.pool.clone(),
        transition: h.id.clone(),
        procedure: h.procedure.clone(),
        from: h.from.clone(),
        to: h.to.clone(),
        started: h.started.0,
        ended: Some(h.ended.0),
        outcome: h.outcome.clone(),
        loss: h.loss.clone(),
        lost_messages: Vec::new(),
        outage_seconds: h.outage_seconds,
        steps: None,
        remains: Vec::new(),
    }
}

/// The side that was left was protected afterwards: how that ended, and what was counted.
fn protections<'s>(
    of: &Report,
    status: &'s PersistentChatFailoverStatus,
) -> impl Iterator<Item = (&'s str, &'s [LostMessages])> {
    let past = status.history.iter().map(|h| (&h.procedure, &h.to, &h.started, &h.outcome, &h.lost_messages));
    let shown =
        status.transition.iter().map(|t| (&t.procedure, &t.to, &t.started, &t.outcome, &t.lost_messages));
    let (from, since) = (of.from.clone(), of.started);
    let of_it = past.chain(shown).filter(move |(procedure, to, started, ..)| {
        **procedure == Procedure::Protect.as_str() && **to == from && started.0 >= since
    });
    of_it.map(|(.., outcome, lost)| (outcome.as_str(), lost.as_slice()))
}

impl Report {
    fn is_switch(&self) -> bool {
        self.procedure == Procedure::Switch.as_str()
    }
    fn was_undone(&self) -> bool {
        self.outcome == "Aborted"
    }

    /// For a human.
    pub fn told(&self) -> String {
        let mut out = String::new();
        let (pool, from, to) = (clean(&self.pool), clean(&self.from), clean(&self.to));
        let _ = writeln!(
            out,
            "{} of {pool} from {from} to {to} (transition {})",
            clean(&self.procedure),
            clean(&self.transition)
        );
        let ended = self.ended.map_or_else(|| "not yet".to_string(), |e| e.to_string());
        let outcome = clean(&self.outcome).to_lowercase();
        let _ = writeln!(out, "began {}, ended {ended} ({outcome})", self.started);
        let _ = writeln!(out, "\nWhat was lost");
        match (&self.loss, self.was_undone(), self.ended) {
            (_, true, _) => {
                let _ = writeln!(out, "  Nothing: it was undone before the database was recovered.");
            }
            (None, false, Some(_)) if self.is_switch() => {
                let _ = writeln!(out, "  Nothing: the log of {from} was applied in {to} to its very end.");
            }
            (Some(l), false, _) => loss(&mut out, l),
            (None, false, None) => {
                let _ = writeln!(out, "  Not known yet: the database has not been recovered.");
            }
            (None, false, Some(_)) => {
                let _ = writeln!(out, "  Not known: the database was not recovered by this operator.");
            }
        }
        for lost in &self.lost_messages {
            let _ = writeln!(out, "  {}", told(lost, &self.from));
        }
        if let Some(outage) = self.outage_seconds {
            let _ = writeln!(out, "\nHow long chat stood still\n  {}", seconds(outage));
        }
        if let Some(steps) = &self.steps {
            how_long(&mut out, steps);
        }
        let _ = writeln!(out, "\nWhat remains to be done by hand");
        for line in &self.remains {
            let options = textwrap::Options::new(WIDTH).initial_indent("  - ").subsequent_indent("    ");
            let _ = writeln!(out, "{}", textwrap::fill(&clean_whole(line), options));
        }
        out
    }
}

fn how_long(out: &mut String, steps: &[StepStatus]) {
    let _ = writeln!(
        out,
        "\nHow long each step took, what it waited for, and what was not this operator's doing"
    );
    let row = |s: &StepStatus| {
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
        vec![title(s), took, waited.join(", ")]
    };
    for line in table::lines(&[Column::Left, Column::Right, Column::Left], steps.iter().map(row)) {
        let _ = writeln!(out, "  {line}");
    }
}

fn remains(f: &Report, r: &PersistentChatFailover, status: &PersistentChatFailoverStatus) -> Vec<String> {
    let (from, to) = (&f.from, &f.to);
    let missing = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind && c.status != "True");
    let mut remains = Vec::new();
    if f.is_switch() && !f.was_undone() {
        remains.push(format!(
            "Compliance (mgccomp) was not touched: let its adapter in {from} process what is left, and check that \
             AdapterOutputDirectory is valid in {to}."
        ));
    } else if !f.was_undone() {
        remains.push(format!(
            "Compliance (mgccomp) was not touched. Events that no adapter had processed are lost with the old side: save the \
             adapter's output of {from} if it can be reached, and check that AdapterOutputDirectory is valid in {to}. \
             Do not purge the message queues of the old chat servers."
        ));
        if !protections(f, status).any(|(outcome, _)| outcome == "Completed") {
            remains.push(format!(
                "Keep the SQL Servers of {from} off the network until they are rebuilt: they still believe that they are live."
            ));
        }
    }
    if let Some(c) = missing(BACKED_UP) {
        let database = &r.spec.database;
        remains.push(format!(
            "Take full and log backups of {database}, or its log fills the disk: {}",
            c.message
        ));
    }
    if let Some(c) = missing(FAILOVER_READY) {
        remains.push(format!("The next failover would not work yet: {}", c.message));
    }
    for kind in [REDUNDANT, OTHER_SIDE_QUIET] {
        if let Some(c) = missing(kind).filter(|c| c.status == "False") {
            remains.push(format!("{kind} is False: {}", c.message));
        }
    }
    let online =
        status.conditions.iter().find(|c| c.type_ == "DatabaseOnline" && c.message.contains("no login"));
    remains.extend(online.map(|c| c.message.clone()));
    remains
}

/// What was counted in an old database, for a human.
fn told(lost: &LostMessages, from: &str) -> String {
    let (from, server) = (clean(from), clean(&lost.server));
    let files: Vec<String> = lost.files.iter().map(|f| clean(f)).collect();
    let files = files.join(" and ");
    match (lost.messages, &lost.reason) {
        (Some(messages), _) => {
            let least = if lost.more { "at least " } else { "" };
            format!(
                "Counted when {from} was there again: {least}{messages} messages, on {server}; they are in {files}"
            )
        }
        (None, reason) => {
            let why = clean(reason.as_deref().unwrap_or("nobody says why"));
            format!("Not counted when {from} was there again, on {server}: {why}; what it held is in {files}")
        }
    }
}

/// What is lost, for a human.
pub(super) fn loss(out: &mut String, l: &LossStatus) {
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
            report(&r).unwrap().told()
        };
        let completed = told("Completed");
        for part in ["Failover of p from a to b (transition 1)", "mgc_1.trn", "mgccomp", "Take full and log"]
        {
            assert!(completed.contains(part), "{part} is missing:\n{completed}");
        }
        let counted = r#"{"id":"3","procedure":"Protect","from":"b","to":"a","outcome":"Completed","started":"2026-01-01T00:40:00Z",
          "ended":"2026-01-01T00:50:00Z","lostMessages":[{"server":"a-1","messages":42,"files":["saved.bak","tail.bak"]}]}"#;
        let earlier = counted.replace("2026-01-01T00", "2025-01-01T00").replace("42", "43");
        let text = text.replace(r#""history":["#, &format!(r#""history":[{counted},{earlier},"#));
        let told_of = |text: &str| report(&serde_json::from_str(text).unwrap()).unwrap().told();
        let found = told_of(&text.replace("OUTCOME", "Completed"));
        assert!(
            found.contains("a was there again: 42 messages, on a-1; they are in saved.bak and tail.bak"),
            "{found}"
        );
        assert!(!found.contains("43 messages") && !found.contains("off the network"), "{found}");
        let unknown =
            text.replace(r#""messages":42"#, r#""reason":"it is locked""#).replace("OUTCOME", "Completed");
        let unknown = told_of(&unknown);
        assert!(unknown.contains("Not counted") && unknown.contains("it is locked"), "{unknown}");

        let undone = told("Aborted");
        assert!(undone.contains("Nothing: it was undone") && !undone.contains("mgccomp"), "{undone}");
    }
}
