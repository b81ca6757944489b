//! Decides a recorded situation again: what happened in an incident, step by step, on any machine and with any version.

use std::fmt::Write as _;

use crate::domain::active::Active;
use crate::domain::decision::Decision;
use crate::domain::route::Course;
use crate::domain::text::{clean, clean_whole};
use crate::engine::plan::{Next, Plan};
use crate::engine::recording::Recording;
use crate::status::recording::unpack;
use crate::steps::Effect;

/// The recordings in a text: a recording itself, a resource or its status, or lines of the operator's log.
pub fn recordings(text: &str) -> Result<Vec<Recording>, String> {
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        return one(&value)?.map(|r| vec![r]).ok_or_else(|| {
            "there is no recording in it: neither a recording, nor a resource or status that carries one"
                .to_string()
        });
    }
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| l.contains("\"recording\"")) {
        let value = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", n + 1))?;
        found.extend(one(&value).map_err(|e| format!("line {}: {e}", n + 1))?);
    }
    if found.is_empty() {
        return Err("there is no recording in it. Take it from `kubectl pcf plan -o json`, from `kubectl get pcf NAME -o json`, or from \
                    the operator's log (lines with \"recording\")"
            .into());
    }
    Ok(found)
}

fn one(value: &serde_json::Value) -> Result<Option<Recording>, String> {
    if value.get("schema").is_some() && value.get("situation").is_some() {
        return Recording::read(&value.to_string()).map(Some);
    }
    let places = ["/status/recording", "/recording", "/fields/recording"];
    match places.iter().find_map(|p| value.pointer(p)).and_then(|v| v.as_str()) {
        Some(packed) => unpack(packed).map(Some),
        None => Ok(None),
    }
}

/// What follows from a recording, for a human.
pub fn explain(r: &Recording) -> String {
    let p = r.decide();
    let mut out = String::new();
    let _ = writeln!(out, "pool {} at {}", clean(&r.pool.fqdn), r.situation.at);
    let _ = writeln!(out, "active: {}   wanted: {}", active(r, &p), clean(r.pool.name(r.goal.active)));
    if let Some(t) = &p.transition {
        let (from, to) = (clean(r.pool.name(t.route.from)), clean(r.pool.name(t.route.to)));
        let course = match t.route.course {
            Course::Onward => "",
            Course::Back => ", being undone",
        };
        let procedure = t.route.procedure.as_str();
        let _ = writeln!(out, "{procedure} {} from {from} to {to}{course}", clean(&t.id));
    }
    for (step, word) in &p.steps {
        let said = match word {
            Decision::Done(e) => format!("done: {}", e.message),
            Decision::Act(e) => format!("would do: {}", shown(r, &p, e)),
            Decision::Wait(w) => format!("waits ({}): {}", w.reason.as_str(), w.message),
            Decision::Blocked(x) => format!("blocked ({}): {}", x.reason.as_str(), x.message()),
        };
        let _ = writeln!(out, "  {:20} {}", step.as_str(), clean_whole(&said));
    }
    if let Some(s) = &p.consent_needed {
        let _ =
            writeln!(out, "needs consent to situation {}: {}", s.digest(), clean_whole(&s.why.join("; ")));
    }
    let _ = writeln!(out, "next: {}", next(&p));
    out
}

fn shown(r: &Recording, p: &Plan, effect: &Effect) -> String {
    match &p.transition {
        Some(t) => effect.shown(&r.pool, t.route).join("; "),
        None => effect.step().title().into(),
    }
}

fn active(r: &Recording, p: &Plan) -> String {
    match &p.active {
        Active::In(side) => clean(r.pool.name(*side)),
        Active::Between => "between the two".into(),
        Active::SplitBrain(_) => "SplitBrain".into(),
        Active::RecoveredByOthers { .. } => "RecoveredByOthers".into(),
        Active::Unknown(x) => format!("not certain: {}", x.what),
    }
}

/// What happens next, in one line: the word that a test compares, then the rest for a human.
pub fn next(p: &Plan) -> String {
    match &p.next {
        Next::Settled => "Settled".into(),
        Next::Finish => "Finish".into(),
        Next::Act(effects) => {
            let steps: Vec<&str> = effects.iter().map(|e| e.step().as_str()).collect();
            format!("Act {}", steps.join(", "))
        }
        Next::Wait(w) => format!("Wait {}: {}", w.reason.as_str(), clean_whole(&w.message)),
        Next::Blocked(x) => format!("Blocked {}: {}", x.reason.as_str(), clean_whole(&x.message())),
    }
}
