//! A recorded decision: everything that one look saw and what the resource asked for, so that it can be decided again anywhere.
//!
//! It is what the status, the log and `kubectl pcf plan -o json` carry of an incident. There are no secrets in it, because a
//! situation has none; who was logged in to a database is left out, and so are the files that nothing depended on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::plan::{Goal, Plan, plan};
use crate::domain::pool::Pool;
use crate::domain::reading::Reading;
use crate::domain::site::Answer;
use crate::domain::situation::Situation;
use crate::domain::sql_server::Instance;
use crate::domain::transition::Transition;

/// Version of the document. A newer one is refused.
pub const SCHEMA: u32 = 1;

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
    /// Seconds that the primary had to be silent.
    pub silence: i64,
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
        silence: SignedDuration,
        situation: &Situation,
        transition: Option<&Transition>,
    ) -> Self {
        Recording {
            schema: SCHEMA,
            pool: pool.clone(),
            goal: goal.clone(),
            silence: silence.as_secs(),
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
        let silence = SignedDuration::from_secs(self.silence);
        plan(&self.pool, &self.goal, &self.situation, self.transition.as_ref(), &BTreeMap::new(), silence)
    }
}

fn redacted(s: &Situation) -> Situation {
    let mut s = s.clone();
    let strip = |i: &mut Instance| {
        if let Reading::Known(sessions) = &mut i.sessions {
            sessions.iter_mut().for_each(|x| x.login = "(left out)".into());
        }
    };
    if let Reading::Known(i) = &mut s.target {
        strip(i);
    }
    if let Some(Reading::Known(i)) = &mut s.target_mirror {
        strip(i);
    }
    for partner in &mut s.source.partners {
        match &mut partner.answer {
            Answer::Speaks(i) => strip(i),
            Answer::TurnsAway(_) | Answer::Silent(_) | Answer::NotAsked(_) => {}
        }
    }
    // A share may hold a month of backups that were applied long ago.
    let matter: BTreeSet<String> = s.files.headers.keys().cloned().collect();
    for folder in [&mut s.files.share, &mut s.files.copy] {
        if let Reading::Known(files) = folder {
            files.retain(|f| matter.contains(&f.name));
        }
    }
    s
}
