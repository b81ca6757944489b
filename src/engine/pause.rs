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
            ..Then::pausing(until_next_look(d.plan, pace, d.situation.at, unwell))
        }
    }
}

/// Longest pause between two tries, in seconds.
const LONGEST: i64 = 60;

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
/// not asked every few seconds for ever, or it locks the account.
fn until_next_look(plan: &Plan, pace: Pace, at: Timestamp, unwell: u32) -> SignedDuration {
    let poll = SignedDuration::try_from(pace.poll).unwrap_or(SignedDuration::from_secs(10));
    let rarely = (poll * 30).min(SignedDuration::from_secs(300));
    let growing = (poll * (1 << unwell.min(5))).min(rarely).min(SignedDuration::from_secs(60));
    let moves = plan.transition.as_ref().is_none_or(|t| t.route.procedure.moves_chat());
    match &plan.next {
        Next::Settled => jitter(growing, at),
        Next::Wait(w) => {
            let usual = poll.min(SignedDuration::from_secs(1));
            w.until.map_or(usual, |u| {
                u.duration_since(at).clamp(SignedDuration::from_millis(100), SignedDuration::from_secs(60))
            })
        }
        Next::Blocked(problem) => match problem.class {
            Class::Retry => jitter(growing, at),
            // Chat goes on while somebody thinks about what protects it: it is watched as before.
            Class::AskHuman | Class::Refuse if !moves => jitter(growing, at),
            Class::AskHuman | Class::Refuse => jitter(rarely, at),
        },
        Next::Act(_) | Next::Finish => SignedDuration::ZERO,
    }
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
