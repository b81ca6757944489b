//! Whether somebody has asked for what the resource asks for: an old wish is none.
//!
//! The deadliest case is a spec that differs from the world without anyone having decided it: a restored etcd, a Git revert, a
//! second cluster, an old manifest. So a wish counts only if it was uttered against the world as it is: by an edit, or with the time
//! of its utterance. What first met a living active side is spent: if that side falls silent later, it must be uttered anew.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::side::Side;

/// How long `spec.utteredAt` speaks for itself.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// How far clocks of people and clusters may differ.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// The last wish of a resource that was taken up, and what became of it. It stands in the status and in the record, so that another
/// process sees the same edit, and an edit that was made while nobody looked is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastWish {
    /// The side that was to be active.
    pub active: Side,
    /// Of the object that said so: one that was deleted and created anew is another one.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// What became of it.
    pub state: WishState,
    /// When that was decided.
    pub at: Timestamp,
    /// The `spec.utteredAt` that stood there then: it does not speak a second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uttered_at: Option<Timestamp>,
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WishState {
    /// It was uttered and is being made true.
    Accepted,
    /// It was uttered while the active side lived, and chat moves without loss. If that side is lost meanwhile, nobody has asked for a
    /// failover.
    Planned,
    /// It was seen true. If it is not any more, nobody has asked for that here.
    Fulfilled,
    /// It was uttered while the active side lived: it is spent.
    Refused,
    /// Nobody uttered it: the resource was first seen with it.
    Drift,
}

/// What a resource wishes now.
#[derive(Clone, Copy, Debug)]
pub struct Wished<'a> {
    /// The side that is to be active.
    pub active: Side,
    /// `metadata.uid`.
    pub uid: &'a str,
    /// `metadata.generation`.
    pub generation: i64,
    /// `spec.utteredAt`.
    pub uttered_at: Option<Timestamp>,
}

