//! The record of a transition, kept where the lock is: on the instances of the side whose database is live in the end.

use serde::{Deserialize, Serialize};

use super::problem::{Problem, Reason};
use super::route::{Procedure, Route};
use super::transition::Transition;

/// The newest version of the document that this operator knows: with the steps that seed a copy, which earlier ones do not know.
pub const SCHEMA: i32 = 4;
/// With switches.
const SWITCHES: i32 = 3;
/// The oldest one: without.
const OLDEST: i32 = 2;

/// Version of the document of a transition: the lowest that whoever reads it must know.
pub const fn schema_of(route: Route) -> i32 {
    match route.procedure {
        Procedure::Protect => SCHEMA,
        Procedure::Switch => SWITCHES,
        Procedure::Failover | Procedure::Align => OLDEST,
    }
}

/// One row of `msdb.dbo.persistent_chat_failover`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of the document.
    pub schema: i32,
    /// The transition.
    pub transition: Transition,
}

/// Reads a row. A newer schema is refused: what we do not understand we must not act on.
pub fn read(schema: i32, transition: &str, document: &str) -> Result<Record, Problem> {
    if schema > SCHEMA {
        return Err(Problem::ask(
            Reason::RecordTooNew,
            format!(
                "The record of transition {transition} has schema {schema}, this operator knows {SCHEMA}"
            ),
            "Run the version of the operator that wrote it, or a newer one",
        ));
    }
    if schema < OLDEST {
        return Err(unreadable(transition, &format!("it has schema {schema}, which was never released")));
    }
    match serde_json::from_str::<Transition>(document) {
        Ok(t) if t.id == transition => Ok(Record { schema, transition: t }),
        Ok(t) => Err(unreadable(transition, &format!("it names transition {}", t.id))),
        Err(e) => Err(unreadable(transition, &e.to_string())),
    }
}

fn unreadable(transition: &str, why: &str) -> Problem {
    Problem::ask(
        Reason::UnexpectedAnswer,
        format!(
            "The record of transition {transition} in msdb.dbo.persistent_chat_failover cannot be read: {why}"
        ),
        "Restore the row from a backup of msdb, or, if the transition is over, delete it",
    )
}
