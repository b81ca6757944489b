//! Pauses: how long until the next look, and waiting for it or for another wish.

use std::time::Duration;

use futures::future::{Either, select};
use jiff::{SignedDuration, Timestamp};

use super::plan::{Next, Plan};
use super::report::Decided;
use super::wishes::Wishes;
use super::{Clock, Pace};
use crate::domain::problem::Class;

/// What the loop does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// The permit is given back.
    pub give_back: bool,
    /// A pause before the next look; none: at once.
    pub pause: Option<SignedDuration>,
}

impl Then {
    /// Looks again at once.
    pub fn again() -> Then {
        Then::default()
    }
    /// Looks again after a pause.
    pub fn pausing(d: SignedDuration) -> Then {
        Then { pause: Some(d), ..Then::default() }
    }
    /// The same, without the permit.
    pub fn giving_back(self) -> Then {
        Then { give_back: true, ..self }
    }
    /// After a record that was not written: soon again, with a new session.
    pub fn not_recorded(at: Timestamp) -> Then {
        Then::pausing(back_off(1, Class::Retry, at)).giving_back()
    }
    /// There is nothing to do. Who waits for a human must not keep others from going on: another cluster's resource may not be
    /// suspended. `unwell` counts the looks in a row that met a problem.
    pub fn rest(pace: Pace, d: &Decided<'_>, unwell: u32) -> Then {
        Then {
            give_back: d.plan.next.is_for_a_human(),
            ..Then::pausing(until_next_look(d.plan, pace, d.situation.at, unwell, d.situation.turns_away()))
        }
    }
}

/// Longest pause between two tries, in seconds.
const LONGEST: i64 = 60;

/// Shortest pause between two looks at what something else is at work at.
const SHORTEST: SignedDuration = SignedDuration::from_millis(200);

/// The pause after so many tries in a row: doubling up to a minute.
pub fn back_off(attempts: u32, class: Class, at: Timestamp) -> SignedDuration {
    let seconds = match class {
        Class::Retry => 1i64 << attempts.min(6),
        Class::AskHuman | Class::Refuse => LONGEST,
    };
    jitter(SignedDuration::from_secs(seconds.min(LONGEST)), at)
}

/// Seven to ten tenths of a pause, so that two operators do not meet for ever. The moment itself is chance enough.
pub fn jitter(pause: SignedDuration, at: Timestamp) -> SignedDuration {
    let thousandths = 700 + at.subsec_nanosecond().unsigned_abs() as i32 % 1000 * 3 / 10;
    pause * thousandths / 1000
}

/// How long to wait until the next look. `unwell` counts the looks in a row that met a problem: a server that refuses a login is
/// not asked every few seconds for ever, or it locks the account; least of all while a human is waited for (`turns_away`).
fn until_next_look(plan: &Plan, pace: Pace, at: Timestamp, unwell: u32, turns_away: bool) -> SignedDuration {
    let poll = SignedDuration::try_from(pace.poll).unwrap_or(SignedDuration::from_secs(10));
    let rarely = (poll * 30).min(SignedDuration::from_secs(300));
    let growing = (poll * (1 << unwell.min(5))).min(rarely).min(SignedDuration::from_secs(60));
    let moves = plan.transition.as_ref().is_none_or(|t| t.route.procedure.moves_chat());
    match &plan.next {
        Next::Settled => jitter(growing, at),
        Next::Wait(w) => w.until.map_or_else(
            || while_waiting(plan, poll, at),
            |u| u.duration_since(at).clamp(SignedDuration::from_millis(100), SignedDuration::from_secs(60)),
        ),
        Next::Blocked(problem) => match problem.class {
            Class::Retry => jitter(growing, at),
            Class::AskHuman | Class::Refuse if moves && turns_away => jitter(rarely, at),
            // What a human mends is seen soon: nobody may be able to chat until then.
            Class::AskHuman | Class::Refuse => jitter(growing, at),
        },
        Next::Act(_) | Next::Finish => SignedDuration::ZERO,
    }
}

