//! Status as a projection of what was seen and of the records: a pure function, written by one writer.

pub mod conditions;
pub mod events;
mod moving;
pub mod recording;
mod standing;
mod steps;
mod summary;
#[cfg(test)]
mod tests;

use conditions::Conditions;

use crate::api::convert::{last_move, wish_status};
use crate::api::v1alpha1::{PersistentChatFailoverStatus, WishStatus};
use crate::domain::pool::Pool;
use crate::engine::report::Report;

/// The status that a report amounts to. `before` is the status as it stands: what has not changed keeps its times.
pub fn status(
    pool: &Pool,
    r: &Report<'_>,
    before: &PersistentChatFailoverStatus,
) -> PersistentChatFailoverStatus {
    let mut s = PersistentChatFailoverStatus { observed_generation: r.goal.generation, ..before.clone() };
    // While it cannot be told, the last truth would be a guess.
    s.active_data_center = r.plan.active.side().map(|side| pool.name(side).to_string());
    if let Some(heard) = &r.plan.heard {
        s.wish = Some(WishStatus { at: conditions::time(heard.at), ..wish_status(pool, heard) });
    }
    if let Some(moved) = &r.situation.moved {
        s.last_move = Some(last_move(pool, moved));
    }
    steps::project(&mut s, pool, r);
    s.step = r.plan.transition.as_ref().and_then(|_| r.plan.at_work()).map(|id| id.as_str().to_string());
    let mut conditions = Conditions::of(&mut s, r.situation.at);
    summary::project(&mut conditions, pool, r);
    standing::project(&mut conditions, pool, r);
    s
}

/// What makes a status worth writing at once.
pub fn essence(s: &PersistentChatFailoverStatus) -> Vec<String> {
    let mut e: Vec<String> =
        s.conditions.iter().map(|c| format!("{} {} {}", c.type_, c.status, c.reason)).collect();
    e.push(format!("{} {:?} {:?}", s.observed_generation, s.active_data_center, s.step));
    e.push(s.wish.as_ref().map(|w| format!("{w:?}")).unwrap_or_default());
    e.push(s.last_move.as_ref().map(|m| format!("{m:?}")).unwrap_or_default());
    e.push(
        s.transition
            .as_ref()
            .map(|t| format!("{} {} {}", t.id, t.outcome, t.point_of_no_return))
            .unwrap_or_default(),
    );
    e.push(s.history.iter().map(|h| h.id.as_str()).collect::<Vec<_>>().join(" "));
    e
}
