//! Leader election: the lease chooses who begins, the lock on the SQL Servers who finishes.
//!
//! A lease is renewed by writing it over the version that was read. It has run out when it has stood unchanged for its whole duration by
//! the reader's own clock, whatever times are written in it: clocks of two machines are never compared. Its holder stops believing in
//! it earlier than anybody else may take it: it counts from before it sent the renewal, and for less than the duration.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::wishes::Lead;
use crate::engine::{Clock as _, SystemClock};

/// Name of the lease.
pub const NAME: &str = "persistent-chat-failover";

/// Who stands for election, and where.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the lease: the operator's own.
    pub namespace: String,
    /// The name of this replica. Two processes never have the same at a time.
    pub identity: String,
    /// How long a lease stands that nobody renews, at least three seconds.
    pub duration: Duration,
}

impl Candidate {
    /// How long its holder believes in a lease that it cannot renew.
    fn believes(&self) -> Duration {
        self.duration * 2 / 3
    }
    /// Pause between two turns.
    fn pause(&self) -> Duration {
        (self.duration * 2 / 15).max(Duration::from_millis(100))
    }
}

/// A lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Its version: changed by every write.
    pub version: String,
    /// Who holds it; none: it was given back.
    pub holder: Option<String>,
    /// How long it stands without being renewed, as whoever wrote it wants it.
    pub duration: Duration,
}

/// What a replica does in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is no lease: it is created.
    Create,
    /// It is free or has run out: it is written over exactly what was read.
    Take,
    /// It is ours: it is written anew.
    Renew,
    /// Somebody else holds it.
    Wait,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This replica does.
    Leads,
    /// Another one does, or did when the lease was last read.
    StandsBy(String),
    /// Nobody that this replica knows of.
    Unknown,
}

/// The election as one replica sees it. Pure: times are its own clock's, from any beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Election {
    identity: String,
    believes: Duration,
    /// The lease as it was last read, and since when it has stood so.
    seen: Option<(Seen, Duration)>,
    /// Until when we lead, unless we renew it.
    until: Option<Duration>,
}

impl Election {
    /// A replica that knows nothing yet.
    pub fn new(candidate: &Candidate) -> Election {
        Election {
            identity: candidate.identity.clone(),
            believes: candidate.believes(),
            seen: None,
            until: None,
        }
    }
    /// Notes what was read, and decides.
    pub fn turn(&mut self, read: Option<Seen>, now: Duration) -> Turn {
        let since = match (&self.seen, &read) {
            (Some((known, since)), Some(read)) if known == read => *since,
            (Some(_) | None, Some(_) | None) => now,
        };
        self.seen = read.map(|r| (r, since));
        match &self.seen {
            None => Turn::Create,
            Some((s, _)) if s.holder.as_deref() == Some(&self.identity) => Turn::Renew,
            Some((s, since)) if s.holder.is_none() || now.saturating_sub(*since) >= s.duration => Turn::Take,
            Some(_) => Turn::Wait,
        }
    }
    /// A write that was sent at that moment was answered: the lease is ours.
    pub fn wrote(&mut self, sent: Duration) {
        self.until = Some(sent + self.believes);
    }
    /// The lease was read as another's, or a write of ours met another's.
    pub fn lost(&mut self) {
        self.until = None;
    }
    /// Who leads, as far as this replica knows.
    pub fn standing(&self, now: Duration) -> Standing {
        let other = self.seen.as_ref().and_then(|(s, _)| s.holder.clone()).filter(|h| *h != self.identity);
        match (self.until.is_some_and(|u| now < u), other) {
            (true, _) => Standing::Leads,
            (false, Some(other)) => Standing::StandsBy(other),
            (false, None) => Standing::Unknown,
        }
    }
    /// Until when this replica leads.
    pub fn until(&self) -> Option<Duration> {
        self.until
    }
}

/// Stands for election until `stop` turns true, and gives the lease back then. What comes out tells until when this replica leads.
pub async fn stand(
    client: Client,
    candidate: Candidate,
    until: watch::Sender<Option<Instant>>,
    mut stop: watch::Receiver<bool>,
) {
    let api: Api<Lease> = Api::namespaced(client, &candidate.namespace);
    let began = Instant::now();
    let mut election = Election::new(&candidate);
    let (mut trouble, mut told) = (None, None);
    loop {
        // A request that hangs must not outlive our belief, nor keep us from asking again.
        let turn =
            tokio::time::timeout(candidate.believes() / 2, turn(&api, &candidate, &mut election, began));
        let said = turn.await.unwrap_or_else(|_| Err("the API server does not answer".into())).err();
        if said != trouble {
            if let Some(why) = &said {
                tracing::warn!(lease = NAME, namespace = candidate.namespace, why, "the lease is in trouble");
            }
            trouble = said;
        }
        let standing = election.standing(began.elapsed());
        if told.as_ref() != Some(&standing) {
            tell(&standing, told.as_ref(), &candidate);
            told = Some(standing);
        }
        let next = election.until().map(|u| began + u);
        until.send_if_modified(|known| {
            let changed = *known != next;
            *known = next;
            changed
        });
        tokio::select! {
            () = tokio::time::sleep(candidate.pause()) => {}
            // An error means that nobody can say stop any more: that is a stop as well.
            _ = stop.wait_for(|s| *s) => break,
        }
    }
    until.send_replace(None);
    if election.until().is_some() {
        // Whoever stands by need not wait until it runs out.
        let freed = tokio::time::timeout(candidate.pause() * 2, give_back(&api, &candidate)).await;
        if let Err(why) = freed.unwrap_or_else(|_| Err("the API server does not answer".into())) {
            tracing::warn!(lease = NAME, why, "the lease was not given back: it runs out by itself");
        }
    }
}

