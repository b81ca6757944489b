//! The picture of a pool for a tired administrator at three in the morning.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::v1alpha1::{PersistentChatFailover, StepStatus, TransitionStatus};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::status::conditions::{BACKED_UP, FAILOVER_READY, OTHER_SIDE_QUIET, READY, REDUNDANT, STALLED};

fn condition<'a>(r: &'a PersistentChatFailover, kind: &str) -> Option<&'a Condition> {
    r.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind)
}

/// Seconds as a human says them.
pub fn seconds(s: i64) -> String {
    match s {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{} min {:02} s", s / 60, s % 60),
        s => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

fn bar(done: i64, total: i64) -> String {
    let width = 20;
    let full = if total > 0 { (done.clamp(0, total) * width / total).unsigned_abs() as usize } else { 0 };
    format!("[{}{}] {done}/{total}", "#".repeat(full), ".".repeat(width.unsigned_abs() as usize - full))
}

/// The picture.
pub fn picture(r: &PersistentChatFailover, now: Timestamp) -> String {
    let mut out = String::new();
    let name = r.metadata.name.as_deref().unwrap_or_default();
    let status = r.status.clone().unwrap_or_default();
    let active = status.active_data_center.as_deref().unwrap_or("not certain");
    let _ = writeln!(out, "{}  pool {}", clean(name), clean(&r.spec.pool));
    let _ = writeln!(out, "active: {}   wanted: {}", clean(active), clean(&r.spec.active_data_center));
    if r.metadata.generation.is_some_and(|g| g != status.observed_generation) {
        let _ = writeln!(out, "(the operator has not yet seen the last change of the resource)");
    }
    for kind in [READY, FAILOVER_READY, REDUNDANT, BACKED_UP, OTHER_SIDE_QUIET] {
        if let Some(c) = condition(r, kind) {
            let _ = writeln!(out, "{:16} {:8} {}", kind, c.status, clean(&c.message));
        }
    }
    if let Some(t) = &status.transition {
        transition(&mut out, t, now);
    }
    if let Some(c) = condition(r, STALLED) {
        let _ = writeln!(out, "\nA HUMAN IS NEEDED: {}", clean(&c.message));
    }
    out
}

fn transition(out: &mut String, t: &TransitionStatus, now: Timestamp) {
    let end = t.ended.as_ref().map_or(now, |e| e.0);
    let _ = writeln!(
        out,
        "\n{} {} from {} to {}: {}, {}{}",
        t.procedure,
        t.id,
        clean(&t.from),
        clean(&t.to),
        t.outcome.to_lowercase(),
        seconds(end.duration_since(t.started.0).as_secs()),
        if t.point_of_no_return { ", past the point of no return" } else { "" }
    );
    for s in &t.steps {
        step(out, s, end);
    }
    let next = t.steps.iter().find(|s| s.state == "NotStarted");
    if let (Some(next), true) = (next, t.ended.is_none()) {
        let _ = writeln!(out, "next: {}", title(next));
    }
    if let Some(c) = &t.consent_needed {
        let _ = writeln!(out, "\nTHIS NEEDS YOUR YES. What is lost or not certain:");
        for why in &c.why {
            let _ = writeln!(out, "  - {}", clean(why));
        }
        let _ = writeln!(
            out,
            "To agree, put this into the resource:\n  spec: {{consent: {{transition: \"{}\", situation: \"{}\", by: \"<your name>\"}}}}",
            clean(&c.transition),
            clean(&c.situation)
        );
    }
}

/// What a step does, in the words of the runbook.
pub fn title(s: &StepStatus) -> String {
    s.name.parse::<StepId>().map_or_else(|()| clean(&s.name), |id| id.title().to_string())
}

fn step(out: &mut String, s: &StepStatus, now: Timestamp) {
    let (sign, took) = match (s.state.as_str(), &s.started, &s.ended) {
        ("Done", Some(a), Some(b)) => ("ok", seconds(b.0.duration_since(a.0).as_secs())),
        ("Done", _, _) => ("ok", String::new()),
        ("NotStarted", _, _) => ("  ", String::new()),
        ("Blocked", _, _) => ("!!", String::new()),
        (_, Some(a), _) => (">>", seconds(now.duration_since(a.0).as_secs())),
        (_, None, _) => (">>", String::new()),
    };
    let _ = write!(out, " {sign} {:26} {took:>12}", title(s));
    if let Some(p) = &s.progress {
        let _ = write!(out, "  {}", bar(p.done, p.total));
        if let (Some(percent), true) = (p.percent, s.state != "Done") {
            let _ = write!(out, " +{percent} %");
        }
    }
    let _ = writeln!(out);
    if !s.message.is_empty() && s.state != "NotStarted" {
        let _ = writeln!(out, "      {}", clean(&s.message));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hostile_texts_of_a_status_do_not_reach_the_terminal() {
        let text = r#"{"apiVersion":"persistentchat.dev/v1alpha1","kind":"PersistentChatFailover","metadata":{"name":"x"},
          "spec":{"pool":"p","activeDataCenter":"b","database":"mgc","dataCenters":[]},
          "status":{"observedGeneration":1,"activeDataCenter":"\u001b[2Ja","conditions":[{"type":"Stalled","status":"True","reason":"X",
          "message":"\u001b]0;owned\u0007","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
        let r: PersistentChatFailover = serde_json::from_str(text).unwrap();
        let shown = picture(&r, Timestamp::UNIX_EPOCH);
        assert!(shown.contains("A HUMAN IS NEEDED"));
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
}
