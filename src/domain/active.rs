//! Which data centre is active, from what is true in the world and not from what is wanted.

use super::pool::Pool;
use super::problem::{Problem, Reason};
use super::situation::Situation;
use super::sql_server::{Database, Instance};
use super::text::clean;
use super::transition::Transition;

/// The truth about the active data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Active {
    /// This one.
    In(String),
    /// On the way: recovered by us, the pool's state not yet set.
    Between,
    /// Two live databases. Nothing may start.
    SplitBrain(Problem),
    /// The target was recovered by somebody else; the pool does not know.
    RecoveredByOthers {
        /// The fork that recovery made.
        fork: Option<String>,
        /// What to tell.
        problem: Problem,
    },
    /// Nobody can say.
    Unknown(Problem),
}

/// The truth table over the pool's state and both databases.
pub fn active(pool: &Pool, s: &Situation, t: Option<&Transition>) -> Active {
    let state = match s.chat.state.get() {
        Ok(state) => state,
        Err(p) => return Active::Unknown(p.clone()),
    };
    let source_live = s.source.live().map(|i| i.server_name.clone());
    let target = match s.target.get() {
        Ok(i) => i,
        // Without a look at the backup store a Normal pool whose primary is seen alive is still certain.
        Err(_) if state.is_normal() && source_live.is_some() => return Active::In(pool.primary.name.clone()),
        Err(p) => return Active::Unknown(p.clone()),
    };
    let target_live = target.database.as_ref().is_some_and(Database::is_live);
    let ours = t.is_some_and(|t| s.is_past(t));
    match (state.is_normal(), state.is_failed_over(), target_live) {
        (false, false, _) => Active::Unknown(Problem::ask(
            Reason::UnexpectedAnswer,
            format!(
                "Get-CsPersistentChatState says {:?}, which is neither Normal nor FailedOver",
                clean(&state.state)
            ),
            "Check the pool in the Management Shell",
        )),
        (_, true, true) => Active::In(pool.backup.name.clone()),
        (_, true, false) => Active::Unknown(database_behind_state(target, "FailedOver", &pool.database)),
        (true, _, false) => Active::In(pool.primary.name.clone()),
        (true, _, true) if ours => Active::Between,
        (true, _, true) => match source_live {
            Some(server) => Active::SplitBrain(split_brain(pool, &server, target, "Normal")),
            None => {
                let fork = target.database.as_ref().and_then(|d| d.fork.clone());
                Active::RecoveredByOthers {
                    fork,
                    problem: Problem::ask(
                        Reason::RecoveredByOthers,
                        format!(
                            "{} on {} is ONLINE, but no record says that this operator recovered it",
                            clean(&pool.database),
                            clean(&target.server_name)
                        ),
                        "Find out who recovered it and up to which log backup. To go on with it as it is, agree by consent",
                    ),
                }
            }
        },
    }
}

/// That a database was not recovered where a transition meant to recover it: somebody restored or recovered it in between. The
/// fork that it is on, and what to tell.
pub fn recovered_elsewhere(pool: &Pool, s: &Situation, t: &Transition) -> Option<(Option<String>, Problem)> {
    let (target, intent) = (s.target.known()?, t.recovery.as_ref()?);
    let db = target.database.as_ref().filter(|d| d.is_live() && t.adopted_fork.is_none())?;
    // Rows before the newest full restore tell of another life of the database.
    let since = target.history.known()?.iter().take_while(|r| r.kind != "D");
    let last = since.filter(|r| r.kind == "L").find_map(|r| r.last_lsn)?;
    (last != intent.redo.lsn).then(|| {
        let problem = Problem::ask(
            Reason::RecoveredByOthers,
            format!(
                "{} on {} is ONLINE, but its last log backup ends at LSN {last}, not where this operator meant to recover it (LSN {})",
                clean(&pool.database),
                clean(&target.server_name),
                intent.redo.lsn
            ),
            "Somebody restored or recovered it in between; find out who. To go on with it as it is, agree by consent",
        );
        (db.fork.clone(), problem)
    })
}

/// Two databases live at the same time.
pub fn split_brain(pool: &Pool, source: &str, target: &Instance, state: &str) -> Problem {
    Problem::ask(
        Reason::SplitBrain,
        format!(
            "Two live databases: {} on {} and on {}, while the pool's state is {state}",
            clean(&pool.database),
            clean(source),
            clean(&target.server_name)
        ),
        "Decide which one is to live and take the other offline; nothing is done until then",
    )
}

fn database_behind_state(target: &Instance, state: &str, database: &str) -> Problem {
    let shown = target.database.as_ref().map_or("missing", Database::state_text);
    Problem::ask(
        Reason::DatabaseState,
        format!(
            "The pool's state is {state}, but {} on {} is {shown}",
            clean(database),
            clean(&target.server_name)
        ),
        "Somebody restored or detached the live database, or set the state by hand; nothing is done until they agree",
    )
}
