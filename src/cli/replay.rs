//! Decides a recorded situation again: what happened in an incident, step by step, on any machine and with any version.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::table::{self, Column};
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
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return sole(&value);
    }
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| l.contains("\"recording\"")) {
        let value = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", n + 1))?;
        found.extend(one(&value).map_err(|e| format!("line {}: {e}", n + 1))?);
    }
    if !found.is_empty() {
        return Ok(found);
    }
    // Lines of a log are no YAML, whatever they hold.
    match serde_saphyr::from_str::<Value>(text) {
        Ok(value) if value.is_object() => sole(&value),
        Ok(_) | Err(_) => Err("there is no recording in it. Take it from `kubectl pcf plan -o json`, from `kubectl get pcf NAME -o json`, \
                               or from the operator's log (lines with \"recording\")"
            .into()),
    }
}

/// The recording of a document that is expected to have one.
fn sole(value: &Value) -> Result<Vec<Recording>, String> {
    let none = "there is no recording in it: neither a recording, nor a resource or status that carries one";
    one(value)?.map(|r| vec![r]).ok_or_else(|| none.to_string())
}

fn one(value: &Value) -> Result<Option<Recording>, String> {
    if value.get("schema").is_some() && value.get("situation").is_some() {
        return Recording::read(&value.to_string()).map(Some);
    }
    let places = ["/status/recording", "/recording", "/fields/recording"];
    match places.iter().find_map(|p| value.pointer(p)).and_then(|v| v.as_str()) {
        Some(packed) => unpack(packed).map(Some),
        None => Ok(None),
    }
}

/// What follows from a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// The pool.
    pub pool: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// What is active.
    pub active: String,
    /// The data centre that is wanted.
    pub wanted: String,
    /// The transition: what is carried out, its id, from and to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<DecidedTransition>,
    /// Each step's word.
    pub steps: Vec<DecidedStep>,
    /// What a human would have to agree to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent_needed: Option<DecidedConsent>,
    /// What happens next, in one line.
    pub next: String,
}

/// The transition that a decision is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecidedTransition {
    /// Its id.
    pub id: String,
    /// What is carried out.
    pub procedure: String,
    /// The data centre that is left, or whose database is the live one.
    pub from: String,
    /// The data centre that becomes active, that is protected, or that is set right.
    pub to: String,
    /// Whether it is being undone.
    pub is_undone: bool,
}

/// A step's word.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecidedStep {
    /// The step.
    pub step: String,
    /// `done`, `would do`, `waits` or `blocked`.
    pub word: String,
    /// What is waited for, or in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For a human.
    pub message: String,
}

/// What a human would have to agree to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecidedConsent {
    /// Digest of the situation.
    pub situation: String,
    /// What is lost or not certain.
    pub why: Vec<String>,
}

/// Decides a recording again.
pub fn decide(r: &Recording) -> Decided {
    let p = r.decide();
    let transition = p.transition.as_ref().map(|t| DecidedTransition {
        id: t.id.clone(),
        procedure: t.route.procedure.as_str().into(),
        from: r.pool.name(t.route.from).into(),
        to: r.pool.name(t.route.to).into(),
        is_undone: match t.route.course {
            Course::Onward => false,
            Course::Back => true,
        },
    });
    let needed = p.consent_needed.as_ref();
    Decided {
        pool: r.pool.fqdn.clone(),
        at: r.situation.at,
        active: active(r, &p),
        wanted: r.pool.name(r.goal.active).into(),
        transition,
        steps: p.steps.iter().map(|(step, word)| said(r, &p, step.as_str(), word)).collect(),
        consent_needed: needed.map(|s| DecidedConsent { situation: s.digest(), why: s.why.clone() }),
        next: next(&p),
    }
}

fn said(r: &Recording, p: &Plan, step: &str, word: &Decision<Effect>) -> DecidedStep {
    let (word, reason, message) = match word {
        Decision::Done(e) => ("done", None, e.message.clone()),
        Decision::Act(e) => ("would do", None, shown(r, p, e)),
        Decision::Wait(w) => ("waits", Some(w.reason), w.message.clone()),
        Decision::Blocked(x) => ("blocked", Some(x.reason), x.message()),
    };
    let reason = reason.map(|reason| reason.as_str().to_string());
    DecidedStep { step: step.into(), word: word.into(), reason, message }
}

/// What follows from a recording, for a human.
pub fn explain(r: &Recording) -> String {
    decide(r).told()
}

impl Decided {
    /// For a human.
    pub fn told(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "pool {} at {}", clean(&self.pool), self.at);
        let _ = writeln!(out, "active: {}   wanted: {}", clean_whole(&self.active), clean(&self.wanted));
        if let Some(t) = &self.transition {
            let undone = if t.is_undone { ", being undone" } else { "" };
            let (from, to) = (clean(&t.from), clean(&t.to));
            let _ = writeln!(out, "{} {} from {from} to {to}{undone}", t.procedure, clean(&t.id));
        }
        let row = |s: &DecidedStep| {
            let reason = s.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            vec![s.step.clone(), format!("{}{reason}: {}", s.word, clean_whole(&s.message))]
        };
        for line in table::lines(&[Column::Left; 2], self.steps.iter().map(row)) {
            let _ = writeln!(out, "  {line}");
        }
        if let Some(c) = &self.consent_needed {
            let why = clean_whole(&c.why.join("; "));
            let _ = writeln!(out, "needs consent to situation {}: {why}", c.situation);
        }
        let _ = writeln!(out, "next: {}", self.next);
        out
    }
}

fn shown(r: &Recording, p: &Plan, effect: &Effect) -> String {
    match &p.transition {
        Some(t) => effect.shown(&r.pool, t.route).join("; "),
        None => effect.step().title().into(),
    }
}

fn active(r: &Recording, p: &Plan) -> String {
    match &p.active {
        Active::In(side) => r.pool.name(*side).into(),
        Active::Between => "between the two".into(),
        Active::SplitBrain(_) => "SplitBrain".into(),
        Active::RecoveredByOthers { .. } => "RecoveredByOthers".into(),
        Active::LiveAcross { problem: x, .. } => format!("not certain: {}", x.what),
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
