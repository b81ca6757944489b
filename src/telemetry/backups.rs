//! How far the copy that a failover would go on with is behind, from what a look shows of it.

use jiff::Timestamp;

use crate::domain::backups::{Folders, Lsn};
use crate::domain::chain::{self, Chain};
use crate::domain::loss;
use crate::domain::pool::Pool;
use crate::domain::problem::Class;
use crate::domain::route::Route;
use crate::domain::side::Side;
use crate::domain::situation::Situation;
use crate::domain::transition::Transition;
use crate::engine::report::Report;

/// The copy that a failover goes on with, or would: as moments, so that it is seen to grow old also while nobody can look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    side: Side,
    /// How far the newest log backup reaches that stands beside the copy or was restored into it.
    arrived: Reach,
    /// How far everything is kept.
    kept: Reach,
    /// Nothing after this moment can be lost.
    lost_at_most_until: Option<Timestamp>,
}

/// How far log backups reach: by the log, and by the time at which the last one was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reach {
    end: Option<Lsn>,
    until: Option<Timestamp>,
}

impl Reach {
    /// The reach of a chain. Once the server is lost that took a backup, nobody tells its zone any more: as long as the log reaches no less
    /// far, what was known of the time holds.
    fn of(before: Option<Reach>, s: &Situation, t: &Transition, chain: &Chain) -> Reach {
        let copy = || s.sites[t.route.to].main().ok().and_then(chain::redo_of).map(|redo| redo.lsn);
        let end = chain.links.last().map(|l| l.set.last_lsn).or_else(copy);
        let now = loss::expected(s, t, chain).kept_until;
        let known = before.filter(|b| b.end.is_some() && end >= b.end).and_then(|b| b.until);
        Reach { end, until: now.max(known) }
    }
}

impl Copy {
    /// What a report shows, or what was seen before where it shows nothing anew. None: there is no copy that log backups follow.
    pub fn seen(before: Option<Copy>, pool: &Pool, r: &Report<'_>) -> Option<Copy> {
        let (s, begun) = (r.situation, r.plan.transition.as_ref());
        let failover = begun.filter(|t| t.route.procedure.moves_chat());
        let supposed = Route::failover(r.plan.supposed.other());
        let t = failover.cloned().unwrap_or_else(|| Transition::begin(&pool.fqdn, supposed, "", 0, s.at));
        let (from, side) = (&s.sites[t.route.from], t.route.to);
        let before = before.filter(|b| b.side == side);
        // A side that lives may lose what it writes at this very moment.
        let heard = match from.live() {
            Some(_) => Some(s.at),
            None => from.silence.last_heard.or(t.facts.last_heard),
        };
        if let Some(told) = &t.facts.loss {
            let lost_at_most_until = told.lost_at_most_until;
            let kept = Reach { end: None, until: told.kept_until };
            return Some(Copy { side, arrived: Reach::default(), kept, lost_at_most_until });
        }
        let as_before = || before.map(|b| Copy { lost_at_most_until: heard, ..b });
        if s.folders[side].is_none() {
            return as_before();
        }
        let chain = chain::of(s, side, &pool.database, Some(&t)).ok()?;
        // What the next look may read is not lost, and an alert would call it that.
        if chain.stuck.iter().any(|x| x.problem.class == Class::Retry) {
            return as_before();
        }
        Some(Copy {
            side,
            arrived: Reach::of(before.map(|b| b.arrived), s, &t, &arrived(s.folders[side].as_ref(), &chain)),
            kept: Reach::of(before.map(|b| b.kept), s, &t, &chain),
            lost_at_most_until: heard,
        })
    }

    /// Age of the newest log backup that has arrived, in seconds.
    pub fn lag(&self, now: Timestamp) -> Option<f64> {
        Some(seconds_between(self.arrived.until?, now))
    }

    /// Seconds of what was written that a failover would lose.
    pub fn loss(&self) -> Option<f64> {
        Some(seconds_between(self.kept.until?, self.lost_at_most_until?))
    }
}

/// The part of a chain that stands beside the copy: what is in the share only may be lost with it.
fn arrived(folders: Option<&Folders>, chain: &Chain) -> Chain {
    let here = |file: &str| folders.is_some_and(|f| f.headers.get(file).is_some_and(|h| h.from_copy));
    let links = chain.links.iter().take_while(|l| l.files().all(here)).cloned().collect();
    Chain { links, ..chain.clone() }
}

/// Never negative: the backup's time is a server's, the other one is the operator's.
fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