/// Says in the log that the lead has changed.
fn tell(standing: &Standing, before: Option<&Standing>, candidate: &Candidate) {
    let identity = &candidate.identity;
    if before == Some(&Standing::Leads) {
        tracing::warn!(
            lease = NAME,
            identity,
            "this replica does not lead any more: it begins nothing, and finishes what it has begun"
        );
    }
    match standing {
        Standing::Leads => tracing::info!(lease = NAME, identity, "this replica leads"),
        Standing::StandsBy(other) => {
            tracing::info!(lease = NAME, identity, leader = other, "another replica leads");
        }
        Standing::Unknown => {}
    }
}

/// One turn: reads the lease, and writes it where that is ours to do.
async fn turn(
    api: &Api<Lease>,
    candidate: &Candidate,
    election: &mut Election,
    began: Instant,
) -> Result<(), String> {
    let read = api.get_opt(NAME).await.map_err(|e| told(&e, candidate))?;
    let now = began.elapsed();
    let turn = election.turn(read.as_ref().map(seen), now);
    let written = written(candidate, read.as_ref(), turn == Turn::Renew);
    let params = PostParams::default();
    let answer = match turn {
        Turn::Wait => {
            election.lost();
            return Ok(());
        }
        Turn::Create => api.create(&params, &written).await,
        Turn::Take | Turn::Renew => api.replace(NAME, &params, &written).await,
    };
    match answer {
        Ok(_) => {
            election.wrote(now);
            Ok(())
        }
        // Somebody else was faster: the next turn reads what is there now.
        Err(kube::Error::Api(s)) if s.code == 409 => {
            election.lost();
            Ok(())
        }
        // It may have been written or not: what we believed before holds until it runs out.
        Err(e) => Err(told(&e, candidate)),
    }
}

fn told(e: &kube::Error, candidate: &Candidate) -> String {
    match e {
        kube::Error::Api(s) if s.code == 403 => format!(
            "this account may not use leases in namespace {}: give it get, create and update on coordination.k8s.io leases \
             (or, with a single replica, run it with --leader-elect=false): {}",
            candidate.namespace, s.message
        ),
        other => other.to_string(),
    }
}

/// What a lease says. One without a duration is one that somebody made by hand: it stands for as long as one usually does (client-go's
/// `LeaseDuration`).
fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(15);
    Seen {
        version: lease.resource_version().unwrap_or_default(),
        holder: spec.holder_identity.filter(|h| !h.is_empty()),
        duration: Duration::from_secs(seconds),
    }
}

/// The lease as we write it, over the version that was read.
fn written(candidate: &Candidate, read: Option<&Lease>, renews: bool) -> Lease {
    let before = read.and_then(|l| l.spec.clone()).unwrap_or_default();
    let now = Some(MicroTime(SystemClock.now()));
    let transitions = before.lease_transitions.unwrap_or(0);
    Lease {
        metadata: ObjectMeta {
            name: Some(NAME.into()),
            resource_version: read.and_then(|l| l.metadata.resource_version.clone()),
            ..read.map(|l| l.metadata.clone()).unwrap_or_default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(candidate.identity.clone()),
            lease_duration_seconds: i32::try_from(candidate.duration.as_secs()).ok(),
            acquire_time: if renews { before.acquire_time.clone() } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(match (read, renews) {
                (_, true) => transitions,
                (Some(_), false) => transitions.saturating_add(1),
                (None, false) => 0,
            }),
            ..LeaseSpec::default()
        }),
    }
}

/// Leaves the lease to whoever comes next. Only what is still ours.
async fn give_back(api: &Api<Lease>, candidate: &Candidate) -> Result<(), String> {
    let Some(mut lease) = api.get_opt(NAME).await.map_err(|e| e.to_string())? else { return Ok(()) };
    if seen(&lease).holder.as_deref() != Some(&candidate.identity) {
        return Ok(());
    }
    lease.spec.get_or_insert_default().holder_identity = Some(String::new());
    api.replace(NAME, &PostParams::default(), &lease).await.map(|_| ()).map_err(|e| e.to_string())
}

