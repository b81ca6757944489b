//! Where a transition goes: the one place where direction exists.

use serde::{Deserialize, Serialize};

use super::side::Side;

/// What is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Procedure {
    /// The active side is lost: its database lives on at the other side.
    Failover,
    /// Both sides live: the database moves to the other one, and nothing is lost.
    Switch,
    /// The side that is not active is protected: it holds a copy that log shipping feeds from the active one.
    Protect,
    /// The active side has the mirror and the active servers that the resource names.
    Align,
}

impl Procedure {
    /// All of them.
    pub const ALL: [Procedure; 4] =
        [Procedure::Failover, Procedure::Switch, Procedure::Protect, Procedure::Align];
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Procedure::Failover => "Failover",
            Procedure::Switch => "Switch",
            Procedure::Protect => "Protect",
            Procedure::Align => "Align",
        }
    }
    /// Whether another side becomes the active one by it.
    pub const fn moves_chat(self) -> bool {
        match self {
            Procedure::Failover | Procedure::Switch => true,
            Procedure::Protect | Procedure::Align => false,
        }
    }
    /// The same for the name that stands in a status: one that is not known, of another version's, moves nothing.
    pub fn name_moves_chat(name: &str) -> bool {
        Procedure::ALL.iter().any(|p| p.moves_chat() && p.as_str() == name)
    }
}

/// Whether a transition goes to its target, or is undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Course {
    /// To its target.
    #[default]
    Onward,
    /// Back: the wish was taken back before the point of no return.
    Back,
}

/// Which procedure, between which sides, on which course.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// What is carried out.
    pub procedure: Procedure,
    /// The side that is left (Failover, Switch), or whose database is the live one (Protect, Align).
    pub from: Side,
    /// The side that becomes active (Failover, Switch), that is protected (Protect), or that is set right (Align).
    pub to: Side,
    /// Onward or back.
    #[serde(default)]
    pub course: Course,
}

impl Route {
    /// A failover to a side.
    pub const fn failover(to: Side) -> Route {
        Route { procedure: Procedure::Failover, from: to.other(), to, course: Course::Onward }
    }
    /// A switch to a side.
    pub const fn switch(to: Side) -> Route {
        Route { procedure: Procedure::Switch, from: to.other(), to, course: Course::Onward }
    }
    /// The protection of a side.
    pub const fn protect(to: Side) -> Route {
        Route { procedure: Procedure::Protect, from: to.other(), to, course: Course::Onward }
    }
    /// What the active side is to have.
    pub const fn align(side: Side) -> Route {
        Route { procedure: Procedure::Align, from: side, to: side, course: Course::Onward }
    }
    /// Whether another one is the same, on whichever course.
    pub fn goes_as(self, other: Route) -> bool {
        Route { course: other.course, ..self } == other
    }
    /// The side whose database is live in the end: the record and the first lock lie there.
    pub const fn home(self) -> Side {
        match (self.procedure, self.course) {
            (Procedure::Failover | Procedure::Align, _) | (Procedure::Switch, Course::Onward) => self.to,
            (Procedure::Protect, _) | (Procedure::Switch, Course::Back) => self.from,
        }
    }
}
