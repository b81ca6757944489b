//! The tail of the log of the side that a switch leaves: what proves that nothing is lost.

use serde::Serialize;

use super::backups::{Lsn, RedoPoint};
use super::links::file_name;
use super::pool::Pool;
use super::problem::{Problem, Reason};
use super::situation::Situation;
use super::sql_server::Database;
use super::text::clean;
use super::transition::{Ended, Transition};

/// Where the tail that a switch has taken ends: every change that was ever made on the side that is left lies before it. None: it was
/// not taken, or nobody can see that it was.
///
/// What was called for is in the record; that it happened the world says: the header of the very file tells that it was taken `WITH
/// NORECOVERY` (`IsForceOffline`), or the target's history that it was restored from it. A database that is live where it was taken has no
/// tail, whatever lies in a folder: it was brought back since. Its partner is another matter: one that was away when the mirroring was
/// removed may come back as an older copy that is open, and nobody's.
pub fn taken(s: &Situation, t: &Transition, database: &str) -> Option<Lsn> {
    let tail = t.facts.tail.as_ref().filter(|tail| !tail.undone)?;
    if s.ended_by_tail(t).and_then(|i| i.database.as_ref()).is_some_and(Database::is_live) {
        return None;
    }
    let headers = s.folders[t.route.to].as_ref().and_then(|f| f.headers.get(&tail.file));
    let sets = headers.and_then(|h| h.sets.known()).into_iter().flatten();
    let of_header = sets.filter(|set| set.is_log_of(database) && set.tail).map(|set| set.last_lsn).max();
    of_header.or_else(|| {
        let restored = s.sites[t.route.to].main().ok()?.restored_logs()?;
        let is_it = |file: &str| file_name(file).eq_ignore_ascii_case(&tail.file);
        restored.filter(|r| r.file.as_deref().is_some_and(is_it)).find_map(|r| r.last_lsn)
    })
}

/// Whether a copy that stands at a point stands on the path of a live database by a switch or failover of ours: that one was recovered, on a fork of
/// its own, where the tail of the copy's log ends. Completed, it is the target's database; undone, the source's.
pub fn leads(s: &Situation, end: &RedoPoint, live: &Database) -> bool {
    let Some(fork) = &live.fork else { return false };
    s.transitions().iter().any(|t| {
        let made = t.facts.live_fork.as_ref().is_some_and(|f| f.eq_ignore_ascii_case(fork));
        let parted = match t.ended {
            Some(Ended { aborted: false, .. }) => t.facts.recovery.as_ref().map(|intent| intent.redo.clone()),
            // The source's log goes on where its tail ended: there its next log backup begins.
            Some(Ended { aborted: true, .. }) => t
                .facts
                .tail
                .as_ref()
                .and_then(|tail| Some(RedoPoint { lsn: live.last_log_backup?, fork: tail.fork.clone() })),
            None => None,
        };
        let is_on = |p: RedoPoint| p.fork.eq_ignore_ascii_case(&end.fork) && end.lsn <= p.lsn;
        t.route.procedure.moves_chat() && t.facts.adopted_fork.is_none() && made && parted.is_some_and(is_on)
    })
}

/// A tail that a copy lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unapplied {
    /// Its file, as the SQL Servers of both sides name it.
    pub path: String,
    /// The redo point of the copy.
    pub redo: RedoPoint,
}

/// The tail of the switch by which chat left a side, where the copy there stands before its end: it was taken on the other
/// partner, which was the principal, and what was its mirror has followed up to the end of the mirroring ("you must apply all of the log
/// backups taken on the principal database after mirroring was removed": Removing Database Mirroring). None: it lacks none, or SQL Server
/// would not restore it.
pub fn unapplied(
    pool: &Pool,
    s: &Situation,
    t: &Transition,
    copy: &Database,
    live: &Database,
) -> Option<Unapplied> {
    let (redo, fork) = (copy.redo.as_ref()?, live.fork.as_ref()?);
    let share = &pool.sites[t.route.from].log_shipping.as_ref()?.backup_share;
    let is_it = |by: &&Transition| {
        let made = by.facts.live_fork.as_ref().is_some_and(|f| f.eq_ignore_ascii_case(fork));
        by.ended.is_some_and(|e| !e.aborted) && by.route.from == t.route.to && made
    };
    let by = s.transitions().into_iter().find(is_it)?;
    let (tail, end) = (by.facts.tail.as_ref().filter(|tail| !tail.undone)?, by.facts.recovery.as_ref()?);
    let lacks = tail.fork.eq_ignore_ascii_case(&redo.fork) && redo.lsn < end.redo.lsn;
    (lacks && t.facts.tail_refused.is_none())
        .then(|| Unapplied { path: share.file(&tail.file), redo: redo.clone() })
}

/// That it is not to be seen whether the tail was taken.
pub fn not_seen(pool: &Pool, t: &Transition) -> Problem {
    if t.facts.tail.as_ref().is_some_and(|tail| tail.undone) {
        return Problem::ask(
            Reason::DatabaseState,
            format!(
                "{} in {} was about to be brought back online",
                clean(&pool.database),
                clean(pool.name(t.route.from))
            ),
            "Set spec.activeDataCenter back, so that this is done; then the switch can be asked for anew",
        );
    }
    let file = t.facts.tail.as_ref().map_or("the tail of the log", |tail| &tail.file);
    Problem::ask(
        Reason::LogChainGap,
        format!(
            "{} in {} takes no more changes, and {} is not to be seen in the folders of {}",
            clean(&pool.database),
            clean(pool.name(t.route.from)),
            clean(file),
            clean(pool.name(t.route.to))
        ),
        "Make the share readable again. To go back with nothing lost, set spec.activeDataCenter back: the database is brought online where it was",
    )
}
