//! Which side is active, from what is true in the world and not from what is wanted.

use super::pool::Pool;
use super::problem::{Problem, Reason};
use super::side::Side;
use super::situation::Situation;
use super::sql_server::{Database, Instance};
use super::text::clean;
use super::transition::Transition;

/// The truth about the active side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Active {
    /// This one.
    In(Side),
    /// On the way: recovered by us, the pool's state not yet set.
    Between,
    /// Two live databases. Nothing may start.
    SplitBrain(Problem),
    /// The copy of the side that is not active was recovered by somebody else; the pool does not know.
    RecoveredByOthers {
        /// The side of that copy.
        side: Side,
        /// The fork that recovery made.
        fork: Option<String>,
        /// What to tell.
        problem: Problem,
    },
    /// The pool uses a side of which nothing is to be seen, and the other one has a live database: the old one from before chat left it, or
    /// somebody recovered its copy. No record that can be seen says which.
    LiveAcross {
        /// The side of that database.
        side: Side,
        /// The fork that it is on.
        fork: Option<String>,
        /// What to tell.
        problem: Problem,
    },
    /// Nobody can say.
    Unknown(Problem),
}

impl Active {
    /// The active side, if it is certain.
    pub fn side(&self) -> Option<Side> {
        match self {
            Active::In(side) => Some(*side),
            Active::Between
            | Active::SplitBrain(_)
            | Active::RecoveredByOthers { .. }
            | Active::LiveAcross { .. }
            | Active::Unknown(_) => None,
        }
    }
}

/// The truth table over the pool's state and the databases of both sides, on both partners of each.
pub fn active(pool: &Pool, s: &Situation, t: Option<&Transition>) -> Active {
    let state = match s.lync.state.get() {
        Ok(state) => state,
        Err(p) => return Active::Unknown(p.clone()),
    };
    let Some(said) = s.used() else { return Active::Unknown(strange_state(&state.state)) };
    let other = said.other();
    let (here, there) = (&s.sites[said], &s.sites[other]);
    let explained = is_explained(s, said);
    let left_behind = |copy| is_left_behind(s, said, copy);
    let fork_of = |copy: &Instance| copy.database.as_ref().and_then(|d| d.fork.clone());
    let made_live = |copy: &Instance| Active::RecoveredByOthers {
        side: other,
        fork: fork_of(copy),
        problem: recovered_by_others(pool, copy),
    };
    let across = |copy: &Instance, problem| Active::LiveAcross { side: other, fork: fork_of(copy), problem };
    if let Some((a, b)) = here.two_live() {
        return Active::SplitBrain(beside_each_other(pool, said, a, b));
    }
    match (here.live(), there.live()) {
        (_, Some(_)) if t.is_some_and(|t| t.route.to == other && s.is_past(t)) => Active::Between,
        // The side that was left comes back with its old database: the pool does not use it. Before a first failover nobody has left
        // any side: there the copy was recovered beside the live one.
        (Some(_), Some(copy)) if left_behind(copy) => Active::In(said),
        (Some(here), Some(there)) => Active::SplitBrain(split_brain(pool, here, there, &state.state)),
        (Some(_), None) => Active::In(said),
        // A copy that waited for log backups when we began.
        (None, Some(copy)) if t.is_some_and(|t| t.route.to == other) => made_live(copy),
        // No record in sight explains it, and we know better: chat was there, and left it.
        (None, Some(copy)) if state.side() != Some(said) => across(copy, has_moved_on(pool, said, copy)),
        (None, Some(copy)) if explained && left_behind(copy) => Active::In(said),
        (None, Some(copy)) if explained || said == Side::Primary => made_live(copy),
        (None, Some(copy)) => across(copy, live_across(pool, said, copy)),
        (None, None) => match (here.main(), there.main()) {
            // Who sees neither side knows nothing.
            (Err(_), Err(p)) | (Ok(_), Err(p)) => Active::Unknown(p.clone()),
            (Err(_), Ok(_)) => Active::In(said),
            (Ok(_), Ok(_)) if explained || said == Side::Primary => Active::In(said),
            // Its partner may be the principal.
            (Ok(i), Ok(_)) => Active::Unknown(match here.unseen() {
                Some(p) => p.clone(),
                None => behind_state(pool, i, &state.state),
            }),
        },
    }
}

/// Whether a record says how a side became the active one: by a transition of ours that ended with the fork that is live there.
pub fn is_explained(s: &Situation, side: Side) -> bool {
    let fork = s.sites[side].live().and_then(|i| i.database.as_ref()).and_then(|d| d.fork.as_deref());
    s.transitions().iter().any(|t| {
        let completed = t.ended.is_some_and(|e| !e.aborted);
        let same = match (fork, t.facts.live_fork.as_deref()) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let returned = t.ended.is_some_and(|e| e.aborted) && t.route.home() == side && fork.is_some();
        t.route.procedure.moves_chat()
            && same
            && ((t.route.to == side && completed) || (returned && t.route.from == side))
    })
}

/// Whether a database that is live on the other side than the pool uses is the old one of that side, from before the pool left it; not
/// the copy that stood there since, recovered by somebody.
pub fn is_left_behind(s: &Situation, active: Side, copy: &Instance) -> bool {
    let fork = copy.database.as_ref().and_then(|d| d.fork.as_deref());
    let is_way_here = |t: &&Transition| {
        t.route.procedure.moves_chat() && t.route.to == active && t.ended.is_some_and(|e| !e.aborted)
    };
    match (s.transitions().into_iter().find(is_way_here), fork) {
        // It began with a database that somebody had recovered: the fork from before that is written down nowhere.
        (Some(t), Some(_)) if t.facts.adopted_fork.as_ref() == Some(&t.fork) => true,
        (Some(t), Some(fork)) => t.fork.eq_ignore_ascii_case(fork),
        (Some(_), None) => true,
        // Nobody has written down how the pool came to where it is. It begins on the primary store, so that one it has left at least once.
        (None, _) => active == Side::Backup,
    }
}

