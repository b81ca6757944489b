//! What is lost: an interval, never a guess.

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::chain::Chain;
use super::site::Site;
use super::situation::Situation;
use super::transition::{Loss, Transition};

/// The loss if the database were recovered where the chain ends.
pub fn expected(s: &Situation, t: &Transition, chain: &Chain) -> Loss {
    let (from, to) = (&s.sites[t.route.from], &s.sites[t.route.to]);
    let history = to.main().ok().and_then(|i| i.history.known());
    // A full restore is what the copy holds by then; rows before it tell of another life of the database.
    let last_restored = history.and_then(|h| h.iter().find(|r| ["L", "D"].contains(&r.kind.as_str())));
    let (file, start) = match chain.links.last() {
        Some(link) => (Some(link.file.clone()), Some(link.set.start.clone())),
        None => (
            last_restored.and_then(|r| r.file.clone()).map(|f| file_name(&f).to_string()),
            last_restored.and_then(|r| r.backup_start.clone()),
        ),
    };
    Loss {
        kept_until: start.as_deref().and_then(|text| to_utc(text, zone_of_backups(from, to))),
        kept_until_local: start,
        lost_at_most_until: from.silence.last_heard.or(t.facts.last_heard),
        last_file: file,
        last_lsn: chain.end.as_ref().map(|r| r.lsn),
        not_applied: chain.stuck.iter().map(|s| s.problem.what.clone()).collect(),
        newest_message: None,
    }
}

/// Minutes of the zone in which the headers' times are meant, if a server of either side told it. Both servers of a stretched pool
/// usually keep the same zone; where they do not, the word of the side that took the backups wins.
fn zone_of_backups(from: &Site, to: &Site) -> Option<i32> {
    let told = |site: &Site| site.instances().next().map(|(_, i)| i.zone_minutes);
    told(from).or_else(|| told(to))
}

/// A server's local time (as backup headers and histories have it) in UTC; none if its zone is not known.
pub fn to_utc(local: &str, zone_minutes: Option<i32>) -> Option<Timestamp> {
    let zone = jiff::tz::Offset::from_seconds(zone_minutes?.checked_mul(60)?).ok()?;
    let local: DateTime = local.parse().ok()?;
    zone.to_timestamp(local).ok()
}

/// The name at the end of a Windows path.
pub fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_become_utc_only_when_the_zone_is_known() {
        let at = to_utc("2026-11-23T09:30:00", Some(-300));
        assert_eq!(at.map(|t| t.to_string()).as_deref(), Some("2026-11-23T14:30:00Z"));
        assert_eq!(to_utc("2026-11-23T09:30:00", None), None);
        assert_eq!(to_utc("yesterday", Some(0)), None);
    }
}
