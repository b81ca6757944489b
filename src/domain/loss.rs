//! What is lost: an interval, never a guess.

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::chain::Chain;
use super::links::{Link, file_name};
use super::side::Side;
use super::site::Site;
use super::situation::Situation;
use super::sql_server::RestoreHistory;
use super::transition::{Loss, Transition};

/// The loss if the database were recovered where the chain ends.
pub fn expected(s: &Situation, t: &Transition, chain: &Chain) -> Loss {
    let (from, to) = (&s.sites[t.route.from], &s.sites[t.route.to]);
    let restored = last_restored(to);
    let link = chain.links.last();
    let start = match link {
        Some(link) => Some(link.set.start.clone()),
        None => restored.and_then(|r| r.backup_start.clone()),
    };
    let file = match link {
        Some(link) => Some(link.file.clone()),
        None => restored.and_then(|r| r.file.as_deref()).map(|f| file_name(f).to_string()),
    };
    Loss {
        kept_until: kept_until(from, link, restored),
        kept_until_local: start,
        lost_at_most_until: from.silence.last_heard.or(t.facts.last_heard),
        last_file: file,
        last_lsn: chain.end.as_ref().map(|r| r.lsn),
        not_applied: chain.stuck.iter().map(|s| s.problem.what.clone()).collect(),
        newest_message: None,
    }
}

/// Everything before this moment is for certain in the live database of a side, which was recovered there: by its restore history, or by the
/// record of what recovered it. None: nobody can tell.
pub fn held_until(s: &Situation, side: Side) -> Option<Timestamp> {
    let came = |t: &&Transition| t.route.procedure.moves_chat() && t.route.to == side;
    let recorded = || {
        let newest = s.transitions().into_iter().filter(came).max_by_key(|t| t.number)?;
        newest.facts.loss.as_ref()?.kept_until
    };
    kept_until(&s.sites[side.other()], None, last_restored(&s.sites[side])).or_else(recorded)
}

/// What was restored last into the database of a side. A full restore is what the copy holds by then; rows before it tell of another life of
/// the database.
fn last_restored(site: &Site) -> Option<&RestoreHistory> {
    let history = site.main().ok()?.history.known()?;
    history.iter().find(|r| ["L", "D"].contains(&r.kind.as_str()))
}

/// Everything before this moment is kept for certain.
///
/// A backup's times are local times of the server that took it. How far that one was from UTC at that moment, the history of what was
/// restored says (`msdb.dbo.backupset.time_zone`). Of what is not restored yet only the server itself can tell, while it speaks; and never
/// another one's clock, for the data centres have zones of their own. Where nobody can, what was restored last is kept for certain.
fn kept_until(from: &Site, link: Option<&Link>, restored: Option<&RestoreHistory>) -> Option<Timestamp> {
    let own_zone = |server: &str| {
        let mut instances = from.instances().map(|(_, i)| i);
        instances.find(|i| i.server_name.eq_ignore_ascii_case(server)).map(|i| i.zone_minutes)
    };
    let not_yet = link.and_then(|l| to_utc(&l.set.start, own_zone(&l.set.server)));
    let before = restored.and_then(|r| {
        let zone = r.zone_minutes.or_else(|| own_zone(r.server.as_deref()?));
        to_utc(r.backup_start.as_deref()?, zone)
    });
    not_yet.or(before)
}

/// A server's local time (as backup headers and histories have it) in UTC; none if its zone is not known.
pub fn to_utc(local: &str, zone_minutes: Option<i32>) -> Option<Timestamp> {
    let zone = jiff::tz::Offset::from_seconds(zone_minutes?.checked_mul(60)?).ok()?;
    let local: DateTime = local.parse().ok()?;
    zone.to_timestamp(local).ok()
}

#[cfg(test)]
mod tests {
    use super::super::problem::{Problem, Reason};
    use super::super::site::{Answer, Partner, Silence};
    use super::*;

    #[test]
    fn no_other_servers_zone_is_put_in_the_place_of_the_backups_own() {
        let restored = |zone_minutes| RestoreHistory {
            kind: "L".into(),
            last_lsn: None,
            last_fork: None,
            backup_start: Some("2026-10-25T01:50:00".into()),
            file: None,
            first_fork: None,
            fork_point: None,
            server: Some("ATL-SQL-1".into()),
            zone_minutes,
        };
        let gone = Answer::Silent(Problem::retry(Reason::HostUnreachable, "", ""));
        let store = Partner { server: "s".into(), answer: gone };
        let from = Site {
            store,
            mirror: None,
            from_the_other_shell: vec![],
            ports: vec![],
            silence: Silence::default(),
        };
        // The night in which the clocks change: what it was then, not what it is now.
        let then = kept_until(&from, None, Some(&restored(Some(120))));
        assert_eq!(then.map(|t| t.to_string()).as_deref(), Some("2026-10-24T23:50:00Z"));
        assert_eq!(kept_until(&from, None, Some(&restored(None))), None);
    }

    #[test]
    fn local_times_become_utc_only_when_the_zone_is_known() {
        let at = to_utc("2026-11-23T09:30:00", Some(-300));
        assert_eq!(at.map(|t| t.to_string()).as_deref(), Some("2026-11-23T14:30:00Z"));
        assert_eq!(to_utc("2026-11-23T09:30:00", None), None);
        assert_eq!(to_utc("yesterday", Some(0)), None);
    }
}
