//! Conditions that stand whether or not a transition runs.

use super::conditions::{self, ConditionStatus, Conditions};
use crate::domain::loss::to_utc;
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::site::Answer;
use crate::domain::sql_server::Instance;
use crate::domain::text::clean;
use crate::engine::readiness::readiness;
use crate::engine::report::Report;

/// Says how protected and how redundant the active side is, and whether the other one is quiet. While a transition runs they stay as
/// they were.
pub fn project(c: &mut Conditions<'_>, pool: &Pool, r: &Report<'_>, on_backup: bool) {
    if r.plan.transition.is_some() {
        return;
    }
    let live = if on_backup { r.situation.target.known() } else { r.situation.source.live() };
    let mirrored = live.and_then(|i| i.database.as_ref()).and_then(|d| d.mirroring.as_ref());
    match (live, mirrored) {
        (None, _) => c.set(
            conditions::REDUNDANT,
            ConditionStatus::Unknown,
            Reason::DatabaseState,
            "No live database was seen",
        ),
        (Some(_), Some(m)) if m.is_synchronized() => c.set(
            conditions::REDUNDANT,
            ConditionStatus::True,
            Reason::Completed,
            "The mirror is SYNCHRONIZED",
        ),
        (Some(_), Some(m)) => c.set(
            conditions::REDUNDANT,
            ConditionStatus::False,
            Reason::WaitingForMirror,
            &format!("The mirror is {}", m.state_text()),
        ),
        (Some(_), None) => c.set(
            conditions::REDUNDANT,
            ConditionStatus::False,
            Reason::NotConfigured,
            "The live database has no mirror",
        ),
    }
    if on_backup {
        c.set(
            conditions::FAILOVER_READY,
            ConditionStatus::False,
            Reason::NotSupported,
            "The pool has failed over; set up log shipping in the other direction by hand. Going back is not part of this version",
        );
        let backups = live.and_then(|i| Some((i, i.own_backups.known()?)));
        // Building the mirror takes backups of its own, into another share: only what came after the end counts.
        let ended = r
            .situation
            .target
            .known()
            .and_then(|i| i.records.known())
            .and_then(|x| x.iter().filter_map(|x| x.transition.ended).max());
        let since = |i: &Instance, local: &Option<String>| {
            let at = local.as_deref().and_then(|text| to_utc(text, Some(i.zone_minutes)));
            at.is_some_and(|at| ended.is_none_or(|ended| at > ended))
        };
        match backups {
            Some((i, b)) if since(i, &b.full) && since(i, &b.log) => c.set(
                conditions::PROTECTED,
                ConditionStatus::True,
                Reason::Completed,
                "Full and log backups exist since the recovery",
            ),
            Some(_) => c.set(
                conditions::PROTECTED,
                ConditionStatus::False,
                Reason::NotStarted,
                "No full and log backup since the recovery: schedule them, or the log fills the disk in days",
            ),
            None => c.set(
                conditions::PROTECTED,
                ConditionStatus::Unknown,
                Reason::DatabaseState,
                "The backup history was not seen",
            ),
        }
        let not_seen = r.situation.source.partners.iter().find_map(|p| match &p.answer {
            Answer::TurnsAway(x) | Answer::NotAsked(x) => Some(x.clone()),
            Answer::Speaks(_) | Answer::Silent(_) => None,
        });
        match (r.situation.source.live().map(|i| i.server_name.clone()), not_seen) {
            (Some(server), _) => c.set(
                conditions::OLD_PRIMARY_QUIET,
                ConditionStatus::False,
                Reason::SplitBrain,
                &format!(
                    "{} shows a live database of the old side: take it offline before anything writes to it",
                    clean(&server)
                ),
            ),
            // It answers, or nobody could ask it: that is not quiet.
            (None, Some(p)) => {
                c.set(conditions::OLD_PRIMARY_QUIET, ConditionStatus::Unknown, p.reason, &p.message())
            }
            (None, None) => c.set(
                conditions::OLD_PRIMARY_QUIET,
                ConditionStatus::True,
                Reason::Completed,
                "No live database was seen on the old side",
            ),
        }
    } else {
        c.remove(conditions::PROTECTED);
        c.remove(conditions::OLD_PRIMARY_QUIET);
        let (is, reason, message) = match readiness(pool, r.situation) {
            Ok(()) => (
                ConditionStatus::True,
                Reason::Completed,
                "The last look found nothing that would stop a failover".to_string(),
            ),
            Err(p) => (ConditionStatus::False, p.reason, p.message()),
        };
        c.set(conditions::FAILOVER_READY, is, reason, &message);
    }
}
