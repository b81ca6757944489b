//! The picture of a pool for a tired administrator at three in the morning.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::table::{self, Column};
use crate::api::v1alpha1::{PersistentChatFailover, Progress, StepStatus, TransitionStatus};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::status::conditions::{BACKED_UP, FAILOVER_READY, OTHER_SIDE_QUIET, READY, REDUNDANT, STALLED};

fn condition<'a>(r: &'a PersistentChatFailover, kind: &str) -> Option<&'a Condition> {
    r.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind)
}

/// Seconds as a human says them.
pub fn seconds(s: i64) -> String {
    format!("{:#}", SignedDuration::from_secs(s))
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
    let standing = [READY, FAILOVER_READY, REDUNDANT, BACKED_UP, OTHER_SIDE_QUIET];
    let rows = standing.into_iter().filter_map(|kind| condition(r, kind));
    let rows = rows.map(|c| vec![c.type_.clone(), clean(&c.status), clean(&c.message)]);
    for line in table::lines(&[Column::Left; 3], rows) {
        let _ = writeln!(out, "{line}");
    }
    if let Some(t) = &status.transition {
        transition(&mut out, &clean(name), t, now);
    }
    if let Some(c) = condition(r, STALLED) {
        let _ = writeln!(out, "\nA HUMAN IS NEEDED: {}", clean(&c.message));
    }
    out
}

fn transition(out: &mut String, name: &str, t: &TransitionStatus, now: Timestamp) {
    let end = t.ended.as_ref().map_or(now, |e| e.0);
    let _ = writeln!(
        out,
        "\n{} {} from {} to {}: {}, {}{}",
        clean(&t.procedure),
        clean(&t.id),
        clean(&t.from),
        clean(&t.to),
        clean(&t.outcome).to_lowercase(),
        seconds(end.duration_since(t.started.0).as_secs()),
        if t.point_of_no_return { ", past the point of no return" } else { "" }
    );
    let columns = [Column::Left, Column::Left, Column::Right, Column::Left];
    let lines = table::lines(&columns, t.steps.iter().map(|s| step(s, end)));
    for (line, s) in lines.iter().zip(&t.steps) {
        let _ = writeln!(out, " {line}");
        if !s.message.is_empty() && s.state != "NotStarted" {
            let _ = writeln!(out, "      {}", clean(&s.message));
        }
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
            "To agree: kubectl pcf approve {name}, or put this into the resource:\n  spec: {{consent: {{transition: \"{}\", situation: \"{}\", by: \"<your name>\"}}}}",
            clean(&c.transition),
            clean(&c.situation)
        );
    }
}

/// What a step does, in the words of the runbook.
pub fn title(s: &StepStatus) -> String {
    s.name.parse::<StepId>().map_or_else(|()| clean(&s.name), |id| id.title().to_string())
}

/// A step's sign, title, time and progress.
fn step(s: &StepStatus, now: Timestamp) -> Vec<String> {
    let (sign, took) = match (s.state.as_str(), &s.started, &s.ended) {
        ("Done", Some(a), Some(b)) => ("ok", seconds(b.0.duration_since(a.0).as_secs())),
        ("Done", _, _) => ("ok", String::new()),
        ("NotStarted", _, _) => ("  ", String::new()),
        ("Blocked", _, _) => ("!!", String::new()),
        (_, Some(a), _) => (">>", seconds(now.duration_since(a.0).as_secs())),
        (_, None, _) => (">>", String::new()),
    };
    let percent = |p: &Progress| match p.percent {
        Some(percent) if s.state != "Done" => format!(" +{percent} %"),
        Some(_) | None => String::new(),
    };
    let progress = s.progress.as_ref().map_or_else(String::new, |p| bar(p.done, p.total) + &percent(p));
    vec![sign.into(), title(s), took, progress]
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

    #[test]
    fn each_step_has_a_line_and_its_message_below_it() {
        let text = r#"{"apiVersion":"persistentchat.dev/v1alpha1","kind":"PersistentChatFailover","metadata":{"name":"x","generation":1},
          "spec":{"pool":"p","activeDataCenter":"b","database":"mgc","dataCenters":[]},
          "status":{"observedGeneration":1,"conditions":[
            {"type":"Ready","status":"False","reason":"Switching","message":"Failover","lastTransitionTime":"2026-01-01T00:00:00Z"},
            {"type":"FailoverReady","status":"Unknown","reason":"X","message":"no","lastTransitionTime":"2026-01-01T00:00:00Z"}],
          "transition":{"id":"77","procedure":"Failover","from":"a","to":"b","started":"2026-01-01T00:00:00Z","outcome":"Running",
            "pointOfNoReturn":false,"steps":[
            {"name":"PreflightPassed","state":"Done","message":"","attempts":0,"started":"2026-01-01T00:00:00Z","ended":"2026-01-01T00:00:07Z"},
            {"name":"LogBackupsApplied","state":"Running","message":"mgc_3.trn","attempts":1,"started":"2026-01-01T00:00:07Z",
             "progress":{"done":2,"total":8,"unit":"files","percent":40}},
            {"name":"DatabaseOnline","state":"NotStarted","message":"","attempts":0}]}}}"#;
        let r: PersistentChatFailover = serde_json::from_str(text).unwrap();
        let shown = picture(&r, "2026-01-01T01:05:10Z".parse().unwrap());
        let wanted = "\
x  pool p
active: not certain   wanted: b
Ready          False    Failover
FailoverReady  Unknown  no

Failover 77 from a to b: running, 1h 5m 10s
 ok  Check everything             7s
 >>  Apply the log backups  1h 5m 3s  [#####...............] 2/8 +40 %
      mgc_3.trn
     Recover the database
next: Recover the database
";
        assert_eq!(shown, wanted);
    }
}
