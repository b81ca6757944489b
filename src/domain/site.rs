//! One side as one look shows it: the same for both, whichever is active.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::reading::Reading;
use super::side::Place;
use super::sql_server::{Database, Instance};

/// One side, from several vantage points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Site {
    /// The SQL Server of the store.
    pub store: Partner,
    /// Its mirror; absent: the resource names none. Either may be the principal.
    pub mirror: Option<Partner>,
    /// The same servers, as the Management Shell of the other data centre sees them: whether each answers.
    pub from_the_other_shell: Vec<(String, Reading<bool>)>,
    /// Front End and chat ports: what listens, and whether it does.
    pub ports: Vec<(String, Reading<bool>)>,
    /// How long nothing of it has been heard.
    pub silence: Silence,
}

/// One partner of a side's mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Partner {
    /// Host and instance, as the resource names them.
    pub server: String,
    /// What it said.
    pub answer: Answer,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It let us in and showed its database.
    Speaks(Box<Instance>),
    /// Something is there, but turned us away (login refused, certificate not trusted, server error): it lives.
    TurnsAway(Problem),
    /// Nobody there: refused, timed out, no route.
    Silent(Problem),
    /// We could not even ask (no Secret, for example), or have not asked yet.
    NotAsked(Problem),
}

impl Answer {
    /// The instance, or why it is not to be seen.
    pub fn instance(&self) -> Result<&Instance, &Problem> {
        match self {
            Answer::Speaks(i) => Ok(i),
            Answer::TurnsAway(p) | Answer::Silent(p) | Answer::NotAsked(p) => Err(p),
        }
    }
}

/// How long nothing of a side has been heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// Since when every look found nothing but silence; absent: the last look heard something, or none was made.
    pub since: Option<Timestamp>,
    /// How many looks in a row found nothing but silence.
    pub looks: u32,
    /// How long it must last before the side is taken for dead.
    pub must_last: SignedDuration,
    /// A log backup that appeared in the share after the silence began: something still writes there.
    pub newer_backup: Option<String>,
    /// When the side last answered, as far as this process knows.
    pub last_heard: Option<Timestamp>,
}

impl Site {
    /// Both partners, each with its place in the resource.
    pub fn partners(&self) -> impl Iterator<Item = (Place, &Partner)> {
        std::iter::once((Place::Store, &self.store)).chain(self.mirror.as_ref().map(|m| (Place::Mirror, m)))
    }
    /// The partner at a place.
    pub fn partner(&self, place: Place) -> Option<&Partner> {
        match place {
            Place::Store => Some(&self.store),
            Place::Mirror => self.mirror.as_ref(),
        }
    }
    /// The instances that speak, each with its place.
    pub fn instances(&self) -> impl Iterator<Item = (Place, &Instance)> {
        self.partners().filter_map(|(place, p)| Some((place, p.answer.instance().ok()?)))
    }
    /// Why a partner is not to be seen, if one is not.
    pub fn unseen(&self) -> Option<&Problem> {
        self.partners().find_map(|(_, p)| p.answer.instance().err())
    }
    /// The instance that shows a live database, if one does.
    pub fn live(&self) -> Option<&Instance> {
        self.place_of_live().and_then(|place| self.partner(place)?.answer.instance().ok())
    }
    /// Both partners, where each shows a live database: then one of them is an older one, of a mirror or principal that was away when the
    /// mirroring was removed.
    pub fn two_live(&self) -> Option<(&Instance, &Instance)> {
        let is_live = |i: &&Instance| i.database.as_ref().is_some_and(Database::is_live);
        let mut live = self.instances().map(|(_, i)| i).filter(is_live);
        let (a, b) = (live.next()?, live.next()?);
        let family =
            |i: &Instance| i.database.as_ref().and_then(|d| d.family.as_ref()).map(|f| f.to_lowercase());
        // A database of that name which somebody else has made is none of them: it is told where the mirror is to be built.
        match (family(a), family(b)) {
            (Some(x), Some(y)) if x != y => None,
            (Some(_) | None, Some(_) | None) => Some((a, b)),
        }
    }
    fn place_of_live(&self) -> Option<Place> {
        let is_live = |i: &Instance| i.database.as_ref().is_some_and(Database::is_live);
        self.instances().find(|(_, i)| is_live(i)).map(|(place, _)| place)
    }
    /// Where the side's database is worked on: where it is live, else at the store.
    pub fn main_place(&self) -> Place {
        self.place_of_live().unwrap_or(Place::Store)
    }
    /// The instance there, or why it is not to be seen.
    pub fn main(&self) -> Result<&Instance, &Problem> {
        self.partner(self.main_place()).unwrap_or(&self.store).answer.instance()
    }
    /// Its partner: the mirror, or the mirror-to-be. None: the resource names no mirror.
    pub fn partner_of_main(&self) -> Option<&Partner> {
        self.mirror.as_ref().and_then(|_| self.partner(self.main_place().other()))
    }
    /// Whether a look found nothing but silence: what the span until it is taken for dead is counted from.
    pub fn is_silent(&self) -> bool {
        self.partners().all(|(_, p)| matches!(p.answer, Answer::Silent(_)))
            && self.from_the_other_shell.iter().all(|(_, r)| matches!(r, Reading::Known(false)))
    }
}
