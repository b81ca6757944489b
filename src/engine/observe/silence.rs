//! How long nothing of a side has been heard: a small machine that is fed with every look at it.

use jiff::{SignedDuration, Timestamp};

use crate::domain::backups::{Folders, Lsn};
use crate::domain::site::{Silence, Site};

/// What was heard of one side so far.
#[derive(Clone, Debug, Default)]
pub struct Ear {
    since: Option<Timestamp>,
    looks: u32,
    /// The newest log backup when the silence began.
    newest_then: Option<Lsn>,
    newer_backup: Option<String>,
    last_heard: Option<Timestamp>,
}

impl Ear {
    /// Hears what one look at the side has to say, and gives how long it has been silent. `newest` is the log backup that reaches
    /// furthest, if the folders were looked at.
    pub fn hear(
        &mut self,
        site: &Site,
        newest: Option<(Lsn, String)>,
        at: Timestamp,
        must_last: SignedDuration,
    ) -> Silence {
        let speaks = site.instances().next().is_some();
        if speaks {
            self.last_heard = Some(at);
        }
        if site.is_silent() {
            self.looks = self.looks.saturating_add(1);
            self.since = self.since.or(Some(at));
            match (&self.newest_then, newest) {
                // Whatever took it was alive after we thought that nothing is.
                (Some(known), Some((lsn, file))) if lsn > *known => self.newer_backup = Some(file),
                // What is there at the first look into the folders is what there was.
                (None, Some((lsn, _))) => self.newest_then = Some(lsn),
                (Some(_) | None, _) => {}
            }
        } else {
            (self.since, self.looks, self.newest_then) = (None, 0, None);
            if speaks {
                self.newer_backup = None;
            }
        }
        self.told(must_last)
    }

    /// What was heard so far.
    pub fn told(&self, must_last: SignedDuration) -> Silence {
        Silence {
            since: self.since,
            looks: self.looks,
            must_last,
            newer_backup: self.newer_backup.clone(),
            last_heard: self.last_heard,
        }
    }
}

/// The log backup that reaches furthest, by its header: names and dates prove nothing.
pub fn newest_backup(files: &Folders, database: &str) -> Option<(Lsn, String)> {
    let sets = files.headers.iter().filter_map(|(name, h)| Some((name, h.sets.known()?)));
    sets.flat_map(|(name, sets)| sets.iter().map(move |s| (s, name)))
        // What somebody rescued from a database that was closed is no sign that it lives.
        .filter(|(s, _)| s.is_log_of(database) && !s.is_rescued())
        .map(|(s, name)| (s.last_lsn, name.clone()))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::problem::{Problem, Reason};
    use crate::domain::site::{Answer, Partner};

    fn site(answer: Answer) -> Site {
        let store = Partner { server: "s".into(), answer };
        Site { store, mirror: None, from_the_other_shell: vec![], ports: vec![], silence: Silence::default() }
    }
    fn nobody() -> Problem {
        Problem::retry(Reason::HostUnreachable, "nobody there", "")
    }

    #[test]
    fn a_sign_of_life_ends_the_silence_and_a_newer_backup_is_remembered_until_the_side_speaks() {
        let (silent, alive) = (site(Answer::Silent(nobody())), site(Answer::TurnsAway(nobody())));
        let mut ear = Ear::default();
        let (span, at) = (SignedDuration::from_secs(30), Timestamp::UNIX_EPOCH);
        let mut hear = |site: &Site, newest: Option<i128>, seconds: i64| {
            let newest = newest.map(|n| (Lsn(n), format!("{n}.trn")));
            ear.hear(site, newest, at + SignedDuration::from_secs(seconds), span)
        };
        assert_eq!((hear(&silent, Some(5), 1).looks, hear(&silent, None, 2).looks), (1, 2));
        assert_eq!(hear(&silent, Some(5), 3).newer_backup, None);
        assert_eq!(hear(&silent, Some(6), 4).newer_backup.as_deref(), Some("6.trn"));
        let heard = hear(&alive, Some(6), 5);
        assert_eq!((heard.since, heard.looks), (None, 0));
        assert_eq!(heard.newer_backup.as_deref(), Some("6.trn"), "turned away is not speaking");
        let again = hear(&silent, Some(6), 9);
        assert_eq!(again.since, Some(at + SignedDuration::from_secs(9)));
    }
}
