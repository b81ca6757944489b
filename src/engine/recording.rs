//! A recorded decision: everything that one look saw and what the resource asked for, so that it can be decided again anywhere.
//!
//! It is what the status, the log and `kubectl pcf plan -o json` carry of an incident. There are no secrets in it, because a
//! situation has none; who was logged in to a database is left out, and so are the files that nothing depended on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::goal::Goal;
use super::plan::{Plan, plan};
use crate::domain::pool::Pool;
use crate::domain::reading::Reading;
use crate::domain::side::Side;
use crate::domain::site::Answer;
use crate::domain::situation::Situation;
use crate::domain::transition::Transition;
use crate::domain::wish::LastWish;

/// Version of the document. A newer one is refused.
pub const SCHEMA: u32 = 2;

/// A recorded decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    /// Version of the document.
    pub schema: u32,
    /// The pool.
    pub pool: Pool,
    /// What was asked for.
    pub goal: Goal,
    /// The last wish that had been taken up before.
    pub heard: Option<LastWish>,
    /// What was seen.
    pub situation: Situation,
    /// The transition that ran, as its process knew it.
    pub transition: Option<Transition>,
}

impl Recording {
    /// Records a decision.
    pub fn new(
        pool: &Pool,
        goal: &Goal,
        heard: Option<&LastWish>,
        situation: &Situation,
        transition: Option<&Transition>,
    ) -> Self {
        Recording {
            schema: SCHEMA,
            pool: pool.clone(),
            goal: goal.clone(),
            heard: heard.cloned(),
            situation: redacted(situation),
            transition: transition.cloned(),
        }
    }

    /// Reads a document.
    pub fn read(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| format!("this is no JSON: {e}"))?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(n) if n == u64::from(SCHEMA) => {}
            Some(n) => return Err(format!("the recording has schema {n}, this program knows {SCHEMA}")),
            None => return Err("this is no recording: it has no schema".into()),
        }
        serde_json::from_value(value).map_err(|e| format!("the recording cannot be read: {e}"))
    }

    /// Decides it again.
    pub fn decide(&self) -> Plan {
        let (current, heard) = (self.transition.as_ref(), self.heard.as_ref());
        plan(&self.pool, &self.goal, &self.situation, current, heard, &BTreeMap::new())
    }
}

fn redacted(s: &Situation) -> Situation {
    let mut s = s.clone();
    for side in Side::BOTH {
        let site = &mut s.sites[side];
        for partner in std::iter::once(&mut site.store).chain(&mut site.mirror) {
            match &mut partner.answer {
                Answer::Speaks(i) => {
                    if let Reading::Known(sessions) = &mut i.sessions {
                        sessions.iter_mut().for_each(|x| x.login = "(left out)".into());
                    }
                }
                Answer::TurnsAway(_) | Answer::Silent(_) | Answer::NotAsked(_) => {}
            }
        }
        // A share may hold a month of backups that were applied long ago.
        let Some(seen) = &mut s.folders[side] else { continue };
        let matter: BTreeSet<String> = seen.headers.keys().cloned().collect();
        for folder in [&mut seen.share, &mut seen.copy] {
            if let Reading::Known(files) = folder {
                files.retain(|f| matter.contains(&f.name));
            }
        }
    }
    s
}