/// That a database was not recovered where a transition meant to recover it: somebody restored or recovered it in between. The
/// fork that it is on, and what to tell.
pub fn recovered_elsewhere(pool: &Pool, s: &Situation, t: &Transition) -> Option<(Option<String>, Problem)> {
    let (target, intent) = (s.sites[t.route.to].main().ok()?, t.facts.recovery.as_ref()?);
    let db = target.database.as_ref().filter(|d| d.is_live() && t.facts.adopted_fork.is_none())?;
    let last = target.last_restored_log()?;
    // What was restored before the intent was written was known then.
    (last != intent.redo.lsn && intent.restored != Some(last)).then(|| {
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
pub fn split_brain(pool: &Pool, here: &Instance, there: &Instance, state: &str) -> Problem {
    Problem::ask(
        Reason::SplitBrain,
        format!(
            "Two live databases: {} on {} and on {}, while the pool's state is {}",
            clean(&pool.database),
            clean(&here.server_name),
            clean(&there.server_name),
            clean(state)
        ),
        "Decide which one is to live and take the other offline; nothing is done until then",
    )
}

/// Two live databases on the two servers of one side: which of them has what was written last, no server says for certain. Chat may be in
/// either: a client goes to the first server of its connection string, and to the failover partner only while that is mirrored
/// (`LoginWithFailover` in Microsoft's SqlClient); what Lync's says is documented nowhere.
fn beside_each_other(pool: &Pool, side: Side, a: &Instance, b: &Instance) -> Problem {
    let newest = |i: &Instance| i.server_identities.known()?.iter().map(|(_, at)| *at).max();
    let reports = match (newest(a), newest(b)) {
        (Some(x), Some(y)) if x != y => {
            let (server, at) = if x > y { (a, x) } else { (b, y) };
            format!("; the newest report of a chat server is on {}, of {at}", clean(&server.server_name))
        }
        (Some(_) | None, Some(_) | None) => String::new(),
    };
    Problem::ask(
        Reason::SplitBrain,
        format!(
            "Two live databases in {}: {} on {} and on {}, and neither is the mirror of the other{reports}",
            pool.name(side),
            clean(&pool.database),
            clean(&a.server_name),
            clean(&b.server_name)
        ),
        "One of them is an older one, that came back after the mirroring was removed. Decide which one is to live, save the other one and take \
         it offline; nothing is done until then",
    )
}

fn recovered_by_others(pool: &Pool, copy: &Instance) -> Problem {
    Problem::ask(
        Reason::RecoveredByOthers,
        format!(
            "{} on {} is ONLINE, but no record says that this operator recovered it",
            clean(&pool.database),
            clean(&copy.server_name)
        ),
        "Find out who recovered it and up to which log backup. To go on with it as it is, agree by consent",
    )
}

/// A side has come back that chat had left; the one that it has moved to is not to be seen, nor is the Central Management store.
fn has_moved_on(pool: &Pool, moved: Side, copy: &Instance) -> Problem {
    let (here, there) = (pool.name(moved), pool.name(moved.other()));
    let what = format!(
        "Chat has moved to {here}, and neither a live database there is to be seen nor the Central Management store; {} on {} is the one that \
         chat had left, and {there} does not know that",
        clean(&pool.database),
        clean(&copy.server_name)
    );
    let fix = format!(
        "Wait for {here}: what was written since is there only. If {here} is gone for good, move the Central Management store to {there}, set \
         spec.activeDataCenter to {there}, and agree to going on with the old database"
    );
    Problem::ask(Reason::DatabaseState, what, fix)
}

/// The pool uses a side of which nothing is to be seen, and the other one has a live database that nobody can explain.
fn live_across(pool: &Pool, said: Side, copy: &Instance) -> Problem {
    let (here, there) = (pool.name(said), pool.name(said.other()));
    Problem::ask(
        Reason::DatabaseState,
        format!(
            "The pool's state is {}, but no live database is to be seen in {here}; {} on {} is live, and no record says why",
            said.pool_state(),
            clean(&pool.database),
            clean(&copy.server_name)
        ),
        format!(
            "If it is the database that chat left, wait for {here}: what was written since is there only. If it is the one to go on with, set \
             spec.activeDataCenter to {there}, and agree to that"
        ),
    )
}

fn strange_state(word: &str) -> Problem {
    Problem::ask(
        Reason::UnexpectedAnswer,
        format!("Get-CsPersistentChatState says {:?}, which is neither Normal nor FailedOver", clean(word)),
        "Check the pool in the Management Shell",
    )
}

fn behind_state(pool: &Pool, i: &Instance, state: &str) -> Problem {
    let shown = i.database.as_ref().map_or("missing", Database::state_text);
    Problem::ask(
        Reason::DatabaseState,
        format!(
            "The pool's state is {}, but {} on {} is {shown}",
            clean(state),
            clean(&pool.database),
            clean(&i.server_name)
        ),
        "Somebody restored or detached the live database, or set the state by hand; nothing is done until they agree",
    )
}
