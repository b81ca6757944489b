//! What lies behind roll forward: applied, of a life of the database that is over, or only looking as if.
//!
//! Several recovery paths use the same range of LSNs (SQL Server's documentation, "Recovery Paths"): after a restore of the live
//! database to an earlier point its new log backups have smaller LSNs than the copy, and everything is in them.

use std::collections::BTreeMap;

use jiff::civil::DateTime;

use super::backups::{Lsn, RedoPoint};
use super::links::{Copy, Link};

/// What two servers' local times may differ by at most, in seconds: from UTC-12 to UTC+14.
const OTHER_SERVER: i64 = 26 * 3600;
/// What one server's local time may jump back by, when its clock changes.
const SAME_SERVER: i64 = 3600;

/// Why a log backup that ends before roll forward stands is no old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strange {
    /// It is on a recovery path that is none of the copy's, and nothing on the copy's own path was certainly taken later.
    OtherLife,
    /// It is on the copy's path, and was certainly taken later than a backup that reaches further.
    Later,
}

/// A backup that was taken: where it ends, when, on which server.
struct Taken {
    last: Lsn,
    at: i64,
    server: String,
}

/// How far each recovery fork is the copy's own path, by its name in lower case.
type Forks = BTreeMap<String, Lsn>;

fn own(forks: &mut Forks, fork: &str, up_to: Lsn) -> bool {
    let slot = forks.entry(fork.to_lowercase()).or_default();
    let grows = up_to > *slot;
    *slot = up_to.max(*slot);
    grows
}

fn is_own(forks: &Forks, fork: &str, last: Lsn) -> bool {
    forks.get(&fork.to_lowercase()).is_some_and(|up_to| last <= *up_to)
}

/// Seconds of a local time, of no zone.
fn seconds(local: &str) -> Option<i64> {
    let local: DateTime = local.parse().ok()?;
    jiff::tz::Offset::UTC.to_timestamp(local).ok().map(jiff::Timestamp::as_second)
}

/// The log backups that end where the chain ends or before, and are no old ones.
pub(super) fn behind<'l>(
    copy: &Copy<'_>,
    end: &RedoPoint,
    links: &[Link],
    all: &[&'l Link],
) -> Vec<(&'l Link, Strange)> {
    let forks = path(copy, end, links, all);
    let taken = taken(copy, &forks, all);
    let mut latest = BTreeMap::new();
    taken.iter().for_each(|t| keep(&mut latest, t, i64::max));
    let mut out = Vec::new();
    let mut behind: Vec<&Link> = all.iter().filter(|l| l.set.last_lsn <= end.lsn).copied().collect();
    behind.sort_by_key(|l| std::cmp::Reverse(l.set.last_lsn));
    // When the earliest of those was taken that reach further, by server.
    let (mut further, mut earliest) = (taken.iter().peekable(), BTreeMap::new());
    for link in behind {
        while let Some(t) = further.next_if(|t| t.last > link.set.last_lsn) {
            keep(&mut earliest, t, i64::min);
        }
        let (at, server) = (seconds(&link.set.start), link.set.server.to_lowercase());
        let strange = if is_own(&forks, &link.set.last_fork, link.set.last_lsn) {
            let is_later = at.is_some_and(|at| certainly(&earliest, &server, |t, slack| t + slack < at));
            is_later.then_some(Strange::Later)
        } else {
            let outlived = at.is_some_and(|at| certainly(&latest, &server, |t, slack| at + slack < t));
            (!outlived).then_some(Strange::OtherLife)
        };
        out.extend(strange.map(|why| (link, why)));
    }
    out
}

/// The forks of the copy's own path: where it stands, what was restored into it, and what led to each of these.
fn path(copy: &Copy<'_>, end: &RedoPoint, links: &[Link], all: &[&Link]) -> Forks {
    let mut forks = Forks::new();
    own(&mut forks, &copy.redo.fork, copy.redo.lsn);
    own(&mut forks, &end.fork, end.lsn);
    for set in links.iter().map(|l| &l.set) {
        own(&mut forks, &set.last_fork, set.last_lsn);
        own(&mut forks, &set.first_fork, set.fork_point.unwrap_or(set.last_lsn));
    }
    for r in copy.restored {
        if let (Some(last), Some(fork)) = (r.last_lsn, &r.last_fork) {
            own(&mut forks, fork, last);
            if let Some(first) = r.first_fork.as_ref().filter(|f| !f.eq_ignore_ascii_case(fork)) {
                own(&mut forks, first, r.fork_point.unwrap_or(last));
            }
        }
    }
    // A set in which the fork changes shows where the path came from.
    let changes = || all.iter().map(|l| &l.set).filter(|s| !s.first_fork.eq_ignore_ascii_case(&s.last_fork));
    loop {
        let led = changes().filter(|s| is_own(&forks, &s.last_fork, s.last_lsn));
        let from: Vec<_> = led.map(|s| (s.first_fork.clone(), s.fork_point.unwrap_or(s.last_lsn))).collect();
        let grown = from.into_iter().filter(|(fork, up_to)| own(&mut forks, fork, *up_to)).count();
        if grown == 0 {
            return forks;
        }
    }
}

/// The backups of the copy's own path whose time is known, the one that reaches furthest first.
fn taken(copy: &Copy<'_>, forks: &Forks, all: &[&Link]) -> Vec<Taken> {
    let sets = all.iter().map(|l| &l.set).filter(|s| is_own(forks, &s.last_fork, s.last_lsn));
    let sets = sets.filter_map(|s| {
        Some(Taken { last: s.last_lsn, at: seconds(&s.start)?, server: s.server.to_lowercase() })
    });
    let restored = copy.restored.iter().filter_map(|r| {
        let server = r.server.as_deref().unwrap_or_default().to_lowercase();
        Some(Taken { last: r.last_lsn?, at: seconds(r.backup_start.as_deref()?)?, server })
    });
    let mut out: Vec<Taken> = sets.chain(restored).collect();
    out.sort_by_key(|t| std::cmp::Reverse(t.last));
    out
}

/// Keeps the better of the times of a server.
fn keep(times: &mut BTreeMap<String, i64>, t: &Taken, better: fn(i64, i64) -> i64) {
    let slot = times.entry(t.server.clone()).or_insert(t.at);
    *slot = better(*slot, t.at);
}

/// Whether something holds of one of the times by more than what local times may be wrong by.
fn certainly(times: &BTreeMap<String, i64>, server: &str, holds: impl Fn(i64, i64) -> bool) -> bool {
    times.iter().any(|(s, t)| holds(*t, if s == server { SAME_SERVER } else { OTHER_SERVER }))
}