/// The lead that an election gives: asked by the clock that the election runs on, so that a process that was stopped for a while knows
/// at once that its time is over.
pub fn lead(until: watch::Receiver<Option<Instant>>) -> Lead {
    let until = Arc::new(until);
    Lead::new(move || until.borrow().is_some_and(|end| Instant::now() < end))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const STEP: Duration = Duration::from_secs(5);

    fn candidate(identity: &str) -> Candidate {
        Candidate { namespace: "chat".into(), identity: identity.into(), duration: Duration::from_secs(15) }
    }

    /// What happens to a replica's turn.
    #[derive(Clone, Copy, Debug)]
    enum Luck {
        /// It is not taken at all: the process stands still.
        Missed,
        /// It goes well.
        Answered,
        /// What it wrote stands, and it does not know.
        AnswerLost,
        /// The API server cannot be reached.
        Unreachable,
        /// What it read is as old as the last step, as a slow request has it: its write meets a newer version.
        Stale,
    }

    /// The API server's lease in the model.
    #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    struct Store {
        lease: Option<Seen>,
        before: Option<Seen>,
        version: u32,
    }

    impl Store {
        fn write(&mut self, over: Option<&Seen>, holder: &str) -> bool {
            if self.lease.as_ref().map(|l| &l.version) != over.map(|l| &l.version) {
                return false;
            }
            self.version += 1;
            self.lease = Some(Seen {
                version: self.version.to_string(),
                holder: Some(holder.into()),
                duration: Duration::from_secs(15),
            });
            true
        }
    }

    fn take_turn(e: &mut Election, store: &mut Store, luck: Luck, now: Duration) {
        let read = match luck {
            Luck::Missed | Luck::Unreachable => return,
            Luck::Answered | Luck::AnswerLost => store.lease.clone(),
            Luck::Stale => store.before.clone(),
        };
        let turn = e.turn(read.clone(), now);
        if turn == Turn::Wait {
            return e.lost();
        }
        let identity = e.identity.clone();
        match (store.write(read.as_ref(), &identity), luck) {
            (true, Luck::AnswerLost) => {}
            (true, _) => e.wrote(now),
            (false, _) => e.lost(),
        }
    }

    fn leads(e: &Election, now: Duration) -> bool {
        e.until().is_some_and(|u| now < u)
    }

    type World = (Election, Election, Store);

    /// Every world that may follow from one in a step of five seconds, whatever happens to either replica's turn.
    fn follow((a, b, store): &World, step: u32) -> Vec<World> {
        let now = STEP * step;
        let lucks = [Luck::Missed, Luck::Answered, Luck::AnswerLost, Luck::Unreachable, Luck::Stale];
        let both = lucks.iter().flat_map(|x| lucks.iter().map(move |y| (*x, *y)));
        let after = |(for_a, for_b)| {
            let (mut a, mut b, mut store) = (a.clone(), b.clone(), store.clone());
            let before = store.lease.clone();
            take_turn(&mut a, &mut store, for_a, now);
            never_two(&a, &b, &store, now);
            take_turn(&mut b, &mut store, for_b, now);
            never_two(&a, &b, &store, now);
            store.before = before;
            (a, b, store)
        };
        both.map(after).collect()
    }

    fn never_two(a: &Election, b: &Election, store: &Store, now: Duration) {
        assert!(!(leads(a, now) && leads(b, now)), "two lead at {now:?}: {a:?} {b:?} {store:?}");
    }

    #[test]
    fn two_replicas_never_lead_at_a_time_whatever_happens_to_their_turns() {
        let first = (Election::new(&candidate("a")), Election::new(&candidate("b")), Store::default());
        let mut worlds = BTreeSet::from([first]);
        // Both have led after so many steps, also one after the other.
        let (mut looked_at, mut taken_over) = (0, false);
        for step in 0..9 {
            worlds = worlds.iter().flat_map(|w| follow(w, step)).collect();
            looked_at += worlds.len();
            let now = STEP * step;
            taken_over |= worlds.iter().any(|(_, b, s)| leads(b, now) && s.version > 1);
        }
        assert!(looked_at > 10_000, "only {looked_at} worlds were looked at");
        assert!(taken_over, "nobody ever took the lease over");
    }

    #[test]
    fn a_lease_that_nobody_renews_is_taken_when_it_has_stood_for_its_duration() {
        let mut e = Election::new(&candidate("b"));
        let held = Seen { version: "7".into(), holder: Some("a".into()), duration: Duration::from_secs(15) };
        let mut at = |s: u64, seen: Seen| e.turn(Some(seen), Duration::from_secs(s));
        assert_eq!(at(0, held.clone()), Turn::Wait);
        assert_eq!(at(14, held.clone()), Turn::Wait);
        let renewed = Seen { version: "8".into(), ..held.clone() };
        assert_eq!(at(15, renewed.clone()), Turn::Wait);
        assert_eq!(at(29, renewed.clone()), Turn::Wait);
        assert_eq!(at(30, renewed), Turn::Take);
        assert_eq!(at(31, Seen { holder: None, version: "9".into(), ..held.clone() }), Turn::Take);
        assert_eq!(at(32, Seen { holder: Some("b".into()), version: "10".into(), ..held }), Turn::Renew);
        assert_eq!(e.turn(None, Duration::from_secs(33)), Turn::Create);
    }
}