/// The pause while something else is at work. Where chat may stand still meanwhile, a twentieth of what was waited already: what is
/// noticed late then makes no wait much longer, and what takes long is not looked at all the time.
fn while_waiting(plan: &Plan, poll: SignedDuration, at: Timestamp) -> SignedDuration {
    let usual = poll.min(SignedDuration::from_secs(1));
    let moving = plan.transition.as_ref().filter(|t| t.route.procedure.moves_chat());
    let since = moving.zip(plan.at_work()).and_then(|(t, step)| t.steps.get(&step)?.started);
    since.map_or(usual, |since| (at.duration_since(since) / 20).clamp(SHORTEST.min(usual), usual))
}

/// Waits, or until the resource changes.
pub async fn pause<C: Clock>(clock: &C, wishes: &mut Wishes, d: SignedDuration) {
    let d = Duration::try_from(d).unwrap_or(Duration::from_secs(1));
    let (sleep, changed) = (clock.sleep(d), wishes.changed());
    futures::pin_mut!(sleep, changed);
    // An error of `changed` means that nobody is left to change anything: the next round sees `stop` or simply waits.
    match select(sleep, changed).await {
        Either::Left(_) | Either::Right((Ok(()), _)) => {}
        Either::Right((Err(_), sleep)) => sleep.await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::active::Active;
    use crate::domain::decision::{Decision, Waiting};
    use crate::domain::problem::{Problem, Reason};
    use crate::domain::route::Route;
    use crate::domain::side::Side;
    use crate::domain::step::StepId;
    use crate::domain::transition::Transition;

    const PACE: Pace = Pace { silence: SignedDuration::from_secs(30), poll: Duration::from_secs(10) };

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(milliseconds)
    }

    /// A transition whose step at work has waited since the first moment.
    fn waits(route: Route, step: StepId, until: Option<Timestamp>) -> Plan {
        let mut t = Transition::begin("p", route, "f", 0, at(0));
        t.steps.entry(step).or_default().started = Some(at(0));
        let waiting = Waiting { reason: Reason::InProgress, message: String::new(), until };
        Plan {
            active: Active::Between,
            supposed: Side::Primary,
            readiness: None,
            transition: Some(t),
            steps: vec![(step, Decision::Wait(waiting.clone()))],
            consent_needed: None,
            accepted: None,
            left: BTreeMap::new(),
            heard: None,
            next: Next::Wait(waiting),
        }
    }

    #[test]
    fn what_chat_stands_still_for_is_noticed_within_a_twentieth_of_its_time() {
        let switch = waits(Route::switch(Side::Backup), StepId::PoolStateSet, None);
        let pause = |after: i64| until_next_look(&switch, PACE, at(after), 0, false).as_millis();
        assert_eq!([pause(0), pause(4_000), pause(10_000), pause(19_000)], [200, 200, 500, 950]);
        // However long it takes, it is looked at once in a second.
        assert_eq!([pause(20_000), pause(3_600_000)], [1_000, 1_000]);
        let protect = waits(Route::protect(Side::Backup), StepId::LogShippingEstablished, None);
        assert_eq!(until_next_look(&protect, PACE, at(0), 0, false).as_millis(), 1_000, "chat goes on");
        let until = waits(Route::switch(Side::Backup), StepId::PoolStateSet, Some(at(30_000)));
        assert_eq!(
            until_next_look(&until, PACE, at(1_000), 0, false).as_millis(),
            29_000,
            "it is known when"
        );
    }

    #[test]
    fn what_a_human_mends_is_seen_within_a_minute_and_a_login_that_is_refused_is_tried_rarely() {
        let mut plan = waits(Route::failover(Side::Backup), StepId::LogBackupsApplied, None);
        plan.next = Next::Blocked(Problem::ask(Reason::FolderUnusable, "not mounted", "mount it"));
        // The jitter leaves seven tenths at this moment.
        let pause = |unwell, turns_away| until_next_look(&plan, PACE, at(999), unwell, turns_away);
        let seconds = |unwell| pause(unwell, false).as_secs();
        assert_eq!([seconds(0), seconds(1), seconds(2), seconds(3), seconds(30)], [7, 14, 28, 42, 42]);
        assert_eq!([pause(1, true).as_secs(), pause(30, true).as_secs()], [210, 210]);
    }
}
