//! Conditions that stand whether or not a transition runs.

use super::conditions::{self, ConditionStatus, Conditions};
use super::summary::unprotected;
use crate::domain::active::Active;
use crate::domain::loss::to_utc;
use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::Procedure;
use crate::domain::side::Side;
use crate::domain::site::Answer;
use crate::domain::situation::Situation;
use crate::domain::sql_server::Instance;
use crate::domain::text::clean;
use crate::engine::report::Report;

/// What a condition says.
type Word = (ConditionStatus, Reason, String);

/// Says how redundant and how protected the active side is, and whether the other one is quiet. While a failover runs they stay as
/// they were; while the active side is set right, what is said of the other one does.
pub fn project(c: &mut Conditions<'_>, pool: &Pool, r: &Report<'_>) {
    let side = r.plan.supposed;
    let mut set = |kind: &str, (is, reason, message): Word| c.set(kind, is, reason, &message);
    match r.plan.transition.as_ref().map(|t| t.route.procedure) {
        Some(Procedure::Failover | Procedure::Switch) => return,
        // It may wait long, for a mirror or for a human: that there is none must not go unsaid.
        Some(Procedure::Align) => return set(conditions::REDUNDANT, redundant(r.situation, side)),
        Some(Procedure::Protect) | None => set(conditions::REDUNDANT, redundant(r.situation, side)),
    }
    for (kind, word) in [
        (conditions::FAILOVER_READY, failover_ready(pool, r, side)),
        (conditions::BACKED_UP, backed_up(r.situation, side)),
        (conditions::OTHER_SIDE_QUIET, other_side_quiet(pool, r.situation, side)),
    ] {
        set(kind, word);
    }
}

fn redundant(s: &Situation, side: Side) -> Word {
    let live = s.sites[side].live();
    let mirrored = live.and_then(|i| i.database.as_ref()).and_then(|d| d.mirroring.as_ref());
    match (live, mirrored) {
        (None, _) => {
            (ConditionStatus::Unknown, Reason::DatabaseState, "No live database was seen".to_string())
        }
        (Some(_), Some(m)) if m.is_synchronized() => {
            (ConditionStatus::True, Reason::Completed, "The mirror is SYNCHRONIZED".into())
        }
        (Some(_), Some(m)) => {
            (ConditionStatus::False, Reason::WaitingForMirror, format!("The mirror is {}", m.state_text()))
        }
        (Some(_), None) => {
            (ConditionStatus::False, Reason::NotConfigured, "The live database has no mirror".into())
        }
    }
}

fn failover_ready(pool: &Pool, r: &Report<'_>, side: Side) -> Word {
    let no = |reason, message| (ConditionStatus::False, reason, message);
    let stopped = r.plan.readiness.as_ref().and_then(|found| found.as_ref().err());
    match (stopped, unprotected(r), why_uncertain(&r.plan.active)) {
        // What keeps the copy from being fed says more than that nothing feeds it.
        (Some(p), Some(stuck), _) if p.reason != Reason::NotProtected => {
            no(p.reason, format!("{}. {}", p.message().trim_end_matches('.'), stuck.message()))
        }
        (_, Some(stuck), _) => no(stuck.reason, stuck.message()),
        (Some(p), None, _) => no(p.reason, p.message()),
        (None, None, Some((reason, message))) => (ConditionStatus::Unknown, reason, message),
        (None, None, None) => (
            ConditionStatus::True,
            Reason::Completed,
            format!("The last look found nothing that would stop a failover to {}", pool.name(side.other())),
        ),
    }
}

fn why_uncertain(active: &Active) -> Option<(Reason, String)> {
    let of = |p: &Problem| Some((p.reason, p.message()));
    match active {
        Active::In(_) => None,
        Active::Between => {
            Some((Reason::DatabaseState, "It is not certain which data centre is active".into()))
        }
        Active::SplitBrain(p)
        | Active::RecoveredByOthers { problem: p, .. }
        | Active::LiveAcross { problem: p, .. }
        | Active::Unknown(p) => of(p),
    }
}

/// Building a mirror and seeding a copy take backups of their own, into other places: after a recovery only what came later counts.
fn backed_up(s: &Situation, side: Side) -> Word {
    let live = s.sites[side].live();
    let Some((i, own)) = live.and_then(|i| Some((i, i.own_backups.known()?))) else {
        return (
            ConditionStatus::Unknown,
            Reason::DatabaseState,
            "The backup history of a live database was not seen".into(),
        );
    };
    let recovered = last_failover(s);
    let counts = |local: &Option<String>| {
        let at = local.as_deref().and_then(|text| to_utc(text, Some(i.zone_minutes)));
        at.is_some_and(|at| recovered.is_none_or(|recovered| at > recovered))
    };
    let since = if recovered.is_some() { " since the recovery" } else { "" };
    if counts(&own.full) && counts(&own.log) {
        let message = format!("Full and log backups exist{since}");
        (ConditionStatus::True, Reason::Completed, message)
    } else {
        let message = format!(
            "No full and log backup{since} by {}: schedule them, or the log fills the disk in days",
            clean(&i.server_name)
        );
        (ConditionStatus::False, Reason::NotStarted, message)
    }
}

/// When the last failover or switch was completed.
fn last_failover(s: &Situation) -> Option<jiff::Timestamp> {
    let failovers = s.transitions().into_iter().filter(|t| t.route.procedure.moves_chat());
    failovers.filter_map(|t| t.ended).filter(|e| !e.aborted).map(|e| e.at).max()
}

fn other_side_quiet(pool: &Pool, s: &Situation, side: Side) -> Word {
    let (across, name) = (&s.sites[side.other()], pool.name(side.other()));
    let not_seen = across.partners().find_map(|(_, p)| match &p.answer {
        Answer::TurnsAway(x) | Answer::NotAsked(x) => Some(x),
        Answer::Speaks(_) | Answer::Silent(_) => None,
    });
    match (across.live().map(server), not_seen) {
        (Some(server), _) => (
            ConditionStatus::False,
            Reason::SplitBrain,
            format!(
                "{server} shows a live database in {name}, which is not active: take it offline before anything writes to it"
            ),
        ),
        // It answers, or nobody could ask it: that is not quiet.
        (None, Some(p)) => (ConditionStatus::Unknown, p.reason, p.message()),
        (None, None) => (
            ConditionStatus::True,
            Reason::Completed,
            format!("No live database was seen in {name}, which is not active"),
        ),
    }
}

fn server(i: &Instance) -> String {
    clean(&i.server_name)
}
