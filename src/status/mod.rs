//! Status as a projection of what was seen and of the record: a pure function, written by one writer.

pub mod conditions;
pub mod events;
pub mod recording;
mod standing;
mod steps;
mod summary;

use conditions::Conditions;

use crate::api::v1alpha1::PersistentChatFailoverStatus;
use crate::domain::active::Active;
use crate::domain::pool::Pool;
use crate::engine::report::Report;

/// The status that a report amounts to. `before` is the status as it stands: what has not changed keeps its times.
pub fn status(
    pool: &Pool,
    r: &Report<'_>,
    before: &PersistentChatFailoverStatus,
) -> PersistentChatFailoverStatus {
    let mut s = PersistentChatFailoverStatus { observed_generation: r.generation, ..before.clone() };
    s.active_data_center = match &r.plan.active {
        Active::In(name) => Some(name.clone()),
        // While it cannot be told, the last truth would be a guess.
        Active::Between | Active::SplitBrain(_) | Active::RecoveredByOthers { .. } | Active::Unknown(_) => {
            None
        }
    };
    steps::project(&mut s, r);
    s.step = r.plan.transition.as_ref().and_then(|_| r.plan.at_work()).map(|id| id.as_str().to_string());
    let on_backup = s.active_data_center.as_deref() == Some(pool.backup.name.as_str());
    let mut conditions = Conditions::of(&mut s, r.situation.at);
    summary::project(&mut conditions, pool, r);
    standing::project(&mut conditions, pool, r, on_backup);
    s
}

/// What makes a status worth writing at once.
pub fn essence(s: &PersistentChatFailoverStatus) -> Vec<String> {
    let mut e: Vec<String> =
        s.conditions.iter().map(|c| format!("{} {} {}", c.type_, c.status, c.reason)).collect();
    e.push(format!("{} {:?} {:?}", s.observed_generation, s.active_data_center, s.step));
    e.push(
        s.transition
            .as_ref()
            .map(|t| format!("{} {} {}", t.id, t.outcome, t.point_of_no_return))
            .unwrap_or_default(),
    );
    e
}