impl Wished<'_> {
    /// The last wish that was taken up: as it is remembered in the status, or as a record of this object has it. Generations say which of
    /// them came later, not times: clocks jump. Of one generation what is remembered is newer than the record.
    ///
    /// A record that is ahead of the status tells that the object may have been rolled back, with its status. If it wishes what that status
    /// remembers, nobody has edited that since: whatever its generation has become by edits of anything else, what it says is spent.
    pub fn last(&self, recorded: Option<&LastWish>, heard: Option<&LastWish>) -> Option<LastWish> {
        match (recorded, heard.filter(|h| h.uid == self.uid)) {
            (Some(r), Some(h)) if r.generation > h.generation => {
                let is_rolled_back = r.active != self.active && h.active == self.active;
                Some(if is_rolled_back {
                    LastWish { state: WishState::Drift, ..h.clone() }
                } else {
                    r.clone()
                })
            }
            (_, Some(h)) => Some(h.clone()),
            (r, None) => r.or(heard).cloned(),
        }
    }
    /// Whether somebody has asked for this against the world as it is.
    pub fn is_uttered(&self, last: Option<&LastWish>, at: Timestamp) -> bool {
        let fresh = self
            .uttered_at
            .filter(|said| at.duration_since(*said) <= FRESH && said.duration_since(at) <= AHEAD);
        match last.filter(|l| l.uid == self.uid) {
            None => fresh.is_some(),
            // An older generation is no edit: the object was restored.
            Some(l) if l.active != self.active => self.generation > l.generation,
            Some(l) => match l.state {
                WishState::Accepted => true,
                // Clocks of the human and of the operator may differ by minutes: an utterance is held against the one before it, and
                // against the operator's clock only where there was none. In whole seconds, for a status has no others.
                WishState::Planned | WishState::Fulfilled | WishState::Refused | WishState::Drift => {
                    fresh.is_some_and(|said| said.as_second() > l.uttered_at.unwrap_or(l.at).as_second())
                }
            },
        }
    }

    /// Whether somebody has asked for a switch, which goes on.
    pub fn is_planned(&self, last: Option<&LastWish>) -> bool {
        let same = last.filter(|l| l.active == self.active && l.uid == self.uid);
        same.is_some_and(|l| l.state == WishState::Planned)
    }

    /// The same wish, as it is remembered with what became of it. One that is remembered so already keeps its time.
    pub fn becomes(&self, state: WishState, last: Option<&LastWish>, at: Timestamp) -> LastWish {
        let same = last.filter(|l| l.active == self.active && l.uid == self.uid && l.state == state);
        LastWish {
            active: self.active,
            uid: self.uid.into(),
            generation: self.generation,
            state,
            at: same.map_or(at, |l| l.at),
            uttered_at: self.uttered_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wished(active: Side, uttered_at: Option<i64>) -> Wished<'static> {
        let uttered_at = uttered_at.and_then(|s| Timestamp::from_second(s).ok());
        Wished { active, uid: "a", generation: 2, uttered_at }
    }
    fn last(active: Side, uid: &str, state: WishState) -> LastWish {
        LastWish { active, uid: uid.into(), generation: 1, state, at: now(), uttered_at: None }
    }
    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(100)
    }

    #[test]
    fn an_edit_counts_a_first_sight_does_not_and_what_was_spent_must_be_said_anew() {
        let backup = wished(Side::Backup, None);
        assert!(!backup.is_uttered(None, now()), "a first sight");
        assert!(
            !backup.is_uttered(Some(&last(Side::Primary, "b", WishState::Accepted)), now()),
            "created anew"
        );
        assert!(backup.is_uttered(Some(&last(Side::Primary, "a", WishState::Fulfilled)), now()), "an edit");
        let later = LastWish { generation: 7, ..last(Side::Primary, "a", WishState::Fulfilled) };
        assert!(!backup.is_uttered(Some(&later), now()), "restored from a backup of etcd");
        assert!(
            backup.is_uttered(Some(&last(Side::Backup, "a", WishState::Accepted)), now()),
            "being made true"
        );
        for spent in [WishState::Fulfilled, WishState::Refused, WishState::Drift] {
            assert!(!backup.is_uttered(Some(&last(Side::Backup, "a", spent)), now()));
        }
    }

    #[test]
    fn what_was_rolled_back_with_its_status_is_no_wish_whatever_else_was_edited_since() {
        let seen = |l: &LastWish, generation: i64| LastWish { generation, ..l.clone() };
        let (there, back) = (Side::Backup, wished(Side::Primary, None));
        let moved = seen(&last(there, "a", WishState::Fulfilled), 5);
        let edited = Wished { generation: 9, ..back };
        let uttered = |w: &Wished<'_>, heard: Option<&LastWish>| {
            w.is_uttered(w.last(Some(&moved), heard).as_ref(), now())
        };
        for state in [WishState::Fulfilled, WishState::Accepted, WishState::Planned] {
            let old = seen(&last(Side::Primary, "a", state), 2);
            assert!(!uttered(&edited, Some(&old)), "{state:?}: only other fields were edited");
            assert!(!uttered(&back, Some(&old)), "{state:?}");
            assert!(!edited.is_planned(edited.last(Some(&moved), Some(&old)).as_ref()), "{state:?}");
            let anew = Wished { uttered_at: Some(now() + SignedDuration::from_secs(60)), ..edited };
            assert!(uttered(&anew, Some(&old)), "{state:?}: said anew");
        }
        // The status has seen it wish the other side: that it does not any more is an edit.
        assert!(uttered(&edited, Some(&seen(&moved, 6))));
        assert!(uttered(&edited, Some(&seen(&moved, 4))));
        assert!(uttered(&edited, None));
    }

    #[test]
    fn a_time_of_utterance_speaks_for_an_hour_and_not_for_what_was_spent_after_it() {
        let at = now().as_second();
        assert!(wished(Side::Backup, Some(at - 3599)).is_uttered(None, now()));
        assert!(!wished(Side::Backup, Some(at - 3601)).is_uttered(None, now()));
        assert!(!wished(Side::Backup, Some(at + 3600)).is_uttered(None, now()), "not from the future");
        let spent = last(Side::Backup, "a", WishState::Refused);
        assert!(!wished(Side::Backup, Some(at - 10)).is_uttered(Some(&spent), now()));
        let later = now() + SignedDuration::from_secs(60);
        assert!(wished(Side::Backup, Some(at + 30)).is_uttered(Some(&spent), later));
    }

    #[test]
    fn an_utterance_speaks_once_whatever_the_clocks_say() {
        let at = now().as_second();
        // The operator's clock is behind: what was said lies after what became of it.
        let said = wished(Side::Backup, Some(at + 49));
        assert!(said.is_uttered(Some(&last(Side::Backup, "a", WishState::Drift)), now()));
        let refused = said.becomes(WishState::Refused, None, now());
        assert!(!said.is_uttered(Some(&refused), now()));
        // Refused again, it keeps its time, and the second utterance is spent as well.
        let again = wished(Side::Backup, Some(at + 60));
        let later = now() + SignedDuration::from_secs(30);
        assert!(again.is_uttered(Some(&refused), later));
        let twice = again.becomes(WishState::Refused, Some(&refused), later);
        assert_eq!(twice.at, refused.at);
        assert!(!again.is_uttered(Some(&twice), later));
        // Ahead: a human who says it anew need not wait until the clocks agree.
        let early = wished(Side::Backup, Some(at - 40));
        assert!(
            wished(Side::Backup, Some(at - 20))
                .is_uttered(Some(&early.becomes(WishState::Refused, None, now())), now())
        );
    }
}
