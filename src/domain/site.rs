//! One side as one look shows it, from several vantage points.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::reading::Reading;
use super::sql_server::{Database, Instance};

/// What was seen of the side to be left, from several vantage points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Both partners of the primary's mirror, as the operator sees them. Either may be the principal.
    pub partners: Vec<Partner>,
    /// The same servers, as the Management Shell of the other data centre sees them: whether each answers.
    pub from_shell: Vec<(String, Reading<bool>)>,
    /// Front End and chat ports of that side: what listens, and whether it does.
    pub ports: Vec<(String, Reading<bool>)>,
    /// Since when every look found nothing but silence; absent: the last look heard something, or none was made.
    pub silent_since: Option<Timestamp>,
    /// How many looks in a row found nothing but silence.
    pub silent_looks: u32,
    /// A log backup that appeared in the share after the silence began: something still writes there.
    pub newer_backup: Option<String>,
    /// When the primary last answered, as far as this process knows.
    pub last_seen: Option<Timestamp>,
}

/// One partner of the primary's mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Partner {
    /// Host and instance, as the resource names them.
    pub server: String,
    /// Whether it is the mirror in the resource (in the world either may be).
    pub is_mirror: bool,
    /// What it said.
    pub answer: Answer,
}

/// What a server of the side to be left said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It let us in and showed its database.
    Speaks(Box<Instance>),
    /// Something is there, but turned us away (login refused, certificate not trusted, server error): it lives.
    TurnsAway(Problem),
    /// Nobody there: refused, timed out, no route.
    Silent(Problem),
    /// We could not even ask (no Secret, for example).
    NotAsked(Problem),
}

impl Source {
    /// The instance that shows a live database, if one does.
    pub fn live(&self) -> Option<&Instance> {
        self.partners.iter().find_map(|p| match &p.answer {
            Answer::Speaks(i) if i.database.as_ref().is_some_and(Database::is_live) => Some(i.as_ref()),
            Answer::Speaks(_) | Answer::TurnsAway(_) | Answer::Silent(_) | Answer::NotAsked(_) => None,
        })
    }
}
